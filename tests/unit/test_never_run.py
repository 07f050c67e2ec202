"""What an execution never came to, from what followed what in others."""

from __future__ import annotations

from datetime import date
from uuid import UUID

from spantree_api.never_run import FollowRow, NearRow, named_by_definitions, never_run, within_budget

PIPELINE = [
    FollowRow("guard", "intent"),
    FollowRow("guard", "reject"),
    FollowRow("intent", "memory"),
    FollowRow("memory", "answer"),
    FollowRow("fetch", "store"),
]


def test_a_branch_not_taken_is_told_with_all_that_would_have_followed_it() -> None:
    assert never_run([], ["guard", "reject"], PIPELINE) == ["answer", "intent", "memory"]


def test_steps_of_another_graph_of_the_same_name_are_not_told() -> None:
    assert never_run([], ["fetch"], PIPELINE) == ["store"]


def test_what_the_execution_declares_comes_first_and_once() -> None:
    assert never_run(["reject", "audit"], ["guard", "intent", "memory", "answer"], PIPELINE) == ["reject", "audit"]


def test_a_definition_names_steps_that_no_execution_has_come_to() -> None:
    assert never_run([], ["guard"], [FollowRow(None, "manual"), FollowRow("manual", "notify")]) == ["manual", "notify"]


def test_loops_end() -> None:
    assert never_run([], ["draft"], [FollowRow("draft", "judge"), FollowRow("judge", "draft")]) == ["judge"]


def near(number: int, nodes: int, kind: str = "workflow", names: tuple[str, ...] = ()) -> NearRow:
    return NearRow(UUID(int=number), date(2026, 11, 20), kind, list(names), nodes)


def test_the_nearest_executions_are_learned_from_until_they_are_too_many() -> None:
    rows = [near(1, 40), near(2, 100), near(3, 60), near(4, 1)]
    assert within_budget(rows, 100) == [rows[0], rows[2]]


def test_only_a_definition_names_steps_by_itself() -> None:
    rows = [near(1, 1, names=("a",)), near(2, 1, "definition", ("b", "c"))]
    assert named_by_definitions(rows) == [FollowRow(None, "b"), FollowRow(None, "c")]
