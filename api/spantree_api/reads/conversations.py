"""Conversations, newest turn first: found by a walk over executions, and summed up by their own index."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final
from uuid import UUID

from spantree_api.cursor import ExecutionCursor
from spantree_api.listing import NS_MAX, Range, start_of, windows_of
from spantree_api.reader import Reader
from spantree_api.stored_rows import CountRow, DayRow, records

TURNS_MAX: Final = 1_000
"""Turns of one conversation that are summed up, the newest ones."""
_WALKED: Final = 2_000
# A page that has found too little after this time is answered as it is, with a cursor to go on from.
_LOOK_S: Final = 0.25
_DAYS: Final = (2, 14, 48)


@dataclass(frozen=True, slots=True)
class _TurnRow:
    conversation_id: str | None
    started_ns: int
    trace_id: UUID


@dataclass(frozen=True, slots=True)
class ConversationRow:
    """A conversation: sums of its turns, the first input, the status of the last."""

    conversation_id: str
    user_id: str | None
    turns: int
    failed_turns: int
    last_status: str
    started_ns: int
    last_started_ns: int
    last_seen_ns: int
    first_input: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class ConversationList:
    """A page, and where the next one starts: None where everything was looked at."""

    rows: list[ConversationRow]
    following: ExecutionCursor | None


async def conversations(reader: Reader, since_ns: int, limit: int, after: ExecutionCursor | None) -> ConversationList:
    """A page of those with a turn since `since_ns`; fewer than `limit` where it took too long to find them.

    A conversation is on the page of its newest turn, and sums up all of its turns since then.
    """
    bounds = {"first_day": Range(since_ns, NS_MAX).first_day, "last_day": Range(since_ns, NS_MAX).last_day}
    days = [row.day for row in await reader.snapshot.all("partition_days", bounds, records(DayRow))]
    found, following = await _found(reader, since_ns, limit, after, days)
    if not found:
        return ConversationList([], following)
    parameters = {
        "tenant_id": reader.config.tenant_id,
        "conversation_ids": found,
        "days": days,
        "lost_after_s": reader.config.lost_after_s,
        "now_ns": reader.now_ns,
        "turns": TURNS_MAX,
    }
    return ConversationList(
        await reader.snapshot.all("conversation_sums", parameters, records(ConversationRow)), following
    )


async def _found(
    reader: Reader, since_ns: int, limit: int, after: ExecutionCursor | None, days: Sequence[date]
) -> tuple[list[str], ExecutionCursor | None]:
    """The ids of a page and where the next one starts."""
    began_s = time.monotonic()
    starts = Range(since_ns, NS_MAX if after is None else after.started_ns)
    at = after
    found: dict[str, None] = {}
    told: set[str] = set()
    for window in windows_of(starts, days, _DAYS):
        if at is None or at.started_ns > window.starts.to_ns:
            at = ExecutionCursor(window.starts.to_ns, UUID(int=(1 << 128) - 1))
        while True:
            place = {"before_ns": at.started_ns, "before_trace_id": at.trace_id}
            parameters = {"tenant_id": reader.config.tenant_id, **window.parameters(), **place, "walked": _WALKED}
            rows = await reader.snapshot.all("newest_turns", parameters, records(_TurnRow))
            if after is not None:
                new = {row.conversation_id for row in rows if row.conversation_id is not None} - told - found.keys()
                told |= await _told_before(reader, sorted(new), after, days)
            for row in rows:
                if row.conversation_id is not None and row.conversation_id not in told:
                    if len(found) == limit and row.conversation_id not in found:
                        return list(found), at
                    found[row.conversation_id] = None
                at = ExecutionCursor(row.started_ns, row.trace_id)
            if len(rows) < _WALKED:
                break
            if time.monotonic() - began_s > _LOOK_S:
                return list(found), at
    return list(found), None


async def _told_before(
    reader: Reader, conversation_ids: list[str], after: ExecutionCursor, days: Sequence[date]
) -> set[str]:
    if not conversation_ids:
        return set()
    parameters = {
        "tenant_id": reader.config.tenant_id,
        "conversation_ids": conversation_ids,
        "before_ns": after.started_ns,
        "before_trace_id": after.trace_id,
        "days": [day for day in days if start_of(day) + 86_400_000_000_000 > after.started_ns or start_of(day) == 0],
    }
    rows = await reader.snapshot.all("conversations_with_later_turns", parameters, records(CountRow))
    return {row.name for row in rows if row.name is not None}
