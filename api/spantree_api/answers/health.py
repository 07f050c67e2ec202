"""State of the whole: the shape of the answers."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

from spantree_api.answers.executions import documented


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
class SpoolState(TypedDict):
    """What a collector has taken in and not written yet."""

    bodies: int
    bytes: int
    max_bytes: int
    """with so many it refuses further ones"""
    oldest_age_s: float
    """how long the oldest has been waiting"""


@documented
class WorkState(TypedDict):
    """How one kind of a writer's work goes."""

    state: str
    """ok, starting, unavailable (PostgreSQL is away), operator (a person has to act), fault"""
    message: str
    since_s: float
    """for how long it has been so"""


class WriterState(TypedDict):
    """One writer process: rows, and what is made of them."""

    store: WorkState
    projector: WorkState


@documented
class CollectorState(TypedDict):
    """One collector, by its own word."""

    url: str
    status: Literal["ok", "degraded", "down"]
    message: str
    spool: SpoolState | None
    """null where it does not answer or its spool failed"""
    writers: list[WriterState]


@documented
class TableStorage(TypedDict):
    """A table that is partitioned by day."""

    table: str
    partitions: int
    bytes: int
    """on disk, with indexes and long values"""


@documented
class StorageAnswer(TypedDict):
    """What is kept on disk: of all tenants."""

    database_bytes: int
    """of the whole database"""
    first_day: str | None
    """the oldest UTC day that has a partition; null where none has"""
    last_day: str | None
    """the newest; some are made in advance"""
    days: int
    """how many days have one; that of rows out of the range is none of them"""
    tables: list[TableStorage]


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
    collectors: list[CollectorState] | None
    """those that SPANTREE_API_COLLECTOR_URLS names (`spantree up` names its own); null where it names none, and for
    tenants other than the first"""


class Liveness(TypedDict):
    """The process answers."""

    status: Literal["ok"]


class Readiness(TypedDict):
    """The database answers and holds a schema that can be read."""

    status: Literal["ready"]
