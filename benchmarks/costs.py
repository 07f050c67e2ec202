"""What one span costs, in every unit that capacity is made of: the constants of spantree_deploy.capacity.

    python -m benchmarks.costs                      100,000 spans of the reference load; an embedded PostgreSQL
    python -m benchmarks.costs --traces 20000       half a million

Processor time is of the processes, so that it holds while others use the machine; bytes are counted after VACUUM.
Everything is on one machine: what a network in between costs is not in it.
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
import threading
from pathlib import Path
from typing import Any

import psycopg
from benchmarks.measuring import bodies, collector, cpu_s, family, family_cpu_s, load, send, wait_until_projected

from spantree_deploy.postgres.embedded import EmbeddedPostgres
from spantree_exporter.postgres.migrate import migrate

_CLIENTS = 4
# Bytes of each relation of the schema, partitions added up under their parents.
_BYTES = """
    SELECT
        CASE WHEN relation.relkind IN ('i', 'I') THEN 'index' ELSE 'table' END AS kind,
        regexp_replace(relation.relname, '_\\d{8}', '') AS name,
        sum(
            CASE WHEN relation.relkind = 'i' THEN pg_relation_size(relation.oid) ELSE pg_table_size(relation.oid) END
        )::bigint AS bytes
    FROM pg_class AS relation
    WHERE relation.relnamespace = 'spantree'::regnamespace AND relation.relkind IN ('r', 'i')
    GROUP BY 1, 2
    HAVING sum(pg_relation_size(relation.oid)) > 0
    ORDER BY 3 DESC
"""


def main() -> None:
    """Measure and print the figures, at last as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=int, default=4000, help="traces of some 25 spans")
    parser.add_argument("--dir", default=None, help="where spool and database lie; a disk, not a memory file system")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="spantree-bench-", dir=arguments.dir) as name:
        folder = Path(name)
        requests = list(bodies(load(folder, arguments.traces)))
        with EmbeddedPostgres(folder / "postgres") as server:
            migrate(server.url)
            pid = server.pid
            assert pid is not None
            with psycopg.connect(server.url, autocommit=True) as connection:
                before = _bytes(connection)
                figures = _run(connection, server.url, requests, folder, pid)
                connection.execute("VACUUM (ANALYZE)")
                relations = _bytes(connection)
                figures |= _counts(connection)
    spans = figures["spans"]
    grown = {key: size - before.get(key, 0) for key, size in relations.items()}
    figures["bytes a span on disk"] = sum(grown.values()) / spans
    figures["wire bytes a span"] = sum(map(len, requests)) / spans
    figures["wire bytes a span, gzip"] = sum(len(gzip.compress(body, 6)) for body in requests) / spans
    for title, value in figures.items():
        print(f"{title:>34}  {value:,.1f}" if isinstance(value, float) else f"{title:>34}  {value:,}")
    print()
    for (kind, relation), size in grown.items():
        if size / spans >= 0.5:
            print(f"{relation:>34}  {kind}  {size / spans:8.1f} bytes a span")
    named = {f"{kind} {relation}": round(size / spans, 1) for (kind, relation), size in grown.items()}
    print(json.dumps(figures | {"relations": named}))


def _run(
    connection: psycopg.Connection[Any], url: str, requests: list[bytes], folder: Path, postgres_pid: int
) -> dict[str, Any]:
    with collector(url, folder) as (process, port):
        begun_at = _wal(connection)
        receiver_s, all_s, postgres_s = cpu_s(process.pid), family_cpu_s(process.pid), family_cpu_s(postgres_pid)
        senders = [
            threading.Thread(target=send, args=(port, requests[client::_CLIENTS], [])) for client in range(_CLIENTS)
        ]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        wait_until_projected(url, port)
        receiver_s = cpu_s(process.pid) - receiver_s
        all_s = family_cpu_s(process.pid) - all_s
        postgres_s = family_cpu_s(postgres_pid) - postgres_s
        row = connection.execute("SELECT count(*) FROM spantree.span").fetchone()
        spans = int(row[0]) if row else 0
        return {
            "spans": spans,
            "requests": len(requests),
            "collector us a span": all_s / spans * 1e6,
            "of them receiving and spooling": receiver_s / spans * 1e6,
            "of them writing and projecting": (all_s - receiver_s) / spans * 1e6,
            "PostgreSQL us a span": postgres_s / spans * 1e6,
            "WAL bytes a span": (_wal(connection) - begun_at) / spans,
            "processes of the collector": len(family(process.pid)),
        }


def _counts(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    row = connection.execute(
        "SELECT (SELECT count(*) FROM spantree.execution), (SELECT count(*) FROM spantree.node),"
        " (SELECT count(*) FROM spantree.edge), (SELECT count(*) FROM spantree.rollup)"
    ).fetchone()
    return dict(zip(("executions", "nodes", "edges", "figures"), row or (), strict=True))


def _wal(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'").fetchone()
    return int(row[0]) if row else 0


def _bytes(connection: psycopg.Connection[Any]) -> dict[tuple[str, str], int]:
    return {(kind, name): size for kind, name, size in connection.execute(_BYTES.encode()).fetchall()}


if __name__ == "__main__":
    main()
