"""Executions one of whose spans has an attribute: what `q=key:value` finds beside identity and the root's attributes.

By the terms that are written with spans (terms/of_span.py): an attribute that identifies is found however far back it
is, and that there is none is known as fast. Of what is common the newest are found.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from spantree_api.listing import Listing, Range
from spantree_api.reader import Reader
from spantree_api.reads.span_terms import traces_with_terms
from spantree_api.reads.spans import SpanReads
from spantree_api.span_search.query import SpanQuery, Tag
from spantree_api.span_search.term_match import Place, Wanted
from spantree_api.stored_rows import DayRow, ExecutionRow, execution_rows, records

# A span begins no longer than this after its execution, and clocks may differ by as much.
_LONGEST_NS: Final = 86_400 * 1_000_000_000
# Traces whose spans are compared at once.
_BATCH: Final = 100
_LOOK_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Found:
    """Executions, in any order. `back_to_ns`: spans that began before were not looked at; None where all were."""

    rows: list[ExecutionRow]
    back_to_ns: int | None


async def executions_with_attribute(
    reader: Reader,
    listing: Listing,
    key: str,
    value: str,
    parameters: dict[str, object],
    starts: Range,
    limit: int,
) -> Found:
    """Executions that began within `starts`, satisfy `listing` and have a span with the attribute.

    More than `limit` of them are the newest of all; it ends after a quarter of a second with what it has.
    """
    began_s = time.monotonic()
    from_ns, to_ns = max(starts.from_ns, 0), min(starts.to_ns, reader.now_ns) + _LONGEST_NS
    query = SpanQuery(tags=(Tag(key, text=value, place="span"),))
    wanted = Wanted(tuple(Place(condition.terms, frozenset()) for condition in query.conditions()))
    bounds = Range(from_ns, to_ns)
    days = await reader.snapshot.all(
        "partition_days", {"first_day": bounds.first_day, "last_day": bounds.last_day}, records(DayRow)
    )
    found: dict[UUID, ExecutionRow] = {}
    seen: set[UUID] = set()
    of_days = [row.day for row in days]
    async for some, further_ns in traces_with_terms(
        reader.snapshot, reader.config.tenant_id, wanted, of_days, from_ns, to_ns
    ):
        new = [one for one in some if one not in seen]
        seen.update(new)
        for first in range(0, len(new), _BATCH):
            for row in await _those_that_match(reader, listing, query, parameters, starts, new[first : first + _BATCH]):
                found[row.trace_id] = row
            if time.monotonic() - began_s > _LOOK_S:
                return Found(list(found.values()), further_ns)
        if sum(row.execution.started_ns >= further_ns for row in found.values()) > limit:
            return Found(list(found.values()), None)
    return Found(list(found.values()), None)


async def _those_that_match(
    reader: Reader,
    listing: Listing,
    query: SpanQuery,
    parameters: dict[str, object],
    starts: Range,
    trace_ids: list[UUID],
) -> list[ExecutionRow]:
    of_traces = {
        **parameters,
        **starts.parameters(),
        "trace_ids": trace_ids,
        "days": await reader.days_of(trace_ids),
        "limit": len(trace_ids),
    }
    bounds = ("of_days", "of_traces", "of_tenant", "in_any_order")
    parts = ("select_executions", *bounds, *listing.conditions, "newest_first")
    rows = await reader.snapshot.all(parts, of_traces, execution_rows)
    if not rows:
        return []
    matching = await SpanReads(reader).matching(query, [row.trace_id for row in rows])
    return [row for row in rows if row.trace_id in matching]
