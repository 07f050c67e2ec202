"""Reads of the own audit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from spantree_api.answers.own_audit import OwnAuditEntry
from spantree_api.cursor import MomentCursor
from spantree_api.reader import Reader
from spantree_api.rendering import ns_of, rfc3339
from spantree_api.stored_rows import records

_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class OwnAuditFilter:
    """None leaves everything in. `since` is inside the range, `until` is not."""

    since: datetime | None = None
    until: datetime | None = None
    actor: str | None = None
    action: str | None = None
    object: str | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True)
class OwnAuditRow:
    """A row of the view `own_audit`."""

    at: datetime
    id: UUID
    actor_kind: str
    actor: str
    scope: str | None
    channel: str
    action: str
    object_type: str | None
    object_id: str | None
    method: str | None
    route: str | None
    status: int | None
    times: int
    address: str | None
    details: dict[str, Any]


async def own_events(
    reader: Reader, wanted: OwnAuditFilter, limit: int, after: MomentCursor | None
) -> tuple[list[OwnAuditRow], MomentCursor | None]:
    """A page of events, newest first, and where the next one starts."""
    parameters = {
        "tenant_id": reader.config.tenant_id,
        "since": wanted.since or _EARLIEST,
        "until": wanted.until or _LATEST,
        "before": _LATEST if after is None else after.moment,
        "before_id": UUID(int=0) if after is None else after.id,
        "actor": wanted.actor,
        "action": wanted.action,
        "object": wanted.object,
        "address": wanted.address,
        "limit": limit + 1,
    }
    rows = await reader.snapshot.all("own_audit_events", parameters, records(OwnAuditRow))
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], MomentCursor(rows[limit - 1].at, rows[limit - 1].id)


def own_entry(row: OwnAuditRow) -> OwnAuditEntry:
    """An event as the answer tells it."""
    return {
        "at": rfc3339(ns_of(row.at)),
        "actor_kind": row.actor_kind,
        "actor": row.actor,
        "scope": row.scope,
        "channel": row.channel,
        "action": row.action,
        "object_type": row.object_type,
        "object_id": row.object_id,
        "method": row.method,
        "route": row.route,
        "status": row.status,
        "times": row.times,
        "address": row.address,
        "details": row.details,
    }
