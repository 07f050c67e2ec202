"""Graphs: of one execution, with what never ran; of many steps by name; of all runs of a workflow."""

from __future__ import annotations

import itertools
from typing import Any

from spantree_api.pages.graph import BOXES_MAX, Box, drawing, of_execution, of_sums, of_workflow


def step(number: int, name: str, parent: int | None = None, **changes: Any) -> dict[str, Any]:
    return {
        "id": str(number), "parent_id": None if parent is None else str(parent), "name": name, "kind": "step",
        "status": "completed", "duration_ms": 12.0, "attempt": 1, "iteration": None, "error_type": None,
        "on_critical_path": False,
    } | changes  # fmt: skip


def edge(source: int, target: int, **changes: Any) -> dict[str, Any]:
    made = {"from": str(source), "to": str(target), "type": "sequential", "condition": None, "provenance": "declared"}
    return made | changes


def way(source: str, target: str, **changes: Any) -> dict[str, Any]:
    return {
        "from": source, "to": target, "type": "sequential", "condition": None, "runs": 3, "share": 0.5, "failed": 0,
    } | changes  # fmt: skip


def graph(
    nodes: list[Any], edges: list[Any], never_run: tuple[str, ...] = (), ways: tuple[Any, ...] = (), **given: Any
) -> Any:
    asked = {"every_call": given.get("every_call", False), "each": given.get("each", False)}
    return of_execution(nodes, edges, never_run, ways, **asked)


def arrows(drawn: Any) -> list[tuple[str, str, str, str]]:
    labels = [one.box.label for one in drawn.boxes]
    return [
        (labels[one.arrow.source], labels[one.arrow.target], one.arrow.type, one.arrow.label) for one in drawn.arrows
    ]


def test_a_step_has_the_arrows_that_lead_to_it_else_that_of_what_it_is_a_part_of() -> None:
    nodes = [step(1, "order"), step(2, "check", 1), step(3, "ship", 1)]
    drawn = graph(nodes, [edge(2, 3, type="conditional", condition="paid")])
    assert arrows(drawn) == [("check", "ship", "conditional", "paid"), ("order", "check", "child", "")]


def test_calls_are_left_out_unless_they_failed_or_are_asked_for() -> None:
    nodes = [
        step(1, "order"), step(2, "SELECT", 1, kind="db"), step(3, "GET", 1, kind="http_client", status="failed"),
        step(4, "inner", 2),
    ]  # fmt: skip
    drawn = graph(nodes, [])
    assert [one.box.label for one in drawn.boxes] == ["order", "GET", "inner"]
    assert arrows(drawn) == [("order", "GET", "child", ""), ("order", "inner", "child", "")], (
        "the nearest that is shown"
    )
    assert drawn.left_out == 1
    assert len(graph(nodes, [], every_call=True).boxes) == 4


def test_what_never_ran_is_where_other_runs_went() -> None:
    ways = (way("check", "refund", condition="refused"), way("check", "order"), way("elsewhere", "refund"))
    drawn = graph([step(1, "order"), step(2, "check", 1)], [], ("refund", "order"), ways)
    refund = drawn.boxes[2].box
    assert (refund.label, refund.note, refund.never, refund.node_id) == ("refund", "never ran", True, None)
    assert ("check", "refund", "never", "refused") in arrows(drawn)
    assert len(drawn.boxes) == 3, "a step that ran is no step that never did"


def test_boxes_tell_attempts_turns_and_errors() -> None:
    failed = step(2, "pay", 1, attempt=2, status="failed", error_type="Busy")
    [root, again, turn] = graph([step(1, "run"), failed, step(3, "think", 1, iteration=4)], []).boxes
    assert (root.box.note, root.box.tone) == ("step · 12 ms", "good")
    assert (again.box.note, again.box.told) == ("step · 12 ms · attempt 2", "pay: failed, step, 12 ms, attempt 2, Busy")
    assert turn.box.note == "step · 12 ms · turn 4"


def test_of_too_many_steps_there_is_one_box_a_name() -> None:
    nodes = [step(number, f"item {number % 3}") for number in range(BOXES_MAX + 2)]
    nodes[0]["status"] = "failed"
    edges = [edge(number, number + 1) for number in range(BOXES_MAX + 1)]
    drawn = graph(nodes, edges)
    assert drawn.by_name
    assert sorted((one.box.label, one.box.note) for one in drawn.boxes) == [
        ("item 0", "134× · 1 failed"), ("item 1", "134×"), ("item 2", "134×"),
    ]  # fmt: skip
    assert sorted(arrows(drawn)) == [
        ("item 0", "item 1", "sequential", "134×"), ("item 1", "item 2", "sequential", "134×"),
        ("item 2", "item 0", "sequential", "133×"),
    ]  # fmt: skip


def test_boxes_of_names_hang_together_and_open_what_failed() -> None:
    nodes = [step(0, "run"), step(1, "plan", 0)]
    for shard in range(BOXES_MAX):
        nodes += [step(2 * shard + 2, f"shard {shard}.{shard}", 0), step(2 * shard + 3, f"load-{shard}", 2 * shard + 2)]
    nodes[9]["status"] = "failed"
    drawn = graph(nodes, [edge(1, 2), edge(1, 4)])
    assert [(one.box.label, one.box.note, one.box.node_id) for one in drawn.boxes] == [
        ("load-#", "400× · 1 failed", "9"), ("shard #", "400×", "2"), ("run", "1×", "0"), ("plan", "1×", "1"),
    ]  # fmt: skip
    assert sorted(arrows(drawn)) == [
        ("plan", "shard #", "sequential", "2×"), ("run", "plan", "child", ""), ("run", "shard #", "child", ""),
        ("shard #", "load-#", "child", ""),
    ]  # fmt: skip


def test_many_steps_that_are_alike_are_one_box_unless_each_is_asked_for() -> None:
    """300 numbered steps were a row of 300 boxes, 70,000 pixels wide."""
    nodes = [step(0, "reindex"), *(step(number, f"step {number}", 0) for number in range(1, 301)), step(301, "end", 0)]
    nodes[77] |= {"status": "failed", "error_type": "DiskFull"}
    edges = [edge(number, number + 1) for number in range(1, 301)]
    never = (way("step 77", "clean up", condition="failed"),)
    drawn = graph(nodes, edges, ("clean up", "end"), never)
    assert [(one.box.label, one.box.note, one.box.node_id) for one in drawn.boxes] == [
        ("step #", "300× · 1 failed", "77"), ("reindex", "1×", "0"), ("end", "1×", "301"),
        ("clean up", "never ran", None),
    ]  # fmt: skip
    assert sorted(arrows(drawn)) == [
        ("reindex", "step #", "child", ""), ("step #", "clean up", "never", "failed"),
        ("step #", "end", "sequential", "1×"),
    ]  # fmt: skip
    assert drawn.by_name
    every = graph(nodes, edges, ("clean up",), never, each=True)
    assert (len(every.boxes), every.by_name) == (303, False)
    few = [step(number, f"step {number}") for number in range(60)]
    assert len(graph(few, []).boxes) == 60, "as many are a picture"
    named = [step(number, f"{'abcdefghij'[number % 10] * (number // 10 + 1)}") for number in range(90)]
    assert len(graph(named, []).boxes) == 90, "names of their own are kept"


def test_a_map_has_one_box_for_many_steps_that_differ_in_a_number() -> None:
    figures = {"kind": "step", "runs": 5, "failed": 0, "retried": 0, "skipped": 0, "success_rate": 1.0, "p50_ms": 5.0,
               "p95_ms": 9.0}  # fmt: skip
    names = ["plan", *(f"step {number}" for number in range(1, 301)), "publish"]
    steps = [{"name": name, **figures} for name in names]
    steps[77] |= {"failed": 1, "success_rate": 0.8}
    ways = [way(a, b, runs=5, share=1.0) for a, b in itertools.pairwise(names)]
    ways[76] |= {"failed": 1}
    drawn = of_workflow(steps, ways, 5)
    assert [(one.box.label, one.box.note, one.box.tone, one.box.told) for one in drawn.boxes] == [
        ("plan", "5 runs · p50 5.0 ms", "good",
         "plan (step): 5 runs, 0 failed, 0 attempts retried, 0 skipped, p95 9.0 ms"),
        ("step #", "300 steps · 1 failed", "bad", "step #: 300 steps · 1 failed; the worst is step 77 "
         "(step): 5 runs, 1 failed, 0 attempts retried, 0 skipped, p95 9.0 ms"),
        ("publish", "5 runs · p50 5.0 ms", "good",
         "publish (step): 5 runs, 0 failed, 0 attempts retried, 0 skipped, p95 9.0 ms"),
    ]  # fmt: skip
    assert arrows(drawn) == [("plan", "step #", "sequential", ""), ("step #", "publish", "sequential", "")]
    assert (drawn.by_name, drawn.left_out) == (True, 0)


def test_a_map_shows_how_often_each_way_is_taken_and_where_it_fails() -> None:
    figures = {
        "kind": "step",
        "runs": 10,
        "failed": 0,
        "retried": 0,
        "skipped": 0,
        "success_rate": 1.0,
        "p50_ms": 5.0,
        "p95_ms": 9.0,
    }
    steps = [{"name": name, **figures} for name in ("check", "pay", "alone")]
    steps[1] |= {"failed": 4, "success_rate": 0.6}
    ways = [way("check", "pay", condition="ok", failed=4), way("check", "gone"), way("pay", "check", share=1.0)]
    drawn = of_workflow(steps, ways, 10)
    assert [(one.box.label, one.box.note, one.box.tone) for one in drawn.boxes] == [
        ("check", "10 runs · p50 5.0 ms", "good"), ("pay", "40 % fail · p50 5.0 ms", "bad"),
    ]  # fmt: skip
    first, always = drawn.arrows
    assert (first.arrow.label, first.arrow.bad, first.thickness) == ("ok · 50 %", True, 2.5)
    assert always.arrow.label == "", "that all runs went there goes without saying"
    assert drawn.left_out == 1


def test_of_more_steps_than_are_read_one_by_one_the_sums_of_each_name_are_drawn() -> None:
    steps = [
        {"name": "row", "kind": "step", "count": 6_600, "failed": 0},
        {"name": "SELECT", "kind": "db", "count": 6_600, "failed": 0},
        {"name": "chunk", "kind": "step", "count": 150, "failed": 1},
        {"name": "chunk", "kind": "task", "count": 50, "failed": 0},
    ]
    ways = [
        {"from": "chunk", "to": "row", "type": "child", "count": 6_600},
        {"from": "row", "to": "SELECT", "type": "child", "count": 6_600},
        {"from": "row", "to": "row", "type": "sequential", "count": 6_400},
    ]
    drawn = of_sums(steps, ways, every_call=False)
    assert [(one.box.label, one.box.note, one.box.tone) for one in drawn.boxes] == [
        ("chunk", "200× · 1 failed", "bad"), ("row", "6\u202f600×", "good"),
    ]  # fmt: skip
    assert arrows(drawn) == [("chunk", "row", "child", "")]
    assert (drawn.left_out, drawn.by_name) == (6_600, True)
    assert len(of_sums(steps, ways, every_call=True).boxes) == 3


def test_a_hairball_is_thinned_to_its_most_used_ways() -> None:
    figures = {
        "kind": "step",
        "runs": 1,
        "failed": 0,
        "retried": 0,
        "skipped": 0,
        "success_rate": 1.0,
        "p50_ms": 5.0,
        "p95_ms": 9.0,
    }
    names = [f"s{number}" for number in range(20)]
    ways = [way(a, b, share=(at + 1) / 400) for at, (a, b) in enumerate((a, b) for a in names for b in names if a != b)]
    drawn = of_workflow([{"name": name, **figures} for name in names], ways, 1)
    assert len(drawn.arrows) == 60
    assert min(one.arrow.weight for one in drawn.arrows) == (380 - 60 + 1) / 400


def test_long_names_are_cut_in_the_picture_only() -> None:
    name = "a name that is longer than a box is wide"
    [box] = drawing([Box(name, "", "good", "", name)], []).boxes
    assert (box.label, box.box.label) == ("a name that is long…", name)
