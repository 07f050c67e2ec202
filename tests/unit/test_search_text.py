"""What an execution is found by: words as they are stored and as they are asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.api_rows import execution, node

from spantree_exporter.rows import SpanFacts
from spantree_exporter.search_text import TERMS_MAX, WORD_CHARS, search_terms, tsquery_of, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("charge_card", ("charge", "card")),
        ("POST /chat", ("post", "chat")),
        ("CardDeclinedError: 402", ("carddeclinederror", "card", "declined", "error", "402")),
        ("HTTPServer", ("httpserver", "http", "server")),
        ("Größe 東京", ("größe", "東京")),
        ("a a A", ("a",)),
        ("x" * 200, ("x" * WORD_CHARS,)),
        (" .:/ ", ()),
    ],
)
def test_a_text_falls_into_words(text: str, words: tuple[str, ...]) -> None:
    assert words_of(text) == words


def _root(**attributes: object) -> SpanFacts:
    return SpanFacts(1, None, 1, "root", 1, 0, "", 0, 1, 2, "agent", [], {}, [], attributes)


def test_an_execution_is_found_by_what_it_says() -> None:
    row = execution(
        name="order", workflow_name="order-flow", entry="POST /orders", services=["agent", "bank"], user_id="Ada",
        error_category="timeout", first_failed_error_type="TimeoutError", error_summary="charge: no answer",
    )  # fmt: skip
    told = _root(**{"order.id": 77, "vip": True, "ratio": 0.5, "tags": ["x"], "http.route": "/Orders"})
    nodes = [node(1, "charge"), node(2, "charge", error_type="E7", error_message="broken pipe")]
    assert search_terms(row, nodes, [told]) == sorted(
        {
            "@agent:root", "~0", "=user_id:Ada", "=order.id:77", "=vip:true", "=http.route:/Orders",
            "order", "flow", "post", "orders", "agent", "bank", "ada", "timeout", "timeouterror", "error", "charge",
            "no", "answer", "77", "true", "e7", "broken", "pipe",
        }
    )  # fmt: skip


def test_terms_do_not_depend_on_the_order_of_spans_and_attributes() -> None:
    first, second = _root(a="1", b="2"), _root(b="2", a="1")
    second.span_id = 2
    assert search_terms(execution(), [], [first, second]) == search_terms(execution(), [], [second, first])


def test_a_trace_of_many_names_has_a_bounded_row() -> None:
    nodes = [node(number, f"step{number}") for number in range(1, 5_000)]
    terms = search_terms(execution(name="backfill"), nodes)
    assert len(terms) == TERMS_MAX
    assert "backfill" in terms


def test_a_value_that_no_row_can_hold_is_left_out() -> None:
    terms = search_terms(execution(), [], [_root(a="x\x00y", b="\ud800", c="kept")])
    assert {term for term in terms if term.startswith("=")} == {"=c:kept"}


def test_every_word_has_to_be_there_and_longer_ones_may_be_beginnings() -> None:
    assert tsquery_of("Charge id") == "('charge':* & 'id')"
    assert tsquery_of("a'b\\", ["=k:a'b\\"]) == "'=k:a''b\\\\' | ('a' & 'b')"
    assert tsquery_of("...") is None


@given(st.text(max_size=60))
def test_what_is_stored_is_found_by_any_of_its_words(text: str) -> None:
    terms = set(search_terms(execution(name=text or "x")))
    assert set(words_of(text)) <= terms
