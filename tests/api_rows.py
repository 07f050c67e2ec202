"""Rows for tests of the API: made in one line, written as the collector writes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from spantree_exporter.postgres.connection import StoreConnection
from spantree_exporter.postgres.copy_binary import (
    EDGE_COLUMNS,
    EXECUTION_COLUMNS,
    NODE_COLUMNS,
    edge_rows,
    execution_rows,
    node_rows,
)
from spantree_exporter.postgres.partitions import date_of, day_of, ensure_partitions
from spantree_exporter.postgres.rollup_store import RollupFolder, insert_delta
from spantree_exporter.rollup import Rollup
from spantree_exporter.rows import Assembled, Edge, Execution, Node
from spantree_exporter.search_text import search_terms

# 2026-11-20T10:00:00Z, and the moment at which the API under test reads its clock.
T0_NS = 1_795_168_800_000_000_000
NOW_NS = T0_NS + 3_600_000_000_000
S = 1_000_000_000


@dataclass
class Trace:
    """The rows of one trace."""

    trace_id: str
    execution: Execution
    nodes: list[Node] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)


def trace_id(number: int) -> str:
    """A trace id by number: 32 hex digits."""
    return f"{number:032x}"


def execution(**changes: Any) -> Execution:
    """A completed execution that ran for two seconds from T0 on."""
    values: dict[str, Any] = {
        "name": "report", "workflow_name": "report", "entry": None, "kind": "workflow", "status": "completed",
        "started_ns": T0_NS, "ended_ns": T0_NS + 2 * S, "last_seen_ns": T0_NS + 3 * S, "root_span_id": 1,
        "service": "agent", "services": ["agent"], "run_id": None, "conversation_id": None, "user_id": None,
        "project": None, "input": None, "output": None, "error_summary": None, "error_category": None,
        "error_fingerprint": None, "first_failed_span_id": None, "first_failed_ordinal": None,
        "first_failed_name": None, "first_failed_error_type": None, "first_failed_error_message": None,
        "total_count": 0, "completed_count": 0, "failed_count": 0, "retried_count": 0, "skipped_count": 0,
        "waiting_count": 0, "running_count": 0, "cancelled_count": 0, "timed_out_count": 0, "span_count": 0,
        "input_tokens": None, "output_tokens": None, "cost_usd": None, "skipped_nodes": [], "resumes": None,
        "lost_after_s": None, "hidden": False, "anomalies": [],
    }  # fmt: skip
    return Execution(**(values | changes))


def node(span_id: int, name: str, parent: int | None = None, **changes: Any) -> Node:
    """A completed node of one second; sequence and depth are set by `trace`."""
    values: dict[str, Any] = {
        "span_id": span_id, "ordinal": 0, "fingerprint": None, "parent_span_id": parent,
        "parent_ordinal": None if parent is None else 0, "name": name, "kind": "step", "status": "completed",
        "status_reason": None, "started_ns": T0_NS + span_id * 1_000_000,
        "ended_ns": T0_NS + span_id * 1_000_000 + S, "self_ns": S, "sequence": 0, "depth": 0, "attempt": 1,
        "max_attempts": None, "retry_expected": None, "task_key": None, "iteration": None, "error_type": None,
        "error_message": None, "error_category": None, "error_fingerprint": None, "model": None,
        "input_tokens": None, "output_tokens": None, "cost_usd": None, "input": None, "output": None,
        "service": "agent", "workflow_name": "report", "run_id": None, "on_critical_path": False,
        "folded_span_ids": [], "anomalies": [], "declared": None,
    }  # fmt: skip
    return Node(**(values | changes))


def trace(number: int, nodes: Sequence[Node] = (), edges: Sequence[Edge] = (), **changes: Any) -> Trace:
    """A trace whose nodes are given in sequence order; sequence, depth and counts follow from them."""
    depths: dict[tuple[int, int], int] = {}
    for sequence, one in enumerate(nodes, start=1):
        one.sequence = sequence
        one.depth = 0 if one.parent_span_id is None else depths[one.parent_span_id, one.parent_ordinal or 0] + 1
        depths[one.span_id, one.ordinal] = one.depth
    counted = {
        f"{status}_count": sum(one.status == status for one in nodes)
        for status in ("completed", "failed", "retried", "skipped", "waiting", "running", "cancelled", "timed_out")
    }
    counts = {"total_count": len(nodes), "span_count": len(nodes), **counted}
    return Trace(trace_id(number), execution(**(counts | changes)), list(nodes), list(edges))


def insert(database_url: str, *traces: Trace, tenant_id: int = 0) -> None:
    """Write the rows of `traces` and the figures they add up to, making the partitions that they need."""
    rollup = Rollup()
    for one in traces:
        rollup.add(Assembled(one.execution, one.nodes, one.edges))
    with psycopg.connect(database_url, autocommit=True) as connection:
        starts = [one.execution.started_ns for one in traces]
        starts += [row.started_ns for one in traces for row in one.nodes]
        ensure_partitions(connection, {day_of(start) for start in starts})
        with connection.transaction():
            for one in traces:
                id_bytes = UUID(one.trace_id).bytes
                day = {(row.span_id, row.ordinal): day_of(row.started_ns) for row in one.nodes}
                copy(
                    connection,
                    "execution",
                    [*EXECUTION_COLUMNS, "search"],
                    execution_rows(
                        tenant_id,
                        [(day_of(one.execution.started_ns), id_bytes)],
                        [one.execution],
                        [search_terms(one.execution, one.nodes)],
                    ),
                )
                node_keys = [(day[row.span_id, row.ordinal], id_bytes) for row in one.nodes]
                copy(connection, "node", NODE_COLUMNS, node_rows(tenant_id, node_keys, one.nodes))
                days = {day_of(one.execution.started_ns), *day.values()}
                connection.execute(
                    "INSERT INTO spantree.trace VALUES (%s, %s, %s::date[])",
                    [tenant_id, one.trace_id, [date_of(number) for number in sorted(days)]],
                )
                edge_keys = [(day[row.to_span_id, row.to_ordinal], id_bytes) for row in one.edges]
                copy(connection, "edge", EDGE_COLUMNS, edge_rows(tenant_id, edge_keys, one.edges))
            with connection.cursor() as cursor:
                insert_delta(cursor, {tenant_id: rollup})
    fold_all(database_url)


def fold_all(database_url: str) -> None:
    """Fold all that waits to be folded into the rollups."""
    store = StoreConnection(database_url, "spantree test")
    try:
        while RollupFolder(store).fold():
            pass
    finally:
        store.close()


def copy(connection: psycopg.Connection[Any], table: str, columns: Iterable[str], tuples: bytes) -> None:
    """COPY BINARY into the key and these columns of a table of the schema."""
    names = sql.SQL(", ").join(map(sql.Identifier, ("tenant_id", "day", "trace_id", *columns)))
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(sql.Identifier("spantree", table), names)
    with connection.cursor().copy(statement) as target:
        target.write(b"PGCOPY\n\xff\r\n\x00" + bytes(8) + tuples + b"\xff\xff")
