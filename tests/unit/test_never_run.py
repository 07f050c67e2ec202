"""What an execution never came to, from what followed what in others."""

from __future__ import annotations

from spantree_api.never_run import FollowRow, never_run

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


def test_names_are_compared_as_figures_hold_them() -> None:
    long = "step " + "x" * 200
    assert never_run([], [long], [FollowRow("plan", long[:100])]) == []


def test_a_mark_of_a_definition_names_no_step() -> None:
    assert never_run([], ["guard"], [FollowRow(None, None)]) == []
