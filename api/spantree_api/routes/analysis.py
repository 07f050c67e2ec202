"""Why an execution failed: analysed on request, kept, and told with the execution."""

from __future__ import annotations

import secrets
from typing import Annotated, Literal

from fastapi import Query, Response

from spantree_api.analysis.model_answer import NoAnswer, fault_of, taken
from spantree_api.analysis.prompt import prompt_of
from spantree_api.analysis.rules import rules_analysis
from spantree_api.answers.analysis import AnalysisAnswer
from spantree_api.answers.failures import FailureAnswer
from spantree_api.errors import NotFound
from spantree_api.http.params import TraceIdPath, trace_id_of
from spantree_api.http.responses import error_answers, json_answer
from spantree_api.reads import failure
from spantree_api.reads.analysis import last_good_difference, same_cause_elsewhere, store_analysis, stored_analysis
from spantree_api.routes.api_router import api_router
from spantree_api.service import ServiceOf
from spantree_exporter.rows import Node

router = api_router("executions")


@router.post("/executions/{trace_id}/analyze", response_model=AnalysisAnswer, responses=error_answers(404, 422, 503))
async def analyze(
    service: ServiceOf,
    trace_id: TraceIdPath,
    by: Annotated[
        Literal["rules", "model"] | None,
        Query(description="`rules` leaves out the language model that is set; it is asked if nothing is given"),
    ] = None,
) -> Response:
    """Analyse why an execution failed, and keep the answer instead of the one there was.

    By rules, and in the words of a language model where one is set. An execution without failed nodes answers with a
    `message`, and nothing is kept.
    """
    wanted = trace_id_of(trace_id)
    async with service.reader(wanted) as reader:
        key = reader.key(wanted)
        row = await reader.execution(key)
        report, advice, cascade = await failure.report(reader, key, row, service.known_errors, 0)
        is_failed = report["first_failed_node"] is not None
        last_good = await last_good_difference(reader, key, row) if is_failed else None
        same_cause = await same_cause_elsewhere(reader, row) if is_failed else None
    answer = rules_analysis(report, advice, last_good, same_cause, reader.now_ns, row.execution.last_seen_ns)
    if is_failed:
        # No connection is held meanwhile.
        answer = await _by_model(service, report, cascade, answer, by)
        async with service.writer() as writer:
            await store_analysis(writer, row, answer)
    return json_answer(answer)


async def _by_model(
    service: ServiceOf, report: FailureAnswer, cascade: list[Node], rules: AnalysisAnswer, by: str | None
) -> AnalysisAnswer:
    """The analysis in the words of the model, where one is set and asked for; else that of the rules."""
    analyst = service.analyst
    if by == "rules":
        return rules
    if analyst is None:
        return rules if by is None else {**rules, "fallback": "no model is set: SPANTREE_API_ANALYSIS_MODEL names one"}
    prompt = prompt_of(report, cascade, rules, secrets.token_hex(8), analyst.most_chars)
    try:
        told = await analyst.ask(prompt)
        fault = fault_of(told.answer, prompt)
        if fault is not None:
            raise NoAnswer(f"{analyst.name} gave no answer that could be taken: {fault}")
    except NoAnswer as error:
        return {**rules, "fallback": str(error)}
    return taken(rules, told, prompt, analyst.name)


@router.get("/executions/{trace_id}/analysis", response_model=AnalysisAnswer, responses=error_answers(404, 422, 503))
async def get_analysis(service: ServiceOf, trace_id: TraceIdPath) -> Response:
    """The analysis that is kept of an execution; `stale` where spans of it came since."""
    wanted = trace_id_of(trace_id)
    async with service.reader(wanted) as reader:
        answer = await stored_analysis(reader, await reader.execution(reader.key(wanted)))
    if answer is None:
        raise NotFound(
            f"execution {wanted.hex} was not analysed: POST /api/v1/executions/{wanted.hex}/analyze does it",
            {"execution_id": wanted.hex},
        )
    return json_answer(answer)
