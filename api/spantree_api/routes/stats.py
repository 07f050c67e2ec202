"""How often, how well and how long: nodes and workflows over days."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Response

from spantree_api.answers.stats import NodeStats, WorkflowDetail, WorkflowStats
from spantree_api.errors import NotFound
from spantree_api.figures.hours import DaysQuery, SinceQuery, UntilQuery, figures_range
from spantree_api.figures.stats import Durations, node_stat, workflow_stat
from spantree_api.filters import ExecutionFilter
from spantree_api.http.any_text import any_text
from spantree_api.http.params import HiddenQuery, Text
from spantree_api.http.responses import error_answers, json_answer
from spantree_api.reads import lists, stats
from spantree_api.routes.api_router import api_router
from spantree_api.routes.executions import execution_answers
from spantree_api.service import ServiceOf

router = api_router("stats")
_LIMIT = 200
_RECENT = 10


@router.get("/stats/nodes", response_model=NodeStats, responses=error_answers(422, 503))
async def get_node_stats(
    service: ServiceOf,
    days: DaysQuery = 7,
    since: SinceQuery = None,
    until: UntilQuery = None,
    workflow: Annotated[Text | None, Query()] = None,
    kind: Annotated[Text | None, Query(description="only nodes of this kind: step, tool, llm ...")] = None,
    limit: Annotated[int, Query(ge=1, le=1_000, description="at most so many of them")] = _LIMIT,
) -> Response:
    """Each node of each workflow, worst success rate first."""
    async with service.reader() as reader:
        of = figures_range(reader.now_ns, days, since, until)
        rows, buckets = await stats.node_totals(reader, of, workflow, kind, limit)
    durations = Durations(buckets)
    answer: NodeStats = {**of.told(reader.now_ns), "nodes": [node_stat(row, durations) for row in rows]}
    return json_answer(answer)


@router.get("/stats/workflows", response_model=WorkflowStats, responses=error_answers(422, 503))
async def get_workflow_stats(
    service: ServiceOf,
    days: DaysQuery = 7,
    since: SinceQuery = None,
    until: UntilQuery = None,
    hidden: HiddenQuery = False,
    limit: Annotated[int, Query(ge=1, le=1_000, description="at most so many of them")] = _LIMIT,
) -> Response:
    """Each workflow, most runs first."""
    async with service.reader() as reader:
        of = figures_range(reader.now_ns, days, since, until)
        rows, buckets = await stats.workflow_totals(reader, of, limit, hidden=hidden)
    durations = Durations(buckets)
    answer: WorkflowStats = {**of.told(reader.now_ns), "workflows": [workflow_stat(row, durations) for row in rows]}
    return json_answer(answer)


@router.get(
    f"/stats/workflows/{any_text('name')}", response_model=WorkflowDetail, responses=error_answers(404, 422, 503)
)
async def get_workflow(
    service: ServiceOf,
    name: Annotated[Text, Path(description="workflow name")],
    days: DaysQuery = 7,
    since: SinceQuery = None,
    until: UntilQuery = None,
) -> Response:
    """One workflow: figures, errors by category, the node it runs most, its newest executions."""
    async with service.reader() as reader:
        of = figures_range(reader.now_ns, days, since, until)
        figures = await stats.workflow_figures(reader, of, name)
        if figures is None:
            raise NotFound(f"no execution of a workflow {name!r} {of.words()}", {"workflow": name})
        recent = await lists.executions(
            reader,
            ExecutionFilter(workflow=name, hidden=True, since_ns=of.since_ns, until_ns=of.until_ns),
            _RECENT,
            None,
        )
    answer: WorkflowDetail = {
        **workflow_stat(figures.row, Durations(figures.durations)),
        **of.told(reader.now_ns),
        "errors": [{"category": one.name or "unknown", "count": one.count} for one in figures.errors],
        "most_used_node": figures.most_used_node,
        "recent": execution_answers(recent.rows, reader, recent.resumed),
    }
    return json_answer(answer)
