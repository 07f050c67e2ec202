"""Lists of a conversation by other filters: its turns, newest first, some at a time, held against the filters.

A conversation has some turns, or a hundred thousand, and no statistics say which: all of them at once took seconds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from spantree_api.database import Query
from spantree_api.listing import Listing
from spantree_api.reader import Reader
from spantree_api.stored_rows import ExecutionRow, execution_rows, records

# Turns that are looked at together.
_TURNS: Final = 1_000


@dataclass(frozen=True, slots=True)
class _WalkedRow:
    walked_to_ns: int | None
    turns: int


async def matching_turns(
    reader: Reader, listing: Listing, days: str, parameters: Mapping[str, object], limit: int, until_s: float
) -> tuple[list[ExecutionRow], int | None]:
    """The newest `limit` and one of some days that match, newest first, and where to go on: None where all were looked
    at or enough were found; else the newest start that was not, once `until_s` of time.monotonic is over.

    `days`, `parameters`: a part of sql/executions.sql that names days, and its values with the list's.
    """
    found: dict[object, ExecutionRow] = {}
    to_ns, turns = parameters["to_ns"], _TURNS
    while True:
        walked = {**parameters, "to_ns": to_ns, "walked": turns}
        rows, [reached] = await reader.snapshot.together(
            Query(listing.turns_parts(days), walked, execution_rows),
            Query(listing.turns_parts(days, walked_to=True), walked, records(_WalkedRow)),
        )
        found.update((row.trace_id, row) for row in rows)
        if len(found) > limit or reached.turns < turns or reached.walked_to_ns is None:
            return list(found.values())[: limit + 1], None
        # More, where all of them started at once.
        turns = 2 * turns if reached.walked_to_ns == to_ns else _TURNS
        to_ns = reached.walked_to_ns
        if time.monotonic() > until_s and turns == _TURNS:
            # What goes on begins with that start, of which some were looked at.
            return [row for row in found.values() if row.execution.started_ns > to_ns], to_ns
