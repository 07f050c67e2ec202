"""What went differently in two executions."""

from __future__ import annotations

from fastapi import Response
from starlette.concurrency import run_in_threadpool

from spantree_api.answers.diff import DiffAnswer
from spantree_api.diff import diff_answer
from spantree_api.errors import InvalidParameter, NotFound
from spantree_api.http.params import TraceIdOrLastGood, TraceIdPath, trace_id_of
from spantree_api.http.responses import error_answers, json_answer
from spantree_api.reader import Reader
from spantree_api.reads.diff import LAST_GOOD_DAYS, LAST_GOOD_WALKED, last_good, steps_of_both
from spantree_api.rendering import clock_of, effective_status
from spantree_api.routes.api_router import api_router
from spantree_api.service import ServiceOf
from spantree_api.stored_rows import ExecutionRow

router = api_router("executions")
LAST_GOOD = "last-good"
# Both are held whole: some 20 MB at this size.
_NODES_MAX = 20_000


@router.get("/executions/{a}/diff/{b}", response_model=DiffAnswer, responses=error_answers(404, 422, 503))
async def get_diff(
    service: ServiceOf,
    a: TraceIdPath,
    b: TraceIdOrLastGood,
) -> Response:
    """Steps that were added, removed, changed or stayed the same from `a` to `b`, and the first difference."""
    async with service.reader() as reader:
        one_key = await reader.look_up(trace_id_of(a))
        one = await reader.execution(one_key)
        if b == LAST_GOOD:
            other = await _last_good(reader, one)
            other_key = await reader.look_up(other.trace_id)
        else:
            other_key = await reader.look_up(trace_id_of(b))
            other = await reader.execution(other_key)
        _check_size(one, "a")
        _check_size(other, "b")
        one_nodes, other_nodes = await steps_of_both(reader, one_key, other_key)
    # Of the largest ones it takes as long as many other answers.
    answer = await run_in_threadpool(
        diff_answer,
        one.trace_id.hex,
        one_nodes,
        _clock(one, reader),
        other.trace_id.hex,
        other_nodes,
        _clock(other, reader),
    )
    return json_answer(answer)


async def _last_good(reader: Reader, row: ExecutionRow) -> ExecutionRow:
    execution = row.execution
    found = await last_good(reader, row)
    if found is None:
        among = f"in the {LAST_GOOD_DAYS} days"
        if execution.workflow_name is None:
            among = f"among the {LAST_GOOD_WALKED:,} executions"
        raise NotFound(
            f"no execution of {execution.workflow_name or execution.name} completed {among} "
            f"before {row.trace_id.hex}: give the id of another one to compare with",
            {"execution_id": row.trace_id.hex},
        )
    return found


def _check_size(row: ExecutionRow, parameter: str) -> None:
    if row.execution.total_count > _NODES_MAX:
        raise InvalidParameter(
            parameter,
            f"{row.trace_id.hex} has {row.execution.total_count} nodes: executions of up to {_NODES_MAX} are compared",
        )


def _clock(row: ExecutionRow, reader: Reader) -> int:
    status = effective_status(row.execution, reader.now_ns, reader.config.lost_after_s)
    return clock_of(row.execution, status, reader.now_ns)
