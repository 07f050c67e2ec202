"""The names of spans that search forms offer: a set in PostgreSQL, most of it known to each writer already."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import psycopg

from spantree_exporter.postgres.known import Known
from spantree_exporter.span import Span
from spantree_exporter.sql import statements

_SQL: Final = statements("write")

# What a form can offer to choose from; a sender that puts ids into names would make millions.
OPERATIONS_MAX: Final = 5_000
# The index of the table takes 2,704 bytes a row, and a character has up to four.
_NAME_CHARS: Final = 255
# Of all tenants together; beyond it those of whoever has most are forgotten.
_KNOWN_MAX: Final = 50_000
_MARKS: Final = ("spantree.span_type", "logfire.span_type")

_Operation: TypeAlias = tuple[str, str, int]


class Operations:
    """Which names one writer knows to be stored today."""

    def __init__(self) -> None:
        self._known: Known[_Operation] = Known(_KNOWN_MAX)
        self._day = datetime.now(UTC).date()

    def forget(self) -> None:
        """Know nothing of what is stored: another server may answer now."""
        self._known.forget()

    def note(self, cursor: psycopg.Cursor[Any], of_tenants: Iterable[tuple[int, Sequence[Span]]]) -> None:
        """Store what of the spans of each tenant is not known to be stored. Idempotent. Raises psycopg.Error."""
        new: dict[int, set[_Operation]] = {}
        for tenant_id, spans in of_tenants:
            known = self._known.of(tenant_id)
            # A name that is too long is not offered and not remembered: memory is bounded by the number of names.
            of_tenant = {
                key
                for span in spans
                if (key := (span.resource.service_name, span.name, span.kind)) not in known
                and 0 < len(key[0]) <= _NAME_CHARS
                and len(key[1]) <= _NAME_CHARS
                and not _is_mark(span)
            }
            if of_tenant:
                new.setdefault(tenant_id, set()).update(of_tenant)
        if not new:
            return
        day = datetime.now(UTC).date()
        if day != self._day:
            # A day's first of each name moves `last_day` on.
            self._day = day
            self._known.forget()
        listed = [(tenant_id, operation) for tenant_id, operations in new.items() for operation in operations]
        full = _full_services(cursor, {(tenant_id, service) for tenant_id, (service, _, _) in listed})
        cursor.execute(
            _SQL["upsert_operations"],
            {
                "full": [(tenant_id, service) in full for tenant_id, (service, _, _) in listed],
                "tenant_ids": [tenant_id for tenant_id, _ in listed],
                "services": [service for _, (service, _, _) in listed],
                "names": [name for _, (_, name, _) in listed],
                "kinds": [kind for _, (_, _, kind) in listed],
                "day": day,
            },
        )
        for tenant_id, operations in new.items():
            self._known.add(tenant_id, operations)


def _full_services(cursor: psycopg.Cursor[Any], services: Collection[tuple[int, str]]) -> set[tuple[int, str]]:
    """Those of some services, with their tenants, of which no new name is offered."""
    cursor.execute(
        _SQL["full_services"],
        {
            "tenant_ids": [tenant_id for tenant_id, _ in services],
            "services": [service for _, service in services],
            "most": OPERATIONS_MAX,
        },
    )
    return set(cursor.fetchall())


def _is_mark(span: Span) -> bool:
    return any(span.attributes.get(key) == "pending_span" for key in _MARKS)
