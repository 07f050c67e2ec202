"""Answers for a model's context: bounded, and they say what is left out."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from spantree_deploy.mcp.answers import UNTRUSTED, bounded, compact, written

_LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=400))
_VALUES = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=9), inner, max_size=9)
)


def test_what_is_empty_is_left_out_and_long_texts_are_cut_and_say_by_how_much() -> None:
    row: dict[str, Any] = {
        "id": "a",
        "error": None,
        "note": "x" * 12,
        "tags": [],
        "hidden": False,
        "count": 0,
        "more": {"deep": None},
    }
    assert compact(row, 10) == {"id": "a", "note": "xxxxxxxxxx... (2 more characters)", "hidden": False, "count": 0}
    assert compact([row], 100, keys=("note", "absent")) == [{"note": "x" * 12}]


def test_rows_that_do_not_fit_are_counted() -> None:
    rows = [{"number": number, "text": "x" * 100} for number in range(50)]
    text = written({"days": 7}, rows, name="rows", more="Next page.", fewer="Ask for less.", max_chars=1000)
    answer = json.loads(text)
    kept = len(answer["data"]["rows"])
    assert len(text) < 1100
    assert 0 < kept < 50
    assert answer == {
        "note": UNTRUSTED,
        "data": {"days": 7, "rows": rows[:kept]},
        "left_out": f"{50 - kept} more rows did not fit. Ask for less.",
    }
    assert json.loads(written({}, rows[:1], name="rows")) == {"note": UNTRUSTED, "data": {"rows": rows[:1]}}


def test_a_large_value_is_cut_until_it_fits_and_a_small_one_is_whole() -> None:
    assert bounded({"a": ["b", 1]}) == ({"a": ["b", 1]}, False)
    shown, cut = bounded({"input": "x" * 100_000, "rows": [{"text": "y" * 900}] * 500})
    assert cut
    assert len(json.dumps(shown)) <= 24_000


@given(_VALUES)
def test_whatever_comes_is_bounded(value: Any) -> None:
    shown, _ = bounded(value, 2000)
    json.dumps(shown)
    assert len(written({"value": shown})) < 2000 * 3 + len(UNTRUSTED) + 200


def test_what_nobody_sees_is_escaped_and_stays_what_it_was() -> None:
    sent = "a\x1b[31m\x9b2J\u202eb\U000e0041\u200bc \u00e9\U0001f4a5\x7f"
    text = written({"text": sent})
    assert json.loads(text)["data"]["text"] == sent
    assert r"a\u001b[31m\u009b2J\u202eb\udb40\udc41\u200bc \u00e9".replace(r"\u00e9", "\u00e9") in text
    assert not set(text) & {*"\x1b\x9b\u202e\U000e0041\u200b\x7f"}
