"""`/failures` by cause, one cause, and `/stuck`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from operator import itemgetter
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from spantree_api.filters import moment_of
from spantree_api.pages.frame import path_of, render, with_query
from spantree_api.pages.in_process import ask, position

router = APIRouter(include_in_schema=False)
RANGES = {"24h": ("24 hours", 1), "7d": ("7 days", 7), "30d": ("30 days", 30), "90d": ("90 days", 90)}
STATES = ("open", "resolved", "ignored")
# (what it is called, by what of a cause, the most or latest of it first); the API tells them last seen first.
SORTS: Final[dict[str, tuple[str, Callable[[Any], Any]]]] = {
    "seen": ("last seen", itemgetter("last_seen_at")),
    "count": ("most runs", itemgetter("count")),
    "new": ("newest cause", itemgetter("first_seen_at")),
}
_SORT = "seen"
_SORTED = 200
_WITHIN = "7d"
_ALIKE = 50
_STUCK = 200


@router.get("/failures")
async def failures_page(request: Request) -> Response:
    """Failures by cause, last seen first."""
    given = {name: value for name, value in request.query_params.items() if value}
    within = given.get("within", _WITHIN)
    within = within if within in RANGES else _WITHIN
    sort = given.get("sort", _SORT)
    sort = sort if sort in SORTS else _SORT
    wanted = {name: given.get(name) for name in ("state", "workflow", "category")}
    # Causes come last seen first; by anything else as many as one answer has are sorted here.
    wanted |= {"cursor": given.get("cursor")} if sort == _SORT else {"limit": str(_SORTED)}
    begins = await position(request)
    page = await ask(request, "/failures/groups", {**wanted, "since": _since(request, within)})
    following = page["next_cursor"] if sort == _SORT else None
    groups = page["groups"] if sort == _SORT else sorted(page["groups"], key=SORTS[sort][1], reverse=True)
    return render(
        request,
        "failures.html",
        groups=groups,
        are_cut=sort != _SORT and page["next_cursor"] is not None,
        position=begins,
        sort=sort,
        sorts={
            name: (told, with_query("/failures", {**given, "sort": name, "cursor": None}))
            for name, (told, _) in SORTS.items()
        },
        given=given,
        within=within,
        ranges=RANGES,
        states=STATES,
        next_page=None if following is None else with_query("/failures", {**given, "cursor": following}),
    )


@router.get("/failures/{fingerprint}")
async def group_page(request: Request, fingerprint: str) -> Response:
    """One cause: how often, since when, what became of it, and the runs that failed of it."""
    within = request.query_params.get("within", _WITHIN)
    within = within if within in RANGES else _WITHIN
    group = await ask(request, f"/failures/groups/{path_of(fingerprint)}", {"since": _since(request, within)})
    report = None
    if group["example"] is not None:
        example = f"/executions/{group['example']['execution_id']}"
        report = await ask(request, f"{example}/failure", {"same_cause": _ALIKE})
    return render(
        request, "failure_group.html", group=group, report=report, states=STATES, within=within, ranges=RANGES
    )


@router.get("/stuck")
async def stuck_page(request: Request, cursor: str | None = None) -> Response:
    """What is open for longer than its threshold, and what was lost; the longest first."""
    begins = await position(request)
    found = await ask(request, "/stuck", {"limit": _STUCK, "cursor": cursor})
    return render(request, "stuck.html", position=begins, stuck=found["executions"], page=found, cursor=cursor)


def _since(request: Request, within: str) -> str:
    since = moment_of(request.app.state.service.clock()) - timedelta(days=RANGES[within][1])
    return f"{since:%Y-%m-%dT%H:%M:%SZ}"
