"""How many executions a list leaves out: what is hidden is counted."""

from __future__ import annotations

from dataclasses import replace

from spantree_api.cursor import ExecutionCursor
from spantree_api.filters import ExecutionFilter
from spantree_api.listing import NS_MAX, NS_MIN, Range
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
    until_ns = wanted.until_ns if after is None else min(after.started_ns, wanted.until_ns or after.started_ns)
    since_ns = wanted.since_ns if following is None else following.started_ns
    starts = Range(NS_MIN if since_ns is None else since_ns, NS_MAX if until_ns is None else until_ns - 1)
    parameters = {"tenant_id": reader.config.tenant_id, "limit": _COUNTED_MAX, **starts.parameters()}
    found = await reader.snapshot.first("count_hidden", parameters, records(CountRow))
    return 0 if found is None else found.count
