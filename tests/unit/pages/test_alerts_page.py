"""What the page of alerts says of rules and messages."""

from __future__ import annotations

from typing import Any

import pytest

from spantree_api.pages.alerts import about, told_filter, told_when

NOTHING: dict[str, Any] = dict.fromkeys(("threshold", "window_s", "min_runs", "factor", "limit", "statuses"))


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({"kind": "failure"}, "an execution is failed or timed out"),
        ({"kind": "failure", "statuses": ["partial"]}, "an execution is partial"),
        (
            {"kind": "failure_rate", "threshold": 0.25},
            "more than 25 % of a workflow's runs fail within 1 h, of 10 at least",
        ),
        (
            {"kind": "failure_rate", "threshold": 0.005, "window_s": 600.0, "min_runs": 3},
            "more than 0.5 % of a workflow's runs fail within 10 min, of 3 at least",
        ),
        ({"kind": "duration"}, "an execution takes longer than 1 × its workflow's p95, of 20 runs at least"),
        (
            {"kind": "duration", "factor": 1.5, "min_runs": 5},
            "an execution takes longer than 1.5 × its workflow's p95, of 5 runs at least",
        ),
        ({"kind": "cost", "limit": 2.5}, "an execution costs more than $2.5"),
        ({"kind": "cost", "limit": 10.0, "window_s": 86_400.0}, "all within 1 d cost more than $10"),
        ({"kind": "tokens", "limit": 50_000.0}, "an execution uses more than 50\u202f000 tokens"),
        ({"kind": "tokens", "limit": 9.0, "window_s": 60.0}, "all within 1 min use more than 9 tokens"),
        ({"kind": "stuck"}, "an execution is stuck"),
        ({"kind": "reopened_group"}, "a cause that was resolved comes back"),
    ],
)
def test_a_rule_is_told_in_words(rule: dict[str, Any], told: str) -> None:
    assert told_when(NOTHING | rule) == told


def test_what_a_rule_is_narrowed_to_is_told() -> None:
    assert told_filter({"workflow": None, "hidden": False}) == ""
    assert told_filter({"workflow": "orders", "user_id": "ada", "hidden": True}) == (
        "workflow orders, user id ada, hidden ones, too"
    )


@pytest.mark.parametrize(
    ("kind", "subject", "leads"),
    [
        ("failure", "ab" * 16, ("/executions/" + "ab" * 16, "ab" * 16)),
        ("stuck", "ab" * 16 + ":running", ("/executions/" + "ab" * 16, "ab" * 16)),
        ("lost", "ab" * 16 + ":1764300000000000000", ("/executions/" + "ab" * 16, "ab" * 16)),
        ("new_group", "group:a:b", ("/failures/a%3Ab", "cause a:b")),
        ("reopened_group", "group:a:b:2026-11-28T07:31:00+00:00", ("/failures/a%3Ab", "cause a:b")),
        ("failure_rate", "window:a/b: c:1764300000000000000", ("/workflows/a%2Fb%3A%20c", "a/b: c")),
        ("cost", "window::1764300000000000000", ("", "all executions")),
    ],
)
def test_a_message_leads_to_what_it_is_about(kind: str, subject: str, leads: tuple[str, str]) -> None:
    assert about(kind, subject) == leads
