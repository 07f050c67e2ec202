"""Rows -> the failure report: what failed first, how it went up to the root, what was retried, what to do. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from spantree_api.answers.failures import Attempt, CascadeStep, FailedNode, FailureAnswer, FailureError, RetriedTask
from spantree_api.rendering import duration_ms, first_failed_node, rfc3339
from spantree_api.stored_rows import ExecutionRow, SameCauseRow
from spantree_exporter.ids import node_id
from spantree_exporter.rows import Execution, Node
from spantree_exporter.statuses import FAILED_NODE


def failure_answer(
    row: ExecutionRow,
    status: str,
    cascade: Sequence[Node],
    traceback: str | None,
    attempts: Sequence[Node],
    same_cause: Sequence[SameCauseRow],
    skipped_nodes: list[str],
    suggestion: str,
    clock_ns: int,
    handled: Sequence[Node] = (),
) -> FailureAnswer:
    """The report. `cascade`: from the node that failed first up to the root; `attempts`: of retried tasks, in sequence.

    `suggestion`: what to do about the error, told where a node failed. `handled`: what failed before that node did,
    below the outermost failed one, and was not what it failed of.

    An execution in which nothing failed has a report, too: it names no node and no error.
    """
    first = first_failed_node(row.execution)
    return {
        "execution_id": row.trace_id.hex,
        "name": row.execution.name,
        "status": status,
        "first_failed_node": first,
        "cascade": [node_id(node.span_id, node.ordinal) for node in cascade],
        "cascade_nodes": [_cascade_step(node) for node in cascade],
        "error": _error_of(row.execution, cascade[0] if cascade else None, traceback),
        "failed_by": None if not cascade else "itself" if outermost_failed(cascade) is cascade[0] else "a step below",
        "handled": [_failed_node(node) for node in handled],
        "same_cause_count": same_cause[0].total if same_cause else 0,
        "same_cause": [
            {
                "execution_id": one.trace_id.hex,
                "name": one.name,
                "status": one.status,
                "started_at": rfc3339(one.started_ns),
            }
            for one in same_cause
        ],
        "retries": retried_tasks(attempts, clock_ns),
        "skipped_nodes": skipped_nodes,
        "suggestion": suggestion if first is not None else None,
    }


def outermost_failed(cascade: Sequence[Node]) -> Node:
    """The outermost node of `cascade` that failed; the first is one that did."""
    return next((node for node in reversed(cascade) if node.status in FAILED_NODE), cascade[0])


def retried_tasks(attempts: Iterable[Node], clock_ns: int) -> list[RetriedTask]:
    """Attempts grouped by task, tasks in the order of their first attempt, attempts by number.

    Attempts without a task key belong together where they share parent and name.
    """
    tasks: dict[object, list[Node]] = {}
    for node in attempts:
        key: object = node.task_key
        if key is None:
            key = (node.parent_span_id, node.parent_ordinal, node.name)
        tasks.setdefault(key, []).append(node)
    return [
        _retried_task(sorted(nodes, key=lambda node: (node.attempt, node.started_ns)), clock_ns)
        for nodes in tasks.values()
    ]


def _retried_task(nodes: Sequence[Node], clock_ns: int) -> RetriedTask:
    allowed = [node.max_attempts for node in nodes if node.max_attempts is not None]
    return {
        "task_key": nodes[0].task_key,
        "attempts": [_attempt(node, clock_ns) for node in nodes],
        # One attempt that no policy foresaw makes the retry an unexpected one, as in the view retries.
        "expected": all(node.retry_expected is True for node in nodes),
        "max_attempts": max(allowed, default=None),
        "outcome": nodes[-1].status,
    }


def _attempt(node: Node, clock_ns: int) -> Attempt:
    return {
        "id": node_id(node.span_id, node.ordinal),
        "name": node.name,
        "attempt": node.attempt,
        "status": node.status,
        "started_ns": node.started_ns,
        "duration_ms": duration_ms(node.started_ns, node.ended_ns, clock_ns),
        "error_type": node.error_type,
        "error_message": node.error_message,
    }


def _failed_node(node: Node) -> FailedNode:
    return {
        "id": node_id(node.span_id, node.ordinal),
        "name": node.name,
        "status": node.status,
        "error_type": node.error_type,
        "error_message": node.error_message,
    }


def _cascade_step(node: Node) -> CascadeStep:
    return {
        "id": node_id(node.span_id, node.ordinal),
        "name": node.name,
        "kind": node.kind,
        "status": node.status,
        "error_type": node.error_type,
        "error_message": node.error_message,
    }


def _error_of(execution: Execution, cause: Node | None, traceback: str | None) -> FailureError | None:
    if execution.first_failed_span_id is None and execution.error_summary is None:
        return None
    return {
        "type": execution.first_failed_error_type,
        # The node may hold more of the message than the execution's row.
        "message": (cause.error_message if cause is not None else None)
        or execution.first_failed_error_message
        or execution.error_summary,
        "category": execution.error_category,
        "fingerprint": execution.error_fingerprint,
        "traceback": traceback,
    }
