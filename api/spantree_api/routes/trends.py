"""Figures over time, and of projects, users and models."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Response

from spantree_api.answers.trends import (
    ModelStats,
    ProjectDetail,
    ProjectStats,
    TrendAnswer,
    UserDetail,
    UserStats,
)
from spantree_api.errors import NotFound
from spantree_api.figures.by_name import figures
from spantree_api.figures.hours import DaysQuery, SinceQuery, UntilQuery, figures_range
from spantree_api.figures.stats import Durations
from spantree_api.figures.trend import BucketName, By, Metric, range_of_trend, trend_series
from spantree_api.filters import ExecutionFilter
from spantree_api.http.any_text import any_text
from spantree_api.http.params import HiddenQuery, MomentQuery, Text
from spantree_api.http.responses import error_answers, json_answer
from spantree_api.reads import lists, trends
from spantree_api.rendering import ns_of, rfc3339
from spantree_api.routes.api_router import api_router
from spantree_api.routes.executions import execution_answers
from spantree_api.service import ServiceOf

router = api_router("stats")
_RECENT = 10
NamesQuery = Annotated[int, Query(ge=1, le=1_000, description="how many at most")]


@router.get("/stats/trend", response_model=TrendAnswer, responses=error_answers(422, 503))
async def get_trend(
    service: ServiceOf,
    metric: Annotated[Metric, Query(description="what is told of each bucket")] = "runs",
    by: Annotated[By, Query(description="what has a series of its own; `category`: of failures")] = "workflow",
    name: Annotated[Text | None, Query(description="only the series of this name")] = None,
    workflow: Annotated[Text | None, Query(description="with node, model, category: of this workflow only")] = None,
    bucket: Annotated[BucketName, Query(description="how long a point is")] = "1h",
    since: MomentQuery = None,
    until: MomentQuery = None,
    tz: Annotated[
        Text | None, Query(max_length=100, description="with 1d: days of this time zone, such as Europe/Oslo")
    ] = None,
    hidden: HiddenQuery = False,
    limit: Annotated[int, Query(ge=1, le=50, description="how many series at most")] = 10,
) -> Response:
    """A metric over time, a series for each name. The range is widened to whole buckets, in UTC or days of `tz`.

    Longest ranges: 6 hours in points of 1m, a day of 5m, 14 days of 1h, 400 days of 1d. Points of 1m and 5m are counted
    from the newest 100,000 executions of the range, those of nodes and models from the nodes of its newest 5,000
    executions; `counted_back_to` tells when there are more.
    """
    async with service.reader() as reader:
        since_ns, until_ns = (None if moment is None else ns_of(moment) for moment in (since, until))
        wanted = range_of_trend(bucket, since_ns, until_ns, reader.now_ns, tz)
        found = await trends.trend(reader, metric, by, wanted, name, workflow, limit, hidden=hidden)
    answer: TrendAnswer = {
        "metric": metric,
        "by": by,
        "bucket": bucket,
        "tz": tz,
        "since": rfc3339(wanted.from_s * 1_000_000_000),
        "until": rfc3339(wanted.end_s * 1_000_000_000),
        "series": trend_series(metric, found.points, found.names, wanted),
        "counted_back_to": None if found.counted_back_to_ns is None else rfc3339(found.counted_back_to_ns),
    }
    return json_answer(answer)


@router.get("/stats/projects", response_model=ProjectStats, responses=error_answers(422, 503))
async def get_project_stats(
    service: ServiceOf,
    days: DaysQuery = 7,
    since: SinceQuery = None,
    until: UntilQuery = None,
    hidden: HiddenQuery = False,
    limit: NamesQuery = 200,
) -> Response:
    """Each project, most runs first."""
    async with service.reader() as reader:
        of = figures_range(reader.now_ns, days, since, until)
        rows, buckets = await trends.name_totals(reader, "project", of, limit, hidden=hidden)
    durations = Durations(buckets)
    answer: ProjectStats = {
        **of.told(reader.now_ns),
        "projects": [{"project": row.name, **figures(row, durations)} for row in rows],
    }
    return json_answer(answer)


@router.get(f"/stats/projects/{any_text('name')}", response_model=ProjectDetail, responses=error_answers(404, 422, 503))
async def get_project(
    service: ServiceOf,
    name: Annotated[Text, Path(description="project")],
    days: DaysQuery = 7,
    since: SinceQuery = None,
    until: UntilQuery = None,
) -> Response:
    """One project: figures, its workflows, what it uses most, its longest run."""
    async with service.reader() as reader:
        of = figures_range(reader.now_ns, days, since, until)
        found = await trends.project(reader, name, of)
    if found is None:
        raise NotFound(f"no execution of a project {name[:200]!r} {of.words()}", {"project": name[:200]})
    row = found.row
    answer: ProjectDetail = {
        "project": name,
        **figures(row, Durations(found.durations)),
        **of.told(reader.now_ns),
        "workflows": found.workflow_count,
        "executions": row.runs,
        "errors": row.failed + row.partial,
        "by_workflow": [{"name": one.name or "", "runs": one.count} for one in found.workflows],
        "most_used": {
            "queue": found.queue,
            "workflow": found.workflows[0].name if found.workflows else None,
            "node": found.node,
        },
        "longest_run": None
        if found.longest is None
        else {"execution_id": found.longest.trace_id.hex, "duration_ms": found.longest.duration_ms},
    }
    return json_answer(answer)


@router.get("/stats/users", response_model=UserStats, responses=error_answers(422, 503))
async def get_user_stats(
    service: ServiceOf,
    days: DaysQuery = 7,
    since: SinceQuery = None,
    until: UntilQuery = None,
    hidden: HiddenQuery = False,
    limit: NamesQuery = 200,
) -> Response:
    """Each user for whom something ran, most runs first."""
    async with service.reader() as reader:
        of = figures_range(reader.now_ns, days, since, until)
        rows, buckets = await trends.name_totals(reader, "user", of, limit, hidden=hidden)
    durations = Durations(buckets)
    answer: UserStats = {
        **of.told(reader.now_ns),
        "users": [{"user_id": row.name, **figures(row, durations)} for row in rows],
    }
    return json_answer(answer)


@router.get(f"/stats/users/{any_text('user_id')}", response_model=UserDetail, responses=error_answers(404, 422, 503))
async def get_user(
    service: ServiceOf,
    user_id: Annotated[Text, Path(description="for whom it ran")],
    days: DaysQuery = 7,
    since: SinceQuery = None,
    until: UntilQuery = None,
) -> Response:
    """One user: figures and newest executions."""
    async with service.reader() as reader:
        of = figures_range(reader.now_ns, days, since, until)
        rows, buckets = await trends.name_totals(reader, "user", of, 1, user_id, hidden=True)
        if not rows:
            raise NotFound(f"no execution of a user {user_id[:200]!r} {of.words()}", {"user_id": user_id[:200]})
        wanted = ExecutionFilter(user_id=user_id, hidden=True, since_ns=of.since_ns, until_ns=of.until_ns)
        recent = await lists.executions(reader, wanted, _RECENT, None)
    answer: UserDetail = {
        "user_id": user_id,
        **figures(rows[0], Durations(buckets)),
        **of.told(reader.now_ns),
        "recent": execution_answers(recent.rows, reader, recent.resumed),
    }
    return json_answer(answer)


@router.get("/stats/models", response_model=ModelStats, responses=error_answers(422, 503))
async def get_model_stats(
    service: ServiceOf,
    days: DaysQuery = 7,
    since: SinceQuery = None,
    until: UntilQuery = None,
    limit: NamesQuery = 200,
) -> Response:
    """Each model that was called, most calls first: how often, how well, how long, tokens and cost."""
    async with service.reader() as reader:
        of = figures_range(reader.now_ns, days, since, until)
        rows, buckets = await trends.name_totals(reader, "model", of, limit, hidden=True)
    durations = Durations(buckets)
    answer: ModelStats = {
        **of.told(reader.now_ns),
        "models": [{"model": row.name, **figures(row, durations)} for row in rows],
    }
    return json_answer(answer)
