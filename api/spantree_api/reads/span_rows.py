"""The rows that spans, and traces by their spans, are read as (spans.py)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class OperationRow:
    """A name and kind of spans."""

    name: str
    kind: int


@dataclass(frozen=True, slots=True)
class NameRow:
    """A name."""

    name: str


@dataclass(frozen=True, slots=True)
class WalkRow:
    """How far a walk went."""

    walked: int
    oldest_ns: int | None


@dataclass(frozen=True, slots=True)
class CandidateRow:
    """An execution that may be what is looked for."""

    trace_id: UUID
    started_ns: int
    ended_ns: int | None
    services: list[str]


@dataclass(frozen=True, slots=True)
class MatchRow:
    """A trace that has a span of what is looked for."""

    trace_id: UUID


@dataclass(frozen=True, slots=True)
class ParentRow:
    """A span and what it is below."""

    trace_id: UUID
    span_id: int
    parent_span_id: int | None


@dataclass(frozen=True, slots=True)
class AttributeRow:
    """An attribute that spans, or what sends them, have; `value` only of the one that was asked for."""

    place: str
    key: str
    value: Any


@dataclass(frozen=True, slots=True)
class CountRow:
    """How many spans there are."""

    span_count: int


@dataclass(frozen=True, slots=True)
class TraceDays:
    """The days that the rows of a trace are on."""

    trace_id: UUID
    days: list[date]


@dataclass(frozen=True, slots=True)
class ServicePart:
    """What one service has of a trace."""

    trace_id: UUID
    service: str
    spans: int
    errors: int
    orphans: int
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class RootRow:
    """The root of a trace."""

    trace_id: UUID
    name: str
    service: str


@dataclass(frozen=True, slots=True)
class Summary:
    """A trace in short, its services in order of their names."""

    root: RootRow
    parts: list[ServicePart]

    @property
    def start_ns(self) -> int:
        """When its first span began."""
        return min(part.start_ns for part in self.parts)

    @property
    def end_ns(self) -> int:
        """When the last of its spans ended."""
        return max(part.end_ns for part in self.parts)


@dataclass(frozen=True, slots=True)
class CallRow:
    """How often one service called another."""

    parent: str
    child: str
    calls: int
