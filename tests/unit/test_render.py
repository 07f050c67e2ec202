"""What a person reads of an execution in a terminal."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console, RenderableType

from spantree_deploy.render import duration_text, error_text, execution_tree, failure_text, failures_table, one_line


def text_of(renderable: RenderableType, width: int = 200) -> list[str]:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    return [line.rstrip() for line in capture.get().splitlines()]


def node(number: int, name: str, **more: Any) -> dict[str, Any]:
    return {
        "id": str(number),
        "parent_id": None,
        "name": name,
        "kind": "step",
        "status": "completed",
        "status_reason": None,
        "sequence": number,
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
        "run_id": None,
        "conversation_id": None,
        "first_failed_node": None,
        "tree": tree,
        **more,
    }


def test_a_tree_tells_attempts_errors_conditions_and_what_never_ran() -> None:
    busy = {"task_key": "charge", "error_type": "shop.errors.Busy", "error_message": "try\nlater", "parent_id": "1"}
    shown = execution_tree(
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
        "├── fulfil  workflow  ✔ completed  12 ms",
        "│   ├── charge  step  ↻ retried  12 ms  attempt 1 of 2  Busy: try later",
        "│   ├── charge  step  ✔ completed  12 ms  attempt 2 of 2 (at most 3)",
        "│   └── ship  step  ✔ completed  12 ms  turn 2  ← conditional = express (charge)",
        "│       └── write  llm  … running  12 ms  m-1 3+0 tokens  ← join (charge, another execution)",
        "└── wrap  ⤼ skipped",
    ]


def test_what_people_wrote_is_text_and_no_markup() -> None:
    shown = execution_tree(execution([node(1, "[bold]loud[/bold] [red")], name="[link=x]y"))
    assert text_of(shown)[0].startswith("[link=x]y  ✔ completed")
    assert text_of(shown)[1] == "└── [bold]loud[/bold] [red  step  ✔ completed  12 ms"


def test_a_narrow_terminal_folds_lines_and_keeps_the_tree() -> None:
    lines = text_of(execution_tree(execution([node(1, "a" * 30), node(2, "b" * 30)])), width=40)
    assert all(len(line) <= 40 for line in lines)
    assert [line[:4] for line in lines if line.startswith(("├", "└"))] == ["├── ", "└── "]


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
    ],
)
def test_durations_are_told_as_people_say_them(duration_ms: float | None, told: str) -> None:
    assert duration_text(duration_ms) == told


@pytest.mark.parametrize(
    ("kind", "message", "told"),
    [
        ("shop.Busy", "later", "Busy: later"),
        ("Busy", "Busy: later", "Busy: later"),
        ("Busy", None, "Busy"),
        (None, "later", "later"),
        (None, None, "no reason was given"),
    ],
)
def test_an_error_is_its_type_and_its_message(kind: str | None, message: str | None, told: str) -> None:
    assert error_text({"error_type": kind, "error_message": message}) == told


def test_what_failed_first_is_told_with_its_reason_or_not_at_all() -> None:
    first = {"id": "1", "name": "charge", "error_type": "Busy", "error_message": "later"}
    failed = failure_text(execution([], first_failed_node=first))
    assert str(failed) == "failed first: charge: Busy: later"
    assert failure_text(execution([])) is None


def test_a_long_text_is_cut_to_one_line() -> None:
    assert one_line("a\n  b\tc") == "a b c"
    assert one_line("x" * 500) == "x" * 159 + "…"


def test_what_a_terminal_would_act_on_is_shown_instead() -> None:
    evil = "\x1b]0;title\x07\x1b[2J\x9b31m\u202egnp.exe\x7f\r"
    first = {"id": "1", "name": evil, "error_type": evil, "error_message": evil}
    broken = node(1, evil, kind=evil, status=evil, status_reason=evil, model=evil, error_type=evil, error_message=evil)
    answer = execution([broken], name=evil, status=evil, run_id=evil, first_failed_node=first, skipped_nodes=[evil])
    failure = {**answer, "started_at": evil + "x" * 30, "error_summary": evil}
    failed = failure_text(answer)
    assert failed is not None
    shown = "\n".join(
        [*text_of(execution_tree(answer)), *text_of(failed), *text_of(failures_table({"failures": [failure]}))]
    )
    assert "\u241b]0;title\u2407\u241b[2J\ufffd31m\ufffdgnp.exe" in shown
    assert not set(shown) & (set(map(chr, range(32))) - {"\n"} | {"\x7f", "\x9b", "\u202e"})
