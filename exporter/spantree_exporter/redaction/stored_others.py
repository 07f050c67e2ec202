"""What of a tenant belongs to no day and may hold a secret: resources, dead letters, notes, names of figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, Final, LiteralString

import orjson

from spantree_exporter.postgres.connection import StoreConnection
from spantree_exporter.redaction import Redactor
from spantree_exporter.span import JsonValue, Resource
from spantree_exporter.sql import statements
from spantree_exporter.stored import NUL_SIGN

_SQL: Final = statements("redact")
_CHUNK_ROWS: Final = 200
# Dead letters may be a whole body each.
_CHUNK_LETTERS: Final = 5
# (table, what it tells, what changes it): a key and a text, or JSON.
_TEXTS: Final[tuple[tuple[str, LiteralString, LiteralString], ...]] = (
    ("analysis", "analyses", "update_analysis"),
    ("failure_group", "group_notes", "update_group_note"),
    ("failure_group_change", "group_change_notes", "update_group_change_note"),
    ("alert_delivery", "delivery_bodies", "update_delivery_body"),
    ("alert_delivery", "delivery_subjects", "update_delivery_subject"),
    ("alert_firing", "firing_subjects", "delete_firing"),
    ("pending_projection", "projection_errors", "update_projection_error"),
)


class RedactOthers:
    """Over one connection, for one tenant. `redacted` gains rows by table, `kinds` secrets by kind.

    Every method may be called again: what was redacted stays as it is. Raises psycopg.Error.
    """

    def __init__(
        self,
        connection: StoreConnection,
        redactor: Redactor,
        tenant_id: int,
        redacted: Counter[str],
        kinds: Counter[str],
        *,
        dry_run: bool,
    ) -> None:
        self._connection = connection
        self._redactor = redactor
        self._tenant = {"tenant_id": tenant_id}
        self._redacted = redacted
        self._kinds = kinds
        self._dry_run = dry_run

    def resources(self) -> None:
        """What senders are, each under its id: it is of spans of all days."""
        for one in self._pages("resources_after", -(2**63), _CHUNK_ROWS):
            resource_id, attributes, service_name, schema_url, dropped = one
            stored = Resource(resource_id, service_name, attributes, orjson.dumps(attributes), schema_url, dropped)
            new = self._redactor.resource(stored, self._kinds)
            if new is not None:
                self._redacted["resource"] += 1
                self._change(
                    "update_resource",
                    id=resource_id,
                    attributes=new.attributes_json.decode(),
                    service_name=new.service_name,
                    schema_url=new.schema_url,
                )

    def without_day(self) -> None:
        """Dead letters, and what people, models and programs have said of executions."""
        self._letters()
        for table, statement, change in _TEXTS:
            for key, told in self._all(statement):
                new, found = self._told(told)
                if found:
                    self._count(table, found)
                    written = new if isinstance(new, str) else orjson.dumps(new).decode()
                    self._change(change, key=key, new=written)
        for service, name in self._all("operations"):
            new_service, of_service = self._text(service)
            new_name, of_name = self._text(name)
            if of_service or of_name:
                self._count("operation", of_service + of_name)
                self._change(
                    "replace_operation", service=service, name=name, new_service=new_service, new_name=new_name
                )

    def figures(self) -> None:
        """Names of figures, once what was projected is folded into them."""
        columns = ("workflow_name", "service", "name", "target")
        for names in self._all("figure_names"):
            redacted = [self._text(name) for name in names]
            found = [kind for _, kinds in redacted for kind in kinds]
            if not found:
                continue
            self._count("rollup", found)
            old = dict(zip(columns, names, strict=True))
            new = {f"new_{column}": name for column, (name, _) in zip(columns, redacted, strict=True)}
            with self._connection.open().transaction():
                self._change("delete_empty_figures", **old)
                self._change("rename_figures", **old, **new)
                self._change("delete_figures", **old)

    def _letters(self) -> None:
        for digest, encoding, raw, reason in self._pages("letters_after", b"", _CHUNK_LETTERS):
            body, kinds = self._redactor.body(raw, encoding)
            new_reason, of_reason = self._text(reason)
            if not kinds and not of_reason:
                continue
            self._redacted["dead_letter"] += 1
            self._kinds.update(kinds)
            self._kinds.update(of_reason)
            new_reason = new_reason.replace("\x00", NUL_SIGN)
            if kinds:
                new_digest = sha256(encoding.encode() + b"\x00" + body).digest()
                self._change("replace_letter", digest=digest, new_digest=new_digest, reason=new_reason, raw=body)
            else:
                self._change("update_letter_reason", digest=digest, reason=new_reason)

    def _told(self, told: JsonValue) -> tuple[JsonValue, list[str]]:
        if isinstance(told, str):
            return self._text(told)
        return self._redactor.value(told)

    def _text(self, text: str) -> tuple[str, list[str]]:
        return self._redactor.texts.text(text)

    def _count(self, table: str, kinds: list[str]) -> None:
        self._redacted[table] += 1
        self._kinds.update(kinds)

    def _change(self, statement: LiteralString, **arguments: Any) -> None:
        if not self._dry_run:
            self._connection.open().execute(_SQL[statement], self._tenant | arguments)

    def _pages(self, statement: LiteralString, first: Any, rows: int) -> Iterator[tuple[Any, ...]]:
        """Rows in the order of their key, which is their first column; a few at a time."""
        after = first
        while True:
            page = (
                self._connection.open()
                .execute(_SQL[statement], self._tenant | {"after": after, "rows": rows}, binary=True)
                .fetchall()
            )
            yield from page
            if len(page) < rows:
                return
            after = page[-1][0]

    def _all(self, statement: LiteralString) -> Iterator[tuple[Any, ...]]:
        """All rows, of which the server keeps those that were not asked for yet."""
        with self._connection.open().cursor(name="spantree_redact", withhold=True) as cursor:
            cursor.itersize = _CHUNK_ROWS
            yield from cursor.execute(_SQL[statement], self._tenant)
