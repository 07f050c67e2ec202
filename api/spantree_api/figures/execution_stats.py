"""Sums of one execution's nodes -> the answer. Pure."""

from __future__ import annotations

from typing import cast

from spantree_api.answers.execution_stats import ExecutionStats, Finding, FindingKind, ModelSums, StepSums, WaySums
from spantree_api.answers.executions import EdgeType
from spantree_api.reads.execution_stats import FindingRow, ModelSumsRow, StatsRows, StepSumsRow, WayRow
from spantree_exporter.ids import node_id


def execution_stats(trace_id: str, status: str, duration_ms: float, nodes: int, rows: StatsRows) -> ExecutionStats:
    """The figures of an execution of so many nodes."""
    first = rows.steps[0] if rows.steps else None
    return {
        "execution_id": trace_id,
        "status": status,
        "duration_ms": duration_ms,
        "nodes": nodes,
        "names": 0 if first is None else first.all_names,
        "self_ms": 0.0 if first is None else first.all_self_ns / 1e6,
        "steps": [_step(row) for row in rows.steps],
        "models": [_model(row) for row in rows.models],
        "findings": [_finding(row) for row in rows.findings],
        "ways": [_way(row) for row in rows.ways],
    }


def _step(row: StepSumsRow) -> StepSums:
    return {
        "name": row.name,
        "kind": row.kind,
        "service": row.service,
        "count": row.count,
        "completed": row.completed,
        "failed": row.failed,
        "retried": row.retried,
        "skipped": row.skipped,
        "open": row.open,
        "total_ms": row.total_ns / 1e6,
        "self_ms": row.self_ns / 1e6,
        "self_share": row.self_ns / row.all_self_ns if row.all_self_ns else None,
        "avg_ms": _ms(row.avg_ns),
        "p50_ms": _ms(row.p50_ns),
        "p95_ms": _ms(row.p95_ns),
        "max_ms": _ms(row.max_ns),
        "slowest": node_id(*row.slowest[-2:]),
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "cost_usd": row.cost_usd,
    }


def _model(row: ModelSumsRow) -> ModelSums:
    return {
        "model": row.model,
        "calls": row.calls,
        "failed": row.failed,
        "retried": row.retried,
        "total_ms": row.total_ns / 1e6,
        "p95_ms": _ms(row.p95_ns),
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "cost_usd": row.cost_usd,
    }


def _finding(row: FindingRow) -> Finding:
    return {
        "finding": cast(FindingKind, row.finding),
        "message": _message(row),
        "name": row.name,
        "kind": row.kind,
        "service": row.service,
        "count": row.count,
        "total_ms": row.total_ns / 1e6,
        "first": node_id(*row.first[-2:]),
        "parent_id": None if row.parent_span_id is None else node_id(row.parent_span_id, row.parent_ordinal or 0),
        "parent_name": row.parent_name,
        "text": row.text,
    }


def _message(row: FindingRow) -> str:
    if row.finding == "agent_loop":
        answers = "" if not row.outputs else ", and answered the same" if row.outputs == 1 else ", with few new answers"
        return (
            f"{row.name} was asked the same {row.count} times{answers}: the agent goes round in circles. Let it see "
            "what it has asked before, or bound its turns."
        )
    if row.kind == "db":
        what, remedy = "query", "ask for all rows by one query"
    else:
        what, remedy = "request", "ask for all by one request, or for several at once"
    where = "" if row.parent_name is None else f" in {row.parent_name}"
    return (
        f"{row.name} was called {row.count} times, one after the other{where}: the same {what} but for its values. "
        f"If it can, {remedy}."
    )


def _way(row: WayRow) -> WaySums:
    return {"from": row.from_name, "to": row.to_name, "type": cast(EdgeType, row.type), "count": row.count}


def _ms(ns: float | None) -> float | None:
    return None if ns is None else ns / 1e6
