"""Take secrets out of what is stored already, by the rules of today.

Runs beside collectors, whose own rows have none: each piece is a short transaction that ends with the place where to go
on, and what it touches is projected like anything that is due, so that executions, nodes, edges, what they are found
by and their figures follow. The order: resources, then spans and log records day by day, then what has no day
(redaction/stored_others.py).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import partial
from hashlib import sha256
from typing import Any, Final

import orjson
import psycopg
from psycopg.rows import dict_row

from spantree_exporter.assemble import assemble as default_assemble
from spantree_exporter.facts import read_facts as default_read_facts
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.log_record import LogRecord
from spantree_exporter.otlp.build import stored_events, stored_links
from spantree_exporter.otlp.decode import JSON, PROTOBUF
from spantree_exporter.otlp.decode_logs import LOGS_JSON, LOGS_PROTOBUF
from spantree_exporter.own_audit import write
from spantree_exporter.own_audit_event import Event, local_actor
from spantree_exporter.postgres.connection import StoreConnection
from spantree_exporter.postgres.migrate import check_version
from spantree_exporter.postgres.partitions import LAST_DAY, SENTINEL_DAY, date_of
from spantree_exporter.postgres.readable_days import rewrite
from spantree_exporter.postgres.reprojection import Reprojection
from spantree_exporter.postgres.rollup_store import RollupFolder
from spantree_exporter.projection import Assemble, ReadFacts, TolerantReader
from spantree_exporter.redaction import Redactor
from spantree_exporter.redaction.notes import REDACTED
from spantree_exporter.redaction.stored_others import RedactOthers
from spantree_exporter.span import Resource, Scope, Span
from spantree_exporter.sql import statements
from spantree_exporter.stored_span import SpanRows

_SQL: Final = statements("redact")
_REBUILD_SQL: Final = statements("rebuild")
_CHUNK_ROWS: Final = 500
_TURN_POLL_S: Final = 0.5
_SPANS: Final = "span"
_LOGS: Final = "log"
_BEFORE_ALL: Final[tuple[bytes, int, int]] = (bytes(16), -(2**63), -(2**63))


@dataclass(frozen=True, slots=True)
class Asked:
    """Which rows: of the UTC days `since` to `until`, both included, of one execution, of one workflow."""

    since: date | None = None
    until: date | None = None
    execution: str | None = None
    workflow: str | None = None


@dataclass(slots=True)
class RedactProgress:
    """How far it has come. `redacted` counts rows by table, `kinds` secrets by kind; `days` had any."""

    tenant: str = ""
    day: date | None = None
    spans: int = 0
    log_records: int = 0
    redacted: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    days: set[date] = field(default_factory=set)


def redact_stored(
    database_url: str,
    redactor: Redactor,
    asked: Asked,
    progress: Callable[[RedactProgress], None] = lambda _: None,
    *,
    tenant: str | None = None,
    dry_run: bool = False,
    waiting: Callable[[str], None] = lambda _: None,
    read_facts: ReadFacts = default_read_facts,
    assemble: Assemble = default_assemble,
) -> RedactProgress:
    """Redact what is stored of all tenants, or of the one named; `dry_run` only counts.

    Of a tenant one runs at a time: two by different rules would each write what the other has read before. `waiting` is
    called with the tenant's name where another one is at it, and this one waits for it.

    Calls `progress` after each piece and answers what came of it. One that was interrupted goes on where it stopped
    when it is started again for the same rows by the same rules. What has no day is looked through whatever `asked`
    says. Raises StoreUnavailable, OperatorError; ValueError where there is no such tenant.
    """
    connection = StoreConnection(database_url, "spantree redact")
    # Of its own: projecting gives back all advisory locks of its session.
    turns = StoreConnection(database_url, "spantree redact")
    reader = TolerantReader(read_facts, assemble)
    state = RedactProgress()
    try:
        with turns.errors(), connection.errors():
            opened = connection.open()
            check_version(opened)
            tenants = opened.execute(_SQL["tenants"], {"name": tenant}).fetchall()
            if not tenants:
                raise ValueError(f'there is no tenant "{tenant}"; spantree tenant list shows them')
            for tenant_id, name in tenants:
                state.tenant = name
                before = Counter(state.redacted)
                redact = _Redact(connection, reader, redactor, tenant_id, asked, state, progress, dry_run=dry_run)
                if dry_run:
                    redact.run()
                    continue
                with _turn(turns, tenant_id, partial(waiting, name)):
                    _record(opened, tenant_id, asked, {"state": "begun"})
                    redact.run()
                    _record(opened, tenant_id, asked, {"state": "done", "rows": dict(state.redacted - before)})
    finally:
        connection.close()
        turns.close()
    return state


@contextmanager
def _turn(turns: StoreConnection, tenant_id: int, waiting: Callable[[], None]) -> Iterator[None]:
    connection, of_tenant = turns.open(), {"tenant_id": tenant_id}
    has_waited = False
    while connection.execute(_SQL["take_turn"], of_tenant).fetchone() != (True,):
        if not has_waited:
            has_waited = True
            waiting()
        time.sleep(_TURN_POLL_S)
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute(_SQL["end_turn"], of_tenant)


def _record(connection: psycopg.Connection[Any], tenant_id: int, asked: Asked, details: Mapping[str, Any]) -> None:
    """Tell the own audit who redacted a tenant's rows, and which; that it is begun, too, for it may be interrupted."""
    wanted = {
        "since": None if asked.since is None else asked.since.isoformat(),
        "until": None if asked.until is None else asked.until.isoformat(),
        # Its name may be what is to go.
        "workflow": True if asked.workflow is not None else None,
    }
    told = {name: value for name, value in wanted.items() if value is not None} | dict(details)
    object_type = "rows" if asked.execution is None else "execution"
    write(connection, Event(local_actor(), "command", "redact", tenant_id, object_type, asked.execution, details=told))


class _Redact:
    """One tenant's rows."""

    def __init__(
        self,
        connection: StoreConnection,
        reader: TolerantReader,
        redactor: Redactor,
        tenant_id: int,
        asked: Asked,
        state: RedactProgress,
        progress: Callable[[RedactProgress], None],
        *,
        dry_run: bool,
    ) -> None:
        self._connection = connection
        self._reader = reader
        self._redactor = redactor
        self._tenant_id = tenant_id
        self._asked = asked
        self._state = state
        self._progress = progress
        self._dry_run = dry_run
        self._reprojection = Reprojection(connection, reader, tenant_id)
        self._rows = SpanRows()
        self._others = RedactOthers(connection, redactor, tenant_id, state.redacted, state.kinds, dry_run=dry_run)
        self._scopes: dict[bytes, bytes | None] = {}
        self._range = {
            "tenant_id": tenant_id,
            "first_day": asked.since or date_of(SENTINEL_DAY),
            "last_day": asked.until or LAST_DAY,
        }
        self._key = {
            "tenant_id": tenant_id,
            "asked": orjson.dumps(asdict(asked)).decode(),
            "rules": _rules_hash(redactor),
        }

    def run(self) -> None:
        connection = self._connection.open()
        self._others.resources()
        row = None
        if not self._dry_run:
            row = connection.cursor(binary=True).execute(_SQL["position"], self._key).fetchone()
        part, day, place = (row[0], row[1], (row[2], row[3], row[4])) if row else (_SPANS, None, _BEFORE_ALL)
        days = [one for (one,) in connection.execute(_REBUILD_SQL["days"], self._range)]
        for at, chunk in ((_SPANS, self._spans), (_LOGS, self._logs)):
            if at == _SPANS and part == _LOGS:
                continue
            begin = day if at == part else None
            for one in days:
                if begin is None or one >= begin:
                    self._day(at, chunk, one, place if one == begin else _BEFORE_ALL)
        if not self._dry_run:
            self._reprojection.finish()
        self._others.without_day()
        if not self._dry_run:
            self._figures()
            connection.execute(_SQL["delete_position"], self._key)
        self._progress(self._state)

    def _day(
        self,
        part: str,
        chunk: Callable[[date, tuple[bytes, int, int]], tuple[bytes, int, int] | None],
        day: date,
        after: tuple[bytes, int, int],
    ) -> None:
        self._state.day = day
        while True:
            piece = partial(self._piece, part, chunk, day, after)
            last = rewrite(self._connection, self._tenant_id, day, piece)
            if last is None:
                return
            after = last
            if not self._dry_run:
                self._reprojection.project()
            self._progress(self._state)

    def _piece(
        self,
        part: str,
        chunk: Callable[[date, tuple[bytes, int, int]], tuple[bytes, int, int] | None],
        day: date,
        after: tuple[bytes, int, int],
    ) -> tuple[bytes, int, int] | None:
        # Resources, too, are read with the piece: another one may have redacted them since the last one.
        self._rows = SpanRows()
        last = chunk(day, after)
        if last is not None and not self._dry_run:
            position = {"part": part, "day": day, "trace_id": last[0].hex(), "span_id": last[1], "fingerprint": last[2]}
            self._connection.open().execute(_SQL["upsert_position"], self._key | position)
        return last

    def _read(self, statement: str, day: date, after: tuple[bytes, int, int]) -> list[dict[str, Any]]:
        trace_id, span_id, fingerprint = after
        with self._connection.open().cursor(binary=True, row_factory=dict_row) as cursor:
            cursor.execute(
                _SQL[statement],
                {
                    "tenant_id": self._tenant_id,
                    "day": day,
                    "after_trace_id": trace_id.hex(),
                    "after_span_id": span_id,
                    "after_fingerprint": fingerprint,
                    "execution": self._asked.execution,
                    "workflow": self._asked.workflow,
                    "rows": _CHUNK_ROWS,
                },
            )
            return cursor.fetchall()

    # ---- spans -------------------------------------------------------------------------------------------------

    def _spans(self, day: date, after: tuple[bytes, int, int]) -> tuple[bytes, int, int] | None:
        """Redact the spans that follow `after`; the key of the last one, None where there is none."""
        rows = self._read("spans_after", day, after)
        if not rows:
            return None
        self._state.spans += len(rows)
        changed: list[Span] = []
        before: list[Any] = []
        for row in rows:
            sent = self._rows.span(row)
            redacted = self._redacted_span(sent)
            # What a resource tells of is told by its spans' facts.
            if redacted is not None or REDACTED in sent.resource.attributes:
                changed.append(redacted or sent)
                before.append((row["facts"], redacted is not None))
        facts = self._reader.facts(changed)
        told = [
            (span, of_span)
            for span, of_span, (was, is_redacted) in zip(changed, facts, before, strict=True)
            if is_redacted or (orjson.loads(orjson.dumps(of_span)) if of_span else None) != was
        ]
        redacted_rows = sum(is_redacted for _, is_redacted in before)
        if redacted_rows:
            self._state.redacted["span"] += redacted_rows
            self._state.days.add(day)
        if told and not self._dry_run:
            self._connection.open().execute(_SQL["update_spans"], self._span_columns(day, told))
            self._reprojection.mark([span.trace_id for span, _ in told])
        last = rows[-1]
        return last["trace_id"], last["span_id"], last["fingerprint"]

    def _redacted_span(self, sent: Span) -> Span | None:
        """`sent` with the JSON of its parts made anew, None where there is nothing in it."""
        scope_json = self._scope(sent.scope)
        raw = self._raw(sent.raw, PROTOBUF, JSON)
        redacted = self._redactor.span(sent, self._state.kinds)
        if redacted is None and scope_json == sent.scope.json and raw == sent.raw:
            return None
        span = redacted or sent
        if redacted is not None:
            span.attributes_json = orjson.dumps(span.attributes)
            span.events_json = orjson.dumps(stored_events(span.events)) if span.events else None
            span.links_json = orjson.dumps(stored_links(span.links)) if span.links else None
        stored: dict[str, Any] = orjson.loads(scope_json) if scope_json else {}
        span.scope = Scope(stored.get("name", ""), stored.get("version", ""), stored.get("attributes", {}), scope_json)
        span.raw = raw
        return span

    def _scope(self, scope: Scope) -> bytes | None:
        if scope.json is None:
            return None
        if scope.json not in self._scopes:
            if len(self._scopes) >= 1_000:
                self._scopes.clear()
            redacted = self._redactor.scope(scope, self._state.kinds)
            self._scopes[scope.json] = scope.json if redacted is None else redacted.json
        return self._scopes[scope.json]

    def _raw(self, raw: bytes | None, protobuf: str, in_json: str) -> bytes | None:
        if raw is None:
            return None
        # What is in it is in the columns, too, where it is counted.
        return self._redactor.body(raw, in_json if raw.startswith(b"{") else protobuf)[0]

    def _span_columns(self, day: date, told: Sequence[tuple[Span, Facts]]) -> dict[str, Any]:
        spans = [span for span, _ in told]
        return self._keys(day, spans) | {
            "names": [span.name for span in spans],
            "status_messages": [span.status_message or None for span in spans],
            "trace_states": [span.trace_state or None for span in spans],
            "scopes": [_text(span.scope.json) for span in spans],
            "attributes": [span.attributes_json.decode() for span in spans],
            "events": [_text(span.events_json) for span in spans],
            "links": [_text(span.links_json) for span in spans],
            "facts": [orjson.dumps(facts).decode() if facts else None for _, facts in told],
            "raws": [span.raw for span in spans],
        }

    # ---- log records -------------------------------------------------------------------------------------------

    def _logs(self, day: date, after: tuple[bytes, int, int]) -> tuple[bytes, int, int] | None:
        """As `_spans`, for log records."""
        rows = self._read("logs_after", day, after)
        if not rows:
            return None
        self._state.log_records += len(rows)
        found = [one for one in map(self._redacted_log, rows) if one is not None]
        if found:
            self._state.redacted["log_record"] += len(found)
            self._state.days.add(day)
        if found and not self._dry_run:
            self._connection.open().execute(
                _SQL["update_logs"],
                self._keys(day, found)
                | {
                    "severity_texts": [record.severity_text or None for record in found],
                    "event_names": [record.event_name or None for record in found],
                    "scopes": [_text(record.scope.json) for record in found],
                    "bodies": [_text(record.body_json) for record in found],
                    "attributes": [record.attributes_json.decode() for record in found],
                    "raws": [record.raw for record in found],
                },
            )
            self._reprojection.mark([record.trace_id for record in found])
        last = rows[-1]
        return last["trace_id"], last["span_id"], last["fingerprint"]

    def _redacted_log(self, row: dict[str, Any]) -> LogRecord | None:
        stored = row["scope"] or {}
        scope_json = orjson.dumps(stored) if stored else None
        scope = Scope(stored.get("name", ""), stored.get("version", ""), stored.get("attributes", {}), scope_json)
        record = LogRecord(
            row["trace_id"], row["span_id"], 0, 0, 0, row["severity_text"] or "", row["event_name"] or "", 0, _NOBODY,
            scope, row["body"], None if row["body"] is None else orjson.dumps(row["body"]), row["attributes"],
            orjson.dumps(row["attributes"]), 0, 0, row["fingerprint"], row["raw"],
        )  # fmt: skip
        new_scope = self._scope(scope)
        raw = self._raw(record.raw, LOGS_PROTOBUF, LOGS_JSON)
        redacted = self._redactor.log(record, self._state.kinds)
        if redacted is None and new_scope == scope_json and raw == record.raw:
            return None
        if redacted is not None:
            record = redacted
            record.attributes_json = orjson.dumps(record.attributes)
            record.body_json = None if record.body is None else orjson.dumps(record.body)
        record.scope = Scope("", "", {}, new_scope)
        record.raw = raw
        return record

    # ---- both --------------------------------------------------------------------------------------------------

    def _keys(self, day: date, items: Sequence[Span | LogRecord]) -> dict[str, Any]:
        return {
            "tenant_id": self._tenant_id,
            "day": day,
            "trace_ids": [item.trace_id.hex() for item in items],
            "span_ids": [item.span_id for item in items],
            "fingerprints": [item.fingerprint for item in items],
        }

    def _figures(self) -> None:
        folder = RollupFolder(self._connection)
        while folder.fold():
            pass
        self._others.figures()


_NOBODY: Final = Resource(0, "", {}, b"{}")


def _text(json: bytes | None) -> str | None:
    return None if json is None else json.decode()


def _rules_hash(redactor: Redactor) -> str:
    """Of what the rules say: by others what was done already is looked at again. Not of the key, which is a secret."""
    rules = redactor.rules
    told = [
        rules.mode,
        *(repr((rule.kind, rule.words, rule.mode, rule.whole, rule.plural)) for rule in rules.keys),
        *(repr((rule.kind, rule.pattern, rule.mode, rule.mask)) for rule in rules.texts),
        *rules.keep,
    ]
    return sha256("\n".join(told).encode()).hexdigest()
