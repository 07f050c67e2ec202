"""`/alerts`: what is told to whom, what became of the messages; a rule made, tried, silenced, switched off."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, get_args

from fastapi import APIRouter, Request, Response

from spantree_api.alerts.messages import DEFAULT_DURATION_RUNS, DEFAULT_RATE_RUNS, DEFAULT_RATE_WINDOW_S
from spantree_api.answers.alerts import AlertKind, DeliveryState
from spantree_api.filters import moment_of
from spantree_api.pages import wording
from spantree_api.pages.frame import path_of, render, segment_of, with_query
from spantree_api.pages.in_process import ask

router = APIRouter(include_in_schema=False)
STATES: Final = get_args(DeliveryState)
# kind -> (what the form calls it, which of its fields the kind has)
KINDS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "failure": ("an execution fails", ()),
    "new_group": ("something fails of a cause that is new", ()),
    "reopened_group": ("a cause that was resolved comes back", ()),
    "failure_rate": ("too many runs of a workflow fail", ("threshold", "window_s", "min_runs")),
    "duration": ("an execution takes longer than usual", ("factor", "min_runs")),
    "stuck": ("an execution is stuck", ()),
    "lost": ("an execution is lost", ()),
    "cost": ("an execution, or all of a time, cost too much", ("limit", "window_s")),
    "tokens": ("an execution, or all of a time, use too many tokens", ("limit", "window_s")),
}
assert KINDS.keys() == set(get_args(AlertKind))  # noqa: S101
# When a group came back, behind its fingerprint (alert_events.of_reopened).
_MOMENT: Final = re.compile(r":\d{4}-\d\d-\d\dT[\d:.+-]+$")
_NARROWED: Final = ("workflow", "service", "project", "user_id", "kind", "error_category")


@router.get("/alerts")
async def alerts_page(request: Request, state: str = "", rule_id: str = "", cursor: str | None = None) -> Response:
    """All rules by name, and the messages of the last 30 days, newest first."""
    narrowed = {"state": state, "rule_id": rule_id}
    found = await ask(request, "/alerts/deliveries", narrowed | {"cursor": cursor})
    rules = (await ask(request, "/alerts/rules"))["rules"]
    now = moment_of(request.app.state.service.clock())
    return render(
        request,
        "alerts.html",
        rules=[
            rule
            | {
                "when": told_when(rule),
                "of": told_filter(rule["filter"]),
                "silenced": rule["silenced_until"] is not None and datetime.fromisoformat(rule["silenced_until"]) > now,
            }
            for rule in rules
        ],
        kinds=KINDS,
        deliveries=[one | {"about": about(one["kind"], one["subject"])} for one in found["deliveries"]],
        states=STATES,
        state=state,
        rule_id=rule_id,
        next_page=found["next_cursor"] and with_query("/alerts", narrowed | {"cursor": found["next_cursor"]}),
    )


def told_when(rule: Mapping[str, Any]) -> str:
    """When a rule of the API's has something to tell, in words."""
    within = f"within {wording.duration((rule['window_s'] or DEFAULT_RATE_WINDOW_S) * 1e3)}"
    match rule["kind"]:
        case "failure":
            statuses = rule["statuses"] or ("failed", "timed_out")
            return f"an execution is {' or '.join(wording.status_word(one).word for one in statuses)}"
        case "failure_rate":
            least = f"of {rule['min_runs'] or DEFAULT_RATE_RUNS} at least"
            return f"more than {wording.share(rule['threshold'])} of a workflow's runs fail {within}, {least}"
        case "duration":
            least = f"of {rule['min_runs'] or DEFAULT_DURATION_RUNS} runs at least"
            return f"an execution takes longer than {rule['factor'] or 1:g} × its workflow's p95, {least}"
        case "cost" | "tokens" as kind:
            limit = f"more than ${rule['limit']:g}"
            if kind == "tokens":
                limit = f"more than {wording.count(rule['limit'])} tokens"
            one, many = ("costs", "cost") if kind == "cost" else ("uses", "use")
            return f"an execution {one} {limit}" if rule["window_s"] is None else f"all {within} {many} {limit}"
        case kind:
            return KINDS[kind][0]


def told_filter(narrowed: Mapping[str, Any]) -> str:
    """Which executions a rule looks at; empty where it looks at all."""
    said = [f"{name.replace('_', ' ')} {narrowed[name]}" for name in _NARROWED if narrowed.get(name)]
    return ", ".join([*said, *(["hidden ones, too"] if narrowed.get("hidden") else [])])


def about(kind: str, subject: str) -> tuple[str, str]:
    """(path, name) of what a message is about; neither where it is about all executions."""
    first, _, rest = subject.partition(":")
    if first == "group":
        fingerprint = _MOMENT.sub("", rest) if kind == "reopened_group" else rest
        return f"/failures/{path_of(fingerprint)}", f"cause {fingerprint}"
    if first == "window":
        workflow = rest.rpartition(":")[0]
        return (f"/workflows/{segment_of(workflow)}", workflow) if workflow else ("", "all executions")
    return f"/executions/{path_of(first)}", first
