"""Which executions and figures a rule tells of, to the border of its limits."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from tests.api_rows import NOW_NS, T0_NS, S, execution

from spantree_api.alerts.messages import FiguresRow, GroupRow, Message, Rule, UsualDuration, beyond, of_changed, of_open
from spantree_api.answers.alerts import AlertRuleBody
from spantree_api.stored_rows import ExecutionRow

MADE = datetime.fromtimestamp(T0_NS / 1e9, UTC)
LOST_AFTER_S = 3_600.0


def rule(kind: str, **limits: Any) -> Rule:
    body = AlertRuleBody.model_validate({"name": "r", "kind": kind, "webhook_url": "https://x.example", **limits})
    return Rule(UUID(int=7), body, "secret of it", "api", 0, MADE, MADE, MADE)


def row(**changes: Any) -> ExecutionRow:
    return ExecutionRow(0, MADE.date(), UUID(int=1), execution(**changes))


def changed(
    wanted: Rule,
    found: ExecutionRow,
    usual: UsualDuration | None = None,
    group: GroupRow | None = None,
) -> Message | None:
    known = {} if usual is None else {"report": usual}
    groups = {} if group is None else {group.fingerprint: group}
    return of_changed(wanted, found, known, groups, NOW_NS, LOST_AFTER_S)


@pytest.mark.parametrize(
    ("limits", "runs", "lasted_ms", "told"),
    [
        pytest.param({}, 20, 1_000, False, id="as long as the p95"),
        pytest.param({}, 20, 1_001, True, id="longer"),
        pytest.param({}, 19, 5_000, False, id="of too few runs"),
        pytest.param({"min_runs": 3}, 3, 5_000, True, id="of as many as are wanted"),
        pytest.param({"factor": 2}, 20, 2_000, False, id="twice as long"),
        pytest.param({"factor": 2}, 20, 2_001, True, id="more than twice as long"),
    ],
)
def test_a_duration_is_told_beyond_so_many_times_the_usual_one(
    limits: dict[str, Any], runs: int, lasted_ms: int, told: bool
) -> None:
    found = row(ended_ns=T0_NS + lasted_ms * 1_000_000)
    assert (changed(rule("duration", **limits), found, UsualDuration(1_000.0, runs)) is not None) == told


@pytest.mark.parametrize(("kind", "spent"), [("cost", {"cost_usd": 2.0}), ("tokens", {"output_tokens": 2})])
def test_costs_and_tokens_are_told_above_their_limit(kind: str, spent: dict[str, Any]) -> None:
    assert changed(rule(kind, limit=2), row(**spent)) is None
    assert changed(rule(kind, limit=1.5), row(**spent)) is not None


@pytest.mark.parametrize(("first_seen", "told"), [(-1, False), (0, True), (1, True)])
def test_a_group_is_new_by_the_execution_that_it_was_first_seen_with(first_seen: int, told: bool) -> None:
    group = GroupRow("f", "code", T0_NS + first_seen, T0_NS + S, None, None)
    found = row(status="failed", error_fingerprint="f")
    assert (changed(rule("new_group"), found, group=group) is not None) == told
    assert changed(rule("new_group"), found) is not None


def test_what_was_stuck_or_lost_before_the_rule_was_made_is_not_told() -> None:
    for kind, status in (("stuck", "waiting"), ("lost", "running")):
        since = T0_NS - 7_200 * S
        found = row(status=status, ended_ns=None, started_ns=since, last_seen_ns=since)
        assert of_open(rule(kind), found, 7_199.0, NOW_NS, LOST_AFTER_S) is None
        assert of_open(rule(kind), found, 7_200.0, NOW_NS, LOST_AFTER_S) is not None
        # Neither kind tells what is the other's.
        assert of_open(rule("lost" if kind == "stuck" else "stuck"), found, 7_200.0, NOW_NS, LOST_AFTER_S) is None


@pytest.mark.parametrize(
    ("ended", "failed", "told"),
    [
        pytest.param(9, 9, False, id="too few"),
        pytest.param(10, 5, False, id="at the threshold"),
        pytest.param(10, 6, True, id="beyond it"),
        pytest.param(0, 0, False, id="none has ended"),
    ],
)
def test_a_failure_rate_is_of_those_that_ended_and_above_its_threshold(ended: int, failed: int, told: bool) -> None:
    figures = [FiguresRow("report", 100, ended, failed, 0.0, 0.0), FiguresRow("", 100, 100, 0, 0.0, 0.0)]
    assert list(beyond(rule("failure_rate", threshold=0.5), figures)) == (["report"] if told else [])


def test_a_sum_over_a_window_is_of_all_and_above_its_limit() -> None:
    figures = [FiguresRow("", 1, 1, 0, cost, 0.0) for cost in (1.5, 0.5)]
    assert beyond(rule("cost", limit=2.0, window_s=60), figures) == {}
    assert beyond(rule("cost", limit=1.99, window_s=60), figures) == {
        "": {"name": None, "runs": 2, "cost_usd": 2.0, "limit": 1.99, "window_s": 60.0}
    }
