"""Whether a span costs the same whatever is stored: rounds of the reference load on top of each other.

    python -m benchmarks.growth                        5 rounds of 100,000 spans, then one with 400 daily partitions
    python -m benchmarks.growth --rounds 31            3.1 million spans
    python -m benchmarks.growth --control 3            and after every third round one on a database that was emptied
    python -m benchmarks.growth --big 100000           and one trace of that many spans

For each round: CPU microseconds a span of the collector (all its processes) and of PostgreSQL (all its processes), from
the first byte over OTLP/HTTP until every span is stored and every trace projected. They are nearer to each other than
spans/s while others use the machine, and still move with it: rounds of the control are what a span costs on an empty
database at that time. PostgreSQL's is told by kind of process, too: sessions, autovacuum, and those that write files.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from benchmarks.measuring import (
    bodies,
    collector,
    family_cpu_s,
    load,
    metric,
    postgres_cpu_s,
    send,
    wait_until_projected,
)

from spantree_deploy.postgres.embedded import EmbeddedPostgres
from spantree_exporter.postgres.migrate import migrate
from spantree_exporter.postgres.partitions import day_number, ensure_partitions

_CLIENTS = 4
# Not counted in the table, which would be read once a round, as nobody does.
_STORED = "spantree_collector_stored_spans_total"
_SHOWN = ("ours us", "PostgreSQL us")


def main() -> None:
    """Run the rounds and print a table, at last as one line of JSON."""
    arguments = _arguments()
    if arguments.pure_python:
        os.environ["SPANTREE_PURE_PYTHON"] = "1"
    rounds: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory(prefix="spantree-bench-", dir=arguments.dir) as name,
        _road(Path(name), "growing") as growing,
    ):
        if arguments.control:
            with _road(Path(name), "control") as control:
                rounds += _rounds(growing, arguments, control)
        else:
            rounds += _rounds(growing, arguments, None)
        rounds += _odd_rounds(growing, arguments)
    print(json.dumps(rounds))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--traces", type=int, default=4000, help="traces of some 25 spans a round")
    parser.add_argument("--control", type=int, default=0, help="rounds after each of which comes one of the control")
    parser.add_argument(
        "--partitions", type=int, default=400, help="days that have partitions in the last round; 0: none"
    )
    parser.add_argument("--big", type=int, default=0, help="spans of one more trace at the end; 0: none")
    parser.add_argument("--dir", default=None, help="where spool and database lie; a disk, not a memory file system")
    parser.add_argument("--pure-python", action="store_true", help="without the compiled hot path")
    return parser.parse_args()


class _Road:
    """A collector and the PostgreSQL that it writes to."""

    def __init__(self, folder: Path, url: str, port: int, collector_pid: int, postgres_pid: int) -> None:
        self.folder = folder
        self.url = url
        self._port = port
        self._pids = (collector_pid, postgres_pid)

    def send(self, title: str, traces: int, seed: int, spans: int = 25) -> dict[str, Any]:
        """A round; prints its line of the table."""
        path = load(self.folder, traces, spans=spans, seed=seed)
        requests = list(bodies(path))
        path.unlink()
        before, before_s = metric(self._port, _STORED), [family_cpu_s(pid) for pid in self._pids]
        kinds_before_s = postgres_cpu_s(self._pids[1])
        latencies_s: list[float] = []
        started_s = time.perf_counter()
        senders = [
            threading.Thread(target=send, args=(self._port, requests[client::_CLIENTS], latencies_s))
            for client in range(_CLIENTS)
        ]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        wait_until_projected(self.url, self._port)
        seconds = time.perf_counter() - started_s
        ours_s, theirs_s = (family_cpu_s(pid) - spent_s for pid, spent_s in zip(self._pids, before_s, strict=True))
        stored = int(metric(self._port, _STORED) - before)
        figures = {
            "round": title,
            "spans": stored,
            "ours us": ours_s / stored * 1e6,
            "PostgreSQL us": theirs_s / stored * 1e6,
            "spans/s": stored / seconds,
        }
        kinds = {
            kind: (spent_s - kinds_before_s[kind]) / stored * 1e6
            for kind, spent_s in postgres_cpu_s(self._pids[1]).items()
        }
        figures["of PostgreSQL us"] = kinds
        line = f"{title:>20}  {stored:>9,} spans  ours {figures['ours us']:6.1f} us"
        parts = ", ".join(f"{kind} {us:.1f}" for kind, us in kinds.items())
        print(
            f"{line}  PostgreSQL {figures['PostgreSQL us']:6.1f} us ({parts})  {figures['spans/s']:9,.0f} spans/s",
            flush=True,
        )
        return figures

    def empty(self) -> None:
        """Take away what is stored."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                "TRUNCATE spantree.span, spantree.execution, spantree.node, spantree.edge, spantree.trace,"
                " spantree.span_terms, spantree.rollup, spantree.rollup_delta"
            )


@contextmanager
def _road(parent: Path, name: str) -> Iterator[_Road]:
    folder = parent / name
    folder.mkdir()
    with EmbeddedPostgres(folder / "postgres") as server:
        migrate(server.url)
        assert server.pid is not None
        with collector(server.url, folder) as (process, port):
            yield _Road(folder, server.url, port, process.pid, server.pid)


def _rounds(growing: _Road, arguments: argparse.Namespace, control: _Road | None) -> list[dict[str, Any]]:
    rounds: list[dict[str, Any]] = []
    controls: list[dict[str, Any]] = []
    beside: list[dict[str, Any]] = []  # the rounds right before those of the control
    stored = 0
    for number in range(1, arguments.rounds + 1):
        rounds.append(growing.send(f"{stored:,} stored", arguments.traces, number))
        stored += rounds[-1]["spans"]
        if control is not None and number % arguments.control == 0:
            control.empty()
            controls.append(control.send("emptied", arguments.traces, number))
            beside.append(rounds[-1])
    if controls:
        ratios = {
            key: statistics.median(one[key] / other[key] for one, other in zip(beside, controls, strict=True))
            for key in _SHOWN
        }
        told = ", ".join(f"{key.removesuffix(' us')} {ratio:.2f}" for key, ratio in ratios.items())
        print(f"{'against the control':>20}  median of {len(controls)}: {told}", flush=True)
        rounds += [*controls, {"round": "against the control", **ratios}]
    return rounds


def _odd_rounds(road: _Road, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    rounds: list[dict[str, Any]] = []
    if arguments.partitions:
        with psycopg.connect(road.url, autocommit=True) as connection:
            today = day_number(datetime.now(UTC).date())
            ensure_partitions(connection, range(today - arguments.partitions + 1, today + 1))
        rounds.append(road.send(f"{arguments.partitions} partitions", arguments.traces, 1001))
    if arguments.big:
        rounds.append(road.send("one trace", 1, 2001, arguments.big))
    return rounds


if __name__ == "__main__":
    main()
