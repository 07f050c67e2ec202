"""What failed lately, what is stuck, and the turns of a conversation."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from spantree_api.answers import (
    ExecutionPage,
    FailedExecution,
    FailedNode,
    FailurePage,
    StuckAnswer,
    StuckExecution,
)
from spantree_api.config import ApiConfig
from spantree_api.cursor import ExecutionCursor
from spantree_api.filters import ExecutionFilter
from spantree_api.params import CursorQuery, HiddenQuery, LimitQuery, Text
from spantree_api.reader import Reader
from spantree_api.responses import error_answers, json_answer
from spantree_api.routes.executions import execution_page, tell
from spantree_api.service import ServiceOf
from spantree_api.stored_rows import ExecutionRow, FailedNodeRow, records
from spantree_exporter.ids import node_id

router = APIRouter(tags=["failures"])
_HOUR_NS = 3_600_000_000_000
# features.md S0: a week at most, the input's first 100 characters.
_HOURS_MAX = 168
_INPUT_CHARS = 100
_FAILED_NODES_MAX = 20


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
        rows, following = await reader.failures(wanted, limit, after)
        failed_nodes = await _failed_nodes(reader, rows)
    failures: list[FailedExecution] = []
    for told in tell(rows, reader):
        nodes = failed_nodes.get(told["trace_id"], [])
        told["input"] = None if told["input"] is None else told["input"][:_INPUT_CHARS]
        failures.append({**told, "failed_nodes": nodes})
    page: FailurePage = {
        "failures": failures,
        "hours": hours,
        "next_cursor": None if following is None else following.encode(),
    }
    return json_answer(page)


@router.get(
    "/conversations/{conversation_id:path}/executions",
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
async def list_stuck(service: ServiceOf, hidden: HiddenQuery = False, limit: LimitQuery = 50) -> Response:
    """Executions that are pending, running or waiting for longer than their threshold, and lost ones; oldest first."""
    async with service.reader() as reader:
        config = reader.config
        parameters = {
            "tenant_id": config.tenant_id,
            "now_ns": reader.now_ns,
            "lost_after_s": config.lost_after_s,
            "stuck_pending_s": config.stuck_pending_s,
            "stuck_running_s": config.stuck_running_s,
            "stuck_waiting_s": config.stuck_waiting_s,
            "hidden": hidden,
            "limit": limit,
        }
        rows = await reader.oldest_first("list_stuck", parameters, limit)
    stuck: list[StuckExecution] = [
        {
            **told,
            "threshold_s": _threshold_s(row, told["status"], config),
            "stuck_for_s": max(0, reader.now_ns - row.execution.started_ns) / 1e9,
        }
        for row, told in zip(rows, tell(rows, reader), strict=True)
    ]
    answer: StuckAnswer = {"executions": stuck}
    return json_answer(answer)


async def _failed_nodes(reader: Reader, rows: list[ExecutionRow]) -> dict[str, list[FailedNode]]:
    if not rows:
        return {}
    trace_ids = [row.trace_id for row in rows]
    parameters = {
        "tenant_id": reader.config.tenant_id,
        "trace_ids": trace_ids,
        "days": await reader.days_of(trace_ids),
        "limit": _FAILED_NODES_MAX,
    }
    found: dict[str, list[FailedNode]] = {}
    for one in await reader.snapshot.all("failed_nodes_of_traces", parameters, records(FailedNodeRow)):
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


def _threshold_s(row: ExecutionRow, told_status: str, config: ApiConfig) -> float:
    match told_status:
        case "lost":
            own = row.execution.lost_after_s
            return config.lost_after_s if own is None else own
        case "pending":
            return config.stuck_pending_s
        case "running":
            return config.stuck_running_s
        case _:
            return config.stuck_waiting_s
