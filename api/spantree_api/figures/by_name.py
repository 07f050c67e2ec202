"""Sums by name -> answers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from spantree_api.answers.trends import Figures, MapAnswer, MapEdge
from spantree_api.figures.stats import Durations
from spantree_api.rendering import rfc3339


@dataclass(frozen=True, slots=True)
class NameRow:
    """Sums of one name."""

    name: str
    runs: int
    completed: int
    failed: int
    partial: int
    timed_out: int
    cancelled: int
    open: int
    waited: int
    avg_ms: float | None
    input_tokens: int
    output_tokens: int
    cost_usd: float
    last_started_ns: int


@dataclass(frozen=True, slots=True)
class LongestRow:
    """An execution and how long it took."""

    trace_id: UUID
    duration_ms: float


@dataclass(frozen=True, slots=True)
class MapNodeRow:
    """Sums of one step of a workflow."""

    name: str
    kind: str
    runs: int
    completed: int
    failed: int
    retried: int
    skipped: int
    avg_ms: float | None


@dataclass(frozen=True, slots=True)
class MapEdgeRow:
    """Executions that went from one step to another; `failed`: those in which the latter failed."""

    from_name: str
    to_name: str
    type: str
    runs: int
    failed: int


@dataclass(frozen=True, slots=True)
class ConditionRow:
    """A value by which an execution went from one step to another."""

    from_name: str
    to_name: str
    condition: str


def figures(row: NameRow, durations: Durations) -> Figures:
    """The figures of one name."""
    ended = row.completed + row.failed + row.partial
    return {
        "runs": row.runs,
        "completed": row.completed,
        "failed": row.failed,
        "partial": row.partial,
        "timed_out": row.timed_out,
        "cancelled": row.cancelled,
        "open": row.open,
        "waited": row.waited,
        "success_rate": row.completed / ended if ended else None,
        "avg_ms": row.avg_ms,
        "p50_ms": durations.quantile_ms(None, row.name, 0.5, row.avg_ms),
        "p95_ms": durations.quantile_ms(None, row.name, 0.95, row.avg_ms),
        "p99_ms": durations.quantile_ms(None, row.name, 0.99, row.avg_ms),
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "cost_usd": row.cost_usd,
        "last_started_at": rfc3339(row.last_started_ns),
    }


def map_answer(
    workflow: str,
    since_ns: int,
    runs: int,
    nodes: Sequence[MapNodeRow],
    durations: Durations,
    edges: Sequence[MapEdgeRow],
    conditions: Sequence[ConditionRow],
) -> MapAnswer:
    """The map of a workflow; a condition is told where it is one and the same."""
    by_edge: dict[tuple[str, str], set[str]] = {}
    for one in conditions:
        by_edge.setdefault((one.from_name, one.to_name), set()).add(one.condition)
    told: list[MapEdge] = []
    for edge in edges:
        values = by_edge.get((edge.from_name, edge.to_name), set()) if edge.type == "conditional" else set()
        told.append(
            {
                "from": edge.from_name,
                "to": edge.to_name,
                "type": edge.type,
                "condition": next(iter(values)) if len(values) == 1 else None,
                "runs": edge.runs,
                "share": min(1.0, edge.runs / runs) if runs else None,
                "failed": edge.failed,
            }
        )
    return {
        "workflow": workflow,
        "since": rfc3339(since_ns),
        "runs": runs,
        "nodes": [
            {
                "name": node.name,
                "kind": node.kind,
                "runs": node.runs,
                "failed": node.failed,
                "retried": node.retried,
                "skipped": node.skipped,
                "success_rate": node.completed / (node.completed + node.failed)
                if node.completed + node.failed
                else None,
                "avg_ms": node.avg_ms,
                "p50_ms": durations.quantile_ms(workflow, node.name, 0.5, node.avg_ms),
                "p95_ms": durations.quantile_ms(workflow, node.name, 0.95, node.avg_ms),
            }
            for node in nodes
        ],
        "edges": told,
    }
