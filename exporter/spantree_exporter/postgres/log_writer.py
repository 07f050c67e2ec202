"""Log records -> PostgreSQL, in one transaction with the marks that make their traces be projected again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import psycopg

from spantree_exporter.facts.log_events import tells
from spantree_exporter.log_record import LogRecord
from spantree_exporter.postgres.connection import StoreConnection
from spantree_exporter.postgres.noted_days import note_days
from spantree_exporter.postgres.partitions import SENTINEL_DAY, date_of, day_of
from spantree_exporter.sql import statements
from spantree_exporter.trace_key import TraceKey, key_arrays

_SQL: Final = statements("logs") | statements("write")
_STAGING: Final = "log_record_staging"
OUTSIDE_WINDOW: Final = "the time is outside of the days that have partitions; the record is stored under 1970-01-01"
# As for spans: each day is tables and indexes to lock.
_DAYS_PER_TRANSACTION: Final = 8

InsertResources: TypeAlias = Callable[[psycopg.Cursor[Any], Iterable[tuple[int, Sequence[LogRecord]]]], None]
# (tenant, record)
_Sent: TypeAlias = tuple[int, LogRecord]


class LogWriter:
    """Writes log records over one connection; `insert_resources` stores the resources of records, idempotently."""

    def __init__(self, connection: StoreConnection, insert_resources: InsertResources) -> None:
        self._connection = connection
        self._insert_resources = insert_resources

    def write(self, of_tenants: Mapping[int, Sequence[LogRecord]]) -> int:
        """Store the records that are new; how many. Idempotent, in any order. Raises psycopg.Error."""
        unique: dict[tuple[int, bytes, int, int], _Sent] = {}
        for tenant_id, records in of_tenants.items():
            for record in records:
                key = (tenant_id, record.trace_id, record.span_id, record.fingerprint)
                unique.setdefault(key, (tenant_id, record))
        place = self._connection.place_days({day_of(record.at_ns) for _, record in unique.values()})
        by_day: dict[int, list[_Sent]] = {}
        for sent in unique.values():
            by_day.setdefault(place[day_of(sent[1].at_ns)], []).append(sent)
        days = sorted(by_day)
        stored = 0
        for first in range(0, len(days), _DAYS_PER_TRANSACTION):
            stored += self._transaction({day: by_day[day] for day in days[first : first + _DAYS_PER_TRANSACTION]})
        return stored

    def _transaction(self, by_day: dict[int, list[_Sent]]) -> int:
        connection = self._connection.open()
        with connection.cursor() as cursor:
            self._insert_resources(
                cursor, ((tenant_id, (record,)) for sent in by_day.values() for tenant_id, record in sent)
            )
        with connection.transaction(), connection.cursor() as cursor:
            self._connection.temporary_table(_STAGING, _SQL["create_log_staging"])
            with cursor.copy(_SQL["copy_log_staging"]) as copy:
                for day, sent in by_day.items():
                    for tenant_id, record in sent:
                        copy.write_row(self._row(tenant_id, day, record))
            cursor.execute(_SQL["insert_staged_logs"])
            stored = len(cursor.fetchall())
            if stored:
                self._mark(cursor, by_day)
        self._connection.temporary_tables_kept([_STAGING])
        return stored

    def _row(self, tenant_id: int, day: int, record: LogRecord) -> tuple[Any, ...]:
        anomalies = [*record.anomalies, OUTSIDE_WINDOW] if day == SENTINEL_DAY else record.anomalies
        scope = record.scope.json
        return (
            tenant_id,
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

    def _mark(self, cursor: psycopg.Cursor[Any], by_day: dict[int, list[_Sent]]) -> None:
        """Put the traces of the records where writers of spans and the projector find them; in order of the key.

        A trace is projected again for records that may say something.
        """
        found: dict[TraceKey, set[int]] = {}
        for day, sent in by_day.items():
            for tenant_id, record in sent:
                found.setdefault((tenant_id, record.trace_id), set()).add(day)
        days = {key: found[key] for key in sorted(found)}
        known = note_days(self._connection, cursor, days)
        telling = {
            (tenant_id, record.trace_id)
            for sent in by_day.values()
            for tenant_id, record in sent
            if tells(record.event_name, record.attributes)
        }
        pending = [key for key in days if key in telling]
        if not pending:
            return
        again = [key for key in pending if key in known]
        span_counts: dict[TraceKey, int] = {}
        if again:
            all_days = [date_of(day) for day in sorted(set().union(*(known[key] for key in again)))]
            cursor.execute(
                _SQL["projected_spans"], self._connection.trace_keys(again) | {"days": all_days}, binary=True
            )
            span_counts = {(tenant_id, trace_id): count for tenant_id, trace_id, count in cursor}
        cursor.execute(
            _SQL["upsert_pending"],
            key_arrays(pending)
            | {
                "spans": [0] * len(pending),
                "projected_spans": [span_counts.get(key, 0) for key in pending],
                "root_ended": [False] * len(pending),
            },
        )
