"""CPU a span on a Citus cluster against one PostgreSQL: all nodes together, by the number of workers.

    python -m benchmarks.citus [--workers 1 2 3] [--traces 2000] [--batch-spans 16384]

The same load through a real collector each time, until every span is stored and every trace projected; processor time
of all servers, of the coordinator, and of the collector. All servers have the settings of the embedded PostgreSQL.
Autovacuum is off meanwhile: it comes at most once a minute, for each partition of each shard that has grown by a fifth,
and so is the larger a part the shorter the load is. What one VACUUM ANALYZE of it all takes is told beside. On one
machine only the overhead shows, no gain. Ends with 2 where there is no Citus.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import LiteralString
from urllib.request import urlopen

import psycopg
from benchmarks.measuring import bodies, collector, family_cpu_s, load, send, wait_until_projected
from tests.citus_cluster import CitusNotThere, bin_dir, citus_cluster

from spantree_deploy.postgres.embedded import EmbeddedPostgres
from spantree_exporter.otlp.decode import PROTOBUF, decode_request
from spantree_exporter.postgres.distribution import DEFAULT_SHARDS
from spantree_exporter.postgres.migrate import migrate

_FIRST_TRACES = 400
_WRITES = re.compile(r"^spantree_collector_write_seconds_count\S* (\S+)", re.MULTILINE)


def main() -> int:
    """Print a line for each setting, at last all as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--traces", type=int, default=2000, help="of some 25 spans")
    parser.add_argument("--shards", type=int, default=DEFAULT_SHARDS)
    parser.add_argument("--batch-spans", type=int, nargs="*", default=[4096, 16384], help="SPANTREE_BATCH_SPANS")
    given = parser.parse_args()
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="spantree-bench-") as name:
        folder = Path(name)
        try:
            bin_dir()
        except CitusNotThere as error:
            print(error, file=sys.stderr)
            return 2
        requests = list(bodies(load(folder, given.traces)))
        first = list(bodies(load(folder, _FIRST_TRACES, seed=2)))
        for batch_spans, workers in product(given.batch_spans, (0, *given.workers)):
            with _servers(folder, workers, given.shards) as (node_urls, pids):
                place = folder / f"collector-{batch_spans}-{workers}"
                place.mkdir()
                label = f"{workers} workers, {batch_spans}" if workers else f"one PostgreSQL, {batch_spans}"
                told = figures[label] = _measure(node_urls, pids, first, requests, place, batch_spans)
            one = figures[f"one PostgreSQL, {batch_spans}"]["servers us/span"]
            line = ", ".join(f"{what} {value:,.1f}" for what, value in told.items())
            print(f"{label:>22}: {line}; {told['servers us/span'] / one:.2f} of one", flush=True)
    print(json.dumps(figures))
    return 0


@contextmanager
def _servers(folder: Path, workers: int, shards: int) -> Iterator[tuple[list[str], Sequence[int]]]:
    """(URLs, the postmasters) of the nodes, the coordinator's first."""
    if not workers:
        with EmbeddedPostgres(folder / "postgres", pg_bin=bin_dir()) as server:
            migrate(server.url)
            assert server.pid is not None
            yield [server.url], [server.pid]
        return
    with citus_cluster(workers, durable=True) as cluster:
        migrate(cluster.coordinator.url, shards=shards)
        yield [node.url for node in cluster.nodes], [node.pid for node in cluster.nodes]


def _measure(
    node_urls: list[str],
    pids: Sequence[int],
    first: list[bytes],
    requests: list[bytes],
    folder: Path,
    batch_spans: int,
) -> dict[str, float]:
    first_count, first_traces = _counted(first)
    count, traces = _counted(requests)
    url = node_urls[0]
    with collector(url, folder, {"SPANTREE_BATCH_SPANS": str(batch_spans)}) as (process, port):
        # Connections, and what they know of each shard's tables: once, however much is written.
        send(port, first, [])
        wait_until_projected(url, port)
        _on_each(node_urls, "ALTER SYSTEM SET autovacuum = off", "SELECT pg_reload_conf()", "VACUUM ANALYZE")
        before = [family_cpu_s(pid) for pid in (*pids, process.pid)]
        batches = _batches(port)
        send(port, requests, [])
        wait_until_projected(url, port)
        batches = _batches(port) - batches
        used = [family_cpu_s(pid) - spent for pid, spent in zip((*pids, process.pid), before, strict=True)]
    _check(url, first_count + count, first_traces + traces)
    before = [family_cpu_s(pid) for pid in pids]
    _on_each(node_urls, "VACUUM ANALYZE")
    upkeep = sum(family_cpu_s(pid) - spent for pid, spent in zip(pids, before, strict=True))
    per_span = [1e6 * spent / count for spent in used]
    return {
        "servers us/span": sum(per_span[:-1]),
        "of these the first": per_span[0],
        "collector us/span": per_span[-1],
        "spans/batch": count / batches,
        "VACUUM ANALYZE s": upkeep,
    }


def _batches(port: int) -> float:
    """How many the collector has written."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        found = _WRITES.search(answer.read().decode())
    return float(found[1]) if found else 0.0


def _on_each(node_urls: list[str], *statements: LiteralString) -> None:
    for url in node_urls:
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)


def _counted(requests: list[bytes]) -> tuple[int, int]:
    """(spans, traces)."""
    spans = [span for body in requests for span in decode_request(body, PROTOBUF, time.time_ns()).spans]
    return len(spans), len({span.trace_id for span in spans})


def _check(url: str, spans: int, traces: int) -> None:
    """Counted afterwards: on a cluster, counting is work of every shard."""
    with psycopg.connect(url) as connection:
        stored = connection.execute("SELECT count(*) FROM spantree.span").fetchone()
        found = connection.execute("SELECT count(*) FROM spantree.trace").fetchone()
    if (stored, found) != ((spans,), (traces,)):
        raise SystemExit(f"{stored} spans and {found} traces are there, wanted {spans} and {traces}")


if __name__ == "__main__":
    sys.exit(main())
