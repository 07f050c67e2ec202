"""The terms of spans: all that a span says is found again, on both ways alike."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.factories import NOON_NS, span, trace_id
from tests.hot_paths import PYTHON, each_hot_path, on

from spantree_exporter.span import Attributes, Event, JsonValue, Span
from spantree_exporter.span_terms import (
    SEGMENT_SPANS,
    Segment,
    attribute_term,
    error_term,
    matching_traces,
    name_term,
    other_hash,
    resource_term,
    segments_of,
    text_terms,
)

__all__ = ["each_hot_path"]
pytestmark = pytest.mark.usefixtures("each_hot_path")

_SCALARS: st.SearchStrategy[JsonValue] = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15).map(lambda number: number + 0.0),
    st.booleans(),
    st.none(),
    st.lists(st.integers(), max_size=2).map(list),
)
_ATTRIBUTES = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), _SCALARS, max_size=5)


def sent(*held: tuple[int, Attributes], name: str = "step", service: str = "shop") -> list[Span]:
    """Spans of the traces of these numbers, with attributes as they are, numbered from 1 on."""
    spans = []
    for number, (trace, attributes) in enumerate(held, 1):
        spans.append(span(number, trace=trace, name=name, service=service, start_ns=NOON_NS + number))
        spans[-1].attributes = attributes
    return spans


def numbered(count: int) -> list[Span]:
    """So many traces of one span, each with an id of its own."""
    held: list[tuple[int, Attributes]] = [(n, {"id": f"order-{n}", "at": n}) for n in range(count)]
    return sent(*held)


def found(segment: Segment, *terms: int) -> list[bytes]:
    """The traces that have all of these."""
    return matching_traces(segment.postings, [{term} for term in terms], [None for _ in terms])


def passes(segment: Segment, term: int) -> bool:
    """Whether the filter has a term."""
    bits = 8 * len(segment.filter)
    return all(segment.filter[number % bits // 8] >> number % bits % 8 & 1 for number in (term, other_hash(term)))


@given(st.lists(st.tuples(st.integers(0, 3), _ATTRIBUTES, _ATTRIBUTES), min_size=1, max_size=8))
def test_each_attribute_is_found_on_either_way(held: list[tuple[int, Attributes, Attributes]]) -> None:
    spans = sent(*((trace, attributes) for trace, attributes, _ in held))
    for one, (_, _, of_event) in zip(spans, held, strict=True):
        one.events = [Event(NOON_NS, "happened", of_event)]
    [segment] = segments_of(spans)
    with on(PYTHON):
        assert list(segments_of(spans)) == [segment]
    for one in spans:
        for attributes in (one.attributes, one.events[0].attributes):
            for key, value in attributes.items():
                assert one.trace_id in found(segment, attribute_term(key, value), name_term("step"))
                assert passes(segment, attribute_term(key, value))
                if isinstance(value, str):
                    assert attribute_term(key, value) in text_terms(key, value)
        assert passes(segment, resource_term(one.resource.id))


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        (200, ["200", "200.0"]),
        (200.0, ["200.0", "200"]),
        (72.5, ["72.5"]),
        (1e-7, ["0.0000001", "1e-07"]),
        (-3, ["-3"]),
        (True, ["true"]),
        (9_007_199_254_740_993, ["9007199254740993"]),
        ("200", ["200"]),
        (["a"], ['["a"]']),
        ({"b": 1}, ['{"b": 1}']),
    ],
)
def test_a_value_is_found_by_its_text(value: JsonValue, texts: list[str]) -> None:
    for text in texts:
        assert attribute_term("key", value) in text_terms("key", text)


def test_a_whole_number_is_found_whichever_way_it_was_sent() -> None:
    assert attribute_term("key", 5) == attribute_term("key", 5.0)
    assert attribute_term("key", 1) != attribute_term("key", True)


def test_terms_of_one_resource_and_trace_are_told_apart_from_those_of_others() -> None:
    spans = [
        *sent((1, {"a": 1}), (1, {"b": 2}), (2, {"a": 1}), (3, {"b": 2})),
        *sent((2, {"b": 2}), service="bank"),
        span(9, trace=4, error="no"),
    ]
    [segment] = segments_of(spans)
    a, b = attribute_term("a", 1), attribute_term("b", 2)
    one, two, three, four = (trace_id(number) for number in (1, 2, 3, 4))
    assert (found(segment, a), found(segment, b), found(segment, a, b)) == ([one, two], [one, two, three], [one])
    assert found(segment, error_term()) == [four]
    assert found(segment, attribute_term("a", 2)) == []
    bank = frozenset({spans[4].resource.id})
    assert matching_traces(segment.postings, [{b}, set()], [None, bank]) == [two]
    assert matching_traces(segment.postings, [{a}], [bank]) == [one, two], "either will do"
    assert matching_traces(segment.postings, [set()], [frozenset()]) == []
    assert (segment.spans, segment.first_ns, segment.last_ns) == (6, NOON_NS, NOON_NS + 4)


def test_a_filter_passes_over_most_of_what_it_lacks() -> None:
    [segment] = segments_of(numbered(500))
    assert sum(passes(segment, attribute_term("id", f"other-{n}")) for n in range(1_000)) < 100
    assert len(segment.filter) < 2_000


def test_many_spans_are_several_segments() -> None:
    spans = numbered(SEGMENT_SPANS + 1)
    assert [segment.spans for segment in segments_of(spans)] == [SEGMENT_SPANS, 1]


def test_numbers_beyond_64_bits_are_found() -> None:
    [segment] = segments_of(sent((1, {"large": 10**30})))
    assert found(segment, attribute_term("large", 10**30)) == [trace_id(1)]
