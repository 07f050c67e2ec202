"""The own audit: what was asked of spantree itself and changed in it, appended to a table that nobody changes.

What commands change is written in the transaction of the change: neither is there without the other. What the API
answers is written behind the answers (spantree_api.own_audit).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final

import orjson
import psycopg

from spantree_exporter.own_audit_event import Event
from spantree_exporter.redaction.rules import DEFAULT_RULES
from spantree_exporter.redaction.text import TextRedactor
from spantree_exporter.sql import statements
from spantree_exporter.stored import NUL_SIGN

_SQL: Final = statements("own_audit")


def as_json(events: Sequence[Event]) -> str:
    """What `spantree.write_own_audit` takes, redacted: nobody can take back later what is in it.

    An id comes from who asks, and a run's id is whatever a service called it.
    """
    rows = []
    for event in events:
        row = asdict(event)
        row |= {"object_id": _redacted(event.object_id), "details": _redacted(dict(event.details))}
        actor = row.pop("actor")
        rows.append(row | {"actor_kind": actor["kind"], "actor": actor["name"], "scope": actor["scope"]})
    # What no text of PostgreSQL can hold (NUL, half a surrogate pair) is told by a sign.
    return orjson.dumps(_storable(rows)).decode()


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return _redactor().text(value)[0]
    if isinstance(value, Mapping):
        return {_redacted(key): _redacted(one) for key, one in value.items()}
    return [_redacted(one) for one in value] if isinstance(value, list | tuple) else value


@cache
def _redactor() -> TextRedactor:
    return TextRedactor(DEFAULT_RULES)


def write(connection: psycopg.Connection[Any], *events: Event) -> None:
    """Append; idempotent by the events' ids. Part of the connection's transaction. Raises psycopg.Error."""
    connection.execute(_SQL["write"], {"events": as_json(events)})


def drop_old(connection: psycopg.Connection[Any], keep_days: int) -> int:
    """Drop the months of which every day is older; how many. Raises psycopg.Error."""
    row = connection.execute(_SQL["drop"], {"keep_days": keep_days}).fetchone()
    return int(row[0]) if row else 0


@dataclass(frozen=True, slots=True)
class OwnAuditLine:
    """An event as it is read. `tenant` is None where it is a tenant that never was."""

    tenant: str | None
    at: datetime
    actor_kind: str
    actor: str
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


def newest(
    connection: psycopg.Connection[Any],
    *,
    tenant: str | None = None,
    actor: str | None = None,
    action: str | None = None,
    object_: str | None = None,
    since: datetime | None = None,
    limit: int = 50,
) -> list[OwnAuditLine]:
    """The newest events that match, newest first. Raises psycopg.Error."""
    wanted = {"tenant": tenant, "actor": actor, "action": action, "object": object_, "since": since, "limit": limit}
    return [OwnAuditLine(*row) for row in connection.execute(_SQL["newest"], wanted).fetchall()]


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\x00", NUL_SIGN).encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, Mapping):
        return {str(name): _storable(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(one) for one in value]
    return value
