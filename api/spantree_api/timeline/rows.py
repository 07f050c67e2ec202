"""What a timeline is made of, as it is read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """What a timeline needs of a node."""

    span_id: int
    ordinal: int
    sequence: int
    depth: int
    name: str
    kind: str
    status: str
    service: str
    started_ns: int
    ended_ns: int | None
    attempt: int
    task_key: str | None
    iteration: int | None
    error_type: str | None
    on_critical_path: bool
    folded_count: int
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None

    @property
    def tokens(self) -> int | None:
        """Into a model and out of it; None where neither is told."""
        if self.input_tokens is None and self.output_tokens is None:
            return None
        return (self.input_tokens or 0) + (self.output_tokens or 0)


@dataclass(frozen=True, slots=True)
class BandRow:
    """Neighbours in the tree, seen from afar. `failed_from_ns`, `failed_to_ns`: around those of them that failed."""

    band: int
    started_ns: int
    ended_ns: int | None
    is_open: bool
    failed_from_ns: int | None
    failed_to_ns: int | None


@dataclass(frozen=True, slots=True)
class FoldedRow:
    """A span that belongs to the node of that sequence number and is no node of its own."""

    sequence: int
    span_id: int
    name: str
    scope: str | None
    start_ns: int
    end_ns: int
    status_code: int


@dataclass(frozen=True, slots=True)
class FlameRow:
    """What a flame graph needs of a node. `self_ns`: None while it runs."""

    span_id: int
    ordinal: int
    depth: int
    name: str
    kind: str
    status: str
    started_ns: int
    ended_ns: int | None
    self_ns: int | None
