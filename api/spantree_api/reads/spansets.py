"""What TraceQL's filters match in some traces, read for all of them at once, and the sets that are made of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from spantree_api.picked import Picked
from spantree_api.reads.span_rows import Summary
from spantree_api.reads.spans import SPANS_AT_ONCE, Holding, SpanReads
from spantree_api.span_search.spansets import (
    FoundSpan,
    NestedSet,
    Spanset,
    ToldSet,
    TraceSpans,
    needs_parents,
    nested_sets,
    spansets_of,
)
from spantree_api.span_search.traceql import TraceQuery
from spantree_api.span_search.traceql_filter import Alternative

# Traces whose spans are counted before other requests have a turn.
_TRACES_A_TURN: Final = 50
# More traces than any search finds.
_ALL: Final = 10**9


@dataclass(frozen=True, slots=True)
class Found:
    """A trace that is found: in short, the sets of its spans, and where which span is, if that is to be told."""

    summary: Summary
    sets: list[ToldSet]
    nested: dict[int, NestedSet]


class SpansetReads:
    """The sets that one query makes of traces, the first spans of each set, `each` of them."""

    def __init__(self, reads: SpanReads, query: TraceQuery, each: int) -> None:
        self._reads = reads
        self._query = query
        self._each = each
        self._picked = Picked.of(query.fields)
        self._tells_nested = any(one.is_nested for one in query.told)
        self._needs_parents = self._tells_nested or needs_parents(query.root)

    async def found(self, limit: int) -> list[Found]:
        """The traces, newest first, at most `limit`."""
        leads = self._query.leads()
        summaries: dict[UUID, Summary] = {}
        for lead in leads:
            rows = await self._reads.find(lead.query, len(leads), self._holding(lead))
            new = [row.trace_id for row in rows if row.trace_id not in summaries]
            summaries |= {summary.root.trace_id: summary for summary in await self._reads.summaries(new)}
        newest = sorted(summaries.values(), key=lambda one: (-one.start_ns, one.root.trace_id.bytes))[:limit]
        ids = [one.root.trace_id for one in newest]
        sets = await self._sets(ids)
        return [Found(one, *sets[trace_id]) for one, trace_id in zip(newest, ids, strict=True) if trace_id in sets]

    async def every(self, observe: Callable[[FoundSpan], None], look_s: float) -> None:
        """Have each span of every set observed, once. Where that takes longer, `is_incomplete` of the reads says so."""
        leads = self._query.leads()
        seen: set[UUID] = set()

        async def holding(trace_ids: Sequence[UUID]) -> set[UUID]:
            new = [trace_id for trace_id in trace_ids if trace_id not in seen]
            seen.update(new)
            await self._observe(new, observe)
            return set()

        for lead in leads:
            query = replace(lead.query, limit=_ALL)
            await self._reads.find(query, len(leads), holding, look_s)

    async def _observe(self, trace_ids: Sequence[UUID], observe: Callable[[FoundSpan], None]) -> None:
        if not trace_ids:
            return
        traces, is_cut = await self._traces(trace_ids, SPANS_AT_ONCE)
        if is_cut and len(trace_ids) > 1:
            middle = len(trace_ids) // 2
            await self._observe(trace_ids[:middle], observe)
            await self._observe(trace_ids[middle:], observe)
            return
        self._reads.is_incomplete |= is_cut
        for number, trace in enumerate(traces.values(), 1):
            if number % _TRACES_A_TURN == 0:
                await asyncio.sleep(0)
            spans = {
                span_id: span for one in spansets_of(self._query.root, trace) for span_id, span in one.spans.items()
            }
            for span in spans.values():
                observe(span)

    def _holding(self, lead: Alternative) -> Holding | None:
        """What decides whether traces with a span of `lead` are found; None where that alone does."""
        if self._query.is_of_single_spans and not lead.trace:
            return None

        async def holding(trace_ids: Sequence[UUID]) -> set[UUID]:
            return set(await self._sets(trace_ids))

        return holding

    async def _sets(self, trace_ids: Sequence[UUID]) -> dict[UUID, tuple[list[ToldSet], dict[int, NestedSet]]]:
        """Of each trace that has any its sets. Of one of more spans than are read at once those of its first spans."""
        if not trace_ids:
            return {}
        each = self._each if self._query.is_of_single_spans else SPANS_AT_ONCE
        traces, is_cut = await self._traces(trace_ids, each)
        if is_cut and len(trace_ids) > 1:
            middle = len(trace_ids) // 2
            return await self._sets(trace_ids[:middle]) | await self._sets(trace_ids[middle:])
        self._reads.is_incomplete |= is_cut
        found: dict[UUID, tuple[list[ToldSet], dict[int, NestedSet]]] = {}
        for trace_id, trace in traces.items():
            if sets := spansets_of(self._query.root, trace):
                nested = nested_sets(trace.parents) if self._tells_nested else {}
                found[trace_id] = [self._told(one) for one in sets], nested
        return found

    def _told(self, one: Spanset) -> ToldSet:
        told = one.first(self._each)
        if not self._query.is_of_single_spans:
            return told
        # Of these not all were read.
        return replace(told, matched=max(told.matched, *(span.matched for span in one.spans.values())))

    async def _traces(self, trace_ids: Sequence[UUID], each: int) -> tuple[dict[UUID, TraceSpans], bool]:
        """What all filters match, `each` a trace, and whether it was more than is read at once."""
        traces = {trace_id: TraceSpans() for trace_id in trace_ids}
        summaries = await self._summaries(trace_ids)
        is_cut = False
        for one in self._query.filters:
            for alternative in one.alternatives:
                ids = [trace_id for trace_id in trace_ids if _holds(alternative, summaries.get(trace_id))]
                spans = await self._reads.told_spans(alternative.query, ids, self._picked, each) if ids else []
                is_cut |= len(spans) >= SPANS_AT_ONCE
                for span in spans:
                    traces[span.trace_id].matched.setdefault(one.number, {}).setdefault(span.span_id, span)
        matched = [trace_id for trace_id, trace in traces.items() if trace.matched]
        if self._needs_parents and matched:
            rows = await self._reads.parents(matched)
            is_cut |= len(rows) >= SPANS_AT_ONCE
            for row in rows:
                traces[row.trace_id].parents[row.span_id] = row.parent_span_id
        return traces, is_cut

    async def _summaries(self, trace_ids: Sequence[UUID]) -> dict[UUID, Summary]:
        if not any(alternative.trace for one in self._query.filters for alternative in one.alternatives):
            return {}
        return {one.root.trace_id: one for one in await self._reads.summaries(trace_ids)}


def _holds(wanted: Alternative, summary: Summary | None) -> bool:
    if summary is None:
        return not wanted.trace
    held: dict[str, str | float] = {
        "root_name": summary.root.name,
        "root_service": summary.root.service,
        "duration_ns": summary.end_ns - summary.start_ns,
    }
    return all(condition.holds(held[condition.field]) for condition in wanted.trace)
