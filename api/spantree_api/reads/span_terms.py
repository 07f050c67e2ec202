"""Traces that may have a span with some attributes, by the terms that were stored with it; newest first.

Every match is among them, but for days of an earlier version (`gaps`). What is found is to be compared.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import accumulate
from typing import Final
from uuid import UUID

import orjson

from spantree_api.database import Snapshot
from spantree_api.listing import day_named
from spantree_api.span_search.query import NS_MAX, SpanQuery, TermCondition
from spantree_api.span_search.term_match import Place, SegmentRow, Step, Wanted, left_after, left_by_part, steps_for
from spantree_api.stored_rows import DayRow, records
from spantree_exporter.postgres.array_text import array_text
from spantree_exporter.stored import stored_key
from spantree_exporter.terms.segment import Piece, chosen_traces

# More resources than this that have an attribute: it narrows nothing down.
_RESOURCES: Final = 1_000
# Segments that are read at once: few to begin with, for what is common is in the newest.
_SEGMENTS: Final = (4, 16, 64, 256, 1_024)
# Traces that are told at once, as far as there are so many: whoever searches may have enough then.
_TRACES: Final = 100
_SENTINEL_DAY: Final = date(1970, 1, 1)
_LAST_ID: Final = UUID(int=(1 << 128) - 1)


@dataclass(frozen=True, slots=True)
class IdRow:
    """The id of a resource."""

    id: int


@dataclass(frozen=True, slots=True)
class PiecesRow:
    """Pieces of segments, one behind the other."""

    bytes: bytes


async def wanted_of(snapshot: Snapshot, tenant_id: int, query: SpanQuery) -> Wanted | None:
    """What terms, resources and durations say of each match; None where they do not narrow it down.

    A place with neither terms nor resources is one that nothing matches.
    """
    conditions = query.conditions()
    if not conditions and not query.is_by_duration:
        return None
    places: list[Place] = []
    for condition in conditions:
        resources = await _resources_with(snapshot, tenant_id, condition)
        if len(resources) <= _RESOURCES:
            places.append(Place(condition.terms, resources))
    if not places and not query.is_by_duration:
        return None
    if query.service is not None:
        parameters = {"tenant_id": tenant_id, "service": query.service, "limit": _RESOURCES + 1}
        rows = await snapshot.all("resources_of_service", parameters, records(IdRow))
        if len(rows) <= _RESOURCES:
            places.append(Place(frozenset(), frozenset(row.id for row in rows)))
    return Wanted(tuple(places), query.duration_codes())


async def _resources_with(snapshot: Snapshot, tenant_id: int, condition: TermCondition) -> frozenset[int]:
    tag = condition.tag
    if tag is None:
        return frozenset()
    parameters = {
        "tenant_id": tenant_id,
        "key": stored_key(tag.key),
        "text": tag.text,
        "value": None if tag.text is not None else orjson.dumps(tag.value).decode(),
        "limit": _RESOURCES + 1,
    }
    rows = await snapshot.all("resources_with_attribute", parameters, records(IdRow))
    return frozenset(row.id for row in rows)


async def traces_with_terms(
    snapshot: Snapshot, tenant_id: int, wanted: Wanted, days: Sequence[date], from_ns: int, to_ns: int
) -> AsyncIterator[tuple[list[UUID], int]]:
    """Traces that may match, and a start that spans of all further ones do not exceed, but for the sentinel's day.

    `days` are those with partitions.
    """
    if wanted.is_nothing:
        return
    first, last = day_named(max(from_ns, 0)), day_named(max(to_ns, 0))
    inside = sorted((day for day in days if first <= day <= last and day != _SENTINEL_DAY), reverse=True)
    looked_for = {"tenant_id": tenant_id, **wanted.parameters(), "from_ns": from_ns, "to_ns": to_ns}
    turn = 0
    for day in (*inside, _SENTINEL_DAY):
        before_ns, before_id = NS_MAX, _LAST_ID
        while True:
            size = _SEGMENTS[min(turn, len(_SEGMENTS) - 1)]
            at = {"day": day, "before_ns": before_ns, "before_id": before_id, "segments": size}
            rows = await snapshot.all("segments_with_terms", looked_for | at, records(SegmentRow))
            turn += 1
            if rows:
                async for some in _traces_of(snapshot, tenant_id, day, rows, wanted, from_ns, to_ns):
                    yield some
            if len(rows) < size:
                break
            before_ns, before_id = rows[-1].last_ns, rows[-1].id


async def _traces_of(
    snapshot: Snapshot, tenant_id: int, day: date, rows: Sequence[SegmentRow], wanted: Wanted, from_ns: int, to_ns: int
) -> AsyncIterator[tuple[list[UUID], int]]:
    """The traces of the spans that all of `wanted` is true of, as `traces_with_terms` tells them; rows newest first."""

    async def pieces(of: Sequence[tuple[SegmentRow, Piece]]) -> Iterator[bytes]:
        if not of:
            return iter(())
        parameters = {
            "tenant_id": tenant_id,
            "day": day,
            "last_ns": array_text(row.last_ns for row, _ in of),
            "ids": array_text(row.id for row, _ in of),
            "offsets": array_text(piece.offset for _, piece in of),
            "lengths": array_text(piece.length for _, piece in of),
        }
        [row] = await snapshot.all("pieces_of_segments", parameters, records(PiecesRow))
        ends = accumulate(piece.length for _, piece in of)
        return (row.bytes[end - piece.length : end] for (_, piece), end in zip(of, ends, strict=True))

    looks = wanted.looks()
    asked = [(row, steps) for row in rows if (steps := steps_for(row, wanted, looks)) is not None]
    left: list[tuple[SegmentRow, list[Step], Sequence[int] | None]] = [(row, steps, None) for row, steps in asked]
    for turn in range(len(wanted.places) + wanted.is_by_duration):
        read = await pieces([(row, piece) for row, steps, _ in left for piece in steps[turn].pieces])
        after = [(row, steps, left_after(steps[turn], read, wanted, spans)) for row, steps, spans in left]
        left = [(row, steps, spans) for row, steps, spans in after if spans]
    by_part = [(row, left_by_part(row, spans or (), from_ns, to_ns)) for row, _, spans in left]
    by_part = [(row, parts) for row, parts in by_part if parts]
    ids = await pieces([(row, row.shape.traces_of_spans()) for row, _ in by_part])
    oldest_ns, found = rows[-1].last_ns, dict[bytes, None]()
    for number, ((row, parts), of_spans) in enumerate(zip(by_part, ids, strict=True), 1):
        next_row_ns = by_part[number][0].last_ns if number < len(by_part) else oldest_ns
        for spans, next_part_ns in parts:
            found.update(dict.fromkeys(chosen_traces(of_spans, row.shape, spans)))
            if len(found) >= _TRACES:
                yield [UUID(bytes=trace) for trace in found], max(next_part_ns, next_row_ns, oldest_ns)
                found = {}
    yield [UUID(bytes=trace) for trace in found], oldest_ns


async def gaps(snapshot: Snapshot, tenant_id: int, from_ns: int, to_ns: int) -> list[date]:
    """Days of the range whose spans are not all found so."""
    bounds = {"first_day": day_named(max(from_ns, 0)), "last_day": day_named(max(to_ns, 0))}
    rows = await snapshot.all("gaps_of_terms", {"tenant_id": tenant_id, **bounds}, records(DayRow))
    return [row.day for row in rows]
