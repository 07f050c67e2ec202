"""What spans are found by, wherever it is: the terms of some spans, and which of their traces have them. Pure.

    term     32 bits of `key = value` of an attribute of the span, its scope, its events or its links; of a span's name;
             of a status that is an error
    unit     what one resource sent of one trace: which attributes a resource has is known by its id
    posting  a term and a unit that has it
    segment  the postings of some thousand spans that were written together, sorted by term, and a filter: two bits for
             each of its terms and resources, so that most segments without a term are passed over by one look

A hash only says what may match: whoever searches compares the spans of the traces found. It says so for every match:
equal values have equal terms. A number has the term of its value, 5.0 that of 5; long texts that of their beginning;
lists, objects and null share one for each key.

    postings  "<IIII" numbers of traces, resources, units and postings; 16 bytes a trace id; int64 a resource id;
              uint16 trace, uint16 resource of each unit; uint32 term of each posting; uint16 unit of each posting
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from spantree_exporter import hot_path
from spantree_exporter.span import STATUS_ERROR, Attributes, JsonValue, Span

# Of a value, more is not looked at.
VALUE_CHARS: Final = 200
# Units are numbered by 16 bits, and a segment is read whole.
SEGMENT_SPANS: Final = 4_000
# Bits of the filter for each of its terms, of which two are set: it is wrong for one term in thirty.
_FILTER_BITS: Final = 10
_FILTER_BYTES_MIN: Final = 8
# 2^32 divided by the golden ratio (Knuth, The Art of Computer Programming, 6.4): a second, unlike number of a term.
_MULTIPLIER: Final = 2_654_435_761
_NAME: Final = b"\x00name\x00"
_RESOURCE: Final = b"\x00resource\x00"
_ERROR: Final = crc32(b"\x00error\x00")
_HEADER: Final = struct.Struct("<IIII")
_RESOURCE_ID: Final = struct.Struct("<q")
_UNIT_BITS: Final = 16
_UNIT_MASK: Final = (1 << _UNIT_BITS) - 1


@dataclass(frozen=True, slots=True)
class Segment:
    """The terms of some spans that began from `first_ns` to `last_ns`, as they are stored."""

    spans: int
    first_ns: int
    last_ns: int
    filter: bytes
    postings: bytes


def attribute_term(key: str, value: JsonValue) -> int:
    """The term of an attribute with this value."""
    return crc32(key.encode() + b"\x00" + _text(value))


def text_terms(key: str, text: str) -> set[int]:
    """The terms of an attribute whose value is, or is written, as `text`: as the database writes jsonb as text."""
    terms = {crc32(key.encode() + b"\x00" + text[:VALUE_CHARS].encode(errors="replace"))}
    if text[:1] in "[{":
        terms.add(attribute_term(key, None))
    try:
        number = float(text)
        terms.add(attribute_term(key, int(text) if text.strip("+-").isdigit() else number))
    except (ValueError, OverflowError):
        pass
    return terms


def name_term(name: str) -> int:
    """The term of a span with this name."""
    return crc32(_NAME + name[:VALUE_CHARS].encode(errors="replace"))


def error_term() -> int:
    """The term of a span whose status is an error."""
    return _ERROR


def resource_term(resource_id: int) -> int:
    """What a filter has of a resource."""
    return crc32(_RESOURCE + _RESOURCE_ID.pack(resource_id))


def other_hash(term: int) -> int:
    """The second number that a filter has of a term."""
    return term * _MULTIPLIER & 0xFFFFFFFF


def segments_of(spans: Sequence[Span]) -> Iterator[Segment]:
    """The segments of `spans`, some thousand spans each; which belong together is in their order."""
    for first in range(0, len(spans), SEGMENT_SPANS):
        yield _segment(spans[first : first + SEGMENT_SPANS])


def matching_traces(
    postings: bytes, groups: Iterable[Collection[int]], resources: Iterable[Collection[int] | None]
) -> list[bytes]:
    """The traces of which one unit has some term of each of `groups`, and is of a resource of each of `resources`.

    Of `groups` and `resources` together a place is passed where either has it: they are alternatives of one condition,
    and None stands for no resource.
    """
    trace_count, resource_count, unit_count, count = _HEADER.unpack_from(postings)
    at = _HEADER.size + 16 * trace_count
    ids = _array("q", postings, at, resource_count)
    at += 8 * resource_count
    units = _array("H", postings, at, 2 * unit_count)
    at += 4 * unit_count
    terms = _array("I", postings, at, count)
    of_terms = _array("H", postings, at + 4 * count, count)
    left: set[int] | None = None
    for wanted, of_resources in zip(groups, resources, strict=True):
        found: set[int] = set()
        for term in wanted:
            found.update(of_terms[bisect_left(terms, term) : bisect_right(terms, term)])
        if of_resources:
            places = {place for place, resource_id in enumerate(ids) if resource_id in of_resources}
            found.update(unit for unit in range(unit_count) if units[2 * unit + 1] in places)
        left = found if left is None else left & found
        if not left:
            return []
    chosen = sorted({units[2 * unit] for unit in (range(unit_count) if left is None else left)})
    return [postings[_HEADER.size + 16 * trace : _HEADER.size + 16 * trace + 16] for trace in chosen]


def _segment(spans: Sequence[Span]) -> Segment:
    traces: dict[bytes, int] = {}
    resources: dict[int, int] = {}
    units: dict[tuple[bytes, int], int] = {}
    places: list[int] = []  # of each unit: of its trace, of its resource
    of_spans: list[int] = []
    for span in spans:
        key = (span.trace_id, span.resource.id)
        if (unit := units.get(key)) is None:
            unit = units[key] = len(units)
            places.append(traces.setdefault(span.trace_id, len(traces)))
            places.append(resources.setdefault(span.resource.id, len(resources)))
        of_spans.append(unit)
    native = hot_path.native
    listed = spans if isinstance(spans, list) else list(spans)
    found = None if native is None else native.term_postings(listed, of_spans)
    terms, of_terms, distinct = _postings(listed, of_spans) if found is None else found
    size = max(_FILTER_BYTES_MIN, (distinct + len(resources)) * _FILTER_BITS // 8)
    bits = None if native is None else native.term_filter(terms, size)
    filter_ = bytearray(size) if bits is None else bytearray(bits)
    if bits is None:
        _mark(filter_, set(_array("I", terms, 0, len(terms) // 4)))
    _mark(filter_, map(resource_term, resources))
    parts = [
        _HEADER.pack(len(traces), len(resources), len(units), len(terms) // 4),
        *traces,
        _little(array("q", resources)),
        _little(array("H", places)),
        terms,
        of_terms,
    ]
    starts = [span.start_ns for span in spans]
    return Segment(len(spans), min(starts), max(starts), bytes(filter_), b"".join(parts))


def _postings(spans: Sequence[Span], of_spans: Sequence[int]) -> tuple[bytes, bytes, int]:
    """As native/terms.c: the terms of the postings and their units, sorted, and how many terms differ."""
    found: set[int] = set()
    for span, unit in zip(spans, of_spans, strict=True):
        found.add(name_term(span.name) << _UNIT_BITS | unit)
        if span.status_code == STATUS_ERROR:
            found.add(_ERROR << _UNIT_BITS | unit)
        for attributes in _all_attributes(span):
            for key, value in attributes.items():
                found.add(attribute_term(key, value) << _UNIT_BITS | unit)
    ordered = sorted(found)
    terms = array("I", [posting >> _UNIT_BITS for posting in ordered])
    of_terms = array("H", [posting & _UNIT_MASK for posting in ordered])
    return _little(terms), _little(of_terms), len(set(terms))


def _all_attributes(span: Span) -> Iterator[Attributes]:
    yield span.attributes
    yield span.scope.attributes
    for event in span.events:
        yield event.attributes
    for link in span.links:
        yield link.attributes


def _text(value: JsonValue) -> bytes:
    if isinstance(value, str):
        return value[:VALUE_CHARS].encode(errors="replace")
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, int):
        return b"%d" % value
    if isinstance(value, float):
        return b"%d" % int(value) if value.is_integer() else repr(value).encode()
    return b"\x00"


def _mark(filter_: bytearray, terms: Iterable[int]) -> None:
    bits = 8 * len(filter_)
    for term in terms:
        for number in (term % bits, other_hash(term) % bits):
            filter_[number >> 3] |= 1 << (number & 7)


def _array(code: str, content: bytes, at: int, count: int) -> array[int]:
    found = array(code)
    found.frombytes(content[at : at + found.itemsize * count])
    if sys.byteorder == "big":
        found.byteswap()
    return found


def _little(numbers: array[int]) -> bytes:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()
