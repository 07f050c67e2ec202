"""The rows that groups of failures are read as."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from spantree_api.answers.failure_groups import GroupState


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A group as it is stored."""

    fingerprint: str
    category: str
    first_seen_ns: int
    last_seen_ns: int
    versions: list[str]
    state: GroupState
    note: str | None
    changed_by: str | None
    changed_at: datetime | None
    reopened_at: datetime | None
    reopened_version: str | None


@dataclass(frozen=True, slots=True)
class CountsRow:
    """Executions of one workflow that failed of one cause in a bucket of time, by its first hour since 1970."""

    fingerprint: str
    workflow_name: str
    hour: int
    count: int


@dataclass(frozen=True, slots=True)
class ExampleRow:
    """The newest execution of a cause."""

    fingerprint: str
    trace_id: UUID
    name: str
    error_summary: str | None
    started_ns: int


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """A change of a group's state."""

    state: GroupState
    note: str | None
    changed_by: str | None
    changed_at: datetime
    version: str | None
