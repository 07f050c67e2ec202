"""`/executions/{id}` and its views: timeline, graph, failure, table, raw; the panel of one node."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from spantree_api.pages.frame import path_of, render
from spantree_api.pages.in_process import NotAnswered, ask
from spantree_exporter.statuses import FAILED_EXECUTION, OPEN

router = APIRouter(include_in_schema=False)

# (end of the path, name)
VIEWS = (("", "Timeline"), ("/graph", "Graph"), ("/failure", "Failure"), ("/table", "Table"), ("/raw", "Raw"))
_TABLE_ROWS = 200


@router.get("/executions/{trace_id}")
async def timeline_page(request: Request, trace_id: str) -> Response:
    """The timeline, which its module fills; without a script: what failed, and where the table is."""
    execution = await ask(request, f"/executions/{path_of(trace_id)}")
    report = None
    if execution["first_failed_node"] is not None:
        report = await _failure(request, execution["execution_id"])
    return _view(request, "", "timeline.html", execution, report=report)


@router.get("/executions/{trace_id}/failure")
async def failure_page(request: Request, trace_id: str) -> Response:
    """Why it failed: the cause first, how it went up, what was retried, what differs from the last good run."""
    execution = await ask(request, f"/executions/{path_of(trace_id)}")
    execution_id = execution["execution_id"]
    report = await _failure(request, execution_id)
    differs = None
    if execution["status"] in FAILED_EXECUTION:
        differs = await _or_none(request, f"/executions/{execution_id}/diff/last-good")
    analysis = await _or_none(request, f"/executions/{execution_id}/analysis")
    return _view(request, "/failure", "failure.html", execution, report=report, differs=differs, analysis=analysis)


@router.get("/executions/{trace_id}/table")
async def table_page(request: Request, trace_id: str, cursor: str | None = None) -> Response:
    """All nodes in their order, some at a time."""
    execution = await ask(request, f"/executions/{path_of(trace_id)}")
    page = await ask(
        request, f"/executions/{execution['execution_id']}/nodes", {"limit": _TABLE_ROWS, "cursor": cursor}
    )
    return _view(request, "/table", "table.html", execution, page=page, cursor=cursor)


@router.get("/executions/{trace_id}/raw")
async def raw_page(request: Request, trace_id: str) -> Response:
    """What came in, and what the API says of it, to look at and to take away."""
    execution = await ask(request, f"/executions/{path_of(trace_id)}")
    return _view(request, "/raw", "raw.html", execution)


@router.get("/executions/{trace_id}/nodes/{node_id}")
async def node_page(request: Request, trace_id: str, node_id: str) -> Response:
    """One node: as a page of its own, or as the panel that a module puts beside the timeline (`?panel=1`)."""
    execution_path = f"/executions/{path_of(trace_id)}"
    node = await ask(request, f"{execution_path}/nodes/{path_of(node_id)}")
    if request.query_params.get("panel"):
        return render(request, "node_panel.html", node=node)
    execution = await ask(request, execution_path)
    return _view(request, None, "node.html", execution, node=node)


async def _failure(request: Request, execution_id: str) -> Any:
    return await ask(request, f"/executions/{execution_id}/failure")


async def _or_none(request: Request, path: str) -> Any:
    """The answer, None where the API has none: no good run to compare with, no analysis stored, too large."""
    try:
        return await ask(request, path)
    except NotAnswered as refusal:
        if refusal.status in {404, 405, 422}:
            return None
        raise


def _view(request: Request, view: str | None, template: str, execution: Any, **values: Any) -> Response:
    return render(
        request,
        template,
        execution=execution,
        view=view,
        views=VIEWS,
        base=f"/executions/{execution['execution_id']}",
        is_open=execution["status"] in OPEN,
        has_failed=execution["status"] in FAILED_EXECUTION or execution["first_failed_node"] is not None,
        **values,
    )
