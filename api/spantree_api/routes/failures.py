"""What failed lately, what is stuck, and the turns of a conversation."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Response

from spantree_api.answers.executions import ExecutionPage
from spantree_api.answers.failures import (
    FailedExecution,
    FailedNode,
    FailurePage,
    OpenStep,
    StuckAnswer,
    StuckExecution,
)
from spantree_api.cursor import ExecutionCursor, OldestFirstCursor
from spantree_api.filters import ExecutionFilter
from spantree_api.http.any_text import any_text
from spantree_api.http.params import CursorQuery, HiddenQuery, LimitQuery, Text
from spantree_api.http.responses import error_answers, json_answer
from spantree_api.reads import lists
from spantree_api.rendering import rfc3339
from spantree_api.routes.api_router import api_router
from spantree_api.routes.executions import execution_answers, execution_page
from spantree_api.service import ServiceOf
from spantree_api.stored_rows import FailedNodeRow
from spantree_exporter.ids import node_id

router = api_router("failures")
_HOUR_NS = 3_600_000_000_000
# A week at most, the input's first 100 characters.
_HOURS_MAX = 168
_INPUT_CHARS = 100
_FAILED_NODES_MAX = 20
_OPEN_STEPS_MAX = 5


@router.get("/failures", response_model=FailurePage, responses=error_answers(422, 503))
async def list_failures(
    service: ServiceOf,
    hours: Annotated[int, Query(ge=1, le=_HOURS_MAX, description="how far back")] = 24,
    user_id: Annotated[Text | None, Query()] = None,
    workflow: Annotated[Text | None, Query()] = None,
    category: Annotated[Text | None, Query(description="error category: timeout, network, llm ...")] = None,
    hidden: HiddenQuery = False,
    limit: LimitQuery = 50,
    cursor: CursorQuery = None,
) -> Response:
    """Failed, partial and timed out executions with the nodes that failed, newest first."""
    after = None if cursor is None else ExecutionCursor.decode(cursor)
    async with service.reader() as reader:
        wanted = ExecutionFilter(
            user_id=user_id,
            workflow=workflow,
            error_category=category,
            hidden=hidden,
            since_ns=reader.now_ns - hours * _HOUR_NS,
        )
        rows, following = await lists.failures(reader, wanted, limit, after)
        failed_nodes = _by_execution(await lists.failed_nodes(reader, rows, _FAILED_NODES_MAX))
    failures: list[FailedExecution] = []
    for answer in execution_answers(rows, reader, {}):
        nodes = failed_nodes.get(answer["trace_id"], [])
        answer["input"] = None if answer["input"] is None else answer["input"][:_INPUT_CHARS]
        failures.append({**answer, "failed_nodes": nodes})
    page: FailurePage = {
        "failures": failures,
        "hours": hours,
        "next_cursor": None if following is None else following.encode(),
    }
    return json_answer(page)


@router.get(
    f"/conversations/{any_text('conversation_id')}/executions",
    response_model=ExecutionPage,
    responses=error_answers(422, 503),
)
async def list_turns(
    service: ServiceOf,
    conversation_id: Annotated[Text, Path(description="conversation, session or thread")],
    limit: LimitQuery = 50,
    cursor: CursorQuery = None,
) -> Response:
    """The executions of a conversation, newest first; an empty list for one that is not known."""
    wanted = ExecutionFilter(conversation_id=conversation_id, hidden=True)
    return await execution_page(service, wanted, limit, cursor)


@router.get("/stuck", response_model=StuckAnswer, responses=error_answers(422, 503))
async def list_stuck(
    service: ServiceOf, hidden: HiddenQuery = False, limit: LimitQuery = 50, cursor: CursorQuery = None
) -> Response:
    """Executions that are pending, running or waiting for longer than their threshold, and lost ones; oldest first."""
    after = None if cursor is None else OldestFirstCursor.decode(cursor)
    async with service.reader() as reader:
        rows, following = await lists.stuck(reader, limit, after, hidden=hidden)
        steps: dict[str, list[OpenStep]] = {}
        for step in await lists.open_steps(reader, rows, _OPEN_STEPS_MAX):
            steps.setdefault(step.trace_id.hex, []).append(
                {
                    "id": node_id(step.span_id, step.ordinal),
                    "name": step.name,
                    "status": step.status,
                    "started_at": rfc3339(step.started_ns),
                }
            )
    stuck: list[StuckExecution] = [
        {
            **answer,
            "open_steps": steps.get(answer["trace_id"], []),
            "threshold_s": one.after_s,
            "stuck_for_s": max(0, reader.now_ns - one.row.execution.started_ns) / 1e9,
        }
        for one, answer in zip(rows, execution_answers([one.row for one in rows], reader, {}), strict=True)
    ]
    answer: StuckAnswer = {"executions": stuck, "next_cursor": None if following is None else following.encode()}
    return json_answer(answer)


def _by_execution(rows: list[FailedNodeRow]) -> dict[str, list[FailedNode]]:
    found: dict[str, list[FailedNode]] = {}
    for one in rows:
        found.setdefault(one.trace_id.hex, []).append(
            {
                "id": node_id(one.span_id, one.ordinal),
                "name": one.name,
                "status": one.status,
                "error_type": one.error_type,
                "error_message": one.error_message,
            }
        )
    return found
