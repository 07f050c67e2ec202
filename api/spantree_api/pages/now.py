"""`/`: what runs, what failed lately, what is stuck, how each workflow does. `/system`: the state of spantree."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from fastapi import APIRouter, Request, Response

from spantree_api.filters import moment_of
from spantree_api.pages.frame import render
from spantree_api.pages.in_process import NotAnswered, ask, position
from spantree_api.pages.series import Bar, Change, bars_of, change_of, values_of
from spantree_api.pages.zones import days_of, start_of_day, zone_of

router = APIRouter(include_in_schema=False)
_WORKFLOWS = 50
_RUNNING = 8
_GROUPS = 6
_STUCK = 5


@dataclass(frozen=True, slots=True)
class WorkflowLine:
    """A workflow as overviews show it."""

    figures: Any
    bars: list[Bar]
    change: Change


@router.get("/")
async def now_page(request: Request) -> Response:
    """Whether something needs somebody, at a glance."""
    day_ago = moment_of(request.app.state.service.clock()) - timedelta(days=1)
    since = f"{day_ago:%Y-%m-%dT%H:%M:%SZ}"
    begins = await position(request)
    # What waits may do so for days, and would leave no room for what runs.
    running = (await ask(request, "/executions", {"status": ["running", "pending"], "limit": _RUNNING}))["executions"]
    if len(running) < _RUNNING:
        waiting = await ask(request, "/executions", {"status": "waiting", "limit": _RUNNING - len(running)})
        running += waiting["executions"]
    groups = await ask(request, "/failures/groups", {"since": since, "state": "open", "limit": _GROUPS})
    stuck = await ask(request, "/stuck", {"limit": _STUCK})
    trend: dict[str, str | int] = {"by": "all", "bucket": "1h", "since": since}
    runs = values_of(await ask(request, "/stats/trend", trend | {"metric": "runs"}))
    failures = values_of(await ask(request, "/stats/trend", trend | {"metric": "failures"}))
    return render(
        request,
        "now.html",
        position=begins,
        running=running,
        groups=groups["groups"],
        more_groups=groups["next_cursor"] is not None,
        stuck=stuck["executions"],
        bars=bars_of(runs, failures, zone=zone_of(request)),
        runs_of_day=sum(value or 0 for _, value in runs),
        failures_of_day=sum(value or 0 for _, value in failures),
        workflows=sorted(await workflow_lines(request), key=lambda line: not line.change.is_worse),
    )


async def workflow_lines(request: Request, limit: int = _WORKFLOWS) -> list[WorkflowLine]:
    """Workflows of the last week, most runs first; the first 50 with bars of 14 days, and with what changed."""
    zone = zone_of(request)
    stats = await ask(request, "/stats/workflows", {"days": 7, "limit": limit})
    trend: dict[str, str | int] = {
        "by": "workflow",
        "bucket": "1d",
        **days_of(zone),
        "since": start_of_day(moment_of(request.app.state.service.clock()), 13, zone),
        "limit": min(limit, _WORKFLOWS),
    }
    runs = await ask(request, "/stats/trend", trend | {"metric": "runs"})
    failures = await ask(request, "/stats/trend", trend | {"metric": "failures"})
    p95_ms = await ask(request, "/stats/trend", trend | {"metric": "p95_ms"})
    lines = []
    for figures in stats["workflows"]:
        ran, failed, took = (values_of(series, figures["name"]) for series in (runs, failures, p95_ms))
        lines.append(WorkflowLine(figures, bars_of(ran, failed, zone=zone), change_of(ran, failed, took)))
    return lines


@router.get("/system")
async def system_page(request: Request) -> Response:
    """The state of the collector, the database and the projection; it is shown even when the database is away."""
    storage = None
    try:
        health = await ask(request, "/health")
        fault = None
        storage = await ask(request, "/health/storage")
    except NotAnswered as refusal:
        if refusal.status != 403:  # what all tenants keep is not told to each of them
            health, fault = None, str(refusal)
    return render(request, "system.html", 200 if health else 503, health=health, fault=fault, storage=storage)
