"""What belongs together in a timeline: attempts that stand side by side, turns of a loop; never across subtrees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from spantree_api.timeline.groups import Group, groups_of
from spantree_api.timeline.rows import TimelineRow

KEYS = st.sampled_from([None, "pay", "ship"])
TURNS = st.sampled_from([None, 1, 2])


def rows(*given: dict[str, Any]) -> list[TimelineRow]:
    """Rows in sequence order; each says its depth, name, and what is special of it."""
    values = {
        "span_id": 0, "ordinal": 0, "name": "step", "kind": "step", "status": "completed", "service": "s",
        "started_ns": 0, "ended_ns": 1, "attempt": 1, "task_key": None, "iteration": None, "error_type": None,
        "on_critical_path": False, "folded_count": 0,
        "input_tokens": None, "output_tokens": None, "cost_usd": None,
    }  # fmt: skip
    return [TimelineRow(**{**values, "sequence": at, **one}) for at, one in enumerate(given, start=1)]


def attempt(number: int, status: str = "retried", depth: int = 1, **changes: Any) -> dict[str, Any]:
    return {"depth": depth, "name": "pay", "task_key": "pay", "attempt": number, "status": status, **changes}


def test_attempts_with_what_is_below_them_are_a_group() -> None:
    tree = rows({"depth": 0}, attempt(1), {"depth": 2}, attempt(2), attempt(3, "completed"), {"depth": 1})
    assert groups_of(tree) == [Group(2, 6, "attempts", 3, "pay", "completed")]


def test_attempts_without_a_key_belong_together_by_name() -> None:
    tree = rows({"depth": 0}, attempt(1, task_key=None), attempt(2, "failed", task_key=None))
    assert groups_of(tree) == [Group(2, 4, "attempts", 2, "pay", "failed")]


def test_a_task_that_begins_again_at_its_first_attempt_is_another_group() -> None:
    tree = rows({"depth": 0}, attempt(1), attempt(2, "completed"), attempt(1), attempt(2, "failed"))
    assert groups_of(tree) == [
        Group(2, 4, "attempts", 2, "pay", "completed"),
        Group(4, 6, "attempts", 2, "pay", "failed"),
    ]


def test_attempts_that_stand_apart_are_no_group() -> None:
    assert groups_of(rows({"depth": 0}, attempt(1), {"depth": 1}, attempt(2, "completed"))) == []
    assert groups_of(rows({"depth": 0}, attempt(1), {"depth": 1}, attempt(2, "completed", depth=2))) == []


def test_turns_of_a_loop_are_groups_and_attempts_in_them_inner_ones() -> None:
    tree = rows(
        {"depth": 0},
        {"depth": 1, "iteration": 1}, attempt(1, iteration=1), attempt(2, "failed", iteration=1),
        {"depth": 1, "iteration": 2, "status": "running"},
        {"depth": 1},
    )  # fmt: skip
    assert groups_of(tree) == [
        Group(2, 5, "iteration", 1, "", "failed"),
        Group(3, 5, "attempts", 2, "pay", "failed"),
        Group(5, 6, "iteration", 2, "", "running"),
    ]


def test_turns_of_one_step_each_need_no_row_above() -> None:
    assert groups_of(rows({"depth": 0}, *({"depth": 1, "iteration": number} for number in range(4)))) == []


def test_an_execution_without_nodes_has_no_groups() -> None:
    assert groups_of([]) == []


@st.composite
def forests(draw: st.DrawFn) -> list[TimelineRow]:
    depth, told = -1, []
    for _ in range(draw(st.integers(0, 20))):
        depth = draw(st.integers(0, depth + 1))
        told.append(
            {"depth": depth, "task_key": draw(KEYS), "attempt": draw(st.integers(1, 3)), "iteration": draw(TURNS)}
        )
    return rows(*told)


@given(forests())
def test_groups_hold_whole_subtrees_of_neighbours_and_nest(tree: Sequence[TimelineRow]) -> None:
    found = groups_of(tree)
    for group in found:
        inside = tree[group.first - 1 : group.end - 1]
        depth = inside[0].depth
        top = [one for one in inside if one.depth == depth]
        assert all(one.depth >= depth for one in inside)
        assert group.end > len(tree) or tree[group.end - 1].depth <= depth, "whole subtrees"
        if group.kind == "iteration":
            assert {one.iteration for one in top} == {group.number}
        else:
            assert len(top) == group.number >= 2
            assert [one.attempt for one in top] == sorted({one.attempt for one in top})
    for one in found:
        for other in found:
            apart = one.end <= other.first or other.end <= one.first
            nested = (one.first <= other.first and other.end <= one.end) or (
                other.first <= one.first and one.end <= other.end
            )
            assert apart or nested
