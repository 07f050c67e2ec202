"""`/`: what runs, what failed lately, what is stuck, how each workflow does. `/system`: the state of spantree."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from fastapi import APIRouter, Request, Response

from spantree_api.filters import moment_of
from spantree_api.pages.frame import render
from spantree_api.pages.in_process import NotAnswered, Parameters, ask, ask_together, position
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
    trend: dict[str, str | int] = {"by": "all", "bucket": "1h", "since": since}
    running, waiting, groups, stuck, runs, failures, *of_workflows = await ask_together(
        request,
        ("/executions", {"status": ["running", "pending"], "limit": _RUNNING}),
        ("/executions", {"status": "waiting", "limit": _RUNNING}),
        ("/failures/groups", {"since": since, "state": "open", "limit": _GROUPS}),
        ("/stuck", {"limit": _STUCK}),
        ("/stats/trend", trend | {"metric": "runs"}),
        ("/stats/trend", trend | {"metric": "failures"}),
        *_asked_of_workflows(request, _WORKFLOWS),
    )
    ran, failed = values_of(runs), values_of(failures)
    lines = _lines(request, *of_workflows)
    return render(
        request,
        "now.html",
        position=begins,
        # What waits may do so for days, and would leave no room for what runs.
        running=[*running["executions"], *waiting["executions"]][:_RUNNING],
        groups=groups["groups"],
        more_groups=groups["next_cursor"] is not None,
        stuck=stuck["executions"],
        bars=bars_of(ran, failed, zone=zone_of(request)),
        runs_of_day=sum(value or 0 for _, value in ran),
        failures_of_day=sum(value or 0 for _, value in failed),
        workflows=sorted(lines, key=lambda line: not line.change.is_worse),
    )


async def workflow_lines(request: Request, limit: int) -> list[WorkflowLine]:
    """Workflows of the last week, most runs first; the first 50 with bars of 14 days, and with what changed."""
    return _lines(request, *await ask_together(request, *_asked_of_workflows(request, limit)))


def _asked_of_workflows(request: Request, limit: int) -> list[tuple[str, Parameters]]:
    """The questions whose answers `_lines` is made of, in its order."""
    zone = zone_of(request)
    trend: dict[str, str | int] = {
        "by": "workflow",
        "bucket": "1d",
        **days_of(zone),
        "since": start_of_day(moment_of(request.app.state.service.clock()), 13, zone),
        "limit": min(limit, _WORKFLOWS),
    }
    return [
        ("/stats/workflows", {"days": 7, "limit": limit}),
        *(("/stats/trend", trend | {"metric": metric}) for metric in ("runs", "failures", "p95_ms")),
    ]


def _lines(request: Request, stats: Any, runs: Any, failures: Any, p95_ms: Any) -> list[WorkflowLine]:
    zone = zone_of(request)
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
