"""Where the time, the tokens and the failures of one execution are."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response

from spantree_api.answers.execution_stats import ExecutionStats, StepSort
from spantree_api.figures.execution_stats import execution_stats
from spantree_api.http.params import TraceIdPath, trace_id_of
from spantree_api.http.responses import error_answers, json_answer
from spantree_api.reads.execution_stats import stats_of
from spantree_api.rendering import execution_answer
from spantree_api.routes.api_router import api_router
from spantree_api.service import ServiceOf

router = api_router("executions")


@router.get("/executions/{trace_id}/stats", response_model=ExecutionStats, responses=error_answers(404, 422, 503))
async def get_execution_stats(
    service: ServiceOf,
    trace_id: TraceIdPath,
    sort: Annotated[StepSort, Query(description="which names come first: most of what")] = "self",
    limit: Annotated[int, Query(ge=1, le=1_000, description="names at most")] = 200,
) -> Response:
    """One execution's nodes by name, its models, what was called again and again, and what led to what."""
    wanted = trace_id_of(trace_id)
    async with service.reader(wanted) as reader:
        key = reader.key(wanted)
        row = await reader.execution(key)
        rows = await stats_of(reader, key, sort, limit)
    told = execution_answer(row, reader.now_ns, reader.config.lost_after_s)
    answer = execution_stats(told["execution_id"], told["status"], told["duration_ms"], row.execution.total_count, rows)
    return json_answer(answer)
