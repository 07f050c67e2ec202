"""Segments that become one find what they found, and the newest first."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.factories import NOON_NS, SECOND_NS, span, trace_id
from tests.hot_paths import PYTHON, each_hot_path, on
from tests.unit.test_span_terms import found, matching

from spantree_api.span_search.query import NS_MAX, NS_MIN
from spantree_api.span_search.term_match import Place, SegmentRow, Wanted, left_by_part
from spantree_exporter.span import Span
from spantree_exporter.terms.merge import MERGED_BYTES, MERGED_RESOURCES, MERGED_SPANS, Part, Small, merged, together
from spantree_exporter.terms.of_span import attribute_term, name_term
from spantree_exporter.terms.segment import SEGMENT_SPANS, Segment, duration_code, segments_of

__all__ = ["each_hot_path"]
pytestmark = pytest.mark.usefixtures("each_hot_path")

# Of a span: trace, service, value, duration in seconds, start in seconds after noon.
_SPANS = st.tuples(st.integers(0, 4), st.sampled_from("abc"), st.integers(0, 3), st.integers(0, 9), st.integers(0, 99))


def made(held: tuple[int, str, int, int, int]) -> Span:
    trace, service, value, took_s, at_s = held
    start_ns = NOON_NS + at_s * SECOND_NS
    return span(
        trace=trace, service=service, attributes={"value": value}, start_ns=start_ns, duration_ns=took_s * SECOND_NS
    )


def segment_of(spans: list[Span]) -> Segment:
    [segment] = segments_of(spans)
    return segment


def row_with(parts: list[Part]) -> SegmentRow:
    ends, first_ns, last_ns = (list(column) for column in zip(*parts, strict=True))
    return SegmentRow(0, UUID(int=1), 0, 0, 0, None, None, 0, 0, None, None, None, ends, first_ns, last_ns)


@given(st.lists(st.lists(_SPANS, min_size=1, max_size=6), min_size=1, max_size=5))
def test_one_of_several_finds_what_each_has(batches: list[list[tuple[int, str, int, int, int]]]) -> None:
    spans = [[made(one) for one in batch] for batch in batches]
    segments = [segment_of(some) for some in spans]
    one, parts = merged([(segment, ()) for segment in segments])
    with on(PYTHON):
        assert merged([(segment, ()) for segment in segments]) == (one, parts)
    # As if all had been written at once, the batch with the latest span first.
    in_order = sorted(zip(segments, spans, strict=True), key=lambda pair: pair[0].last_ns, reverse=True)
    assert one == segment_of([single for _, some in in_order for single in some])
    every = [single for some in spans for single in some]
    for single in every:
        value = attribute_term("value", single.attributes["value"])
        assert single.trace_id in found(one, value, name_term("step"))
        took = duration_code(single.end_ns - single.start_ns)
        of_service = Place(frozenset(), frozenset({single.resource.id}))
        wanted = Wanted((of_service, Place(frozenset({value}), frozenset())), (took, took))
        assert set(matching(one, wanted)) == {trace for each in segments for trace in matching(each, wanted)}
    assert found(one, attribute_term("value", 4)) == []


@given(st.lists(st.lists(_SPANS, min_size=1, max_size=3), min_size=2, max_size=8), st.integers(1, 7))
def test_what_was_merged_is_merged_again(batches: list[list[tuple[int, str, int, int, int]]], first: int) -> None:
    segments = [segment_of([made(one) for one in batch]) for batch in batches]
    whole, of_whole = merged([(segment, ()) for segment in segments])
    halves = [merged([(segment, ()) for segment in some]) for some in (segments[:first], segments[first:]) if some]
    again, of_again = merged(halves)
    assert (again.spans, again.traces, again.first_ns, again.last_ns) == (
        whole.spans, whole.traces, whole.first_ns, whole.last_ns
    )  # fmt: skip
    for value in range(5):
        assert set(found(again, attribute_term("value", value))) == set(found(whole, attribute_term("value", value)))
    # Few spans are one part, however often they are merged.
    assert of_again == of_whole == [Part(whole.spans, whole.first_ns, whole.last_ns)]


def test_parts_are_of_some_thousand_spans_the_newest_first() -> None:
    batches = [
        [span(trace=number, start_ns=NOON_NS + hour * 3_600 * SECOND_NS + number) for number in range(1_500)]
        for hour in range(4)
    ]
    one, parts = merged([(segment_of(batch), ()) for batch in batches])
    hours = [NOON_NS + hour * 3_600 * SECOND_NS for hour in range(4)]
    assert parts == [Part(3_000, hours[2], hours[3] + 1_499), Part(6_000, hours[0], hours[1] + 1_499)]
    assert found(one, name_term("step"))[0] == trace_id(0)


def test_spans_of_other_parts_than_the_range_are_left_out() -> None:
    row = row_with([Part(10, 50, 90), Part(20, 10, 60), Part(30, 20, 40)])
    left = [3, 9, 10, 25]
    assert left_by_part(row, left, NS_MIN, NS_MAX) == [([3, 9], 60), ([10], 40), ([25], NS_MIN)]
    assert left_by_part(row, left, 61, NS_MAX) == [([3, 9], 60)]
    assert left_by_part(row, left, NS_MIN, 15) == [([10], 40)]
    # Both ends of a range are inside it.
    assert left_by_part(row, left, 60, 60) == [([3, 9], 60), ([10], 40)]
    assert left_by_part(row, left, 90, 90) == [([3, 9], 60)]
    assert left_by_part(row, left, NS_MIN, 10) == [([10], 40)]
    assert left_by_part(row, [12, 15], 0, 100) == [([12, 15], 40)]
    row.part_ends = None
    assert left_by_part(row, left, 61, NS_MAX) == [(left, NS_MIN)]


def test_what_becomes_one_fits_into_it() -> None:
    def small(spans: int = 100, size: int = 1_000, resources: frozenset[int] = frozenset({1})) -> Small:
        return Small(spans, size, resources)

    assert together([small() for _ in range(20)]) == range(20)
    assert together([small(SEGMENT_SPANS) for _ in range(20)]) == range(MERGED_SPANS // SEGMENT_SPANS)
    assert together([small(size=MERGED_BYTES // 5) for _ in range(20)]) == range(5)
    assert together([small(size=MERGED_BYTES // 2) for _ in range(20)]) == range(0)
    many = [small(resources=frozenset(range(100 * n, 100 * n + 100))) for n in range(20)]
    assert MERGED_RESOURCES // 100 == 3
    assert together(many) == range(0), "three are not worth it"
    assert together([*many[:2], *(small() for _ in range(9))]) == range(11)
    assert together([small(size=MERGED_BYTES), *(small() for _ in range(9))]) == range(1, 10)
    assert together([]) == range(0)
