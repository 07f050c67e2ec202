"""The nodes of one execution by name: sums, models, what was called again and again, what led to what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from spantree_api.database import Query
from spantree_api.reader import Reader, TraceKey
from spantree_api.stored_rows import records
from spantree_exporter.facts.reading import PREVIEW_CHARS

# Fewer or shorter calls are no loss that is worth anybody's time.
_LEAST_CALLS: Final = 5
_LEAST_NS: Final = 10_000_000
# The third time an agent asks the same it goes round in circles.
_LEAST_TURNS: Final = 3
_FINDINGS: Final = 20
_MODELS: Final = 200
_WAYS: Final = 2_000


@dataclass(frozen=True, slots=True)
class StepSumsRow:
    """Sums of the nodes of one name, kind and service. `all_`: of all names; `slowest` ends with span id, ordinal."""

    name: str
    kind: str
    service: str
    count: int
    completed: int
    failed: int
    retried: int
    skipped: int
    open: int
    total_ns: int
    self_ns: int
    avg_ns: float | None
    p50_ns: int | None
    p95_ns: int | None
    max_ns: int | None
    slowest: list[int]
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    all_names: int
    all_self_ns: int


@dataclass(frozen=True, slots=True)
class ModelSumsRow:
    """Sums of the calls of one model."""

    model: str
    calls: int
    failed: int
    retried: int
    total_ns: int
    p95_ns: int | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class FindingRow:
    """Calls of one kind that were made again and again.

    `first` ends with the span id and ordinal of the first of them; `outputs`: how many different answers are known.
    """

    finding: str
    name: str
    kind: str
    service: str
    count: int
    total_ns: int
    first: list[int]
    parent_span_id: int | None
    parent_ordinal: int | None
    parent_name: str | None
    text: str | None
    outputs: int | None


@dataclass(frozen=True, slots=True)
class WayRow:
    """How often nodes of one name led to nodes of another."""

    from_name: str
    to_name: str
    type: str
    count: int


@dataclass(frozen=True, slots=True)
class StatsRows:
    """All that is told of one execution's nodes by name."""

    steps: list[StepSumsRow]
    models: list[ModelSumsRow]
    findings: list[FindingRow]
    ways: list[WayRow]


async def stats_of(reader: Reader, key: TraceKey, sort: str, limit: int) -> StatsRows:
    """The sums of an execution, for one round trip."""
    trace = key.parameters()
    calls = trace | {"least_calls": _LEAST_CALLS, "least_ns": _LEAST_NS, "limit": _FINDINGS}
    turns = trace | {"least_calls": _LEAST_TURNS, "preview_chars": PREVIEW_CHARS, "limit": _FINDINGS}
    steps, models, repeated, loops, ways = await reader.snapshot.together(
        Query("step_sums", trace | {"sort": sort, "limit": limit}, records(StepSumsRow)),
        Query("model_sums", trace | {"limit": _MODELS}, records(ModelSumsRow)),
        Query("repeated_calls", calls, records(FindingRow)),
        Query("agent_loops", turns, records(FindingRow)),
        Query("ways_by_name", trace | {"limit": _WAYS}, records(WayRow)),
    )
    return StatsRows(steps, models, [*loops, *repeated], ways)
