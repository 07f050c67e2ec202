"""Requests that traced services answered, newest first."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from spantree_api.audit import AuditFilter, AuditRow
from spantree_api.cursor import SpanCursor
from spantree_api.listing import NS_MAX, Range, windows_of
from spantree_api.reader import Reader
from spantree_api.stored_rows import DayRow, records

# Requests that one statement looks at where not all match.
_WALKED: Final = 2_000
# A page that has found too little after this time is answered as it is, with a cursor to go on from.
_LOOK_S: Final = 0.25
# Days that one statement names: the newest are most often enough.
_DAYS: Final = (2, 14, 48)


@dataclass(frozen=True, slots=True)
class AuditList:
    """A page, and where the next one starts: None where everything was looked at."""

    rows: list[AuditRow]
    following: SpanCursor | None


async def entries(reader: Reader, wanted: AuditFilter, limit: int, after: SpanCursor | None) -> AuditList:
    """A page of requests, newest first; fewer than `limit` where it took too long to find them."""
    began_s = time.monotonic()
    to_ns = NS_MAX if wanted.until_ns is None else wanted.until_ns - 1
    at = after
    if at is not None:
        to_ns = min(to_ns, at.started_ns)
    starts = Range(wanted.since_ns, to_ns)
    partitions = await reader.snapshot.all(
        "partition_days", {"first_day": starts.first_day, "last_day": starts.last_day}, records(DayRow)
    )
    found: list[AuditRow] = []
    looked = 0
    for window in windows_of(starts, [row.day for row in partitions], _DAYS):
        if at is None or at.started_ns > window.starts.to_ns:
            # Before every request of the window.
            at = SpanCursor(window.starts.to_ns, UUID(int=(1 << 128) - 1), NS_MAX)
        while True:
            if looked and time.monotonic() - began_s > _LOOK_S:
                return AuditList(found, at)
            walked = _WALKED if wanted.narrows else limit + 1 - len(found)
            parameters = {
                "tenant_id": reader.config.tenant_id,
                **window.parameters(),
                "before_ns": at.started_ns,
                "before_trace_id": at.trace_id,
                "before_span_id": at.span_id,
                "walked": walked,
                "user": wanted.user,
                "action": wanted.action,
                "resource": wanted.resource,
                "service": wanted.service,
                "success": wanted.success,
                "hidden": wanted.hidden,
            }
            rows = await reader.snapshot.all("audit_entries", parameters, records(AuditRow))
            looked += 1
            found += [row for row in rows if row.is_match]
            if len(found) > limit:
                return AuditList(found[:limit], cursor_of(found[limit - 1]))
            if not rows or rows[-1].turns < walked:
                break
            at = cursor_of(rows[-1])
    return AuditList(found, None)


def cursor_of(row: AuditRow) -> SpanCursor:
    """Where a list goes on after this request."""
    return SpanCursor(row.started_ns, row.execution_id, row.span_number)
