"""Log records -> PostgreSQL, in one transaction with the marks that make their traces be projected again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final, TypeAlias

import psycopg

from spantree_exporter.connection import StoreConnection
from spantree_exporter.facts.log_events import tells
from spantree_exporter.log_record import LogRecord
from spantree_exporter.partitions import SENTINEL_DAY, date_arrays, date_of, day_number, day_of, trace_days
from spantree_exporter.sql import statements

_SQL: Final = statements("logs") | statements("write")
_STAGING: Final = "log_record_staging"
OUTSIDE_WINDOW: Final = "the time is outside of the days that have partitions; the record is stored under 1970-01-01"
# As for spans: each day is tables and indexes to lock.
_DAYS_PER_TRANSACTION: Final = 8

InsertResources: TypeAlias = Callable[[psycopg.Cursor[Any], Collection[LogRecord]], None]


class LogWriter:
    """Writes log records over one connection; `insert_resources` stores the resources of records, idempotently."""

    def __init__(self, connection: StoreConnection, tenant_id: int, insert_resources: InsertResources) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._insert_resources = insert_resources

    def write(self, records: Sequence[LogRecord]) -> int:
        """Store the records that are new; how many. Idempotent, in any order. Raises psycopg.Error."""
        unique: dict[tuple[bytes, int, int], LogRecord] = {}
        for record in records:
            unique.setdefault((record.trace_id, record.span_id, record.fingerprint), record)
        place = self._connection.place_days({day_of(record.at_ns) for record in unique.values()})
        by_day: dict[int, list[LogRecord]] = {}
        for record in unique.values():
            by_day.setdefault(place[day_of(record.at_ns)], []).append(record)
        days = sorted(by_day)
        stored = 0
        for first in range(0, len(days), _DAYS_PER_TRANSACTION):
            stored += self._transaction({day: by_day[day] for day in days[first : first + _DAYS_PER_TRANSACTION]})
        return stored

    def _transaction(self, by_day: dict[int, list[LogRecord]]) -> int:
        connection = self._connection.open()
        with connection.cursor() as cursor:
            senders = {record.resource.id: record for records in by_day.values() for record in records}
            self._insert_resources(cursor, senders.values())
        with connection.transaction(), connection.cursor() as cursor:
            self._connection.temporary_table(_STAGING, _SQL["create_log_staging"])
            with cursor.copy(_SQL["copy_log_staging"]) as copy:
                for day, records in by_day.items():
                    for record in records:
                        copy.write_row(self._row(day, record))
            cursor.execute(_SQL["insert_staged_logs"])
            stored = len(cursor.fetchall())
            if stored:
                self._mark(cursor, by_day)
        self._connection.temporary_tables_kept([_STAGING])
        return stored

    def _row(self, day: int, record: LogRecord) -> tuple[Any, ...]:
        anomalies = [*record.anomalies, OUTSIDE_WINDOW] if day == SENTINEL_DAY else record.anomalies
        scope = record.scope.json
        return (
            self._tenant_id,
            date_of(day),
            record.trace_id.hex(),
            record.span_id,
            record.fingerprint,
            record.time_ns,
            record.observed_ns,
            record.received_ns,
            record.severity_number,
            record.severity_text or None,
            record.event_name or None,
            record.flags,
            record.resource.id,
            None if scope is None else scope.decode(),
            None if record.body_json is None else record.body_json.decode(),
            record.attributes_json.decode(),
            record.dropped_attributes_count or None,
            anomalies or None,
            record.raw,
            tells(record.event_name, record.attributes),
        )

    def _mark(self, cursor: psycopg.Cursor[Any], by_day: dict[int, list[LogRecord]]) -> None:
        """Put the traces of the records where writers of spans and the projector find them; in order of the key.

        A trace is projected again for records that may say something.
        """
        found: dict[bytes, set[int]] = {}
        for day, records in by_day.items():
            for record in records:
                found.setdefault(record.trace_id, set()).add(day)
        days = {trace_id: found[trace_id] for trace_id in sorted(found)}
        cursor.execute(_SQL["days_of_traces"], self._keys(days), binary=True)
        known: dict[bytes, set[int]] = {trace_id: set(map(day_number, of_trace)) for trace_id, of_trace in cursor}
        unknown = {trace_id: of_trace for trace_id, of_trace in days.items() if trace_id not in known}
        mine: set[bytes] = set()
        if unknown:
            arguments = self._keys(unknown) | {"days": date_arrays(unknown.values())}
            cursor.execute(_SQL["insert_traces"], arguments, binary=True)
            mine = {trace_id for (trace_id,) in cursor}
        more = {
            trace_id: of_trace
            for trace_id, of_trace in days.items()
            if trace_id not in mine and not of_trace <= known.get(trace_id, set())
        }
        if more:
            cursor.execute(_SQL["extend_traces"], {"tenant_id": self._tenant_id} | trace_days(more))
        telling = {
            record.trace_id
            for records in by_day.values()
            for record in records
            if tells(record.event_name, record.attributes)
        }
        pending = [trace_id for trace_id in days if trace_id in telling]
        if not pending:
            return
        again = [trace_id for trace_id in pending if trace_id in known]
        span_counts: dict[bytes, int] = {}
        if again:
            all_days = [date_of(day) for day in sorted(set().union(*(known[trace_id] for trace_id in again)))]
            cursor.execute(_SQL["projected_spans"], self._keys(again) | {"days": all_days}, binary=True)
            span_counts = dict(cursor.fetchall())
        cursor.execute(
            _SQL["upsert_pending"],
            self._keys(pending)
            | {
                "spans": [0] * len(pending),
                "projected_spans": [span_counts.get(trace_id, 0) for trace_id in pending],
                "root_ended": [False] * len(pending),
            },
        )

    def _keys(self, trace_ids: Iterable[bytes]) -> dict[str, Any]:
        return {"tenant_id": self._tenant_id, "trace_ids": [trace_id.hex() for trace_id in trace_ids]}
