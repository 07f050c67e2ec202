"""How many executions a list leaves out: what is hidden is counted."""

from __future__ import annotations

from dataclasses import replace

from spantree_api.cursor import ExecutionCursor
from spantree_api.filters import ExecutionFilter, first_day_of, last_day_of
from spantree_api.reader import Reader
from spantree_api.stored_rows import CountRow, records

_COUNTED_MAX = 1_000


async def count_hidden(
    reader: Reader, wanted: ExecutionFilter, after: ExecutionCursor | None, following: ExecutionCursor | None
) -> int | None:
    """Hidden executions between a page's bounds; None where the list is narrowed by more than its time.

    Then the page's bounds may be far apart, and counting would cost more than the list itself.
    """
    if replace(wanted, since_ns=None, until_ns=None) != ExecutionFilter():
        return None
    untils = [ns for ns in (wanted.until_ns, None if after is None else after.started_ns) if ns is not None]
    since_ns = wanted.since_ns if following is None else following.started_ns
    until_ns = min(untils, default=None)
    parameters = {
        "tenant_id": reader.config.tenant_id,
        "since_ns": since_ns,
        "until_ns": until_ns,
        "since_day": first_day_of(since_ns),
        "until_day": last_day_of(until_ns),
        "limit": _COUNTED_MAX,
    }
    found = await reader.snapshot.first("count_hidden", parameters, records(CountRow))
    return 0 if found is None else found.count
