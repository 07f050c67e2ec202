"""What a person reads of an execution in a terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest

from spantree_deploy.console import Line, Stream
from spantree_deploy.render import (
    Printed,
    diff_lines,
    duration_text,
    error_text,
    executions_table,
    failure_line,
    groups_table,
    moment_text,
    one_line,
    tree_lines,
)

START_NS = 1_700_000_000_000_000_000


def plain(line: Line) -> str:
    return "".join(text for text, _ in line)


def text_of(printed: list[Printed]) -> list[str]:
    return [plain(line) for line, _ in printed]


def node(number: int, name: str, **more: Any) -> dict[str, Any]:
    return {
        "id": str(number),
        "parent_id": None,
        "name": name,
        "kind": "step",
        "status": "completed",
        "status_reason": None,
        "sequence": number,
        "started_ns": START_NS + number * 1_000_000,
        "ended_ns": START_NS + number * 1_000_000 + 12_000_000,
        "duration_ms": 12.0,
        "attempt": 1,
        "task_key": None,
        "retry": {"expected": None, "max_attempts": None},
        "iteration": None,
        "error_type": None,
        "error_message": None,
        "model": None,
        "input_tokens": None,
        "output_tokens": None,
        **more,
    }


def execution(nodes: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    tree = {"nodes": nodes, "edges": more.pop("edges", []), "skipped_nodes": more.pop("skipped_nodes", [])}
    return {
        "execution_id": "e" * 32,
        "name": "order",
        "status": "completed",
        "duration_ms": 1500.0,
        "started_ns": START_NS,
        "started_at": "2026-11-28T03:04:05.678901234Z",
        "workflow_name": None,
        "error_summary": None,
        "run_id": None,
        "conversation_id": None,
        "first_failed_node": None,
        "tree": tree,
        **more,
    }


def test_a_tree_tells_attempts_errors_conditions_and_what_never_ran() -> None:
    busy = {"task_key": "charge", "error_type": "shop.errors.Busy", "error_message": "try\nlater", "parent_id": "1"}
    shown = tree_lines(
        execution(
            [
                node(1, "fulfil", kind="workflow"),
                node(2, "charge", status="retried", **busy),
                node(3, "charge", attempt=2, task_key="charge", parent_id="1", retry={"max_attempts": 3}),
                node(4, "ship", parent_id="1", iteration=2),
                node(5, "write", kind="llm", parent_id="4", model="m-1", input_tokens=3, status="running"),
            ],
            edges=[
                {"from": "3", "to": "4", "type": "conditional", "condition": "express"},
                {"from": "2", "to": "3", "type": "retry", "condition": None},
                {"from": "2", "to": "5", "type": "join", "condition": None},
                {"from": "gone", "to": "5", "type": "join", "condition": None},
            ],
            skipped_nodes=["wrap"],
            run_id="r-1",
            conversation_id="c-1",
        )
    )
    assert text_of(shown) == [
        f"order  ✔ completed  1.50 s  execution {'e' * 32}  run r-1  conversation c-1",
        "└── fulfil  workflow  ✔ completed  12 ms  +1.0 ms",
        "    ├── charge  step  ↻ retried  12 ms  +2.0 ms  attempt 1 of 2  Busy: try later",
        "    ├── charge  step  ✔ completed  12 ms  +3.0 ms  attempt 2 of 2 (at most 3)",
        "    ├── ship  step  ✔ completed  12 ms  +4.0 ms  turn 2  ← conditional = express (charge)",
        "    │   └── write  llm  … running  12 ms  +5.0 ms  m-1  3+0 tokens  ← join (charge, another execution)",
        "    └── wrap  ⤼ skipped",
    ]


def test_attempts_without_an_id_of_their_task_are_counted_by_what_followed_what() -> None:
    nodes = [
        node(1, "GET /retry", kind="http_server"),
        node(2, "GET /flaky", status="retried", parent_id="1"),
        node(3, "GET /flaky", status="retried", parent_id="1", attempt=2),
        node(4, "GET /flaky", parent_id="1", attempt=3),
        node(5, "GET /flaky", parent_id="1"),
    ]
    edges = [{"from": str(one), "to": str(one + 1), "type": "retry", "condition": None} for one in (2, 3)]
    assert text_of(tree_lines(execution(nodes, edges=edges)))[2:] == [
        "    ├── GET /flaky  step  ↻ retried  12 ms  +2.0 ms  attempt 1 of 3",
        "    ├── GET /flaky  step  ↻ retried  12 ms  +3.0 ms  attempt 2 of 3",
        "    ├── GET /flaky  step  ✔ completed  12 ms  +4.0 ms  attempt 3 of 3",
        "    └── GET /flaky  step  ✔ completed  12 ms  +5.0 ms",
    ]


def test_a_root_that_was_over_before_its_execution_has_a_line_of_its_own() -> None:
    nodes = [node(1, "order", kind="http_server"), node(2, "pay", parent_id="1", duration_ms=1498.0)]
    assert text_of(tree_lines(execution(nodes))) == [
        f"order  ✔ completed  1.50 s  execution {'e' * 32}",
        "└── order  http_server  ✔ completed  12 ms  +1.0 ms",
        "    └── pay  step  ✔ completed  1.50 s  +2.0 ms",
    ]


def test_a_root_that_is_the_execution_by_name_is_its_first_line() -> None:
    failed = {"error_type": "Busy", "error_message": "later", "status": "failed"}
    root = node(1, "order", kind="workflow", duration_ms=1500.0, **failed)
    nodes = [root, node(2, "pay", parent_id="1"), node(3, "ship", parent_id="1")]
    shown = tree_lines(execution(nodes, status="failed", skipped_nodes=["wrap"]))
    assert text_of(shown) == [
        f"order  ✘ failed  1.50 s  execution {'e' * 32}  workflow  Busy: later",
        "├── pay  step  ✔ completed  12 ms  +2.0 ms",
        "├── ship  step  ✔ completed  12 ms  +3.0 ms",
        "└── wrap  ⤼ skipped",
    ]
    other = tree_lines(execution([node(1, "order", status="failed", duration_ms=1500.0)], status="partial"))
    assert text_of(other) == [f"order  ◐ partial  1.50 s  execution {'e' * 32}  step  ✘ failed"]


def test_tokens_are_told_whether_or_not_a_model_is_named() -> None:
    (_, line) = tree_lines(execution([node(1, "ask", input_tokens=7, output_tokens=2)]))
    assert plain(line[0]) == "└── ask  step  ✔ completed  12 ms  +1.0 ms  7+2 tokens"


def test_dependencies_are_told_in_the_order_of_the_tree_whatever_that_of_the_edges() -> None:
    nodes = [node(1, "stock"), node(2, "credit"), node(3, "fraud"), node(4, "collect")]
    edges = [{"from": str(n), "to": "4", "type": "dependency", "condition": None} for n in (1, 2, 3)]
    told = [tree_lines(execution(nodes, edges=order)) for order in (edges, edges[::-1], [edges[1], edges[2], edges[0]])]
    assert told[0] == told[1] == told[2]
    assert plain(told[0][-1][0]).endswith("← dependency (stock, credit, fraud)")


def test_a_node_whose_parent_is_not_there_is_a_root() -> None:
    assert len(tree_lines(execution([node(1, "a"), node(2, "b", parent_id="gone")]))) == 3


def test_a_tree_of_any_depth_is_printed() -> None:
    nodes = [node(1, "a")] + [node(n, "a", parent_id=str(n - 1)) for n in range(2, 3_000)]
    assert len(tree_lines(execution(nodes))) == 3_000


def test_every_name_is_one_line_wherever_it_is_printed() -> None:
    torn = "two\nlines\r\nand\ttabs"
    first = {"id": "1", "name": torn, "error_type": None, "error_message": torn}
    edges = [{"from": "1", "to": "2", "type": "conditional", "condition": torn}]
    answer = execution(
        [node(1, torn, status_reason=torn, model=torn), node(2, "b")],
        edges=edges,
        name=torn,
        run_id=torn,
        skipped_nodes=[torn + "x"],
        first_failed_node=first,
        error_summary=torn,
    )
    failure = failure_line(answer)
    assert failure is not None
    lines = [*text_of(tree_lines(answer)), *text_of(executions_table([answer])), plain(failure)]
    assert [line for line in lines if any(char in line for char in "\n\r\t")] == []


class TestTables:
    def test_a_list_has_one_line_for_each_execution(self) -> None:
        first = {"id": "1", "name": "charge", "error_type": "Busy", "error_message": "later"}
        failed = execution([], status="failed", first_failed_node=first)
        assert text_of(executions_table([failed, execution([], name="o", duration_ms=3.0)])) == [
            "started (UTC)        status       duration  execution                         name   why",
            f"2026-11-28 03:04:05  ✘ failed     1.50 s    {'e' * 32}  order  charge: Busy: later",
            f"2026-11-28 03:04:05  ✔ completed  3.0 ms    {'e' * 32}  o",
        ]

    def test_wide_characters_keep_the_columns(self) -> None:
        lines = text_of(executions_table([execution([], name="注文", error_summary="x"), execution([], name="abcd")]))
        assert lines[1].endswith("  注文  x")

    def test_a_group_tells_how_often_since_when_and_an_example(self) -> None:
        group = {
            "count": 3,
            "state": "open",
            "reopened_at": None,
            "first_seen_at": "2026-11-27T01:00:00.000000000Z",
            "last_seen_at": "2026-11-28T02:00:00.000000000Z",
            "category": None,
            "workflows": ["order", "refund"],
            "example": {"execution_id": "e" * 32, "error_summary": "busy"},
        }
        assert text_of(groups_table([group]))[1] == (
            f"3      open   2026-11-27 01:00:00  2026-11-28 02:00:00  -         order, refund  {'e' * 32}  busy"
        )
        back = {**group, "reopened_at": "2026-11-28T02:00:00.000000000Z", "example": None}
        assert text_of(groups_table([back]))[1] == (
            "3      reopened  2026-11-27 01:00:00  2026-11-28 02:00:00  -         order, refund  -           -"
        )

    def test_a_moment_that_is_none_is_a_dash(self) -> None:
        assert moment_text(None) == "-"


def test_a_diff_tells_what_changed_and_counts_the_rest() -> None:
    same = {
        "path": "order",
        "change": "same",
        "differs": [],
        "status": ["completed", "completed"],
        "attempts": [1, 1],
        "duration_ms": [1.0, 2.0],
        "error_type": [None, None],
        "slower_or_faster": False,
        "inputs_differ": True,
    }
    answer = {
        "a": "a" * 32,
        "b": "b" * 32,
        "summary": {"added": 1, "removed": 0, "changed": 2, "same": 1},
        "nodes": [
            same,
            {
                **same,
                "path": "order > pay",
                "change": "changed",
                "differs": ["status", "attempts", "input"],
                "status": ["failed", "completed"],
                "attempts": [3, 1],
            },
            {**same, "path": "order > mail", "change": "changed", "differs": ["input"]},
            {**same, "path": "order > ship", "change": "added", "status": [None, "completed"], "inputs_differ": False},
        ],
        "first_difference": {"path": "order > pay"},
    }
    assert text_of(diff_lines(answer)) == [
        f"a {'a' * 32}  b {'b' * 32}  1 added, 0 removed, 2 changed, 1 same",
        "~ order > pay  status failed -> completed  attempts 3 -> 1  inputs differ",
        "+ order > ship",
        "~ 1 of the changed ones differ in their input alone",
        "first difference: order > pay",
    ]


@pytest.mark.parametrize(
    ("duration_ms", "told"),
    [
        (None, "-"),
        (0.04, "0.0 ms"),
        (9.96, "10.0 ms"),
        (250.4, "250 ms"),
        (1_234.0, "1.23 s"),
        (61_000.0, "1 min 01 s"),
        (7_260_000.0, "2 h 01 min"),
        (180_000_000.0, "2 d 02 h"),
    ],
)
def test_durations_are_told_as_people_say_them(duration_ms: float | None, told: str) -> None:
    assert duration_text(duration_ms) == told


@pytest.mark.parametrize(
    ("kind", "message", "told"),
    [
        ("shop.Busy", "later", "Busy: later"),
        ("Busy", "Busy: later", "Busy: later"),
        ("shop.Busy", "shop.Busy: later", "Busy: later"),
        ("Busy", None, "Busy"),
        (None, "later", "later"),
        (None, None, "no reason was given"),
        ("503", "HTTP 503", "HTTP 503"),
        ("503", "busy", "503: busy"),
    ],
)
def test_an_error_is_its_type_and_its_message(kind: str | None, message: str | None, told: str) -> None:
    assert error_text({"error_type": kind, "error_message": message}) == told


def test_what_failed_first_is_told_with_its_reason_or_not_at_all() -> None:
    first = {"id": "1", "name": "charge", "error_type": "Busy", "error_message": "later"}
    failed = failure_line(execution([], first_failed_node=first))
    assert failed is not None
    assert plain(failed) == "failed first: charge: Busy: later"
    assert failure_line(execution([])) is None


def test_a_long_text_is_cut_to_one_line() -> None:
    assert one_line("a\n  b\tc") == "a b c"
    assert one_line("x" * 500) == "x" * 159 + "…"


def test_what_a_terminal_would_act_on_is_shown_instead() -> None:
    evil = "\x1b]0;title\x07\x1b[2J\x9b31m\u202egnp.exe\x7f\r"
    first = {"id": "1", "name": evil, "error_type": evil, "error_message": evil}
    broken = node(1, evil, kind=evil, status=evil, status_reason=evil, model=evil, error_type=evil, error_message=evil)
    answer = execution([broken], name=evil, status=evil, run_id=evil, first_failed_node=first, skipped_nodes=[evil])
    failure = {**answer, "started_at": evil + "x" * 30, "error_summary": evil}
    failed = failure_line(answer)
    assert failed is not None
    pipe = io.StringIO()
    Stream(lambda: pipe).lines([*tree_lines(answer), *executions_table([failure]), (failed, "")])
    shown = pipe.getvalue()
    assert "\u241b]0;title\u2407\u241b[2J\ufffd31m\ufffdgnp.exe" in shown
    assert not set(shown) & (set(map(chr, range(32))) - {"\n"} | {"\x7f", "\x9b", "\u202e"})
