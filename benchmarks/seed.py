"""A database as it is after months: executions of 25 nodes over many days, made by PostgreSQL itself in minutes.

    python -m benchmarks.seed --database-url URL --executions 1000000 --days 60
    python -m benchmarks.seed --database-url URL --spans          with a span for each node

The rows are plausible (workflows, agents and hidden requests; failed, partial, timed out, cancelled, waiting and lost
ones; users, conversations, runs, services, errors) and follow from their numbers: the same call makes the same rows.
Beside them stand two traces of 10,000 and 100,000 nodes, BIG_TRACES. The database is migrated; it should be empty.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, LiteralString

import psycopg

from spantree_exporter.postgres.connection import StoreConnection
from spantree_exporter.postgres.migrate import migrate
from spantree_exporter.postgres.partitions import ensure_partitions
from spantree_exporter.postgres.rollup_store import RollupFolder, recount

BIG_TRACES = {10_000: "0000000000000000000000000000ba10", 100_000: "000000000000000000000000000ba100"}
_EPOCH = date(1970, 1, 1)


def main() -> None:
    """Seed the database that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database-url", required=True)
    parser.add_argument("--executions", type=int, default=100_000)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--spans", action="store_true", help="a span for each node as well: three times the size")
    arguments = parser.parse_args()
    began = time.monotonic()
    seed(
        arguments.database_url,
        arguments.executions,
        arguments.days,
        spans=arguments.spans,
        report=lambda step: print(f"{time.monotonic() - began:7.1f} s  {step}", file=sys.stderr),
    )


def seed(
    database_url: str,
    executions: int,
    days: int,
    *,
    spans: bool = False,
    today: date | None = None,
    tenant_id: int = 0,
    report: Callable[[str], None] = lambda step: None,
) -> None:
    """Migrate the database and fill `days` days up to `today` (by the clock if not given) with `executions` in all."""
    migrate(database_url)
    statements = _statements()
    last = today or datetime.now(UTC).date()
    every_day = [last - timedelta(days=back) for back in reversed(range(days))]
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        ensure_partitions(connection, {(day - _EPOCH).days for day in every_day})
        connection.execute(statements["prepare"])
        if spans:
            connection.execute(statements["insert_resource"], {"tenant_id": tenant_id})
        tables = ["insert_executions", "insert_nodes", "insert_edges", *(["insert_spans"] if spans else [])]
        tables += ["insert_traces"] if _has_traces(connection, statements) else []
        first = 0
        for index, day in enumerate(every_day):
            count = executions * (index + 1) // days - first
            parameters = {"tenant_id": tenant_id, "day": day, "first": first, "count": count}
            with connection.transaction():
                connection.execute(statements["empty_day"])
                if count:
                    connection.execute(statements["draw_day"], parameters)
                    for name in tables:
                        connection.execute(statements[name], parameters)
            first += count
            report(f"{day}: {first:,} executions")
        for nodes, trace_id in BIG_TRACES.items():
            _big(connection, statements, {"tenant_id": tenant_id, "day": last, "trace_id": trace_id, "nodes": nodes})
            report(f"a trace of {nodes:,} nodes")
        connection.execute(statements["vacuum"])
        report("vacuumed")
        _figures(connection, statements, database_url, {"tenant_id": tenant_id, "day": last, "days": days})
        report("figures")


def _figures(
    connection: psycopg.Connection[Any],
    statements: dict[str, LiteralString],
    database_url: str,
    parameters: dict[str, Any],
) -> None:
    """Rollups: of the last day from its rows, of all others like it."""
    store = StoreConnection(database_url, "spantree seed")
    try:
        recount(store, parameters["tenant_id"], parameters["day"])
        folder = RollupFolder(store)
        # Nothing is left alone, or over, so early.
        later = datetime.now(UTC) + timedelta(days=10)
        for name in ("copy_figures", "mark_eight_days"):
            while folder.sum_up(later):
                pass
            connection.execute(statements[name], parameters)
        while folder.sum_up(later):
            pass
    finally:
        store.close()


def _big(
    connection: psycopg.Connection[Any], statements: dict[str, LiteralString], parameters: dict[str, object]
) -> None:
    with connection.transaction():
        for name in ("big_execution", "big_nodes", "big_edges"):
            connection.execute(statements[name], parameters)
        if _has_traces(connection, statements):
            connection.execute(statements["big_trace"], parameters)


def _has_traces(connection: psycopg.Connection[Any], statements: dict[str, LiteralString]) -> bool:
    row = connection.execute(statements["trace_table_exists"]).fetchone()
    return row is not None and bool(row[0])


def _statements() -> dict[str, LiteralString]:
    text = Path(__file__).with_name("seed.sql").read_text(encoding="utf-8")
    found: dict[str, LiteralString] = {}
    for block in text.split("-- name: ")[1:]:
        name, _, body = block.partition("\n")
        found[name.strip()] = body
    return found


if __name__ == "__main__":
    main()
