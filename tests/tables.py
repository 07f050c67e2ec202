"""Whole tables, to compare what two ways of writing the same spans left behind."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier
from tests.citus_cluster import nodes_of

from spantree_exporter.postgres.connection import StoreConnection
from spantree_exporter.postgres.store import Store
from spantree_exporter.terms.merger import TermMerger

PROJECTED = ("execution", "node", "edge")
_ORDER = {
    "trace": "tenant_id, trace_id",
    "span": "tenant_id, trace_id, span_id, fingerprint, day",
    "resource": "tenant_id, id",
    "execution": "tenant_id, trace_id, day",
    "node": "tenant_id, trace_id, sequence, span_id, ordinal, day",
    "edge": "tenant_id, trace_id, from_span_id, from_ordinal, to_span_id, to_ordinal, type, day",
}


def tables(url: str, *names: str) -> dict[str, list[dict[str, Any]]]:
    """All rows of the tables, each as a dict, in order of their keys; `names` default to all of the model's."""
    found = {}
    with psycopg.connect(url, row_factory=psycopg.rows.dict_row) as connection:
        for name in names or tuple(_ORDER):
            query = SQL("SELECT * FROM spantree.{} ORDER BY {}").format(Identifier(name), SQL(_ORDER[name]))
            found[name] = connection.execute(query).fetchall()
    return found


def empty(url: str, *names: str) -> None:
    """Take all rows out of the tables; `names` default to all of the model's."""
    for name in names or tuple(_ORDER):
        query(url, f"TRUNCATE spantree.{name}")


def versions(url: str) -> list[tuple[Any, ...]]:
    """Where each projected row is and which transaction wrote it: equal only if no row was touched."""
    found: list[tuple[Any, ...]] = []
    with psycopg.connect(url) as connection:
        for name in PROJECTED:
            query = SQL("SELECT {}, tableoid::regclass::text, ctid::text, xmin::text FROM spantree.{} ORDER BY 2, 3")
            found += connection.execute(query.format(name, Identifier(name))).fetchall()
    return found


def query(url: str, text: str, **values: object) -> list[tuple[Any, ...]]:
    """The rows that a query answers."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(text.encode(), values or None)
        return cursor.fetchall() if cursor.description else []


def waits_for_lock(url: str) -> bool:
    """Whether somebody waits for a lock in this database, on a Citus cluster on any node: a row's is on its worker."""
    waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    return any(query(node, waiting) for node in nodes_of(url) or [url])


def project_all(url: str, store: Store) -> int:
    """Make every pending trace due and project until none is left; how many it projected."""
    projected = 0
    while query(url, "SELECT 1 FROM spantree.pending_projection"):
        query(url, "UPDATE spantree.pending_projection SET due_at = now() - interval '1 second'")
        done = store.project_due()
        if not done.traces:
            raise AssertionError(f"not projected: {query(url, 'SELECT * FROM spantree.pending_projection')}")
        projected += done.traces
    return projected


def merge_all(url: str) -> int:
    """Merge rows of span_terms until no more can be; how many were."""
    connection = StoreConnection(url, "tests")
    try:
        merger, merged = TermMerger(connection), 0
        while taken := merger.merge():
            merged += taken
        return merged
    finally:
        connection.close()
