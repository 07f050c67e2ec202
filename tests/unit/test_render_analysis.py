"""An analysis in a terminal."""

from __future__ import annotations

from typing import Any

from spantree_deploy.render import Printed
from spantree_deploy.render_analysis import analysis_lines

ANSWER: dict[str, Any] = {
    "execution_id": "a" * 32,
    "by": "rules",
    "model": None,
    "fallback": None,
    "message": None,
    "root_cause": "charge (tool) failed with\n\x1b[31mCardDeclined",
    "first_failed_node": {"id": "4" * 16, "name": "charge", "why": "nothing failed before it"},
    "category": "code",
    "known_error": None,
    "suggestion": "Ask for another card.",
    "cascade": ["4" * 16],
    "failed_by": "itself",
    "retries": {"expected": 0, "unexpected": 0, "gave_up": 0},
    "differs_from_last_good": None,
    "fixes": ["Show the form again."],
    "prevention": [],
    "same_cause": None,
    "created_at": "2026-11-20T11:00:00.000000000Z",
    "tokens": None,
}


def text_of(lines: list[Printed]) -> list[str]:
    return ["".join(text for text, _ in pieces) for pieces, _ in lines]


def test_what_is_known_has_a_line() -> None:
    assert text_of(analysis_lines(ANSWER)) == [
        "cause         charge (tool) failed with \x1b[31mCardDeclined",
        "why there     nothing failed before it",
        "suggestion    Ask for another card.",
        "fix           Show the form again.",
        "by            rules",
    ]


def test_what_differs_and_who_else_failed_of_it_has_lines_too() -> None:
    answer = {
        **ANSWER,
        "known_error": "card_declined",
        "model": "m-1",
        "differs_from_last_good": {
            "execution_id": "b" * 32,
            "changed_count": 3,
            "first_difference": {"path": "order > charge"},
            "versions": [{"service": "shop", "version": ["1.5", None]}],
        },
        "same_cause": {"count": 7, "first_seen_at": "2026-11-19T10:00:00.000000000Z", "workflows": ["order"]},
    }
    assert text_of(analysis_lines(answer))[2:6] == [
        "known as      card_declined",
        f"last good run {'b' * 32}: 3 steps went differently, first order > charge",
        "version       shop 1.5, in the last good run -",
        "same cause    7 others in 30 days, since 2026-11-19 10:00:00 UTC, in order",
    ]
    assert text_of(analysis_lines({**answer, "fallback": "it timed out"}))[-2:] == [
        "by            m-1",
        "no model      it timed out",
    ]


def test_an_execution_that_did_not_fail_has_one_line() -> None:
    answer = {**ANSWER, "first_failed_node": None, "message": "no failed nodes: the execution is completed"}
    assert text_of(analysis_lines(answer)) == ["no failed nodes: the execution is completed"]
