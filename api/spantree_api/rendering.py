"""How stored values are rendered in answers: ids in hex, times as RFC 3339, durations in ms, `lost` by the clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from spantree_api.answers.executions import Counts, ExecutionAnswer, FirstFailedNode
from spantree_api.stored_rows import ExecutionRow
from spantree_exporter.ids import node_id
from spantree_exporter.rows import ROOT_MISSING, Execution
from spantree_exporter.statuses import RUNNING

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NS_PER_S = 1_000_000_000
INT64_MAX = (1 << 63) - 1
_NONE: Mapping[UUID, UUID] = {}

Item = TypeVar("Item")


def rfc3339(time_ns: int) -> str:
    """UTC with nine digits of a second, so that nothing of a nanosecond is lost."""
    seconds, ns = divmod(time_ns, _NS_PER_S)
    return f"{_EPOCH + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}.{ns:09d}Z"


def ns_of(moment: datetime) -> int:
    """Nanoseconds since 1970 of an aware `moment`, exact to its microsecond, bounded to what a bigint holds."""
    ns = (moment - _EPOCH) // timedelta(microseconds=1) * 1_000
    return max(-INT64_MAX, min(INT64_MAX, ns))


def duration_ms(started_ns: int, ended_ns: int | None, now_ns: int) -> float:
    """Milliseconds from start to end, or until now where there is no end yet; never negative."""
    return max(0, (now_ns if ended_ns is None else ended_ns) - started_ns) / 1e6


def effective_status(execution: Execution, now_ns: int, default_lost_after_s: float) -> str:
    """The status, or `lost` where it has not ended and gave no sign of life for longer than its threshold.

    One that only waits for its root, with nothing in it that still runs, has then ended instead.
    """
    lost_after_s = default_lost_after_s if execution.lost_after_s is None else execution.lost_after_s
    silent_ns = now_ns - execution.last_seen_ns
    if execution.status in RUNNING and silent_ns > lost_after_s * _NS_PER_S:
        return "completed" if ROOT_MISSING in execution.anomalies else "lost"
    return execution.status


def clock_of(execution: Execution, status: str, now_ns: int) -> int:
    """Until when a step without an end is said to have lasted: now, or the last sign of life of a lost execution."""
    return execution.last_seen_ns if status == "lost" else now_ns


def unique(items: Sequence[Item]) -> list[Item]:
    """The items in their order, each once."""
    return list(dict.fromkeys(items))


def execution_answer(
    row: ExecutionRow,
    now_ns: int,
    default_lost_after_s: float,
    analysis: Mapping[str, Any] | None = None,
    resumed: Mapping[UUID, UUID] = _NONE,
) -> ExecutionAnswer:
    """The row of an execution as every answer shows it, with its stored `analysis`.

    `resumed` has, of those that wait and were taken up, by which execution (spantree_api.reads.resumed).
    """
    execution = row.execution
    status = effective_status(execution, now_ns, default_lost_after_s)
    # While a root is awaited the row has the end of what came.
    ended_ns = None if status in RUNNING else execution.ended_ns
    trace_id = row.trace_id.hex
    return {
        "execution_id": trace_id,
        "trace_id": trace_id,
        "name": execution.name,
        "workflow_name": execution.workflow_name,
        "entry": execution.entry,
        "kind": execution.kind,
        "status": status,
        "started_at": rfc3339(execution.started_ns),
        "started_ns": execution.started_ns,
        "ended_at": None if ended_ns is None else rfc3339(ended_ns),
        "ended_ns": ended_ns,
        "duration_ms": duration_ms(execution.started_ns, ended_ns, clock_of(execution, status, now_ns)),
        "last_seen_at": rfc3339(execution.last_seen_ns),
        "service": execution.service,
        "services": execution.services,
        "run_id": execution.run_id,
        "conversation_id": execution.conversation_id,
        "user_id": execution.user_id,
        "project": execution.project,
        "tenant": str(row.tenant_id),
        "input": execution.input,
        "output": execution.output,
        "error_summary": execution.error_summary,
        "error_category": execution.error_category,
        "error_fingerprint": execution.error_fingerprint,
        "first_failed_node": first_failed_node(execution),
        "counts": counts_of(execution),
        "tokens": {"input": execution.input_tokens, "output": execution.output_tokens},
        "cost_usd": execution.cost_usd,
        "span_count": execution.span_count,
        "resumes": execution.resumes,
        "resumed_by": resumed[row.trace_id].hex if row.trace_id in resumed else None,
        "hidden": execution.hidden,
        "anomalies": execution.anomalies,
        "analysis": None if analysis is None else dict(analysis),
    }


def first_failed_node(execution: Execution) -> FirstFailedNode | None:
    """The node that failed first, None where none did."""
    if execution.first_failed_span_id is None:
        return None
    return {
        "id": node_id(execution.first_failed_span_id, execution.first_failed_ordinal or 0),
        "name": execution.first_failed_name,
        "error_type": execution.first_failed_error_type,
        "error_message": execution.first_failed_error_message,
    }


def counts_of(execution: Execution) -> Counts:
    """Its nodes by status."""
    return {
        "total": execution.total_count,
        "completed": execution.completed_count,
        "failed": execution.failed_count,
        "retried": execution.retried_count,
        "skipped": execution.skipped_count,
        "waiting": execution.waiting_count,
        "running": execution.running_count,
        "cancelled": execution.cancelled_count,
        "timed_out": execution.timed_out_count,
    }
