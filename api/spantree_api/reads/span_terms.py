"""Traces that may have a span with some attributes, by the terms that were stored with it; newest first.

Every match is among them, but for days of an earlier version (`gaps`). What is found is to be compared.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final
from uuid import UUID

import orjson

from spantree_api.database import Snapshot
from spantree_api.listing import day_named
from spantree_api.span_query import NS_MAX, SpanQuery, TermCondition
from spantree_api.stored_rows import DayRow, records
from spantree_exporter.span_terms import matching_traces, other_hash, resource_term
from spantree_exporter.stored import stored_key

# More resources than this that have an attribute: it narrows nothing down.
_RESOURCES: Final = 1_000
# More than this are not looked for in a filter, only among the postings: each costs a look at every row.
_FILTERED: Final = 20
# Segments that are read at once: few to begin with, for what is common is in the newest.
_SEGMENTS: Final = (4, 16, 64)
_SENTINEL_DAY: Final = date(1970, 1, 1)
_LAST_ID: Final = UUID(int=(1 << 128) - 1)


@dataclass(frozen=True, slots=True)
class IdRow:
    """The id of a resource."""

    id: int


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """What some spans are found by."""

    last_ns: int
    id: UUID
    postings: bytes


@dataclass(frozen=True, slots=True)
class Wanted:
    """What each match has: of each place some term, or a resource; None where resources do not tell."""

    terms: list[frozenset[int]]
    resources: list[frozenset[int] | None]

    def parameters(self) -> dict[str, object]:
        """For the statement `segments_with_terms`."""
        looks: list[tuple[int, int]] = []
        places: list[int] = []
        for place, (terms, resources) in enumerate(zip(self.terms, self.resources, strict=True)):
            if len(resources or ()) <= _FILTERED:
                places.append(place)
                looks += [(term, place) for term in sorted({*terms, *map(resource_term, resources or ())})]
        return {
            "places": places,
            "terms": [term for term, _ in looks],
            "others": [other_hash(term) for term, _ in looks],
            "term_places": [place for _, place in looks],
        }


async def wanted_of(snapshot: Snapshot, tenant_id: int, query: SpanQuery) -> Wanted | None:
    """What terms and resources say of each match; None where they do not narrow it down.

    A place with neither is one that nothing matches.
    """
    wanted = Wanted([], [])
    for condition in query.conditions():
        resources = await _resources_with(snapshot, tenant_id, condition)
        if resources is None or len(resources) <= _RESOURCES:
            wanted.terms.append(condition.terms)
            wanted.resources.append(resources)
    if not wanted.terms:
        return None
    if query.service is not None:
        parameters = {"tenant_id": tenant_id, "service": query.service, "limit": _RESOURCES + 1}
        rows = await snapshot.all("resources_of_service", parameters, records(IdRow))
        if len(rows) <= _RESOURCES:
            wanted.terms.append(frozenset())
            wanted.resources.append(frozenset(row.id for row in rows))
    return wanted


async def _resources_with(snapshot: Snapshot, tenant_id: int, condition: TermCondition) -> frozenset[int] | None:
    tag = condition.tag
    if tag is None:
        return None
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
    first, last = day_named(max(from_ns, 0)), day_named(max(to_ns, 0))
    inside = sorted((day for day in days if first <= day <= last and day != _SENTINEL_DAY), reverse=True)
    looked_for = {"tenant_id": tenant_id, **wanted.parameters(), "from_ns": from_ns, "to_ns": to_ns}
    for day in (*inside, _SENTINEL_DAY):
        turn, before = 0, SegmentRow(NS_MAX, _LAST_ID, b"")
        while True:
            size = _SEGMENTS[min(turn, len(_SEGMENTS) - 1)]
            at = {"day": day, "before_ns": before.last_ns, "before_id": before.id, "segments": size}
            rows = await snapshot.all("segments_with_terms", looked_for | at, records(SegmentRow))
            found = dict.fromkeys(
                trace for row in rows for trace in matching_traces(row.postings, wanted.terms, wanted.resources)
            )
            if rows:
                yield [UUID(bytes=trace) for trace in found], rows[-1].last_ns
            if len(rows) < size:
                break
            turn, before = turn + 1, rows[-1]


async def gaps(snapshot: Snapshot, tenant_id: int, from_ns: int, to_ns: int) -> list[date]:
    """Days of the range whose spans are not all found so."""
    bounds = {"first_day": day_named(max(from_ns, 0)), "last_day": day_named(max(to_ns, 0))}
    rows = await snapshot.all("gaps_of_terms", {"tenant_id": tenant_id, **bounds}, records(DayRow))
    return [row.day for row in rows]
