"""`/workflows`, and one workflow: its figures over time, its steps, its map, its newest runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta, tzinfo
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from spantree_api.filters import moment_of
from spantree_api.http.any_text import any_text
from spantree_api.pages import graph, wording
from spantree_api.pages.executions import within_of
from spantree_api.pages.frame import name_of, path_of, render, segment_of, with_query
from spantree_api.pages.in_process import Parameters, ask_together
from spantree_api.pages.now import WorkflowLine, workflow_lines
from spantree_api.pages.series import Bar, bars_of, chart_of, values_of
from spantree_api.pages.zones import days_of, zone_of

router = APIRouter(include_in_schema=False)
RANGES = (1, 7, 30)
# As many as are listed; the first 50 of them, as many as a trend has series, with what changed.
_WORKFLOWS = 200
# What is worst first, what is not known last.
_ORDERS: dict[str, Callable[[WorkflowLine], Any]] = {
    "name": lambda line: line.figures["name"].casefold(),
    "success": lambda line: 2.0 if line.figures["success_rate"] is None else line.figures["success_rate"],
    "p95": lambda line: -(line.figures["p95_ms"] or 0.0),
    "change": lambda line: (not line.change.is_worse, not line.change.told),
}
# As many as a trend has series at most.
_STEPS = 50
_METRICS = ("runs", "failures", "success_rate", "p50_ms", "p95_ms", "p99_ms")


@dataclass(frozen=True, slots=True)
class StepLine:
    """A step with its trend; rates are of what ran, None where nothing did."""

    figures: Any
    failure_rate: float | None
    retry_rate: float | None
    bars: list[Bar]


@router.get("/workflows")
async def workflows_page(request: Request) -> Response:
    """Each workflow of the last week, by `sort`: most runs first, else by name, least success, longest, worse."""
    lines = await workflow_lines(request, _WORKFLOWS)
    sort = request.query_params.get("sort", "runs")
    if sort in _ORDERS:
        lines.sort(key=_ORDERS[sort])
    return render(request, "workflows.html", workflows=lines, sort=sort, most=_WORKFLOWS)


@router.get(f"/workflows/{any_text('name')}")
async def workflow_page(request: Request, name: str, days: str = "7") -> Response:
    """One workflow over some days."""
    name = name_of(request, name)
    shown = int(days) if days in {str(one) for one in RANGES} else 7
    quoted = path_of(name)
    zone = zone_of(request)
    since = f"{moment_of(request.app.state.service.clock()) - timedelta(days=shown):%Y-%m-%dT%H:%M:%SZ}"
    trend: dict[str, str | int | bool] = {
        "by": "workflow",
        "name": name,
        **({"bucket": "1h"} if shown <= 7 else {"bucket": "1d", **days_of(zone)}),
        "since": since,
        "hidden": True,
    }
    asked = _asked_of_steps(name, shown, since, zone)
    workflow, found, *answers = await ask_together(
        request,
        (f"/stats/workflows/{quoted}", {"days": shown}),
        (f"/workflows/{quoted}/map", {"days": shown}),
        *(("/stats/trend", trend | {"metric": metric}) for metric in _METRICS),
        *asked,
    )
    of = {metric: values_of(answer) for metric, answer in zip(_METRICS, answers, strict=False)}
    steps = _steps(*answers[len(_METRICS) :], zone=zone)
    drawing = await run_in_threadpool(graph.of_workflow, found["nodes"], found["edges"], found["runs"])
    return render(
        request,
        "workflow.html",
        workflow=workflow,
        days=shown,
        within=within_of(shown),
        ranges={one: with_query(f"/workflows/{segment_of(name)}", {"days": one}) for one in RANGES},
        bars=bars_of(of["runs"], of["failures"], zone=zone),
        charts=[
            chart
            for chart in (
                chart_of("Success rate", [("success", of["success_rate"])], wording.share, 1.0, zone),
                chart_of(
                    "Duration",
                    [("p50", of["p50_ms"]), ("p95", of["p95_ms"]), ("p99", of["p99_ms"])],
                    wording.duration,
                    zone=zone,
                ),
            )
            if chart is not None
        ],
        steps=steps,
        drawing=drawing,
        map=found,
    )


def _asked_of_steps(workflow: str, days: int, since: str, zone: tzinfo) -> list[tuple[str, Parameters]]:
    """The questions whose answers `_steps` is made of, in its order."""
    wanted: dict[str, str | int | bool] = {
        "by": "node",
        "workflow": workflow,
        **({"bucket": "1h"} if days == 1 else {"bucket": "1d", **days_of(zone)}),
        "since": since,
        "limit": _STEPS,
    }
    return [
        ("/stats/nodes", {"workflow": workflow, "days": days, "limit": _STEPS}),
        *(("/stats/trend", wanted | {"metric": metric}) for metric in ("runs", "failures", "retries")),
    ]


def _steps(found: Any, runs: Any, failures: Any, retries: Any, *, zone: tzinfo) -> list[StepLine]:
    """The steps of a workflow, worst first, each with bars of its hours or days."""
    lines = []
    for step in found["nodes"]:
        ran, failed, retried = (values_of(trend, step["name"]) for trend in (runs, failures, retries))
        success = step["success_rate"]
        lines.append(
            StepLine(
                step,
                None if success is None else 1 - success,
                step["retried"] / step["total"] if step["total"] else None,
                bars_of(ran, failed, retried, zone),
            )
        )
    return lines
