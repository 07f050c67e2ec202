"""Traces by what one of their spans is: the reads behind Jaeger's and Tempo's APIs.

Candidates come from executions, newest first, by whichever finds fewer: a walk over the newest, or the index of what is
searched for. Each batch of them is then decided on its spans. A search that finds little where much has to be looked
at stops after a time, with what it has.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from datetime import date
from typing import Any, Final, TypeAlias
from uuid import UUID

from spantree_api.database import Query
from spantree_api.listing import Range, windows_of
from spantree_api.picked import Picked
from spantree_api.reader import Reader
from spantree_api.reads.span_rows import (
    AttributeRow,
    CallRow,
    CandidateRow,
    CountRow,
    MatchRow,
    NameRow,
    OperationRow,
    ParentRow,
    RootRow,
    ServicePart,
    Summary,
    TraceDays,
    WalkRow,
)
from spantree_api.reads.span_terms import gaps, traces_with_terms, wanted_of
from spantree_api.reads.stats import bounded_parameters
from spantree_api.span_search.query import SpanQuery
from spantree_api.span_search.spansets import FoundSpan
from spantree_api.span_search.term_match import Wanted
from spantree_api.stored_rows import DayRow, OtlpSpan, otlp_spans, records, together

_NS_PER_S: Final = 1_000_000_000
# An execution begins before its spans: how long before the range is looked for it. And by how much clocks may differ.
_LONGEST_NS: Final = 86_400 * _NS_PER_S
_SKEW_NS: Final = 60 * _NS_PER_S
# Executions of one walk, and candidates whose spans are read at once, to find few or to count all.
_WALKED: Final = 1_000
_FOUND: Final = 2_000
_BATCH: Final = 100
_COUNTED: Final = 400
# Where fewer of the walked than one in so many are candidates, the index finds them faster.
_RARE: Final = 20
_LOOK_S: Final = 2.0
# Header of an answer, and metadata of one over gRPC, that tells of a search that was not finished.
INCOMPLETE_SEARCH: Final = "spantree-search"
# So many times the wanted traces, and at least so many, are enough, whether or not the newest are among them.
_ENOUGH: Final = 4
_ENOUGH_AT_LEAST: Final = 2 * _BATCH
_SERVICES_MAX: Final = 10_000
_OPERATIONS_MAX: Final = 5_000
# Pairs of services that dependencies tell.
_CALLS_MAX: Final = 10_000
# Traces whose attributes forms offer, and how many of these.
_SAMPLED_TRACES: Final = 200
_ATTRIBUTES_MAX: Final = 2_000
# Conditions that execution_search_idx serves.
_BY_WORDS: Final = frozenset({"where_service", "where_search"})
_LAST_ID: Final = UUID(int=(1 << 128) - 1)
# Spans of one trace that are few, and those of some traces that are read at once.
_FEW_SPANS: Final = 100
SPANS_AT_ONCE: Final = 50_000
# Statements: which of some traces have a span that is all that is asked for, and all these spans.
MATCHING: Final = ("begin_matching", "select_matching", "where_matching", "end_matching")
MATCHING_TOLD: Final = ("begin_matching", "select_matching_told", "where_matching", "end_matching_told")
# Which of some traces are what is looked for, of those that have such a span.
Holding: TypeAlias = Callable[[Sequence[UUID]], Awaitable[set[UUID]]]


class SpanReads:
    """Reads of one tenant in one snapshot. `is_incomplete`: a search ended before it had looked at all."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._snapshot = reader.snapshot
        self._tenant_id = reader.config.tenant_id
        self._now_ns = reader.now_ns
        self.is_incomplete = False

    async def services(self) -> list[str]:
        """The services that have sent spans, in order of their names."""
        wanted = {"tenant_id": self._tenant_id, "limit": _SERVICES_MAX}
        return [row.name for row in await self._snapshot.all("services_of_spans", wanted, records(NameRow))]

    async def operations(self, service: str, kind: int | None = None) -> list[OperationRow]:
        """The names and kinds of a service's spans, in order of their names."""
        wanted = {"tenant_id": self._tenant_id, "service": service, "kind": kind, "limit": _OPERATIONS_MAX}
        return await self._snapshot.all("operations_of_service", wanted, records(OperationRow))

    async def find(
        self, query: SpanQuery, of_searches: int = 1, holding: Holding | None = None, look_s: float | None = None
    ) -> list[CandidateRow]:
        """Traces that match, newest first, at most `query.limit`; only those that are `holding`, where it is given.

        With `look_s` it alone decides of all that may match, for so long. After two seconds otherwise, which the
        searches of one request share, it ends with what it has found, and notes so in `is_incomplete`.
        """
        if query.limit <= 0 or query.from_ns > query.to_ns:
            return []
        search = _Search(query, self._now_ns, (_LOOK_S if look_s is None else look_s) / of_searches, holding)
        search.is_held_alone = look_s is not None
        if query.trace_id is not None:
            await self._look_at(search, [query.trace_id])
            return search.found()
        wanted = await wanted_of(self._snapshot, self._tenant_id, query)
        if wanted is not None:
            await self._find_by_terms(search, wanted)
        days = wanted and await gaps(self._snapshot, self._tenant_id, query.from_ns, search.starts.to_ns)
        if not search.is_over and (wanted is None or days):
            await self._find_by_walking(search)
        self.is_incomplete |= search.is_cut
        return search.found()

    async def _find_by_walking(self, search: _Search) -> None:
        size = _COUNTED if search.is_held_alone else _BATCH
        async for candidates in self._candidates(search):
            for first in range(0, len(candidates), size):
                search.take(await self._matching(search, candidates[first : first + size]))
                if search.is_over:
                    return

    async def _find_by_terms(self, search: _Search, wanted: Wanted) -> None:
        query = search.query
        bounds = {"first_day": search.starts.first_day, "last_day": search.starts.last_day}
        days = [row.day for row in await self._snapshot.all("partition_days", bounds, records(DayRow))]
        to_ns = min(query.to_ns, search.starts.to_ns)
        traces = traces_with_terms(self._snapshot, self._tenant_id, wanted, days, query.from_ns, to_ns)
        async for some, further_ns in traces:
            new = search.new_ids(some)
            for first in range(0, len(new), _BATCH):
                await self._look_at(search, new[first : first + _BATCH])
                if search.is_over_time:
                    return
            if search.has_newest(further_ns):
                return

    async def _look_at(self, search: _Search, trace_ids: Sequence[UUID]) -> None:
        """Take those of the traces that match."""
        of_traces = await self._of_traces(trace_ids)
        parts = ("select_candidates", "of_days", "of_traces", *search.conditions, "newest_first")
        parameters = {**search.parameters(self._tenant_id), **of_traces}
        candidates = await self._snapshot.all(parts, parameters, records(CandidateRow))
        search.take(await self._matching(search, candidates))

    async def matching(self, query: SpanQuery, trace_ids: Sequence[UUID]) -> set[UUID]:
        """Those of some traces that have a span that is all that is asked for."""
        parameters = {**query.parameters(), **await self._of_traces(trace_ids)}
        return {row.trace_id for row in await self._snapshot.all(MATCHING, parameters, records(MatchRow))}

    async def told_spans(
        self, query: SpanQuery, trace_ids: Sequence[UUID], picked: Picked, each: int
    ) -> list[FoundSpan]:
        """The first spans, `each` a trace, that are all that is asked for, with the attributes that `picked` tells.

        At most SPANS_AT_ONCE are read.
        """
        told = {**picked.parameters(), "spans_each": each, "spans_most": SPANS_AT_ONCE}
        parameters = {**query.parameters(), **await self._of_traces(trace_ids), **told}
        if each <= _FEW_SPANS:
            return await self._snapshot.all(MATCHING_TOLD, parameters, records(FoundSpan))
        # By and by, so that other requests go on: ten microseconds for each.
        parts = self._snapshot.chunks(MATCHING_TOLD, parameters, records(FoundSpan))
        return [span async for spans in parts for span in spans]

    async def parents(self, trace_ids: Sequence[UUID]) -> list[ParentRow]:
        """Each span of some traces and its parent; at most SPANS_AT_ONCE are read."""
        parameters = {**await self._of_traces(trace_ids), "spans_most": SPANS_AT_ONCE}
        parts = self._snapshot.chunks("parents_of_traces", parameters, records(ParentRow))
        return [row async for rows in parts for row in rows]

    async def attributes(self, from_ns: int, to_ns: int, key: str | None = None) -> list[AttributeRow]:
        """The attributes that spans of the newest traces have; of one, its values."""
        search = _Search(SpanQuery(from_ns=from_ns, to_ns=to_ns), self._now_ns)
        async for candidates in self._candidates(search):
            some = [one.trace_id for one in candidates[:_SAMPLED_TRACES]]
            if some:
                wanted = {**await self._of_traces(some), "key": key, "limit": _ATTRIBUTES_MAX}
                return await self._snapshot.all("attributes_of_traces", wanted, records(AttributeRow))
        return []

    async def days_of(self, trace_ids: Sequence[UUID]) -> dict[UUID, list[date]]:
        """The days of those of the traces that are stored."""
        wanted = {"tenant_id": self._tenant_id, "trace_ids": list(trace_ids)}
        rows = await self._snapshot.all("days_by_trace", wanted, records(TraceDays))
        return {row.trace_id: row.days for row in rows}

    async def span_count(self, trace_id: UUID, days: Sequence[date]) -> int:
        """How many spans a trace had when it was projected; 0 for one that was not yet."""
        wanted = {"tenant_id": self._tenant_id, "trace_id": trace_id, "days": list(days)}
        rows = await self._snapshot.all("spans_in_trace", wanted, records(CountRow))
        return max((row.span_count for row in rows), default=0)

    async def chunks(self, trace_id: UUID, days: Sequence[date]) -> AsyncGenerator[list[OtlpSpan], None]:
        """The spans of a trace but its live marks, some thousands at once, in each list those of one scope together."""
        wanted = {"tenant_id": self._tenant_id, "trace_id": trace_id, "days": list(days)}
        async with aclosing(self._snapshot.chunks("spans_of_trace_without_marks", wanted, otlp_spans)) as parts:
            async for spans in parts:
                yield together(spans)

    async def summaries(self, trace_ids: Sequence[UUID]) -> list[Summary]:
        """The traces in short, in the order of `trace_ids`; those of which no span is stored are left out."""
        found: list[Summary] = []
        for first in range(0, len(trace_ids), _BATCH):
            some = list(trace_ids[first : first + _BATCH])
            wanted = await self._of_traces(some)
            queries: list[Query[Any]] = [
                Query("summaries_of_traces", wanted, records(ServicePart)),
                Query("roots_of_traces", wanted, records(RootRow)),
            ]
            parts, roots = await self._snapshot.together(*queries)
            by_trace: dict[UUID, list[ServicePart]] = {}
            for part in sorted(parts, key=lambda part: part.service):
                by_trace.setdefault(part.trace_id, []).append(part)
            root_of = {root.trace_id: root for root in roots}
            found += [Summary(root_of[one], by_trace[one]) for one in some if one in root_of]
        return found

    async def calls(self, from_ns: int, to_ns: int) -> list[CallRow]:
        """Which service called which how often, most often first, in executions that began in the hours of the range.

        At most 10,000 pairs.
        """
        from_ns, to_ns = max(0, from_ns), min(to_ns, self._now_ns + _LONGEST_NS)
        if from_ns > to_ns:
            return []
        wanted = await bounded_parameters(self._reader, from_ns, to_ns)
        return await self._snapshot.all("calls_between_services", wanted | {"limit": _CALLS_MAX}, records(CallRow))

    async def _of_traces(self, trace_ids: Sequence[UUID]) -> dict[str, object]:
        wanted: dict[str, object] = {"tenant_id": self._tenant_id, "trace_ids": list(trace_ids)}
        days = await self._snapshot.all("days_of_traces", wanted, records(DayRow))
        return {**wanted, "days": [row.day for row in days]}

    async def _matching(self, search: _Search, candidates: Sequence[CandidateRow]) -> list[CandidateRow]:
        matching = {one.trace_id for one in candidates}
        if not search.is_held_alone:
            matching = await self.matching(search.query, [*matching])
        if search.holding is not None:
            matching = await search.holding([*matching])
        return [one for one in candidates if one.trace_id in matching]

    async def _candidates(self, search: _Search) -> AsyncIterator[list[CandidateRow]]:
        """Executions that may match, newest first."""
        bounds = {"first_day": search.starts.first_day, "last_day": search.starts.last_day}
        partitions = [row.day for row in await self._snapshot.all("partition_days", bounds, records(DayRow))]
        for turn, window in enumerate(windows_of(search.starts, partitions, (3, 14, 48))):
            if turn:
                self._snapshot.renew()
            parameters = {**search.parameters(self._tenant_id), **window.parameters()}
            async for candidates in self._walk(search, parameters):
                yield search.new(candidates)

    async def _walk(self, search: _Search, parameters: dict[str, object]) -> AsyncIterator[list[CandidateRow]]:
        before_ns: int | None = None
        while True:
            parts = {**parameters, "walked": _WALKED, "limit": _WALKED}
            if before_ns is not None:
                parts |= {"before_ns": before_ns, "before_trace_id": _LAST_ID, "to_ns": before_ns}
            walk = candidate_walk(further=before_ns is not None)
            ends, candidates = await self._snapshot.together(
                Query(("select_walk_end", *walk), parts, records(WalkRow)),
                Query(("select_candidates", *walk, *search.conditions, "newest_first"), parts, records(CandidateRow)),
            )
            yield candidates
            oldest_ns = ends[0].oldest_ns
            if oldest_ns is None or ends[0].walked < _WALKED:
                return
            if len(candidates) * _RARE < _WALKED and search.is_indexed:
                # Rare: all of them, by the index. What the walk has shown is among them and known.
                yield await self._snapshot.all(search.found_parts(), parameters, records(CandidateRow))
                return
            # Others that began in the same nanosecond may be left, unless the whole walk was of it.
            before_ns = oldest_ns if oldest_ns != before_ns else oldest_ns - 1


class _Search:
    """What is looked for, what has been found, and for how long."""

    def __init__(
        self,
        query: SpanQuery,
        now_ns: int,
        look_s: float | None = None,
        holding: Holding | None = None,
    ) -> None:
        self.query = query
        self.holding = holding
        self._until_s = time.monotonic() + (_LOOK_S if look_s is None else look_s)
        self.is_cut = False
        # Whether `holding` says by itself what matches.
        self.is_held_alone = False
        self._found: dict[UUID, CandidateRow] = {}
        self._seen: set[UUID] = set()
        # Spans cannot have begun later than now, but for clocks that differ.
        latest = min(query.to_ns, now_ns + _LONGEST_NS)
        self.starts = Range(max(query.from_ns, 0) - _LONGEST_NS, latest + _SKEW_NS)
        self._search = query.search()
        conditions = ["where_overlaps"]
        if query.service is not None:
            conditions.append("where_service")
        if self._search is not None:
            conditions.append("where_search")
        self.conditions = tuple(conditions)

    def parameters(self, tenant_id: int) -> dict[str, object]:
        """For every statement that looks for candidates."""
        return {
            "tenant_id": tenant_id,
            "service": self.query.service,
            "search": self._search,
            "ended_after_ns": max(self.query.from_ns, 0) - _SKEW_NS,
            "limit": _FOUND,
        }

    @property
    def is_indexed(self) -> bool:
        """Whether an index knows the candidates."""
        return not _BY_WORDS.isdisjoint(self.conditions)

    def found_parts(self) -> tuple[str, ...]:
        """All candidates by the index, newest first."""
        return candidates_found(self.conditions)

    def new(self, candidates: Sequence[CandidateRow]) -> list[CandidateRow]:
        """Those that were not looked at yet: a walk and an index find the same, and walks meet at their ends."""
        found = [one for one in candidates if one.trace_id not in self._seen]
        self._seen.update(one.trace_id for one in found)
        return found

    def take(self, found: Iterable[CandidateRow]) -> None:
        """Note matches."""
        self._found.update((one.trace_id, one) for one in found)

    def new_ids(self, trace_ids: Sequence[UUID]) -> list[UUID]:
        """Those that were not looked at yet."""
        found = [one for one in trace_ids if one not in self._seen]
        self._seen.update(found)
        return found

    @property
    def is_over_time(self) -> bool:
        """Whether it has taken long enough; what was not looked at until then is not looked at."""
        if time.monotonic() > self._until_s:
            self.is_cut = True
        return self.is_cut

    @property
    def is_over(self) -> bool:
        """Whether there is enough, or it has taken long enough."""
        return len(self._found) >= self.query.limit or self.is_over_time

    def has_newest(self, further_ns: int) -> bool:
        """Whether there is enough, none of which a trace that begins up to `further_ns` would displace.

        Of long traces newer ones may begin before that for ever: then several times as many are enough.
        """
        if len(self._found) < self.query.limit:
            return False
        starts = sorted((one.started_ns for one in self._found.values()), reverse=True)
        enough = max(_ENOUGH * self.query.limit, _ENOUGH_AT_LEAST)
        return starts[self.query.limit - 1] >= further_ns or len(starts) >= enough

    def found(self) -> list[CandidateRow]:
        """What was found, newest first."""
        newest = sorted(self._found.values(), key=lambda one: (one.started_ns, one.trace_id.bytes), reverse=True)
        return newest[: self.query.limit]


def candidates_found(conditions: Sequence[str]) -> tuple[str, ...]:
    """The parts of a statement that finds candidates by their words and services."""
    return (
        "begin_found",
        "select_candidates",
        "of_days",
        "of_tenant_by_words",
        "in_any_order",
        *conditions,
        "end_found",
        "newest_first",
    )


def candidate_walk(*, further: bool) -> tuple[str, ...]:
    """The parts of a walk over the newest executions, or `further` over those before."""
    return ("begin_walk", "of_days", "of_tenant", "in_order", *(("where_before",) if further else ()), "end_walk")
