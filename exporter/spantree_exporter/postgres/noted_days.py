"""The days of traces, as who writes spans or log records notes them in the table `trace`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import psycopg

from spantree_exporter.postgres.connection import StoreConnection
from spantree_exporter.postgres.partitions import date_arrays, day_number, trace_days
from spantree_exporter.sql import statements
from spantree_exporter.trace_key import TraceKey, key_arrays

_SQL: Final = statements("write")


def insert_traces(cursor: psycopg.Cursor[Any], days: Mapping[TraceKey, set[int]]) -> set[TraceKey]:
    """Put traces there, in order of the key; those that nobody had put there. Raises psycopg.Error."""
    if not days:
        return set()
    cursor.execute(_SQL["insert_traces"], key_arrays(days) | {"days": date_arrays(days.values())}, binary=True)
    return set(cursor.fetchall())


def note_days(
    connection: StoreConnection, cursor: psycopg.Cursor[Any], days: Mapping[TraceKey, set[int]]
) -> dict[TraceKey, set[int]]:
    """Have each trace be there with these days, in order of the key; the days that those had which were there before.

    Once it returns, retention, which deletes traces whose days it has dropped, leaves them there until the caller's
    transaction ends: one that it deletes between two of these statements is put there again. Raises psycopg.Error.
    """
    known: dict[TraceKey, set[int]] = {}
    left = dict(days)
    while left:
        cursor.execute(_SQL["days_of_traces"], connection.trace_keys(left), binary=True)
        found = {(tenant_id, trace_id): set(map(day_number, stored)) for tenant_id, trace_id, stored in cursor}
        more = {key: of_trace for key, of_trace in left.items() if key in found and not of_trace <= found[key]}
        if more:
            cursor.execute(_SQL["extend_traces"], trace_days(more), binary=True)
            extended = set(cursor.fetchall())
            found = {key: stored for key, stored in found.items() if key not in more or key in extended}
        known |= found
        missing = {key: of_trace for key, of_trace in left.items() if key not in found}
        inserted = insert_traces(cursor, missing)
        left = {key: of_trace for key, of_trace in missing.items() if key not in inserted}
    return known
