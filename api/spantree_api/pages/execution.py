"""`/executions/{id}` and its views: timeline, graph, flame graph, failure, statistics, table, raw; one node's panel."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from spantree_api.pages import graph
from spantree_api.pages.flame import flame_picture
from spantree_api.pages.frame import path_of, render
from spantree_api.pages.in_process import NotAnswered, Parameters, ask, position
from spantree_exporter.statuses import FAILED_EXECUTION, OPEN

router = APIRouter(include_in_schema=False)

# (end of the path, name)
VIEWS = (
    ("", "Timeline"),
    ("/graph", "Graph"),
    ("/flame", "Flame graph"),
    ("/failure", "Failure"),
    ("/statistics", "Statistics"),
    ("/table", "Table"),
    ("/raw", "Raw"),
)
_TABLE_ROWS = 200
# Columns of the statistics by which names can be sorted, most first, with what the API calls them.
_SORTS = (
    ("Count", "count"),
    ("Failed", "failed"),
    ("Self", "self"),
    ("Total", "total"),
    ("Longest", "max"),
    ("Tokens", "tokens"),
    ("Cost", "cost"),
)
# Steps that a graph is made of; of an execution with more, the sums of each name are.
_GRAPH_NODES = 3_000
_GRAPH_NAMES = 1_000


@router.get("/executions/{trace_id}")
async def timeline_page(request: Request, trace_id: str) -> Response:
    """The timeline, which its module fills; without a script: what failed, and where the table is."""
    execution = await _execution(request, trace_id)
    report = None
    if execution["first_failed_node"] is not None:
        report = await _failure(request, execution["execution_id"])
    head = (await ask(request, f"/executions/{execution['execution_id']}/tree", {"limit": 1}))["tree"]
    return await _view(request, "", "timeline.html", execution, report=report, never_run=head["skipped_nodes"])


@router.get("/executions/{trace_id}/graph")
async def graph_page(request: Request, trace_id: str, calls: str = "", steps: str = "") -> Response:
    """What led to what, and what never ran; with `steps=all` many steps that are alike one by one, too."""
    execution = await _execution(request, trace_id)
    path, every_call = f"/executions/{execution['execution_id']}", calls == "all"
    each = steps == "all"
    if execution["counts"]["total"] > _GRAPH_NODES:
        stats = await ask(request, f"{path}/stats", {"sort": "count", "limit": _GRAPH_NAMES})
        drawing = await run_in_threadpool(graph.of_sums, stats["steps"], stats["ways"], every_call=every_call)
        return await _view(
            request, "/graph", "graph.html", execution, drawing=drawing, every_call=every_call, each=True
        )
    tree = (await ask(request, f"{path}/tree", {"limit": _GRAPH_NODES}))["tree"]
    never_run: list[str] = tree["skipped_nodes"]
    ways: list[Any] = []
    shown = {node["name"] for node in tree["nodes"]}
    # Where steps without a span would have stood is known from other runs, where these can say in time.
    if execution["workflow_name"] and not shown.issuperset(never_run):
        found = await _or_none(request, f"/workflows/{path_of(execution['workflow_name'])}/map", {"days": 30})
        ways = [] if found is None else found["edges"]
    # Up to some hundred boxes with their arrows: not on the event loop, where others wait.
    drawing = await run_in_threadpool(
        graph.of_execution, tree["nodes"], tree["edges"], never_run, ways, every_call=every_call, each=each
    )
    return await _view(request, "/graph", "graph.html", execution, drawing=drawing, every_call=every_call, each=each)


@router.get("/executions/{trace_id}/flame")
async def flame_page(request: Request, trace_id: str, at: str = "") -> Response:
    """What took the time, by name below name; all of it, or what is below the frame `at`."""
    execution = await _execution(request, trace_id)
    flame = await ask(request, f"/executions/{execution['execution_id']}/flame", {"at": at})
    picture = flame_picture(flame["frames"])
    return await _view(request, "/flame", "flame.html", execution, flame=flame, picture=picture)


@router.get("/executions/{trace_id}/failure")
async def failure_page(request: Request, trace_id: str) -> Response:
    """Why it failed: the cause first, how it went up, what was retried, what differs from the last good run."""
    execution = await _execution(request, trace_id)
    execution_id = execution["execution_id"]
    report = await _failure(request, execution_id)
    differs = None
    if execution["status"] in FAILED_EXECUTION:
        differs = await _or_none(request, f"/executions/{execution_id}/diff/last-good")
    analysis = await _or_none(request, f"/executions/{execution_id}/analysis")
    return await _view(
        request, "/failure", "failure.html", execution, report=report, differs=differs, analysis=analysis
    )


@router.get("/executions/{trace_id}/statistics")
async def statistics_page(request: Request, trace_id: str, sort: str = "self") -> Response:
    """Where time, tokens and failures are: the steps by name, the models, what was called again and again."""
    execution = await _execution(request, trace_id)
    stats = await ask(request, f"/executions/{execution['execution_id']}/stats", {"sort": sort})
    return await _view(request, "/statistics", "statistics.html", execution, stats=stats, sort=sort, sorts=dict(_SORTS))


@router.get("/executions/{trace_id}/table")
async def table_page(request: Request, trace_id: str, cursor: str | None = None) -> Response:
    """All nodes in their order, some at a time."""
    execution = await _execution(request, trace_id)
    page = await ask(
        request, f"/executions/{execution['execution_id']}/nodes", {"limit": _TABLE_ROWS, "cursor": cursor}
    )
    return await _view(request, "/table", "table.html", execution, page=page, cursor=cursor)


@router.get("/executions/{trace_id}/raw")
async def raw_page(request: Request, trace_id: str) -> Response:
    """What came in, and what the API says of it, to look at and to take away."""
    execution = await _execution(request, trace_id)
    return await _view(request, "/raw", "raw.html", execution)


@router.get("/executions/{trace_id}/nodes/{node_id}")
async def node_page(request: Request, trace_id: str, node_id: str) -> Response:
    """One node: as a page of its own, or as the panel that a module puts beside the timeline (`?panel=1`)."""
    node = await ask(request, f"/executions/{path_of(trace_id)}/nodes/{path_of(node_id)}")
    if request.query_params.get("panel"):
        return render(request, "node_panel.html", node=node)
    execution = await _execution(request, trace_id)
    return await _view(request, None, "node.html", execution, node=node)


async def _execution(request: Request, trace_id: str) -> Any:
    """The execution; of one that is open read after its `position`, from which on the page follows it."""
    path = f"/executions/{path_of(trace_id)}"
    execution = await ask(request, path)
    if execution["status"] not in OPEN:
        return execution | {"position": None}
    begins = await position(request)
    return await ask(request, path) | {"position": begins}


async def _failure(request: Request, execution_id: str) -> Any:
    return await ask(request, f"/executions/{execution_id}/failure")


async def _or_none(request: Request, path: str, parameters: Parameters | None = None) -> Any:
    """The answer, None where there is none in time: no good run to compare with, no analysis stored, too large."""
    try:
        return await ask(request, path, parameters)
    except NotAnswered as refusal:
        if refusal.status in {404, 405, 422, 503}:
            return None
        raise


async def _taken_up_by(request: Request, execution: Any) -> Any:
    """The execution that went on with one that waited."""
    if execution["resumed_by"] is None:
        return None
    return await _or_none(request, f"/executions/{execution['resumed_by']}")


async def _view(request: Request, view: str | None, template: str, execution: Any, **values: Any) -> Response:
    return render(
        request,
        template,
        execution=execution,
        taken_up_by=await _taken_up_by(request, execution),
        view=view,
        views=VIEWS,
        base=f"/executions/{execution['execution_id']}",
        is_open=execution["status"] in OPEN,
        has_failed=execution["status"] in FAILED_EXECUTION or execution["first_failed_node"] is not None,
        **values,
    )
