"""State of the whole: the shape of the answers."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

from spantree_api.answers import documented


class Part(TypedDict):
    """State of one part of the product."""

    status: Literal["ok", "degraded", "down", "unknown"]
    message: str


@documented
class DeadLettersOfReason(TypedDict):
    """Dead letters for one kind of reason."""

    reason: str
    """unreadable (ids or bytes of a span), body (a whole request), refused (by PostgreSQL)"""
    letters: int
    """different ones"""
    count: int
    """how often they came"""


@documented
class HealthAnswer(TypedDict):
    """State of the whole."""

    status: Literal["ok", "degraded", "down"]
    checked_at: str
    api: Part
    database: Part
    collector: Part
    projection: Part
    tls: Part | None
    """the API's own certificate; null where it speaks plain HTTP"""
    certificate_days_left: float | None
    """until it ends"""
    collector_last_seen_at: str | None
    """when a span was last taken in"""
    projection_lag_ms: float | None
    """age of the oldest spans that are stored and not yet projected; 0 when there are none"""
    pending_traces: int | None
    dead_letters: int | None
    """what was accepted and can never become a row; equal ones once"""
    dead_letters_by_reason: list[DeadLettersOfReason] | None
    executions_last_hour: int | None
    replica: Part
    """where reads come from: a standby (SPANTREE_API_DATABASE_URL), or the database that is written"""
    replication_lag_ms: float | None
    """how far that standby is behind; null where there is none or it does not say"""
    error_rate: float | None
    """share of the executions of the last hour that failed, are partial or timed out; null when there were none"""


class Liveness(TypedDict):
    """The process answers."""

    status: Literal["ok"]


class Readiness(TypedDict):
    """The database answers and holds a schema that can be read."""

    status: Literal["ready"]
