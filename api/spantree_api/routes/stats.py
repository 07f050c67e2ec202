"""How often, how well and how long: nodes and workflows over days."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from spantree_api.answers import NodeStats, WorkflowDetail, WorkflowStats
from spantree_api.errors import NotFound
from spantree_api.filters import ExecutionFilter
from spantree_api.params import HiddenQuery, Text
from spantree_api.responses import error_answers, json_answer
from spantree_api.routes.executions import tell
from spantree_api.service import ServiceOf
from spantree_api.stats import Durations, node_stat, workflow_stat
from spantree_api.stored_rows import BucketRow, CountRow, NodeStatRow, WorkflowStatRow, records
from spantree_exporter.rollup import KEY_LENGTH

router = APIRouter(tags=["stats"])
_DAY_NS = 86_400_000_000_000
# features.md S0: thirty days at most.
DaysQuery = Annotated[int, Query(ge=1, le=30, description="how far back")]
_LIMIT = 200
_RECENT = 10


@router.get("/stats/nodes", response_model=NodeStats, responses=error_answers(422, 503))
async def get_node_stats(
    service: ServiceOf,
    days: DaysQuery = 7,
    workflow: Annotated[Text | None, Query()] = None,
    kind: Annotated[Text | None, Query(description="only nodes of this kind: step, tool, llm ...")] = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = _LIMIT,
) -> Response:
    """Each node of each workflow, worst success rate first."""
    async with service.reader() as reader:
        wanted = {**await reader.interval_parameters(days), "kind": kind}
        named = {"workflow": None if workflow is None else workflow[:KEY_LENGTH], "limit": limit}
        rows = await reader.snapshot.all("node_totals", wanted | named, records(NodeStatRow))
        shown = {"workflows": [row.workflow_name or "" for row in rows], "names": [row.name for row in rows]}
        durations = Durations(await reader.snapshot.all("node_durations", wanted | shown, records(BucketRow)))
    answer: NodeStats = {"days": days, "nodes": [node_stat(row, durations) for row in rows]}
    return json_answer(answer)


@router.get("/stats/workflows", response_model=WorkflowStats, responses=error_answers(422, 503))
async def get_workflow_stats(
    service: ServiceOf,
    days: DaysQuery = 7,
    hidden: HiddenQuery = False,
    limit: Annotated[int, Query(ge=1, le=1_000)] = _LIMIT,
) -> Response:
    """Each workflow, most runs first."""
    async with service.reader() as reader:
        wanted = {**await reader.interval_parameters(days), "hidden": hidden}
        rows = await reader.snapshot.all(
            "workflow_totals", wanted | {"workflow": None, "limit": limit}, records(WorkflowStatRow)
        )
        shown = {"names": [row.name for row in rows]}
        durations = Durations(await reader.snapshot.all("workflow_durations", wanted | shown, records(BucketRow)))
    answer: WorkflowStats = {"days": days, "workflows": [workflow_stat(row, durations) for row in rows]}
    return json_answer(answer)


@router.get("/stats/workflows/{name:path}", response_model=WorkflowDetail, responses=error_answers(404, 422, 503))
async def get_workflow(
    service: ServiceOf, name: Annotated[Text, Path(description="workflow name")], days: DaysQuery = 7
) -> Response:
    """One workflow: figures, errors by category, the node it runs most, its newest executions."""
    async with service.reader() as reader:
        key = name[:KEY_LENGTH]
        wanted = {**await reader.interval_parameters(days), "workflow": key, "hidden": True}
        row = await reader.snapshot.first("workflow_totals", wanted | {"limit": 1}, records(WorkflowStatRow))
        if row is None:
            raise NotFound(f"no execution of a workflow {name!r} in the last {days} days", {"workflow": name})
        durations = Durations(
            await reader.snapshot.all("workflow_durations", wanted | {"names": [key]}, records(BucketRow))
        )
        errors = await reader.snapshot.all("workflow_errors", wanted, records(CountRow))
        most_used = await reader.snapshot.first("most_used_node", wanted, records(CountRow))
        recent = await reader.executions(
            ExecutionFilter(workflow=name, hidden=True, since_ns=reader.now_ns - days * _DAY_NS), _RECENT, None
        )
    answer: WorkflowDetail = {
        **workflow_stat(row, durations),
        "days": days,
        "errors": [{"category": one.name or "unknown", "count": one.count} for one in errors],
        "most_used_node": None if most_used is None else most_used.name,
        "recent": tell(recent.rows, reader),
    }
    return json_answer(answer)
