"""Why an execution failed: analysed on request, kept, and told with the execution."""

from __future__ import annotations

from fastapi import APIRouter, Response

from spantree_api.analysis import rules_analysis
from spantree_api.answers_analysis import AnalysisAnswer
from spantree_api.errors import NotFound
from spantree_api.params import TraceIdPath, trace_id_of
from spantree_api.reads import failure
from spantree_api.reads.analysis import last_good_difference, same_cause_elsewhere, store_analysis, stored_analysis
from spantree_api.responses import error_answers, json_answer
from spantree_api.service import ServiceOf

router = APIRouter(tags=["executions"])


@router.post("/executions/{trace_id}/analyze", response_model=AnalysisAnswer, responses=error_answers(404, 422, 503))
async def analyze(service: ServiceOf, trace_id: TraceIdPath) -> Response:
    """Analyse why an execution failed, and keep the answer instead of the one there was.

    An execution without failed nodes answers with a `message`, and nothing is kept.
    """
    wanted = trace_id_of(trace_id)
    async with service.reader(wanted) as reader:
        key = reader.key(wanted)
        row = await reader.execution(key)
        report, advice, _ = await failure.report(reader, key, row, service.known_errors, 0)
        is_failed = report["first_failed_node"] is not None
        last_good = await last_good_difference(reader, key, row) if is_failed else None
        same_cause = await same_cause_elsewhere(reader, row) if is_failed else None
    answer = rules_analysis(report, advice, last_good, same_cause, reader.now_ns)
    if is_failed:
        async with service.writer() as writer:
            await store_analysis(writer, row, answer)
    return json_answer(answer)


@router.get("/executions/{trace_id}/analysis", response_model=AnalysisAnswer, responses=error_answers(404, 422, 503))
async def get_analysis(service: ServiceOf, trace_id: TraceIdPath) -> Response:
    """The analysis that is kept of an execution."""
    wanted = trace_id_of(trace_id)
    async with service.reader(wanted) as reader:
        reader.key(wanted)
        answer = await stored_analysis(reader, wanted)
    if answer is None:
        raise NotFound(
            f"execution {wanted.hex} was not analysed: POST /api/v1/executions/{wanted.hex}/analyze does it",
            {"execution_id": wanted.hex},
        )
    return json_answer(answer)
