"""Which spans of a segment have all that is looked for, by pieces of it that are read. Pure.

A segment's row says where to look, and how much lies there (`steps_for`). The shortest is read first, for many segments
at once, and the next only of those where something is left (`left_after`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, NamedTuple
from uuid import UUID

from spantree_api.span_search.query import NS_MIN
from spantree_exporter.terms.segment import (
    Piece,
    Shape,
    duration_code,
    list_in,
    numbers_in,
    octave_of,
    spans_between,
    term_bytes,
)

_LONGEST: Final = duration_code((1 << 63) - 1)
# Fewer than one in so many of a list are looked up in it one by one, rather than reading all of it.
_FEW: Final = 16


@dataclass(frozen=True, slots=True)
class Place:
    """What each match has: some of the terms, or a resource of these."""

    terms: frozenset[int]
    resources: frozenset[int]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What each match has, all of it one span; `codes` are those that its duration is between."""

    places: tuple[Place, ...]
    codes: tuple[int, int] = (0, _LONGEST)

    @property
    def is_nothing(self) -> bool:
        """Whether nothing can match."""
        return any(not place.terms and not place.resources for place in self.places) or self.codes[0] > self.codes[1]

    @property
    def is_by_duration(self) -> bool:
        """Whether durations are bounded at all."""
        return self.codes != (0, _LONGEST)

    def looks(self) -> list[tuple[int, int]]:
        """Each place's number and terms, in the order in which a SegmentRow tells of them."""
        return [(number, term) for number, place in enumerate(self.places) for term in sorted(place.terms)]

    def parameters(self) -> dict[str, object]:
        """For the statement `segments_with_terms`; a place that a resource may do for is not among those it tests."""
        first, last = self.codes
        looks = self.looks()
        tested = [None if self.places[number].resources else number for number, _ in looks]
        return {
            "look_places": tested,
            "look_terms": [term for _, term in looks],
            "look_bytes": [term_bytes(term) for _, term in looks],
            "places": len({number for number in tested if number is not None}),
            "by_resource": any(place.resources for place in self.places),
            "first_octave": octave_of(first),
            "last_octave": octave_of(last),
        }


@dataclass(slots=True)
class SegmentRow:
    """A segment as far as it is read to begin with, see `segments_with_terms`.

    `looks` are numbers, from 1 on, of those whose terms may be there; `near` and `before` tell of each the entries of
    its range, and how many numbers lists have before that.
    """

    last_ns: int
    id: UUID
    spans: int
    traces: int
    entries: int
    resources: list[int] | None
    resource_ends: list[int] | None
    shorter: int
    up_to_longest: int
    near: list[bytes] | None
    before: list[int] | None
    looks: list[int] | None
    part_ends: list[int] | None
    part_first_ns: list[int] | None
    part_last_ns: list[int] | None

    @property
    def shape(self) -> Shape:
        """Where it has what."""
        return Shape(self.spans, self.traces, self.entries)


class Step(NamedTuple):
    """What is read to know which spans have one thing: `pieces`, of which so many `numbers` are then looked at.

    `cuts`: of one piece that has more than what is wanted, the numbers that are. `is_duration`: numbers, then codes.
    """

    numbers: int
    pieces: tuple[Piece, ...]
    cuts: tuple[tuple[int, int], ...] = ()
    is_duration: bool = False


def steps_for(row: SegmentRow, wanted: Wanted, looks: Sequence[tuple[int, int]]) -> list[Step] | None:
    """What has to be read of a segment, what is shortest first; None where no span of it matches.

    `looks` are those of `wanted`.
    """
    shape = row.shape
    lists: list[list[Piece]] = [[] for _ in wanted.places]
    for look, near, before in zip(row.looks or (), row.near or (), row.before or (), strict=True):
        number, term = looks[look - 1]
        if (entry := list_in(near, term)) is not None:
            lists[number].append(shape.of_term(before + entry[0], entry[1]))
    steps: list[Step] = []
    for place, pieces in zip(wanted.places, lists, strict=True):
        by_resources = _by_resources(row, shape, place.resources) if place.resources else None
        if pieces and by_resources is not None:
            cut = [
                Piece(by_resources.pieces[0].offset + 2 * first, 2 * (end - first)) for first, end in by_resources.cuts
            ]
            steps.append(_by_lists([*pieces, *cut]))
        elif pieces:
            steps.append(_by_lists(pieces))
        elif by_resources is not None:
            steps.append(by_resources)
        else:
            return None
    if wanted.is_by_duration:
        pieces_of_both = shape.by_duration(row.shorter, row.up_to_longest)
        steps.append(Step(row.up_to_longest - row.shorter, pieces_of_both, is_duration=True))
    return sorted(steps, key=lambda step: step.numbers)


def _by_lists(pieces: Sequence[Piece]) -> Step:
    return Step(sum(piece.length for piece in pieces) // 2, tuple(pieces))


def _by_resources(row: SegmentRow, shape: Shape, resources: frozenset[int]) -> Step | None:
    if row.resources is None or row.resource_ends is None:
        return None
    ends = row.resource_ends
    bounds = [
        (ends[index - 1] if index else 0, ends[index])
        for index, resource in enumerate(row.resources)
        if resource in resources
    ]
    if not bounds:
        return None
    first, end = bounds[0][0], bounds[-1][1]
    numbers = sum(end - first for first, end in bounds)
    cuts = tuple((begin - first, stop - first) for begin, stop in bounds)
    return Step(numbers, (shape.of_resource(first, end),), cuts)


def left_by_part(row: SegmentRow, left: Sequence[int], from_ns: int, to_ns: int) -> list[tuple[Sequence[int], int]]:
    """Of the spans that are left those of each part that is of the range, and the latest start of all later parts.

    `left` in order, as are the parts: mostly the newest first, see terms/merge.py.
    """
    if row.part_ends is None or row.part_first_ns is None or row.part_last_ns is None:
        return [(left, NS_MIN)]
    found: list[tuple[Sequence[int], int]] = []
    latest_ns = list(accumulate(reversed(row.part_last_ns), max, initial=NS_MIN))
    begin = 0
    for end, first_ns, last_ns in zip(row.part_ends, row.part_first_ns, row.part_last_ns, strict=True):
        latest_ns.pop()
        stop = bisect_left(left, end, begin)
        if stop > begin and first_ns <= to_ns and last_ns >= from_ns:
            found.append((left[begin:stop], latest_ns[-1]))
        begin = stop
    return found


def left_after(step: Step, read: Iterator[bytes], wanted: Wanted, left: Sequence[int] | None) -> Sequence[int]:
    """Of the spans that are left (None: all), those that have what a step tells; its pieces are the next to be read."""
    some = [numbers_in(next(read)) for _ in step.pieces]
    if step.is_duration:
        [numbers, codes] = some
        some = [spans_between(numbers, codes, wanted.codes)]
    elif step.cuts:
        some = [some[0][first:end] for first, end in step.cuts]
    if left is None:
        return sorted(set().union(*some))
    if len(some) == 1 and not step.is_duration and len(left) * _FEW < len(some[0]):
        [more] = some
        return [span for span in left if (at := bisect_left(more, span)) < len(more) and more[at] == span]
    return sorted(set(left).intersection(set().union(*some)))
