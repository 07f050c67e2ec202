"""How fast spans become durable, projected rows, beside a plain COPY of the same rows: spans/s and their ratio.

    python -m benchmarks.ingest                           the reference load, an embedded PostgreSQL, a real collector
    python -m benchmarks.ingest --database-url URL        that PostgreSQL; it needs an empty database, whose rows go
    python -m benchmarks.ingest --workload FILE           length-prefixed (uint32 LE) ExportTraceServiceRequests
    python -m benchmarks.ingest --profile                 where Python's time goes on the way from bytes to rows

In one run on one PostgreSQL: the very rows of the load by COPY BINARY, its bytes over OTLP/HTTP until every span is
stored and every trace projected, and the COPY again, because a machine that others share changes under way. Clients,
collector and PostgreSQL share the machine.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from benchmarks.measuring import GIVE_UP_S, bodies, collector, cpu_s, family, load, peak_mb, send
from psycopg.sql import SQL, Identifier

from spantree_deploy.postgres.embedded import EmbeddedPostgres
from spantree_exporter.facts import read_facts
from spantree_exporter.hot_path import hot_path
from spantree_exporter.otlp.decode import PROTOBUF, decode_request
from spantree_exporter.postgres.copy_binary import HEADER, TRAILER, span_rows
from spantree_exporter.postgres.migrate import migrate
from spantree_exporter.postgres.partitions import day_of, ensure_partitions
from spantree_exporter.postgres.store import Store

_TABLES = ("trace", "span", "execution", "node", "edge", "resource", "pending_projection")
# The COPY's rows are another tenant's, so that nothing of the two runs meets.
_COPY_TENANT = 999
_BATCH_SPANS = 4000


def main() -> None:
    """Run the benchmark and print the figures, at last as one line of JSON."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="spantree-bench-", dir=arguments.dir) as name:
        folder = Path(name)
        requests = list(bodies(arguments.workload or load(folder, arguments.traces)))
        with _database(arguments.database_url, folder) as url:
            migrate(url)
            _empty(url)
            if arguments.profile:
                _profile(url, requests)
                return
            figures = _measure(url, requests, folder, arguments.clients)
    for key, value in figures.items():
        print(f"{key:>28}  {value:,.2f}" if isinstance(value, float) else f"{key:>28}  {value:,}")
    print(f"{'hot path':>28}  {hot_path()}")
    print(json.dumps(figures | {"hot path": hot_path()}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database-url", default=None)
    parser.add_argument("--workload", type=Path, default=None)
    parser.add_argument("--traces", type=int, default=4000, help="traces of some 25 spans, where no file is given")
    parser.add_argument("--clients", type=int, default=4, help="connections that send, each waiting for its answers")
    parser.add_argument("--dir", default=None, help="where spool and database lie; a disk, not a memory file system")
    parser.add_argument("--profile", action="store_true")
    return parser.parse_args()


@contextmanager
def _database(given: str | None, folder: Path) -> Iterator[str]:
    if given:
        yield given
        return
    with EmbeddedPostgres(folder / "postgres") as server:
        yield server.url


def _empty(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for table in _TABLES:
            connection.execute(SQL("TRUNCATE spantree.{}").format(Identifier(table)))
        connection.execute("CHECKPOINT")


# ---- what is measured ------------------------------------------------------------------------------------------


def _measure(url: str, requests: list[bytes], folder: Path, clients: int) -> dict[str, float | int]:
    spans = [span for body in requests for span in decode_request(body, PROTOBUF, time.time_ns()).spans]
    days = [day_of(span.start_ns) for span in spans]
    traces = len({span.trace_id for span in spans})
    blocks = list(span_rows(_COPY_TENANT, days, spans, [read_facts(span) for span in spans]))
    count = len(spans)
    # As objects they would make the sender's garbage collector compete with what is measured.
    del spans
    with psycopg.connect(url, autocommit=True) as connection:
        ensure_partitions(connection, set(days))
    copy_before_s = _copy(url, blocks)
    ingest = _ingest(url, requests, folder, clients, count, traces)
    copy_after_s = _copy(url, blocks)
    copy_rate = count / statistics.mean((copy_before_s, copy_after_s))
    return {
        "spans": count,
        "traces": traces,
        "bytes": sum(map(len, requests)),
        "COPY spans/s before": count / copy_before_s,
        "COPY spans/s after": count / copy_after_s,
        "ingest spans/s": count / ingest["seconds"],
        "ratio": count / ingest["seconds"] / copy_rate,
        **ingest,
    }


def _copy(url: str, blocks: list[bytes]) -> float:
    """Seconds that one COPY of all rows takes, commit included."""
    with psycopg.connect(url) as connection:
        started_s = time.perf_counter()
        with connection.cursor().copy("COPY spantree.span FROM STDIN (FORMAT binary)") as copy:
            copy.write(HEADER)
            for block in blocks:
                copy.write(block)
            copy.write(TRAILER)
        connection.commit()
        elapsed_s = time.perf_counter() - started_s
    _empty(url)
    return elapsed_s


def _ingest(url: str, requests: list[bytes], folder: Path, clients: int, spans: int, traces: int) -> dict[str, float]:
    with collector(url, folder) as (process, port):
        latencies_s: list[float] = []
        started_s = time.perf_counter()
        senders = [
            threading.Thread(target=send, args=(port, requests[client::clients], latencies_s))
            for client in range(clients)
        ]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        acknowledged_s = time.perf_counter() - started_s
        _wait_until_projected(url, spans, traces)
        seconds = time.perf_counter() - started_s
        percentiles = statistics.quantiles(latencies_s, n=100)
        return {
            "seconds": seconds,
            "seconds to acknowledge": acknowledged_s,
            "ack p50 ms": percentiles[49] * 1000,
            "ack p99 ms": percentiles[98] * 1000,
            "collector processes": float(len(processes := family(process.pid))),
            "collector peak MB": sum(map(peak_mb, processes)),
            "collector CPU s": sum(map(cpu_s, processes)),
        }


def _wait_until_projected(url: str, spans: int, traces: int) -> None:
    """Poll the executions, which are few, until they account for every span."""
    deadline_s = time.monotonic() + GIVE_UP_S
    with psycopg.connect(url, autocommit=True) as connection:
        while True:
            row = connection.execute("SELECT coalesce(sum(span_count), 0), count(*) FROM spantree.execution").fetchone()
            if row == (spans, traces):
                break
            if time.monotonic() > deadline_s:
                raise SystemExit(f"after {GIVE_UP_S:.0f} s there are {row} (spans, executions), not {(spans, traces)}")
            time.sleep(0.1)
        stored = connection.execute("SELECT count(*) FROM spantree.span").fetchone()
        if stored != (spans,):
            raise SystemExit(f"{stored} spans are stored, not {spans}")


def _profile(url: str, requests: list[bytes]) -> None:
    def write_all() -> None:
        batch = []
        for number, body in enumerate(requests, start=1):
            batch += decode_request(body, PROTOBUF, time.time_ns()).spans
            if len(batch) >= _BATCH_SPANS or number == len(requests):
                store.write(batch)
                batch = []

    store = Store(url)
    profile = cProfile.Profile()
    started_s = time.process_time()
    profile.runcall(write_all)
    print(f"{time.process_time() - started_s:.1f} s of CPU, the profiler's own included")
    store.close()
    statistics_ = pstats.Stats(profile).strip_dirs()
    statistics_.sort_stats("tottime").print_stats(15)
    statistics_.sort_stats("cumtime").print_stats("read_facts|assemble|decode_request|_rows|wait|dump_json", 12)


if __name__ == "__main__":
    main()
