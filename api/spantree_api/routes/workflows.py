"""Which workflows there are, and what their executions go through."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Response

from spantree_api.answers.trends import MapAnswer, WorkflowNames
from spantree_api.errors import InvalidParameter, NotFound
from spantree_api.figures.by_name import map_answer
from spantree_api.figures.hours import DAYS_MAX, DaysQuery, figures_range
from spantree_api.figures.stats import Durations
from spantree_api.http.any_text import any_text
from spantree_api.http.params import HiddenQuery, Moment, Text
from spantree_api.http.responses import error_answers, json_answer
from spantree_api.reads import trends
from spantree_api.rendering import ns_of, rfc3339
from spantree_api.routes.api_router import api_router
from spantree_api.service import ServiceOf
from spantree_exporter.rollup import KEY_LENGTH

router = api_router("workflows")
_DAY_NS = 86_400_000_000_000


@router.get("/workflows", response_model=WorkflowNames, responses=error_answers(422, 503))
async def list_workflows(
    service: ServiceOf,
    days: DaysQuery = 30,
    hidden: HiddenQuery = False,
    limit: Annotated[int, Query(ge=1, le=1_000, description="how many at most")] = 200,
) -> Response:
    """Each workflow that ran, most runs first."""
    async with service.reader() as reader:
        rows, _ = await trends.name_totals(reader, "workflow", figures_range(reader.now_ns, days), limit, hidden=hidden)
    answer: WorkflowNames = {
        "days": days,
        "workflows": [
            {
                "name": row.name,
                "runs": row.runs,
                "failed": row.failed + row.partial,
                "last_started_at": rfc3339(row.last_started_ns),
            }
            for row in rows
        ],
    }
    return json_answer(answer)


@router.get(f"/workflows/{any_text('name')}/map", response_model=MapAnswer, responses=error_answers(404, 422, 503))
async def get_map(
    service: ServiceOf,
    name: Annotated[Text, Path(description="workflow name")],
    days: DaysQuery = 7,
    since: Annotated[Moment | None, Query(description="instead of days: at most 30 days ago")] = None,
) -> Response:
    """The steps of a workflow and the ways between them, with how many executions went there and how that went."""
    async with service.reader() as reader:
        since_ns = reader.now_ns - days * _DAY_NS if since is None else ns_of(since)
        if not reader.now_ns - DAYS_MAX * _DAY_NS <= since_ns <= reader.now_ns:
            raise InvalidParameter("since", f"since is not within the last {DAYS_MAX} days")
        found = await trends.workflow_map(reader, name, since_ns)
    if found is None:
        raise NotFound(f"no execution of a workflow {name[:200]!r} since {rfc3339(since_ns)}", {"workflow": name[:200]})
    return json_answer(
        map_answer(
            name[:KEY_LENGTH],
            found.since_ns,
            found.runs,
            found.nodes,
            Durations(found.durations),
            found.edges,
            found.conditions,
        )
    )
