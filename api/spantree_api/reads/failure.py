"""What a report on one failed execution is made of."""

from __future__ import annotations

from datetime import timedelta

from spantree_api.failure import outermost_failed
from spantree_api.reader import Reader, TraceKey
from spantree_api.stored_rows import ExecutionRow, NodeRow, SameCauseRow, node_rows, records
from spantree_exporter.rows import Node

# How far back executions of the same cause are counted.
_SAME_CAUSE_DAYS = 30
# Attempts told in a report; a poller may make thousands.
_ATTEMPTS_MAX = 1_000
_HANDLED_MAX = 20


async def cascade(reader: Reader, key: TraceKey, row: ExecutionRow) -> list[NodeRow]:
    """The node that failed first and those it went up through, the root last; empty where none failed."""
    if row.execution.first_failed_span_id is None:
        return []
    parameters = {
        **key.parameters(),
        "span_id": row.execution.first_failed_span_id,
        "ordinal": row.execution.first_failed_ordinal or 0,
        "total_count": row.execution.total_count,
    }
    return await reader.snapshot.all("cascade_of_node", parameters, node_rows)


async def handled(reader: Reader, key: TraceKey, cascade: list[Node]) -> list[Node]:
    """What failed before the first of `cascade` did, below the outermost of it that failed."""
    if not cascade:
        return []
    outermost, first = outermost_failed(cascade), cascade[0]
    parameters = {
        **key.parameters(),
        "from_sequence": outermost.sequence,
        "depth": outermost.depth,
        "ended_ns": first.started_ns if first.ended_ns is None else first.ended_ns,
        "limit": _HANDLED_MAX + len(cascade),
    }
    found = await reader.snapshot.all("failed_before_node", parameters, node_rows)
    passed_on = {(node.span_id, node.ordinal) for node in cascade}
    return [one.node for one in found if (one.node.span_id, one.node.ordinal) not in passed_on][:_HANDLED_MAX]


async def attempts(reader: Reader, key: TraceKey) -> list[NodeRow]:
    """The attempts of all tasks that were attempted more than once, in order."""
    return await reader.snapshot.all("retried_nodes_of_trace", {**key.parameters(), "limit": _ATTEMPTS_MAX}, node_rows)


async def same_cause(reader: Reader, row: ExecutionRow, limit: int) -> list[SameCauseRow]:
    """Other executions of the same fingerprint since 30 days before this one, the newest first."""
    if row.execution.error_fingerprint is None:
        return []
    parameters = {
        "tenant_id": row.tenant_id,
        "trace_id": row.trace_id,
        "error_fingerprint": row.execution.error_fingerprint,
        "since_day": row.day - timedelta(days=_SAME_CAUSE_DAYS),
        "limit": limit,
    }
    return await reader.snapshot.all("same_cause", parameters, records(SameCauseRow))
