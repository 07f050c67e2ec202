"""What a report on one failed execution is made of."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

from spantree_api.answers.failures import FailureAnswer
from spantree_api.failures.known_errors import Advice, KnownErrors
from spantree_api.failures.report import failure_answer, outermost_failed
from spantree_api.listing import start_of
from spantree_api.node_detail import traceback_of
from spantree_api.reader import Reader, TraceKey
from spantree_api.reads import failure_groups
from spantree_api.rendering import clock_of, effective_status
from spantree_api.stored_rows import ExecutionRow, NodeRow, SameCauseRow, node_rows, records
from spantree_api.tree import outline_of
from spantree_exporter.rollup import KEY_LENGTH
from spantree_exporter.rows import Node

# How far back executions of the same cause are counted.
_SAME_CAUSE_DAYS = 30
# Those of them that are counted one by one.
_SAME_CAUSE_COUNTED = 200
_EIGHT_DAYS_H = 192
# Attempts told in a report; a poller may make thousands.
_ATTEMPTS_MAX = 1_000
_HANDLED_MAX = 20
# Roots, failed and skipped nodes among which skipped ones are named.
_SKIPPED_MAX = 5_000


async def report(
    reader: Reader, key: TraceKey, row: ExecutionRow, known_errors: KnownErrors, same_cause_named: int
) -> tuple[FailureAnswer, Advice, list[Node]]:
    """The failure report of an execution, what is known about its error, and the nodes of its cascade."""
    rows = await cascade(reader, key, row)
    nodes = [one.node for one in rows]
    before = await handled(reader, key, nodes)
    cause_spans = await reader.spans_of(key, rows[0]) if rows else []
    traceback = traceback_of(nodes[0], cause_spans) if nodes else None
    tries = await attempts(reader, key)
    alike = await same_cause(reader, row, max(1, same_cause_named))
    outline = outline_of(await reader.outline(key, limit=_SKIPPED_MAX), await reader.never_run(key, row))
    status = effective_status(row.execution, reader.now_ns, reader.config.lost_after_s)
    execution = row.execution
    advice = known_errors.advice_for(
        execution.first_failed_error_type,
        # The node may hold more of the message than the execution's row.
        (nodes[0].error_message if nodes else None) or execution.first_failed_error_message,
        execution.error_category,
    )
    answer = failure_answer(
        row,
        status,
        nodes,
        traceback,
        [one.node for one in tries],
        alike,
        outline.skipped_nodes,
        advice.suggestion,
        clock_of(execution, status, reader.now_ns),
        before,
    )
    answer["same_cause"] = answer["same_cause"][:same_cause_named]
    return answer, advice, nodes


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
    """Other executions of the same fingerprint since 30 days before this one, the newest first.

    They are counted one by one as long as they are few, and else by the figures, which may count some that
    retention has dropped since.
    """
    fingerprint = row.execution.error_fingerprint
    if fingerprint is None:
        return []
    since_day = row.day - timedelta(days=_SAME_CAUSE_DAYS)
    parameters = {
        "tenant_id": row.tenant_id,
        "trace_id": row.trace_id,
        "error_fingerprint": fingerprint,
        "counted": _SAME_CAUSE_COUNTED,
        "limit": limit,
    }
    rows: list[SameCauseRow] = []
    total = 0
    async for days in reader.newest_days(since_day):
        found = await reader.snapshot.all("same_cause", parameters | days, records(SameCauseRow))
        total += found[0].total if found else 0
        rows += found
        if total >= _SAME_CAUSE_COUNTED:
            total = max(total, await _failures_of(reader, fingerprint, since_day) - 1)
            break
    return [replace(one, total=total) for one in rows[:limit]]


async def _failures_of(reader: Reader, fingerprint: str, since_day: date) -> int:
    """Executions that failed of a cause since a day, by the figures; none where they are of no group yet."""
    group = await failure_groups.group(reader, fingerprint[:KEY_LENGTH])
    if group is None:
        return 0
    wanted = failure_groups.GroupFilter(start_of(since_day), hidden=True)
    return sum(one.count for one in await failure_groups.counts_of_groups(reader, [group], wanted, _EIGHT_DAYS_H))
