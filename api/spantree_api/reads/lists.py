"""Lists of executions: a page of what filters leave, of what failed, of what is stuck; how many are hidden.

Lists look at the last days first (listing.py).
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID

from spantree_api.cursor import ExecutionCursor, OldestFirstCursor
from spantree_api.database import Query
from spantree_api.filters import ExecutionFilter, attribute_of
from spantree_api.listing import NS_MAX, NS_MIN, Listing, Range, listing_of, range_of, windows_of
from spantree_api.reader import Reader
from spantree_api.reads.attribute_lists import executions_with_attribute
from spantree_api.reads.resumed import resumed
from spantree_api.reads.turn_lists import matching_turns
from spantree_api.reads.whole_names import by_whole_names
from spantree_api.stored_rows import (
    CountRow,
    DayRow,
    ExecutionRow,
    FailedNodeRow,
    KeyRow,
    OpenStepRow,
    StuckRow,
    execution_rows,
    records,
    stuck_rows,
)

LOOKED_THROUGH: Final = 10_000
"""Nodes of an execution that are looked through for a line of a list."""
# Executions that are walked before those that match are looked up: what one in twenty matches fills a page.
_WALKED = 1_000
# Executions in which text is looked for that no index holds, and those whose spans' attributes are.
_WALKED_TEXTS = 1_000
_WALKED_SPANS = 200
# A list that has found too little after this time is answered as it is, with a cursor to go on from.
_LOOK_S = 0.25
_COUNTED_MAX = 1_000
# Open executions that are looked at together, and how often: of those that wait most may have been taken up long ago.
_STUCK_AT_ONCE = 500
_STUCK_PAGES = 20


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A list that stopped before all was looked at; `next_ns` is the newest start that was not."""

    next_ns: int


@dataclass(frozen=True, slots=True)
class ExecutionList:
    """A page of executions. `text_back_to_ns`: how far back text was looked for that the index does not hold.

    `resumed` has, of those that wait and were taken up, by which execution.
    """

    rows: list[ExecutionRow]
    following: ExecutionCursor | None
    text_back_to_ns: int | None
    looked_back_to_ns: int | None
    resumed: Mapping[UUID, UUID] = field(default_factory=dict)


async def executions(
    reader: Reader, wanted: ExecutionFilter, limit: int, after: ExecutionCursor | None
) -> ExecutionList:
    """A page, newest first, where the next one starts, and how far back was looked.

    Where those that wait are asked for, what was taken up since is left out: it is over, whatever its own spans say.
    """
    wanted = await by_whole_names(reader, wanted)
    # Names may be looked for in all days: what is left of the time then would be too little for any list.
    began_s = time.monotonic()
    if wanted.statuses is None or "waiting" not in wanted.statuses:
        found = await _executions(reader, wanted, limit, after, began_s)
        return replace(found, resumed=await resumed(reader, found.rows))
    rows: list[ExecutionRow] = []
    text_back_to: list[int] = []
    while True:
        found = await _executions(reader, wanted, limit, after, began_s)
        over = await resumed(reader, found.rows)
        rows += [row for row in found.rows if row.trace_id not in over]
        text_back_to += [] if found.text_back_to_ns is None else [found.text_back_to_ns]
        after = found.following
        text_back_to_ns = max(text_back_to, default=None)
        if len(rows) >= limit or after is None:
            page, following = page_of(rows, limit)
            return ExecutionList(page, following or after, text_back_to_ns, found.looked_back_to_ns)
        if time.monotonic() - began_s > _LOOK_S:
            looked_back_to_ns = found.looked_back_to_ns or after.started_ns
            return ExecutionList(rows, after, text_back_to_ns, looked_back_to_ns)
        reader.snapshot.renew()


async def _executions(
    reader: Reader, wanted: ExecutionFilter, limit: int, after: ExecutionCursor | None, began_s: float
) -> ExecutionList:
    listing = listing_of(wanted, after)
    starts = range_of(wanted, after)
    parameters: dict[str, object] = {
        **wanted.parameters(),
        "before_ns": None if after is None else after.started_ns,
        "before_trace_id": None if after is None else after.trace_id,
        "now_ns": reader.now_ns,
        "lost_after_s": reader.config.lost_after_s,
        "tenant_id": reader.config.tenant_id,
        "limit": limit + 1,
    }
    found = await _by_index(reader, listing, wanted, parameters, limit, starts, began_s)
    named = None if wanted.q is None else attribute_of(wanted.q)
    if named is None:
        return list_of(found.rows, limit, found.text_back_to_ns, found.unfinished)
    plain = listing.without("where_search")
    further = await executions_with_attribute(reader, plain, *named, parameters, starts, limit)
    # What the index was not asked for yet is of the next page.
    first_ns = NS_MIN if found.unfinished is None else found.unfinished.next_ns + 1
    rows = merged(found.rows, [row for row in further.rows if row.execution.started_ns >= first_ns])
    back_to = [one for one in (found.text_back_to_ns, further.back_to_ns) if one is not None]
    return list_of(rows, limit, max(back_to, default=None), found.unfinished)


@dataclass(frozen=True, slots=True)
class _Indexed:
    """What indexes have found, as in ExecutionList; `unfinished` where they were not asked about all of the range."""

    rows: list[ExecutionRow]
    text_back_to_ns: int | None
    unfinished: Unfinished | None = None


async def _by_index(
    reader: Reader,
    listing: Listing,
    wanted: ExecutionFilter,
    parameters: dict[str, object],
    limit: int,
    starts: Range,
    began_s: float,
) -> _Indexed:
    newest = starts.newest(reader.now_ns)
    rows, text_back_to_ns, next_ns = await _newest(
        reader, listing, wanted, {**parameters, **newest.parameters()}, limit, began_s
    )
    if next_ns is not None:
        return _Indexed(rows, text_back_to_ns, Unfinished(next_ns))
    if len(rows) > limit or newest.from_ns <= starts.from_ns:
        return _Indexed(rows, text_back_to_ns)
    if wanted.q is not None and "where_search" not in listing.conditions:
        # Not one word: no index could find it, and what was walked is all that is looked at.
        return _Indexed(rows, text_back_to_ns)
    rest = Range(starts.from_ns, newest.from_ns - 1)
    of_rest = {"tenant_id": reader.config.tenant_id, **rest.parameters()}
    partitions, on_sentinel = await reader.snapshot.together(
        Query("partition_days", of_rest, records(DayRow)), Query("begins_on_sentinel", of_rest, records(DayRow))
    )
    days = "of_days" if on_sentinel else "of_range"
    for turn, window in enumerate(windows_of(rest, [row.day for row in partitions])):
        bounds = window.parameters() if on_sentinel else window.parameters_without_sentinel()
        if bounds is None:
            break
        parts = listing.key_parts(days, whole=window.is_whole and not on_sentinel)
        if turn:
            if time.monotonic() - began_s > _LOOK_S:
                return _Indexed(rows, text_back_to_ns, Unfinished(window.starts.to_ns))
            reader.snapshot.renew()
        wanted_keys = {**parameters, **bounds, "limit": limit + 1 - len(rows)}
        if listing.by_turns:
            more, next_ns = await matching_turns(
                reader, listing, days, wanted_keys, limit - len(rows), began_s + _LOOK_S
            )
            rows += more
            if next_ns is not None:
                return _Indexed(rows, text_back_to_ns, Unfinished(next_ns))
        else:
            rows += await _rows_of(reader, await reader.snapshot.all(parts, wanted_keys, records(KeyRow)))
        if len(rows) > limit:
            break
    return _Indexed(rows, text_back_to_ns)


async def _rows_of(reader: Reader, keys: Sequence[KeyRow]) -> list[ExecutionRow]:
    """The executions of some keys, newest first."""
    if not keys:
        return []
    parameters = {
        "tenant_id": reader.config.tenant_id,
        "days": [key.day for key in keys],
        "trace_ids": [key.trace_id for key in keys],
        "limit": len(keys),
    }
    return await reader.snapshot.all(("select_executions", "of_keys", "newest_first"), parameters, execution_rows)


async def failures(
    reader: Reader, wanted: ExecutionFilter, limit: int, after: ExecutionCursor | None
) -> tuple[list[ExecutionRow], ExecutionCursor | None]:
    """A page of executions that failed since `wanted.since_ns`, newest first: of the few days asked for."""
    wanted = await by_whole_names(reader, wanted)
    listing = listing_of(wanted, after)
    parameters = {
        **wanted.parameters(),
        **range_of(wanted, after).parameters(),
        "before_ns": None if after is None else after.started_ns,
        "before_trace_id": None if after is None else after.trace_id,
        "tenant_id": reader.config.tenant_id,
        "limit": limit + 1,
    }
    bounds = ("of_newest_days", "of_tenant", "in_order")
    parts = ("select_executions", *bounds, "where_failed", *listing.conditions, "newest_first")
    return page_of(await reader.snapshot.all(parts, parameters, execution_rows), limit)


async def failed_nodes(reader: Reader, rows: Sequence[ExecutionRow], limit: int) -> list[FailedNodeRow]:
    """The first nodes of each of some executions that failed, in the order they failed, `limit` of each at most."""
    if not rows:
        return []
    trace_ids = [row.trace_id for row in rows]
    parameters = {
        "tenant_id": reader.config.tenant_id,
        "trace_ids": trace_ids,
        "days": await reader.days_of(trace_ids),
        "limit": limit,
    }
    return await reader.snapshot.all("failed_nodes_of_traces", parameters, records(FailedNodeRow))


async def open_steps(reader: Reader, rows: Sequence[StuckRow], limit: int) -> list[OpenStepRow]:
    """The steps that each of some executions is at, those that began first, `limit` of each at most.

    All nodes of an execution are looked at: of one that has too many nothing is told.
    """
    trace_ids = [one.row.trace_id for one in rows if one.row.execution.total_count <= LOOKED_THROUGH]
    if not trace_ids:
        return []
    parameters = {
        "tenant_id": reader.config.tenant_id,
        "trace_ids": trace_ids,
        "days": await reader.days_of(trace_ids),
        "limit": limit,
    }
    return await reader.snapshot.all("open_steps_of_traces", parameters, records(OpenStepRow))


async def stuck(
    reader: Reader, limit: int, after: OldestFirstCursor | None, *, hidden: bool
) -> tuple[list[StuckRow], OldestFirstCursor | None]:
    """Executions that are open for longer than their threshold, and lost ones, oldest first; where more of them begin.

    What waits and was taken up by a later execution is over, whatever its own spans say.
    """
    rows: list[StuckRow] = []
    given_up: list[OldestFirstCursor] = []
    parameters = _stuck(reader, hidden=hidden) | {"limit": max(limit + 1, _STUCK_AT_ONCE)}
    async for days in reader.all_days():
        found, looked_at = list[StuckRow](), 0
        async with aclosing(_stuck_pages(reader, parameters | days, after)) as pages:
            async for page, end in pages:
                found += page
                looked_at += 1
                if len(found) > limit:
                    break
                if looked_at == _STUCK_PAGES and end is not None:
                    given_up.append(end)
                    break
        rows += found[: limit + 1]
    rows.sort(key=_place)
    if given_up:
        # Beyond the first of these places there may be others that come before what other days have.
        rows = [one for one in rows if _place(one) <= min(given_up)]
    shown = rows[:limit]
    if len(rows) > limit:
        return shown, _place(shown[-1])
    return shown, min(given_up, default=None)


async def stuck_since(reader: Reader, news_ns: int, rows_at_once: int) -> AsyncGenerator[list[StuckRow], None]:
    """All of them that came to be so, or were heard of, since about `news_ns`, hidden ones too, some at a time."""
    parameters = _stuck(reader, hidden=True) | {"news_ns": news_ns, "limit": rows_at_once}
    async for days in reader.all_days():
        async with aclosing(_stuck_pages(reader, parameters | days)) as pages:
            async for page, _ in pages:
                yield page


async def _stuck_pages(
    reader: Reader, parameters: dict[str, object], after: OldestFirstCursor | None = None
) -> AsyncGenerator[tuple[list[StuckRow], OldestFirstCursor | None], None]:
    """Those of some days, `limit` at a time, without those that were taken up; how far it was looked, None to the end.

    No cursor is held: whether they were is asked of all days, over which the snapshot is renewed.
    """
    end = after or OldestFirstCursor(NS_MIN, UUID(int=0))
    while True:
        place = {"after_ns": end.started_ns, "after_trace_id": end.trace_id}
        page = await reader.snapshot.all("list_stuck", {**parameters, **place}, stuck_rows)
        told = await _not_taken_up(reader, page)
        if len(page) != parameters["limit"]:
            yield told, None
            return
        end = _place(page[-1])
        yield told, end


def _place(one: StuckRow) -> OldestFirstCursor:
    return OldestFirstCursor(one.row.execution.started_ns, one.row.trace_id)


def _stuck(reader: Reader, *, hidden: bool) -> dict[str, object]:
    config = reader.config
    return {
        "tenant_id": config.tenant_id,
        "now_ns": reader.now_ns,
        "lost_after_s": config.lost_after_s,
        "stuck_pending_s": config.stuck_pending_s,
        "stuck_running_s": config.stuck_running_s,
        "stuck_waiting_s": config.stuck_waiting_s,
        "hidden": hidden,
        "news_ns": None,
    }


async def _not_taken_up(reader: Reader, rows: Sequence[StuckRow]) -> list[StuckRow]:
    """Those that do not wait, or whose run or conversation nothing has gone on with since."""
    over = await resumed(reader, (one.row for one in rows))
    return [one for one in rows if one.row.trace_id not in over]


async def count_hidden(
    reader: Reader, wanted: ExecutionFilter, after: ExecutionCursor | None, following: ExecutionCursor | None
) -> int | None:
    """Hidden executions between a page's bounds; None where the list is narrowed by more than its time.

    Then the page's bounds may be far apart, and counting would cost more than the list itself.
    """
    if replace(wanted, since_ns=None, until_ns=None) != ExecutionFilter():
        return None
    until_ns = wanted.until_ns if after is None else min(after.started_ns, wanted.until_ns or after.started_ns)
    since_ns = wanted.since_ns if following is None else following.started_ns
    starts = Range(NS_MIN if since_ns is None else since_ns, NS_MAX if until_ns is None else until_ns - 1)
    parameters = {"tenant_id": reader.config.tenant_id, "limit": _COUNTED_MAX, **starts.parameters()}
    found = await reader.snapshot.first("count_hidden", parameters, records(CountRow))
    return 0 if found is None else found.count


async def _newest(
    reader: Reader,
    listing: Listing,
    wanted: ExecutionFilter,
    parameters: dict[str, object],
    limit: int,
    began_s: float,
) -> tuple[list[ExecutionRow], int | None, int | None]:
    """Matches of the newest days; how far back text was looked for that no index holds; the newest start that was not
    looked at, where it took too long.
    """
    days = "of_newest_days"
    if listing.ordered:
        return await reader.snapshot.all(listing.ordered_parts(days), parameters, execution_rows), None, None
    if wanted.q is None and listing.by_turns:
        rows, next_ns = await matching_turns(reader, listing, days, parameters, limit, began_s + _LOOK_S)
        return rows, None, next_ns
    if wanted.q is None:
        walked = {**parameters, "walked": _WALKED}
        rows = await reader.snapshot.all(listing.walked_parts(days), walked, execution_rows)
        if len(rows) <= limit:
            rows = await reader.snapshot.all(listing.found_parts(days), parameters, execution_rows)
        return rows, None, None
    texts = {**parameters, "walked": _WALKED_TEXTS}
    spans = {**parameters, "walked": _WALKED_SPANS}
    plain = listing.without("where_search")
    queries: list[Query[Any]] = [
        Query(plain.walked_to_parts(days), texts, records(CountRow)),
        Query(plain.walked_parts(days, "where_text"), texts, execution_rows),
    ]
    # Days of an earlier version have no terms.
    if parameters["attributes"] is not None and await _has_gaps(reader, parameters):
        queries.append(Query(plain.walked_parts(days, "where_span_attribute"), spans, execution_rows))
    if plain != listing:
        queries.append(Query(listing.walked_parts(days), texts, execution_rows))
    walked_to, *found = await reader.snapshot.together(*queries)
    rows = merged(*found)
    if len(rows) <= limit and plain != listing:
        rows = merged(rows, await reader.snapshot.all(listing.found_parts(days), parameters, execution_rows))
    return rows, walked_to[0].count, None


async def _has_gaps(reader: Reader, parameters: dict[str, object]) -> bool:
    wanted = {name: parameters[name] for name in ("tenant_id", "first_day", "last_day")}
    return bool(await reader.snapshot.all("gaps_of_terms", wanted, records(DayRow)))


def merged(*lists: Sequence[ExecutionRow]) -> list[ExecutionRow]:
    """The executions of all lists, newest first, each once."""
    by_id = {row.trace_id: row for rows in lists for row in rows}
    return sorted(by_id.values(), key=lambda row: (row.execution.started_ns, row.trace_id.bytes), reverse=True)


def list_of(
    rows: list[ExecutionRow], limit: int, text_back_to_ns: int | None, unfinished: Unfinished | None = None
) -> ExecutionList:
    """At most `limit` of `rows`, and the cursor after the last of them, or after all that was looked at."""
    page, following = page_of(rows, limit)
    if following is None and unfinished is not None:
        # Above every trace id of that start, so that the next page begins with it.
        following = ExecutionCursor(unfinished.next_ns, UUID(int=(1 << 128) - 1))
        return ExecutionList(page, following, text_back_to_ns, unfinished.next_ns + 1)
    return ExecutionList(page, following, text_back_to_ns, None)


def page_of(rows: list[ExecutionRow], limit: int) -> tuple[list[ExecutionRow], ExecutionCursor | None]:
    """At most `limit` of `rows`, and the cursor after the last of them where there are more."""
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    return rows[:limit], ExecutionCursor(last.execution.started_ns, last.trace_id)
