"""`/usage`: what models, projects and users use: calls and runs, tokens, cost, over some days."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from fastapi import APIRouter, Request, Response

from spantree_api.filters import moment_of
from spantree_api.pages import wording
from spantree_api.pages.executions import within_of
from spantree_api.pages.frame import render
from spantree_api.pages.in_process import ask_together
from spantree_api.pages.series import chart_of, values_of
from spantree_api.pages.zones import days_of, zone_of

router = APIRouter(include_in_schema=False)
RANGES: Final = (1, 7, 30)
# (what /stats calls them, what names one, heading, filter of /executions that finds its runs)
_SUBJECTS: Final = (
    ("models", "model", "Models", None),
    ("projects", "project", "Projects", "project"),
    ("users", "user_id", "Users", "user_id"),
)
_METRICS: Final = (("tokens", "Tokens", wording.count), ("cost_usd", "Cost", wording.cost))
_NAMES: Final = 50
# Lines that one chart can hold and still be read.
_LINES: Final = 3


@router.get("/usage")
async def usage_page(request: Request, days: str = "7") -> Response:
    """What was used in some days: by model, project and user, most runs first; tokens and cost over time."""
    shown = int(days) if days in {str(one) for one in RANGES} else 7
    since = f"{moment_of(request.app.state.service.clock()) - timedelta(days=shown):%Y-%m-%dT%H:%M:%SZ}"
    zone = zone_of(request)
    bucket = {"bucket": "1h"} if shown <= 7 else {"bucket": "1d", **days_of(zone)}
    wanted: dict[str, str | int] = {"by": "model", "since": since, "limit": _LINES, **bucket}
    used, trends = len(_SUBJECTS), [("/stats/trend", wanted | {"metric": metric}) for metric, _, _ in _METRICS]
    found = await ask_together(
        request, *((f"/stats/{path}", {"days": shown, "limit": _NAMES}) for path, *_ in _SUBJECTS), *trends
    )
    parts = [
        {"heading": heading, "key": key, "narrows": narrows, "rows": answer[path]}
        for (path, key, heading, narrows), answer in zip(_SUBJECTS, found[:used], strict=True)
    ]
    charts = []
    for (_, title, told), trend in zip(_METRICS, found[used:], strict=True):
        lines = [(one["name"], values_of(trend, one["name"])) for one in trend["series"]]
        if any(value for _, points in lines for _, value in points):
            charts.append(chart_of(title, lines, told, zone=zone))
    return render(
        request,
        "usage.html",
        parts=parts,
        charts=[one for one in charts if one],
        days=shown,
        within=within_of(shown),
        ranges=RANGES,
    )
