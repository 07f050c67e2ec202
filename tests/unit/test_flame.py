"""Flame graphs: nodes of one name below the same names are one frame, as wide as what they and all below them took."""

from __future__ import annotations

from typing import Any

import pytest

from spantree_api.pages.flame import flame_picture
from spantree_api.timeline.flame import DEPTH_MAX, FRAMES_MAX, FlameGraph
from spantree_api.timeline.rows import FlameRow

MS = 1_000_000


def row(number: int, depth: int, name: str, self_ms: float | None, **changes: Any) -> FlameRow:
    values: dict[str, Any] = {
        "span_id": number, "ordinal": 0, "kind": "step", "status": "completed", "started_ns": 0,
        "ended_ns": None if self_ms is None else int(self_ms * MS),
        "self_ns": None if self_ms is None else int(self_ms * MS),
    }  # fmt: skip
    return FlameRow(depth=depth, name=name, **(values | changes))


def drawn(rows: list[FlameRow], at: str = "") -> Any:
    graph = FlameGraph()
    graph.add(rows[:2])
    graph.add(rows[2:])
    return graph.drawn(at)


def told(found: Any) -> list[tuple[int, str, float, float, int]]:
    return [(one["depth"], one["name"], round(one["start"], 3), round(one["share"], 3), one["count"])
            for one in found.frames]  # fmt: skip


ROWS = [
    row(1, 0, "order", 10), row(2, 1, "check", 20), row(3, 2, "SELECT", 30, kind="db"), row(4, 1, "pay", 5),
    row(5, 1, "check", 5, status="failed"), row(6, 2, "SELECT", 30, ended_ns=90 * MS),
]  # fmt: skip


def test_nodes_of_one_name_below_the_same_names_are_one_frame() -> None:
    found = drawn(ROWS)
    assert told(found) == [
        (0, "order", 0.0, 1.0, 1), (1, "check", 0.0, 0.85, 2), (2, "SELECT", 0.0, 0.6, 2), (1, "pay", 0.85, 0.05, 1),
    ]  # fmt: skip
    check, select = found.frames[1:3]
    assert {name: check[name] for name in ("failed", "total_ms", "self_ms", "longest_ms", "longest")} == {
        "failed": 1, "total_ms": 85.0, "self_ms": 25.0, "longest_ms": 20.0, "longest": f"{2:016x}",
    }  # fmt: skip
    assert (select["kind"], select["longest_ms"], select["longest"]) == ("db", 90.0, f"{6:016x}")
    assert (found.path, found.total_ns, found.left_out) == ([], 100 * MS, 0)


def test_a_frame_is_shown_alone_by_its_place() -> None:
    at = drawn(ROWS).frames[1]["at"]
    alone = drawn(ROWS, at)
    assert told(alone) == [(0, "check", 0.0, 1.0, 2), (1, "SELECT", 0.0, 0.706, 2)]
    assert [one["name"] for one in alone.path] == ["order", "check"]
    assert drawn(ROWS, alone.path[0]["at"]).frames == drawn(ROWS).frames
    assert drawn(ROWS, "00000000") is None


def test_of_many_names_those_that_differ_in_a_number_are_one_frame_with_what_is_below_them() -> None:
    rows = [row(1, 0, "run", 0)]
    for number in range(13):
        rows += [row(10 * number + 2, 1, f"shard {number}", 1), row(10 * number + 3, 2, "load", number)]
    found = drawn(rows)
    assert told(found) == [
        (0, "run", 0.0, 1.0, 1), (1, "shard #", 0.0, 1.0, 13), (2, "load", 0.0, 0.857, 13),
    ]  # fmt: skip
    assert found.frames[2]["longest"] == f"{123:016x}"
    assert told(drawn(rows, found.frames[2]["at"])) == [(0, "load", 0.0, 1.0, 13)]
    assert len(drawn(rows[:-2]).frames) == 24, "twelve are told one by one; of the first the load took nothing"


def test_what_runs_or_took_no_time_has_no_width() -> None:
    assert told(drawn([row(1, 0, "run", None), row(2, 1, "done", 4), row(3, 1, "now", None)])) == [
        (0, "run", 0.0, 1.0, 1), (1, "done", 0.0, 1.0, 1),
    ]  # fmt: skip
    nothing = drawn([row(1, 0, "run", None), row(2, 1, "zero", 0)])
    assert (nothing.frames, nothing.total_ns) == ([], 0)
    assert drawn([]).frames == []


@pytest.mark.parametrize("deep", [True, False])
def test_a_picture_is_bounded(deep: bool) -> None:
    rows = [row(number, number if deep else 1, f"step {'x' * number}", 1) for number in range(5_000)]
    found = drawn([row(9_999, 0, "run", 1_000_000), *rows[1:]])
    assert len(found.frames) == (DEPTH_MAX + 1 if deep else 1)
    assert found.left_out == (1 if deep else 4_999)
    wide = drawn(
        [row(9_999, 0, "run", 0), *(row(at, at % 2 + 1, chr(at) * 3, 1) for at in range(0x4E00, 0x4E00 + 1_000))]
    )
    assert len(wide.frames) == FRAMES_MAX


def test_a_picture_lists_what_is_right_below() -> None:
    frames = drawn(ROWS).frames
    picture = flame_picture(frames)
    assert [(one.x, one.width, one.y, one.tone, one.label) for one in picture.frames] == [
        (0.0, 100.0, 0, "k-step", "order"), (0.0, 85.0, 22, "bad", "check"), (0.0, 60.0, 44, "k-db", "SELECT"),
        (85.0, 5.0, 22, "k-step", "pay"),
    ]  # fmt: skip
    assert picture.frames[1].told == "check: 85 %, 85 ms, 25 ms of its own, 2 times, 1 failed"
    assert (picture.height, picture.above["name"]) == (66, "order")
    assert [one["name"] for one in picture.below] == ["check", "pay"]
    alone = flame_picture(frames[:1])
    assert (alone.below, alone.above) == (frames[:1], None)
    assert flame_picture([]).below == []
