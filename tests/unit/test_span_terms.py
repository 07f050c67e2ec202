"""The terms of spans: all that a span says is found again, on both ways alike."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.factories import NOON_NS, SECOND_NS, span, trace_id
from tests.hot_paths import PYTHON, each_hot_path, on

from spantree_api.span_search.term_match import Place, SegmentRow, Wanted, left_after, steps_for
from spantree_exporter.span import Attributes, Event, JsonValue, Span
from spantree_exporter.terms.of_span import attribute_term, error_term, name_term, text_terms
from spantree_exporter.terms.segment import (
    OCTAVES,
    SEGMENT_RESOURCES,
    SEGMENT_SPANS,
    Piece,
    Segment,
    bucket_of,
    chosen_traces,
    duration_code,
    octave_of,
    segments_of,
    term_bytes,
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


def row_of(segment: Segment, wanted: Wanted) -> SegmentRow:
    """As the statement segments_with_terms tells it."""
    octaves = [0, *segment.octave_ends]
    row = SegmentRow(
        segment.last_ns, UUID(int=1), segment.spans, segment.traces, segment.entry_fences[-1],
        segment.resources, segment.resource_ends, octaves[octave_of(wanted.codes[0])],
        octaves[octave_of(wanted.codes[1]) + 1], [], [], [], None, None, None,
    )  # fmt: skip
    assert row.near is not None and row.before is not None and row.looks is not None
    for number, (_, term) in enumerate(wanted.looks(), 1):
        fence = bucket_of(term, len(segment.entry_fences) - 1)
        first, end = segment.entry_fences[fence : fence + 2]
        near = segment.lists[row.shape.first_entry + 6 * first : row.shape.first_entry + 6 * end]
        if term_bytes(term) in near:
            row.near.append(near)
            row.before.append(segment.list_fences[fence])
            row.looks.append(number)
    return row


def matching(segment: Segment, wanted: Wanted) -> list[bytes]:
    """The traces of the spans that all of `wanted` is true of, as a search finds them."""

    def read(piece: Piece) -> bytes:
        return segment.lists[piece.offset : piece.offset + piece.length]

    row = row_of(segment, wanted)
    left: Sequence[int] | None = None
    for step in steps_for(row, wanted, wanted.looks()) or ():
        left = left_after(step, map(read, step.pieces), wanted, left)
        if not left:
            break
    return chosen_traces(read(row.shape.traces_of_spans()), row.shape, left or ())


def found(segment: Segment, *terms: int) -> list[bytes]:
    """The traces of the spans that have all of these."""
    return matching(segment, Wanted(tuple(Place(frozenset({term}), frozenset()) for term in terms)))


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
                if isinstance(value, str):
                    assert attribute_term(key, value) in text_terms(key, value)
        assert one.trace_id in matching(segment, Wanted((Place(frozenset(), frozenset({one.resource.id})),)))


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


def test_one_span_has_all_that_is_looked_for() -> None:
    spans = [
        *sent((1, {"a": 1}), (1, {"b": 2}), (2, {"a": 1}), (3, {"b": 2}), (4, {"a": 1, "b": 2})),
        *sent((2, {"b": 2}), service="bank"),
        span(9, trace=5, error="no"),
    ]
    [segment] = segments_of(spans)
    a, b = attribute_term("a", 1), attribute_term("b", 2)
    one, two, three, four, five = (trace_id(number) for number in (1, 2, 3, 4, 5))
    assert (found(segment, a), found(segment, b)) == ([one, two, four], [one, two, three, four])
    assert found(segment, a, b) == [four]
    assert found(segment, error_term()) == [five]
    assert found(segment, attribute_term("a", 2)) == []
    bank, of_a, of_b = frozenset({spans[5].resource.id}), frozenset({a}), frozenset({b})
    nothing: frozenset[int] = frozenset()
    assert matching(segment, Wanted((Place(of_b, nothing), Place(nothing, bank)))) == [two]
    assert matching(segment, Wanted((Place(of_a, bank),))) == [one, two, four], "either will do"
    assert matching(segment, Wanted((Place(of_a | of_b, nothing),))) == [one, two, three, four], "either will do"
    assert matching(segment, Wanted((Place(nothing, frozenset({7})),))) == []
    assert Wanted((Place(of_a, nothing), Place(nothing, nothing))).is_nothing
    assert (segment.spans, segment.traces, segment.first_ns, segment.last_ns) == (7, 5, NOON_NS, NOON_NS + 5)


@given(st.lists(st.integers(-5, 2**63 - 1 - NOON_NS), min_size=1, max_size=30), st.data())
def test_spans_are_found_by_how_long_they_took(took_ns: list[int], data: st.DataObject) -> None:
    spans = [span(trace=number) for number in range(len(took_ns))]
    for one, ns in zip(spans, took_ns, strict=True):
        one.end_ns = one.start_ns + ns
    [segment] = segments_of(spans)
    with on(PYTHON):
        assert list(segments_of(spans)) == [segment]
    low, high = sorted(data.draw(st.tuples(st.sampled_from(took_ns), st.sampled_from(took_ns))))
    of_these = matching(segment, Wanted((), (duration_code(low), duration_code(high))))
    assert {trace_id(number) for number, ns in enumerate(took_ns) if low <= ns <= high} <= set(of_these)
    # To one part in a thousand, so that few others are looked at.
    # One that ended before it began is found as one that took no time.
    least, most = max(low, 0) * 0.999 - 1, max(high, 0) * 1.001 + 1
    nearly = {trace_id(number) for number, ns in enumerate(took_ns) if least <= max(ns, 0) <= most}
    assert set(of_these) <= nearly


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_a_longer_duration_has_no_smaller_code(one_ns: int, other_ns: int) -> None:
    assert (duration_code(min(one_ns, other_ns)) <= duration_code(max(one_ns, other_ns))) is True
    assert octave_of(duration_code(one_ns)) < OCTAVES


def test_a_duration_and_a_service_are_of_one_span() -> None:
    spans = [*sent((1, {}), (2, {})), *sent((2, {}), service="bank")]
    spans[1].end_ns = spans[1].start_ns + 5 * SECOND_NS
    [segment] = segments_of(spans)
    shop, bank = spans[0].resource.id, spans[2].resource.id
    long = (duration_code(4 * SECOND_NS), duration_code(2**63 - 1))
    assert matching(segment, Wanted((Place(frozenset(), frozenset({shop})),), long)) == [trace_id(2)]
    assert matching(segment, Wanted((Place(frozenset(), frozenset({bank})),), long)) == []
    assert matching(segment, Wanted((Place(frozenset(), frozenset({shop, bank})),), long)) == [trace_id(2)]


def test_each_of_many_terms_is_found_between_its_fences() -> None:
    [segment] = segments_of(numbered(2_000))
    assert len(segment.entry_fences) > 20
    for number in range(0, 2_000, 7):
        assert found(segment, attribute_term("id", f"order-{number}"), name_term("step")) == [trace_id(number)]
    assert [number for number in range(2_000) if found(segment, attribute_term("id", f"other-{number}"))] == []


def test_what_many_resources_sent_is_several_segments() -> None:
    spans = [span(trace=number, resource={"pod": str(number)}) for number in range(SEGMENT_RESOURCES + 1)]
    assert [len(segment.resources) for segment in segments_of(spans)] == [SEGMENT_RESOURCES, 1]


def test_many_spans_are_several_segments() -> None:
    spans = numbered(SEGMENT_SPANS + 1)
    assert [segment.spans for segment in segments_of(spans)] == [SEGMENT_SPANS, 1]


def test_numbers_beyond_64_bits_are_found() -> None:
    [segment] = segments_of(sent((1, {"large": 10**30})))
    assert found(segment, attribute_term("large", 10**30)) == [trace_id(1)]
