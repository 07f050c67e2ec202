"""What went differently in two executions."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.api_rows import T0_NS, S, node, trace

from spantree_api.answers.diff import DiffAnswer
from spantree_api.diff import diff_answer
from spantree_api.stored_rows import StepRow
from spantree_exporter.rows import Node

NOW_NS = T0_NS + 100 * S


def nodes(*given: Node) -> list[Node]:
    return trace(1, given).nodes


def diff(a: list[Node], b: list[Node]) -> DiffAnswer:
    return diff_answer("a", steps(a), NOW_NS, "b", steps(b), NOW_NS)


def steps(nodes: list[Node]) -> list[StepRow]:
    """The nodes as comparisons read them."""
    names = [one.name for one in fields(StepRow) if one.name != "input_hash"]
    return [
        StepRow(
            **{name: getattr(node, name) for name in names}, input_hash=None if node.input is None else hash(node.input)
        )
        for node in nodes
    ]


def changes(answer: DiffAnswer) -> list[tuple[str, str]]:
    return [(one["path"], one["change"]) for one in answer["nodes"]]


def test_a_failure_is_found_where_it_began_and_what_it_left_out_is_told() -> None:
    failed: dict[str, Any] = {"status": "failed", "error_type": "Busy"}
    a = nodes(node(1, "order", **failed), node(2, "pay", 1, **failed), node(3, "card", 2, **failed))
    b = nodes(node(1, "order"), node(2, "pay", 1), node(3, "card", 2, input="7"), node(4, "ship", 1))
    answer = diff(a, b)
    assert changes(answer) == [
        ("order", "changed"),
        ("order > pay", "changed"),
        ("order > pay > card", "changed"),
        ("order > ship", "added"),
    ]
    assert answer["summary"] == {"added": 1, "removed": 0, "changed": 3, "same": 0}
    assert answer["first_difference"] == {"path": "order > pay > card", "a_id": f"{3:016x}", "b_id": f"{3:016x}"}
    assert answer["nodes"][2] == {
        "path": "order > pay > card",
        "name": "card",
        "depth": 2,
        "a_id": f"{3:016x}",
        "b_id": f"{3:016x}",
        "change": "changed",
        "differs": ["status", "error", "input"],
        "status": ["failed", "completed"],
        "duration_ms": [1000.0, 1000.0],
        "attempts": [1, 1],
        "error_type": ["Busy", None],
        "slower_or_faster": False,
        "inputs_differ": True,
    }


def test_attempts_of_a_task_are_one_step() -> None:
    def attempt(number: int, status: str, at: int) -> Node:
        return node(at, "charge", 1, task_key="charge", attempt=number, status=status)

    a = nodes(
        node(1, "order"), attempt(1, "retried", 2), node(3, "GET", 2), attempt(2, "completed", 4), node(5, "GET", 4)
    )
    b = nodes(node(1, "order"), attempt(1, "completed", 2), node(3, "GET", 2))
    answer = diff(a, b)
    assert changes(answer) == [("order", "same"), ("order > charge", "changed"), ("order > charge > GET", "same")]
    assert answer["nodes"][1]["attempts"] == [2, 1]
    assert answer["nodes"][1]["a_id"] == f"{4:016x}"


def test_siblings_of_one_name_are_matched_by_position_and_roots_whatever_their_names() -> None:
    a = nodes(node(1, "GET /a"), node(2, "search", 1), node(3, "search", 1, status="failed"))
    b = nodes(node(1, "GET /b"), node(2, "search", 1), node(3, "search", 1), node(4, "search", 1))
    assert changes(diff(a, b)) == [
        ("GET /a", "same"),
        ("GET /a > search", "same"),
        ("GET /a > search #2", "changed"),
        ("GET /a > search #3", "added"),
    ]


def test_a_name_that_looks_like_a_position_is_one_of_its_own() -> None:
    both = nodes(node(1, "run"), node(2, "search", 1), node(3, "search", 1, input="7"), node(4, "search #2", 1))
    without = nodes(node(1, "run"), node(2, "search", 1), node(4, "search #2", 1))
    assert changes(diff(both, both)) == [
        ("run", "same"),
        ("run > search", "same"),
        ("run > search #2", "same"),
        ("run > search #2", "same"),
    ]
    answer = diff(without, both)
    assert [(one["a_id"], one["b_id"], one["change"]) for one in answer["nodes"][1:]] == [
        (f"{2:016x}", f"{2:016x}", "same"),
        (f"{4:016x}", f"{4:016x}", "same"),
        (None, f"{3:016x}", "added"),
    ]


def test_a_duration_is_another_one_when_it_is_much_longer() -> None:
    def lasting(ms: int) -> list[Node]:
        return nodes(node(1, "order", ended_ns=T0_NS + 1_000_000 + ms * 1_000_000))

    told = [diff(lasting(a), lasting(b))["nodes"][0]["slower_or_faster"] for a, b in ((10, 40), (400, 500), (100, 150))]
    assert told == [False, False, True]
    assert diff(lasting(100), lasting(150))["first_difference"] == {
        "path": "order",
        "a_id": f"{1:016x}",
        "b_id": f"{1:016x}",
    }


def test_an_input_is_a_difference_that_comes_first_only_where_nothing_else_differs() -> None:
    a = nodes(node(1, "order", input="1"), node(2, "pay", 1, input="x"), node(3, "ship", 1))
    b = nodes(node(1, "order", input="2"), node(2, "pay", 1, input="x"), node(3, "ship", 1, status="skipped"))
    assert [(one["change"], one["differs"]) for one in diff(a, b)["nodes"]] == [
        ("changed", ["input"]),
        ("same", []),
        ("changed", ["status"]),
    ]
    first = diff(a, b)["first_difference"]
    assert first is not None
    assert first["path"] == "order > ship"
    only = diff(a[:2], b[:2])["first_difference"]
    assert only is not None
    assert only["path"] == "order"


def test_a_chain_of_ten_thousand_steps_is_told_in_bounded_paths() -> None:
    def chain(last: str) -> list[Node]:
        return nodes(
            *(
                node(at, f"step {at}", at - 1 or None, status=last if at == 10_000 else "completed")
                for at in range(1, 10_001)
            )
        )

    answer = diff(chain("failed"), chain("completed"))
    assert answer["summary"] == {"added": 0, "removed": 0, "changed": 1, "same": 9_999}
    assert max(len(one["path"]) for one in answer["nodes"]) <= 600
    assert (answer["nodes"][-1]["name"], answer["nodes"][-1]["depth"]) == ("step 10000", 9_999)
    first = answer["first_difference"]
    assert first is not None
    assert first["path"].startswith("step 1 > step 2 > ")
    assert first["path"].endswith(" > step 9999 > step 10000")


def test_a_step_that_one_alone_has_is_the_first_difference_whatever_is_below_it() -> None:
    without = nodes(node(1, "run"), node(2, "end", 1))
    both = nodes(node(1, "run"), node(3, "audit", 1), node(4, "sign", 3), node(2, "end", 1))
    assert diff(both, without)["first_difference"] == {"path": "run > audit", "a_id": f"{3:016x}", "b_id": None}
    assert diff(without, both)["first_difference"] == {"path": "run > audit", "a_id": None, "b_id": f"{3:016x}"}


def test_what_is_the_same_has_no_first_difference() -> None:
    assert diff(nodes(node(1, "a"), node(2, "b", 1)), nodes(node(7, "a"), node(8, "b", 7)))["first_difference"] is None


@st.composite
def trees(draw: st.DrawFn) -> list[Node]:
    count = draw(st.integers(0, 12))
    parents = [draw(st.integers(0, max(at - 1, 0))) for at in range(count)]
    names = [draw(st.sampled_from(["a", "b", "a #2"])) for _ in range(count)]
    tasks = [draw(st.sampled_from([None, None, "t"])) for _ in range(count)]
    children: dict[int, list[int]] = {}
    for at in range(1, count):
        children.setdefault(parents[at], []).append(at)
    found: list[Node] = []

    def add(at: int, parent: int | None) -> None:
        found.append(node(at + 1, names[at], parent, task_key=tasks[at], attempt=at + 1))
        for child in children.get(at, ()):
            add(child, at + 1)

    if count:
        add(0, None)
    return nodes(*found)


@given(trees(), trees())
def test_every_step_is_told_once_and_turning_it_round_turns_added_into_removed(a: list[Node], b: list[Node]) -> None:
    one, other = diff(a, b), diff(b, a)
    for mine, theirs in (("added", "removed"), ("removed", "added"), ("changed", "changed"), ("same", "same")):
        assert one["summary"][mine] == other["summary"][theirs]  # type: ignore[literal-required]
    ids = [step["a_id"] for step in one["nodes"] if step["a_id"] is not None]
    assert len(ids) == len(set(ids))
    assert diff(a, a)["summary"]["same"] == len(diff(a, a)["nodes"])
