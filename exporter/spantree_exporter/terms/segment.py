"""Some thousand spans that were written together, by what they are found by: a row of `span_terms`. Pure.

A search reads a few pieces of a row, never all of it: which spans have a term, which were sent by a resource, which
took so long. What all of these name is a span that may match (of_span.py says how far); its trace is then looked up.

    spans        are numbered in the order in which they were written
    list         numbers of spans, 16 bits each
    entry        a term, 32 bits, and how many spans have it, 16 bits; sorted by term, as are the lists of terms
    fence        how many entries, and how many numbers in lists, there are before the terms of one of some equal ranges
    code         a duration to one part in a thousand: 6 bits of its octave, and the 10 bits behind the highest
    `lists`      16 bytes a trace id; of each span the number of its trace; the lists of the resources, in the order of
                 `resources`; the spans by code, and the codes in this order; the entries; the lists of the terms

Integers are little-endian; what is counted is in columns of its own, so that SQL finds a piece by arithmetic.
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from spantree_exporter import hot_path
from spantree_exporter.span import Span
from spantree_exporter.terms.of_span import terms_of

# Spans are numbered by 16 bits, and what is common has long lists.
SEGMENT_SPANS: Final = 4_000
# A row has to fit on a page, without what lies beside it.
SEGMENT_RESOURCES: Final = 100
# As in native/terms.c: entries between two fences, as far as there may be so many fences.
_ENTRIES_EACH: Final = 128
_BUCKETS_MAX: Final = 256
OCTAVES: Final = 54
_TERM_BITS: Final = 32
_ENTRY: Final = struct.Struct("<IH")
_TERM: Final = struct.Struct("<I")
_ID_BYTES: Final = 16
_NUMBER_BYTES: Final = 2
_LONGEST_NS: Final = (1 << 63) - 1

TermColumns: TypeAlias = tuple[bytes, bytes, list[int], list[int]]
"""(entries, the lists of their terms, the fences of both)."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Spans that began from `first_ns` to `last_ns`, as they are stored; `ends` count numbers, as fences do."""

    spans: int
    traces: int
    first_ns: int
    last_ns: int
    resources: list[int]
    resource_ends: list[int]
    octave_ends: list[int]
    entry_fences: list[int]
    list_fences: list[int]
    lists: bytes

    @property
    def shape(self) -> Shape:
        """Where it has what."""
        return Shape(self.spans, self.traces, self.entry_fences[-1])


class Piece(NamedTuple):
    """`length` bytes of the lists of a segment from `offset` on. A tuple: a search makes many."""

    offset: int
    length: int


class Shape(NamedTuple):
    """Where in its lists a segment has what; all that is told of one is in the order of the lists."""

    spans: int
    traces: int
    entries: int

    @property
    def first_entry(self) -> int:
        """Where the entries begin."""
        return _ID_BYTES * self.traces + 4 * _NUMBER_BYTES * self.spans

    @property
    def first_list(self) -> int:
        """Where the lists of the terms begin."""
        return self.first_entry + _ENTRY.size * self.entries

    def traces_of_spans(self) -> Piece:
        """What `chosen_traces` reads."""
        return Piece(0, _ID_BYTES * self.traces + _NUMBER_BYTES * self.spans)

    def of_resource(self, first: int, end: int) -> Piece:
        """The list of a resource, from what ends before it to its own end."""
        return self._numbers(1, first, end)

    def by_duration(self, first: int, end: int) -> tuple[Piece, Piece]:
        """Spans in the order of their durations, and the codes of these."""
        return self._numbers(2, first, end), self._numbers(3, first, end)

    def of_term(self, first: int, count: int) -> Piece:
        """The list of a term, behind `first` numbers of others."""
        return Piece(self.first_list + _NUMBER_BYTES * first, _NUMBER_BYTES * count)

    def _numbers(self, column: int, first: int, end: int) -> Piece:
        before = _ID_BYTES * self.traces + _NUMBER_BYTES * self.spans * column
        return Piece(before + _NUMBER_BYTES * first, _NUMBER_BYTES * (end - first))


def duration_code(took_ns: int) -> int:
    """The code of a duration; longer ones have no smaller code. Negative ones have that of none."""
    took_ns = min(max(took_ns, 0), _LONGEST_NS)
    if took_ns < 1_024:
        return took_ns
    shift = took_ns.bit_length() - 11
    return shift + 1 << 10 | took_ns >> shift & 1_023


def octave_of(code: int) -> int:
    """Which octave a code is of."""
    return code >> 10


def term_bytes(term: int) -> bytes:
    """A term as an entry begins with it."""
    return _TERM.pack(term)


def list_in(entries: bytes, term: int) -> tuple[int, int] | None:
    """How many numbers lists have before that of `term`, and it has itself; None where it is not among the entries."""
    wanted, at = _TERM.pack(term), -1
    while (at := entries.find(wanted, at + 1)) >= 0:
        if at % _ENTRY.size == 0:
            counts = numbers_in(entries)[2::3]
            return sum(counts[: at // _ENTRY.size]), counts[at // _ENTRY.size]
    return None


def numbers_in(piece: bytes) -> array[int]:
    """A list, or codes."""
    found = array("H")
    found.frombytes(piece)
    if sys.byteorder == "big":
        found.byteswap()
    return found


def spans_between(numbers: array[int], codes: array[int], bounds: tuple[int, int]) -> array[int]:
    """Of spans by duration, those whose codes are within the bounds."""
    return numbers[bisect_left(codes, bounds[0]) : bisect_right(codes, bounds[1])]


def chosen_traces(traces_of_spans: bytes, shape: Shape, chosen: Sequence[int]) -> list[bytes]:
    """The trace ids of the spans that are `chosen`, each once."""
    of_spans = numbers_in(traces_of_spans[_ID_BYTES * shape.traces :])
    traces = sorted({of_spans[span] for span in chosen})
    return [traces_of_spans[_ID_BYTES * trace : _ID_BYTES * (trace + 1)] for trace in traces]


def segments_of(spans: Sequence[Span]) -> Iterator[Segment]:
    """The segments of `spans`, some thousand spans each."""
    some: list[Span] = []
    resources: set[int] = set()
    for span in spans:
        if len(some) >= SEGMENT_SPANS or (len(resources) >= SEGMENT_RESOURCES and span.resource.id not in resources):
            yield _segment(some)
            some, resources = [], set()
        some.append(span)
        resources.add(span.resource.id)
    if some:
        yield _segment(some)


def _segment(spans: list[Span]) -> Segment:
    traces: dict[bytes, int] = {}
    of_spans = array("H", [traces.setdefault(span.trace_id, len(traces)) for span in spans])
    by_resource: dict[int, list[int]] = {}
    for number, span in enumerate(spans):
        by_resource.setdefault(span.resource.id, []).append(number)
    resources = sorted(by_resource)
    resource_ends: list[int] = []
    of_resources = array("H")
    for resource in resources:
        of_resources.extend(by_resource[resource])
        resource_ends.append(len(of_resources))
    native = hot_path.native
    by_duration = None if native is None else native.term_durations(spans)
    by_term = None if native is None else native.term_lists(spans)
    numbers, codes, octave_ends = _durations(spans) if by_duration is None else by_duration
    entries, lists, entry_fences, list_fences = _lists(spans) if by_term is None else by_term
    starts = [span.start_ns for span in spans]
    return Segment(
        len(spans),
        len(traces),
        min(starts),
        max(starts),
        resources,
        resource_ends,
        octave_ends,
        entry_fences,
        list_fences,
        b"".join((*traces, little_endian(of_spans), little_endian(of_resources), numbers, codes, entries, lists)),
    )


def _durations(spans: Sequence[Span]) -> tuple[bytes, bytes, list[int]]:
    """As native/terms.c: the spans by their durations, the codes of these, and how many there are up to each octave."""
    ordered = sorted((duration_code(span.end_ns - span.start_ns), number) for number, span in enumerate(spans))
    codes = [code for code, _ in ordered]
    numbers = [number for _, number in ordered]
    octave_ends = [bisect_left(codes, (octave + 1) << 10) for octave in range(OCTAVES)]
    return little_endian(array("H", numbers)), little_endian(array("H", codes)), octave_ends


def _lists(spans: Sequence[Span]) -> TermColumns:
    """As native/terms.c: the entries, the lists of their terms, and the fences of both."""
    having: dict[int, dict[int, None]] = {}
    for number, span in enumerate(spans):
        for term in terms_of(span):
            having.setdefault(term, {})[number] = None
    return _columns(having)


def _columns(having: Mapping[int, Collection[int]]) -> TermColumns:
    ordered = sorted(having)
    buckets = min(max(len(ordered) // _ENTRIES_EACH, 1), _BUCKETS_MAX)
    entries: list[bytes] = []
    numbers = array("H")
    entry_fences: list[int] = []
    list_fences: list[int] = []
    for term in ordered:
        while len(entry_fences) <= bucket_of(term, buckets):
            entry_fences.append(len(entries))
            list_fences.append(len(numbers))
        entries.append(_ENTRY.pack(term, len(having[term])))
        numbers.extend(having[term])
    more = buckets + 1 - len(entry_fences)
    return (
        b"".join(entries),
        little_endian(numbers),
        entry_fences + more * [len(entries)],
        list_fences + more * [len(numbers)],
    )


def bucket_of(term: int, buckets: int) -> int:
    """Which of so many equal ranges a term is in."""
    return term * buckets >> _TERM_BITS


def merge_lists(parts: Sequence[tuple[bytes, bytes, int]]) -> TermColumns:
    """The columns of several segments as those of one: (entries, lists, number of its first span) of each, in order."""
    native = hot_path.native
    merged = None if native is None else native.merge_term_lists(list(parts))
    if merged is not None:
        return merged
    having: dict[int, list[int]] = {}
    for entries, lists, first in parts:
        numbers, at = numbers_in(lists), 0
        for term, count in _ENTRY.iter_unpack(entries):
            having.setdefault(term, []).extend(number + first for number in numbers[at : at + count])
            at += count
    return _columns(having)


def little_endian(numbers: array[int]) -> bytes:
    """Numbers as they are stored; changes the array where the machine stores them otherwise."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()
