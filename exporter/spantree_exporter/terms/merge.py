"""Segments of spans as one larger one, for a search does the same for each, whatever it holds. Pure.

What is merged is told by parts: a search for the newest looks at spans of later parts first, and one for some hours at
none of others. Numbers of spans are those of one segment after the other, the newest first.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from spantree_exporter.terms.segment import (
    OCTAVES,
    SEGMENT_SPANS,
    Piece,
    Segment,
    little_endian,
    merge_lists,
    numbers_in,
)

# Spans are numbered by 16 bits, and a term may be of all of them.
MERGED_SPANS: Final = (1 << 16) - 1
# A row has to fit on a page, of which fences and parts take half.
MERGED_RESOURCES: Final = 300
# In memory a merge takes some ten times as much.
MERGED_BYTES: Final = 8 * 2**20
# Two more are not worth what one costs.
_ROWS_MIN: Final = 4
_NUMBER_BITS: Final = 16


class Part(NamedTuple):
    """Some spans of a segment, up to the number `end`, which began from `first_ns` to `last_ns`."""

    end: int
    first_ns: int
    last_ns: int


@dataclass(frozen=True, slots=True)
class Small:
    """What is known of a segment before it is read."""

    spans: int
    bytes: int
    resources: frozenset[int]


def together(found: Sequence[Small]) -> range:
    """Which of them, in a row, become one; empty where it is worth none."""
    first = 0
    while first + _ROWS_MIN <= len(found):
        end, spans, size, resources = first, 0, 0, frozenset[int]()
        for one in found[first:]:
            spans, size, resources = spans + one.spans, size + one.bytes, resources | one.resources
            if spans > MERGED_SPANS or size > MERGED_BYTES or len(resources) > MERGED_RESOURCES:
                break
            end += 1
        if end - first >= _ROWS_MIN:
            return range(first, end)
        first = max(end, first + 1)
    return range(0)


def merged(segments: Sequence[tuple[Segment, Sequence[Part]]]) -> tuple[Segment, list[Part]]:
    """One segment of them all, and its parts. At most MERGED_SPANS spans together; a segment without parts is one."""
    ordered = sorted(segments, key=lambda one: one[0].last_ns, reverse=True)
    traces: dict[bytes, int] = {}
    of_spans = array("H")
    by_resource: dict[int, array[int]] = {}
    durations: list[int] = []
    terms: list[tuple[bytes, bytes, int]] = []
    parts: list[Part] = []
    for segment, own_parts in ordered:
        first, lists, shape = len(of_spans), segment.lists, segment.shape
        ids = [lists[at : at + 16] for at in range(0, 16 * segment.traces, 16)]
        of_own = [traces.setdefault(one, len(traces)) for one in ids]
        own = _read(lists, shape.traces_of_spans())[16 * segment.traces :]
        of_spans.extend(of_own[number] for number in numbers_in(own))
        for resource, numbers in _by_resource(segment):
            by_resource.setdefault(resource, array("H")).extend(number + first for number in numbers)
        in_order, codes = (numbers_in(_read(lists, piece)) for piece in shape.by_duration(0, segment.spans))
        durations.extend(code << _NUMBER_BITS | number + first for number, code in zip(in_order, codes, strict=True))
        terms.append((lists[shape.first_entry : shape.first_list], lists[shape.first_list :], first))
        whole = [Part(segment.spans, segment.first_ns, segment.last_ns)]
        parts += [part._replace(end=part.end + first) for part in own_parts or whole]
    durations.sort()
    resources = sorted(by_resource)
    of_resources, resource_ends = array("H"), []
    for resource in resources:
        of_resources.extend(by_resource[resource])
        resource_ends.append(len(of_resources))
    entries, lists_of_terms, entry_fences, list_fences = merge_lists(terms)
    in_order = array("H", [one & (1 << _NUMBER_BITS) - 1 for one in durations])
    codes = array("H", [one >> _NUMBER_BITS for one in durations])
    columns = (of_spans, of_resources, in_order, codes)
    return (
        Segment(
            len(of_spans),
            len(traces),
            min(segment.first_ns for segment, _ in ordered),
            ordered[0][0].last_ns,
            resources,
            resource_ends,
            [sum(segment.octave_ends[octave] for segment, _ in ordered) for octave in range(OCTAVES)],
            entry_fences,
            list_fences,
            b"".join((*traces, *map(little_endian, columns), entries, lists_of_terms)),
        ),
        _fewer(parts),
    )


def _read(lists: bytes, piece: Piece) -> bytes:
    return lists[piece.offset : piece.offset + piece.length]


def _by_resource(segment: Segment) -> Iterator[tuple[int, array[int]]]:
    first = 0
    for resource, end in zip(segment.resources, segment.resource_ends, strict=True):
        yield resource, numbers_in(_read(segment.lists, segment.shape.of_resource(first, end)))
        first = end


def _fewer(parts: Sequence[Part]) -> list[Part]:
    """Neighbours of up to SEGMENT_SPANS spans together as one: no more than twice as many as there are such."""
    found: list[Part] = []
    for part in parts:
        before = found[-2].end if len(found) > 1 else 0
        if found and part.end - before <= SEGMENT_SPANS:
            last = found.pop()
            part = Part(part.end, min(part.first_ns, last.first_ns), max(part.last_ns, last.last_ns))
        found.append(part)
    return found
