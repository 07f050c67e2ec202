"""Whether one execution is among those that a list with some filters holds: the list's own conditions, of a row. Pure.

`q` is not decided here: only the database knows what words an execution is found by.
"""

from __future__ import annotations

from spantree_api.filters import ExecutionFilter
from spantree_api.rendering import clock_of, effective_status
from spantree_api.stored_rows import ExecutionRow


def matches(wanted: ExecutionFilter, row: ExecutionRow, now_ns: int, lost_after_s: float) -> bool:
    """Whether `row` passes every filter of `wanted` but `q`, by the clock where status or duration need one."""
    execution = row.execution
    for asked, found in (
        (wanted.workflow, execution.workflow_name),
        (wanted.conversation_id, execution.conversation_id),
        (wanted.user_id, execution.user_id),
        (wanted.run_id, execution.run_id),
        (wanted.kind, execution.kind),
        (wanted.error_category, execution.error_category),
        (wanted.project, execution.project),
    ):
        if asked is not None and asked != found:
            return False
    if wanted.service is not None and wanted.service not in execution.services:
        return False
    if execution.hidden and not wanted.hidden:
        return False
    if wanted.since_ns is not None and execution.started_ns < wanted.since_ns:
        return False
    if wanted.until_ns is not None and execution.started_ns >= wanted.until_ns:
        return False
    status = effective_status(execution, now_ns, lost_after_s)
    if wanted.statuses is not None and status not in wanted.statuses:
        return False
    ended_ns = clock_of(execution, status, now_ns) if execution.ended_ns is None else execution.ended_ns
    lasted_ns = ended_ns - execution.started_ns
    if wanted.min_duration_ns is not None and lasted_ns < wanted.min_duration_ns:
        return False
    return wanted.max_duration_ns is None or lasted_ns <= wanted.max_duration_ns
