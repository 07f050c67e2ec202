"""Sets of spans of a trace, as TraceQL's operators and stages make them."""

from __future__ import annotations

from uuid import UUID

import pytest

from spantree_api.span_search.query import SpanQuery
from spantree_api.span_search.spansets import FoundSpan, NestedSet, TraceSpans, needs_parents, nested_sets, spansets_of
from spantree_api.span_search.traceql import parse

#   1 -> 2 -> 4 -> 6        5 and 3 are 1's, 7 has a parent that is not there, 8 and 9 are each other's
#   1 -> 3
#   1 -> 5
PARENTS = {1: None, 2: 1, 3: 1, 4: 2, 5: 1, 6: 4, 7: 99, 8: 9, 9: 8}


def found_span(number: int, service: str = "a", tokens: int | None = None) -> FoundSpan:
    values = [] if tokens is None else [{"id": 0, "key": "tokens", "value": tokens}]
    return FoundSpan(
        UUID(int=1), number, PARENTS[number], f"s{number}", service, number * 100, number * 101, 1, 2, None, values,
        [{"id": 0, "key": "service.name", "value": service}], None, None, None, "lib", None, 1,
    )  # fmt: skip


def sets_of(text: str, *matched: set[int], **spans: FoundSpan) -> list[tuple[set[int], tuple[tuple[str, object], ...]]]:
    """The sets that `text` makes where its filters, in their order, match these spans."""
    root = parse(text, SpanQuery()).root
    by_number = {span.span_id: span for span in spans.values()}
    trace = TraceSpans(
        {
            number: {one: by_number.get(one) or found_span(one) for one in some}
            for number, some in enumerate(matched, 1)
        },
        dict(PARENTS),
    )
    return [(set(one.spans), one.told) for one in spansets_of(root, trace)]


def spans_of(text: str, *matched: set[int]) -> set[int]:
    """The spans of all these sets."""
    return {span for spans, _ in sets_of(text, *matched) for span in spans}


@pytest.mark.parametrize(
    ("operator", "left", "right", "wanted"),
    [
        ("&&", {1}, {2}, {1, 2}),
        ("&&", {1}, set(), set()),
        ("||", {1}, set(), {1}),
        (">", {1, 2}, {2, 4, 6}, {2, 4}),
        ("<", {4, 6}, {1, 2, 4}, {2, 4}),
        (">>", {1}, {1, 4, 6, 7}, {4, 6}),
        (">>", {2}, {3, 4, 5, 6}, {4, 6}),
        (">>", {8}, {8, 9}, {8, 9}),
        (">>", {1}, {8}, set()),
        ("<<", {6}, {1, 2, 3, 6}, {1, 2}),
        ("<<", {8}, {9}, {9}),
        ("~", {2}, {2, 3, 5, 4}, {3, 5}),
        ("~", {2, 3}, {2, 3}, {2, 3}),
        ("~", {1}, {1}, set()),
        ("!>", {1}, {2, 4}, {4}),
        ("!<", {4}, {2, 6}, {6}),
        ("!>>", {2}, {1, 4, 6}, {1}),
        ("!>>", set(), {4}, {4}),
        ("!<<", {6}, {1, 5}, {5}),
        ("!~", {2}, {2, 3}, {2}),
        ("&>>", {1, 5}, {4, 6}, {1, 4, 6}),
        ("&<<", {6, 5}, {2}, {2, 6}),
        ("&>", {1, 2}, {2}, {1, 2}),
        ("&<", {4}, {2}, {2, 4}),
        ("&~", {2, 4}, {3}, {2, 3}),
    ],
)
def test_operators_tell_spans_by_where_they_are(
    operator: str, left: set[int], right: set[int], wanted: set[int]
) -> None:
    assert spans_of(f"{{}} {operator} {{}}", left, right) == wanted


def test_only_what_is_far_needs_the_parents_of_all() -> None:
    asked = {
        text: needs_parents(parse(text, SpanQuery()).root)
        for text in ("{}", "{} > {}", "{} ~ {}", "{} && {}", "{} !>> {}", "({} &<< {} | count() > 1) && {}")
    }
    assert asked == {
        "{}": False, "{} > {}": False, "{} ~ {}": False, "{} && {}": False, "{} !>> {}": True,
        "({} &<< {} | count() > 1) && {}": True,
    }  # fmt: skip


def test_aggregates_choose_sets_and_are_told() -> None:
    assert sets_of("{} | count() > 1", {1, 2}) == [({1, 2}, (("count()", 2),))]
    assert sets_of("{} | count() > 2", {1, 2}) == []
    assert sets_of("{} | count() = 0", set()) == [], "a set without spans is none"
    # Durations of 1 and 3 ns.
    assert sets_of("{} | avg(duration) = 2ns", {1, 3}) == [({1, 3}, (("avg(duration)", 2.0),))]
    assert sets_of("{} | max(duration) > 2ns | min(duration) < 2ns", {1, 3}) == [
        ({1, 3}, (("max(duration)", 3), ("min(duration)", 1)))
    ]
    tokens = {"one": found_span(1, tokens=40), "two": found_span(2, tokens=2)}
    assert sets_of("{} | sum(.tokens) = 42", {1, 2, 3}, **tokens) == [({1, 2, 3}, (("sum(tokens)", 42),))]
    assert sets_of("{} | avg(span.tokens) = 21", {1, 2, 3}, **tokens) == [({1, 2, 3}, (("avg(tokens)", 21),))]
    assert sets_of("{} | avg(span.tokens) > 0", {3}) == [], "none has the value"


def test_groups_are_sets_of_their_own_until_they_are_one_again() -> None:
    spans = {"two": found_span(2, "b"), "three": found_span(3, "b")}
    grouped = "{} | by(resource.service.name)"
    assert sets_of(grouped, {1, 2, 3}, **spans) == [
        ({2, 3}, (("by(service.name)", "b"),)), ({1}, (("by(service.name)", "a"),)),
    ]  # fmt: skip
    assert sets_of(grouped + " | count() > 1", {1, 2, 3}, **spans) == [
        ({2, 3}, (("by(service.name)", "b"), ("count()", 2)))
    ]
    assert sets_of(grouped + " | coalesce()", {1, 2, 3}, **spans) == [({1, 2, 3}, ())]
    assert sets_of("{} | by(.absent)", {1}) == [({1}, (("by(absent)", None),))]


def test_a_set_is_narrowed_down_by_a_further_filter() -> None:
    assert sets_of("{} | count() > 1 | {}", {1, 2, 3}, {2, 4}) == [({2}, (("count()", 3),))]
    assert sets_of("{} | {}", {1}, {4}) == []


def test_places_in_a_trace_are_ranges_within_ranges() -> None:
    assert nested_sets(PARENTS) == {
        1: NestedSet(3, 14, -1), 5: NestedSet(4, 5, 3), 3: NestedSet(6, 7, 3), 2: NestedSet(8, 13, 3),
        4: NestedSet(9, 12, 8), 6: NestedSet(10, 11, 9), 7: NestedSet(1, 2, -1),
    }  # fmt: skip


def test_a_long_chain_costs_its_length() -> None:
    chain: dict[int, int | None] = {number: number - 1 or None for number in range(1, 100_001)}
    trace = TraceSpans(parents=chain)
    assert trace.below({1}, chain.keys()) == set(range(2, 100_001))
    assert trace.ancestors(chain.keys()) == set(range(1, 100_000))
    assert nested_sets(chain)[100_000] == NestedSet(100_000, 100_001, 99_999)
