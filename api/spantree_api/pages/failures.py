"""`/failures` by cause, one cause, and `/stuck`."""

from __future__ import annotations

from datetime import timedelta

from fastapi import APIRouter, Request, Response

from spantree_api.filters import moment_of
from spantree_api.pages.frame import path_of, render, with_query
from spantree_api.pages.in_process import ask, position

router = APIRouter(include_in_schema=False)
RANGES = {"24h": ("24 hours", 1), "7d": ("7 days", 7), "30d": ("30 days", 30), "90d": ("90 days", 90)}
STATES = ("open", "resolved", "ignored")
_ALIKE = 50
_STUCK = 200


@router.get("/failures")
async def failures_page(request: Request) -> Response:
    """Failures by cause, last seen first."""
    given = {name: value for name, value in request.query_params.items() if value}
    within = given.get("within", "7d")
    since = moment_of(request.app.state.service.clock()) - timedelta(days=RANGES.get(within, RANGES["7d"])[1])
    wanted = {name: given.get(name) for name in ("state", "workflow", "category", "cursor")}
    begins = await position(request)
    page = await ask(request, "/failures/groups", {**wanted, "since": f"{since:%Y-%m-%dT%H:%M:%SZ}"})
    following = page["next_cursor"]
    return render(
        request,
        "failures.html",
        page=page,
        position=begins,
        given=given,
        within=within,
        ranges=RANGES,
        states=STATES,
        next_page=None if following is None else with_query("/failures", {**given, "cursor": following}),
    )


@router.get("/failures/{fingerprint}")
async def group_page(request: Request, fingerprint: str) -> Response:
    """One cause: how often, since when, what became of it, and the runs that failed of it."""
    group = await ask(request, f"/failures/groups/{path_of(fingerprint)}")
    report = None
    if group["example"] is not None:
        example = f"/executions/{group['example']['execution_id']}"
        report = await ask(request, f"{example}/failure", {"same_cause": _ALIKE})
    return render(request, "failure_group.html", group=group, report=report, states=STATES)


@router.get("/stuck")
async def stuck_page(request: Request, cursor: str | None = None) -> Response:
    """What is open for longer than its threshold, and what was lost; the longest first."""
    begins = await position(request)
    found = await ask(request, "/stuck", {"limit": _STUCK, "cursor": cursor})
    return render(request, "stuck.html", position=begins, stuck=found["executions"], page=found, cursor=cursor)
