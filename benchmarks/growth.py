"""Whether a span costs the same whatever is stored: rounds of the reference load on top of each other.

    python -m benchmarks.growth                        5 rounds of 100,000 spans, then one with 400 daily partitions
    python -m benchmarks.growth --rounds 31            3.1 million spans
    python -m benchmarks.growth --big 100000           and one trace of that many spans

For each round: CPU microseconds a span of the collector (all its processes) and of PostgreSQL (all its processes), from
the first byte over OTLP/HTTP until every span is stored and every trace projected. They hold while others use the
machine, which spans/s does not.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from benchmarks.measuring import bodies, collector, family_cpu_s, load, send, wait_until_projected

from spantree_deploy.embedded import EmbeddedPostgres
from spantree_exporter.migrate import migrate
from spantree_exporter.partitions import day_number, ensure_partitions

_CLIENTS = 4


def main() -> None:
    """Run the rounds and print a table, at last as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--traces", type=int, default=4000, help="traces of some 25 spans a round")
    parser.add_argument(
        "--partitions", type=int, default=400, help="days that have partitions in the last round; 0: none"
    )
    parser.add_argument("--big", type=int, default=0, help="spans of one more trace at the end; 0: none")
    parser.add_argument("--dir", default=None, help="where spool and database lie; a disk, not a memory file system")
    parser.add_argument("--pure-python", action="store_true", help="without the compiled hot path")
    arguments = parser.parse_args()
    if arguments.pure_python:
        os.environ["SPANTREE_PURE_PYTHON"] = "1"
    rounds: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="spantree-bench-", dir=arguments.dir) as name:
        folder = Path(name)
        with EmbeddedPostgres(folder / "postgres") as server:
            migrate(server.url)
            pid = server.pid
            assert pid is not None
            with collector(server.url, folder) as (process, port):
                stored = 0
                for number in range(arguments.rounds):
                    requests = list(bodies(load(folder, arguments.traces, seed=number + 1)))
                    rounds.append(_round(f"{stored:,} stored", requests, server.url, port, process.pid, pid))
                    stored += rounds[-1]["spans"]
                if arguments.partitions:
                    with psycopg.connect(server.url, autocommit=True) as connection:
                        today = day_number(datetime.now(UTC).date())
                        ensure_partitions(connection, range(today - arguments.partitions + 1, today + 1))
                    requests = list(bodies(load(folder, arguments.traces, seed=1001)))
                    title = f"{arguments.partitions} partitions"
                    rounds.append(_round(title, requests, server.url, port, process.pid, pid))
                if arguments.big:
                    requests = list(bodies(load(folder, 1, spans=arguments.big, seed=2001)))
                    rounds.append(_round("one trace", requests, server.url, port, process.pid, pid))
    print(json.dumps(rounds))


def _round(
    title: str, requests: list[bytes], url: str, port: int, collector_pid: int, postgres_pid: int
) -> dict[str, Any]:
    before = _counts(url)
    ours_s, theirs_s = family_cpu_s(collector_pid), family_cpu_s(postgres_pid)
    latencies_s: list[float] = []
    started_s = time.perf_counter()
    senders = [
        threading.Thread(target=send, args=(port, requests[client::_CLIENTS], latencies_s))
        for client in range(_CLIENTS)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    wait_until_projected(url, port)
    seconds = time.perf_counter() - started_s
    ours_s, theirs_s = family_cpu_s(collector_pid) - ours_s, family_cpu_s(postgres_pid) - theirs_s
    spans = _counts(url) - before
    figures = {
        "round": title,
        "spans": spans,
        "ours us": ours_s / spans * 1e6,
        "PostgreSQL us": theirs_s / spans * 1e6,
        "spans/s": spans / seconds,
    }
    line = f"{title:>20}  {spans:>9,} spans  ours {figures['ours us']:6.1f} us"
    print(f"{line}  PostgreSQL {figures['PostgreSQL us']:6.1f} us  {figures['spans/s']:9,.0f} spans/s", flush=True)
    return figures


def _counts(url: str) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute("SELECT count(*) FROM spantree.span").fetchone()
    return int(row[0]) if row else 0


if __name__ == "__main__":
    main()
