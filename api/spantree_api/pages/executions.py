"""`/executions`: the list, with every filter of the API in the address and in the form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from spantree_api.pages.frame import path_of, render, with_query
from spantree_api.pages.in_process import NotAnswered, ask, position
from spantree_exporter.statuses import OPEN

router = APIRouter(include_in_schema=False)

# (parameter, label, input type, what it says when empty), in the order of the form
FIELDS = (
    ("q", "Search", "search", "words, or key:value"),
    ("workflow", "Workflow", "text", ""),
    ("service", "Service", "text", ""),
    ("kind", "Kind", "text", "workflow, agent, request …"),
    ("error_category", "Error category", "text", "timeout, network, llm …"),
    ("user_id", "User", "text", ""),
    ("conversation_id", "Conversation", "text", ""),
    ("run_id", "Run", "text", ""),
    ("project", "Project", "text", ""),
    ("since", "Since (UTC)", "text", "2026-11-20 10:00"),
    ("until", "Until (UTC)", "text", "2026-11-20 12:00"),
    ("min_duration_ms", "At least, ms", "number", ""),
    ("max_duration_ms", "At most, ms", "number", ""),
)
STATUSES = (
    "running", "waiting", "pending", "completed", "failed", "partial", "timed_out", "cancelled", "skipped", "lost",
)  # fmt: skip
WITHIN = {
    "1h": ("last hour", 1),
    "24h": ("last 24 hours", 24),
    "7d": ("last 7 days", 168),
    "30d": ("last 30 days", 720),
}
# A moment as people write it and as pages show it, understood as UTC where it has no zone; anything else goes to the
# API as it is, which says what it wants.
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)(?:[ T](\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?))?(?:Z| ?UTC| ?([+-]\d\d:\d\d))?")
# Whose values are whole names, which may be a space.
_EXACT = frozenset({"workflow", "service", "user_id", "conversation_id", "run_id", "project"})
_SHOWN = 50


@router.get("/executions")
async def list_page(request: Request) -> Response:
    """A page of the list. Empty fields of the form leave the address, so that it can be sent to somebody."""
    given = request.query_params.multi_items()
    named = [(name, value) for name, value in given if value and (name in _EXACT or value.strip())]
    if named != given:
        kept = urlencode(named)
        return RedirectResponse(f"/executions?{kept}" if kept else "/executions", 303)
    # Of the page alone: the run that each of the list can be compared with.
    compared = await _compared(request, request.query_params.get("compare", ""))
    parameters = api_parameters([one for one in given if one[0] != "compare"], datetime.now(UTC))
    begins = await position(request)
    fault = None
    try:
        page = await ask(request, "/executions", {"limit": _SHOWN, **parameters})
    except NotAnswered as refusal:
        if refusal.status != 422:
            raise
        # Who mistyped something finds it in the form, not an error page with an empty one.
        fault, page = str(refusal), {"executions": [], "next_cursor": None, "hidden_count": 0, "searched": None}
    shown = [(name, value) for name, value in given if name != "cursor"]
    following = page["next_cursor"]
    return render(
        request,
        "executions.html",
        200 if fault is None else 422,
        page=page,
        fault=fault,
        fields=FIELDS,
        all_statuses=STATUSES,
        within=WITHIN,
        compared=compared,
        given=request.query_params,
        given_statuses=request.query_params.getlist("status"),
        narrowed=[(name, value) for name, value in shown if name not in {"hidden", "limit", "compare"}],
        without=lambda name, value: address([one for one in shown if one != (name, value)]),
        with_one=lambda name, value: address([*(one for one in shown if one[0] != name), (name, value)]),
        next_page=None if following is None else address([*shown, ("cursor", following)]),
        first_page=address(shown),
        stream=with_query("/api/v1/stream", {**followed(parameters), "events": "execution", "after": begins}),
    )


async def _compared(request: Request, execution_id: str) -> Any:
    """The execution that others are to be compared with; None where none is chosen or it is not there."""
    if not execution_id:
        return None
    try:
        return await ask(request, f"/executions/{path_of(execution_id)}")
    except NotAnswered as refusal:
        if refusal.status not in {404, 422}:
            raise
        return None


def address(parameters: list[tuple[str, str]]) -> str:
    """The list with these parameters."""
    return f"/executions?{urlencode(parameters)}" if parameters else "/executions"


def api_parameters(given: list[tuple[str, str]], now: datetime) -> dict[str, str | list[str]]:
    """The API's parameters for those of the page: `within` becomes `since`, a moment without a zone is UTC."""
    parameters: dict[str, str | list[str]] = {}
    for name, value in given:
        if name == "status":
            parameters["status"] = [*parameters.get("status", []), value]
        elif name == "within" and value in WITHIN:
            since = now - timedelta(hours=WITHIN[value][1])
            parameters["since"] = f"{since:%Y-%m-%dT%H:%M:%SZ}"
        else:
            parameters[name] = moment(value) if name in {"since", "until"} else value
    return parameters


def within_of(days: int) -> str:
    """What the list calls the last `days` days."""
    return next(name for name, (_, hours) in WITHIN.items() if hours == days * 24)


def followed(parameters: Mapping[str, str | list[str]]) -> dict[str, str | list[str]]:
    """The filters of the stream that a list follows: those that a run which is in the list passes once it has changed.

    Of what is no longer like them a stream says nothing: a run that has ended is not among those that run.
    """
    leaving = {"cursor", "limit", "max_duration_ms"}
    if not (OPEN | {"lost"}).isdisjoint(parameters.get("status", ())):
        leaving.add("status")
    return {name: value for name, value in parameters.items() if name not in leaving}


def moment(text: str) -> str:
    """RFC 3339 of a date or a moment without a zone, or with one as pages show it."""
    match = _MOMENT.fullmatch(text.strip())
    if match is None:
        return text
    seconds = ":00" if match[2] and len(match[2]) == 5 else ""
    return f"{match[1]}T{match[2] or '00:00:00'}{seconds}{match[3] or 'Z'}"
