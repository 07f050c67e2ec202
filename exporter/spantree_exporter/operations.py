"""The names of spans that search forms offer: a set in PostgreSQL, most of it known to each writer already."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

import psycopg

from spantree_exporter.span import Span
from spantree_exporter.sql import statements

_SQL: Final = statements("write")

# What a form can offer to choose from; a sender that puts ids into names would make millions.
OPERATIONS_MAX: Final = 5_000
# The index of the table takes 2,704 bytes a row, and a character has up to four.
_NAME_CHARS: Final = 255
# Beyond this many keys they are forgotten together.
_KNOWN_MAX: Final = 50_000
_MARKS: Final = ("spantree.span_type", "logfire.span_type")


class Operations:
    """Which names one writer knows to be stored today."""

    def __init__(self, tenant_id: int) -> None:
        self._tenant_id = tenant_id
        self._known: set[tuple[str, str, int]] = set()
        self._day = datetime.now(UTC).date()

    def forget(self) -> None:
        """Know nothing of what is stored: another server may answer now."""
        self._known.clear()

    def note(self, cursor: psycopg.Cursor[Any], spans: Iterable[Span]) -> None:
        """Store what of `spans` is not known to be stored. Idempotent. Raises psycopg.Error."""
        known = self._known
        # A name that is too long is not offered and not remembered either: memory is bounded by the number of names.
        new = {
            key
            for span in spans
            if (key := (span.resource.service_name, span.name, span.kind)) not in known
            and 0 < len(key[0]) <= _NAME_CHARS
            and len(key[1]) <= _NAME_CHARS
            and not _is_mark(span)
        }
        if not new:
            return
        day = datetime.now(UTC).date()
        if day != self._day or len(known) + len(new) > _KNOWN_MAX:
            # A day's first of each name moves `last_day` on.
            self._day = day
            known.clear()
        cursor.execute(
            _SQL["upsert_operations"],
            {
                "tenant_id": self._tenant_id,
                "services": [service for service, _, _ in new],
                "names": [name for _, name, _ in new],
                "kinds": [kind for _, _, kind in new],
                "day": day,
                "most": OPERATIONS_MAX,
            },
        )
        known |= new


def _is_mark(span: Span) -> bool:
    return any(span.attributes.get(key) == "pending_span" for key in _MARKS)
