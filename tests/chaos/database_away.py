"""PostgreSQL away for minutes under a steady load: taken in, caught up afterwards, in memory that does not grow.

    python -m tests.chaos.database_away --minutes 10 --rate 5000

One process sends at that pace from before PostgreSQL is stopped until all is caught up. Held against it:

    no request is refused, and everything acknowledged is stored, once, and projected
    while PostgreSQL is away no process of the collector grows or shrinks by more than a tenth, but for the first minute
    from its return until the spool is empty, spans are stored at twice the pace at least
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from tests.chaos.paced_load import SPANS, TRACES, PacedLoad, PacedResult
from tests.chaos.processes import CollectorProcess, collector_process
from tests.collectors import metric, readiness, wait_until_drained
from tests.waiting import wait_until
from tests.writer_processes import wait_for_writers

from spantree_collector.write.watchdog import resident_bytes
from spantree_deploy.postgres.embedded import EmbeddedPostgres
from spantree_exporter.postgres.migrate import migrate

_SETTLED_S = 60.0
_MOST_GROWTH = 0.10
_LEAST_FACTOR = 2.0
_LATE_S = 5.0
_FRESH_S = 2.0
_TELL_S = 60.0
_WRITERS = 2


@dataclass
class Memory:
    """Resident bytes of the collector's processes, sampled each second."""

    settled_s: float
    most_bytes: dict[str, int] = field(default_factory=dict)
    least_bytes: dict[str, int] = field(default_factory=dict)

    def growth(self) -> dict[str, float]:
        """By how much of its least each process was larger at most."""
        return {name: self.most_bytes[name] / least - 1 for name, least in self.least_bytes.items()}

    def sample(self, pids: dict[str, int]) -> None:
        """Look once."""
        for name, pid in pids.items():
            held_bytes = resident_bytes(pid)
            self.most_bytes[name] = max(self.most_bytes.get(name, 0), held_bytes)
            self.least_bytes[name] = min(self.least_bytes.get(name, held_bytes), held_bytes)

    def told(self) -> str:
        """For a person."""
        return ", ".join(
            f"{name} {least / 2**20:.0f} to {self.most_bytes[name] / 2**20:.0f} MiB"
            for name, least in self.least_bytes.items()
        )


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    load: PacedResult
    away: Memory
    back: Memory
    waiting_spans: int  # when PostgreSQL was back
    caught_up_s: float
    caught_up_spans: int  # stored meanwhile
    stored: int
    executions: int
    wrong: int  # traces that have not exactly their spans

    def lines(self) -> list[str]:
        """For a person."""
        load = self.load
        return [
            f"{load.sent * SPANS} spans sent, {len(load.refused) * SPANS} of them refused; {load.late_s:.1f} s behind "
            f"the pace at worst; answers: p50 {load.p50_ms:.0f} p99 {load.p99_ms:.0f} worst {load.worst_ms:.0f} ms",
            f"memory while PostgreSQL was away: {self.away.told()}",
            f"{self.waiting_spans} spans waited; the spool was empty {self.caught_up_s:.0f} s after, "
            f"{self.caught_up_spans / self.caught_up_s:.0f} spans/s stored meanwhile; memory: {self.back.told()}",
            f"{self.stored} spans stored, {self.executions} traces projected, {self.wrong} traces with too few or many",
        ]

    def lost_or_twice(self) -> list[str]:
        """What must never be, whatever the machine, a sentence each."""
        sent_spans = self.load.sent * SPANS
        wrong = []
        if self.load.refused:
            wrong.append(f"{len(self.load.refused)} traces of {self.load.sent} were refused")
        elif self.stored != sent_spans:
            wrong.append(f"{self.stored} spans are stored of {sent_spans} acknowledged")
        elif self.executions != self.load.sent:
            wrong.append(f"{self.executions} traces are projected of {self.load.sent}")
        if self.wrong:
            wrong.append(f"{self.wrong} traces have not {SPANS} spans each")
        return wrong


def run(folder: Path, away_s: float, rate: float, say: Callable[[str], None] = lambda line: None) -> Outcome:
    """One absence of `away_s` seconds under `rate` spans a second."""
    settled_s = min(_SETTLED_S, away_s / 2)
    with EmbeddedPostgres(folder / "server") as server:
        migrate(server.url)
        with (
            collector_process(folder / "data", server.url) as collector,
            PacedLoad(collector.addresses.host, collector.addresses.otlp_http_port, rate) as load,
        ):
            writers = sorted(wait_for_writers(collector.pid, _WRITERS))
            pids = {"collector": collector.pid} | {f"writer {n}": pid for n, pid in enumerate(writers, 1)}
            # Some load first: memory of processes that have not worked yet says nothing.
            wait_until(lambda: _stored(collector) >= rate * settled_s / 4, 120, "the load was stored")
            say("PostgreSQL is stopped")
            server.stop()
            away = Memory(settled_s)
            _sample(away, pids, away_s, say)
            waiting = readiness(collector.addresses)["spool"]
            stored_before = _stored(collector)
            say(f"PostgreSQL is started; {waiting['bodies']} requests wait")
            began_s = time.monotonic()
            server.start()
            back = Memory(0.0)
            ended = threading.Event()
            watching = threading.Thread(target=_watch, args=(back, pids, ended))
            watching.start()
            try:
                wait_until(lambda: _is_caught_up(collector), 20 * away_s + 120, "the spool was empty once")
                caught_up_s = time.monotonic() - began_s
                caught_up_spans = _stored(collector) - stored_before
            finally:
                ended.set()
                watching.join()
            say(f"caught up after {caught_up_s:.0f} s")
            result = load.stop()
            wait_until_drained(collector.addresses, 120)
            with psycopg.connect(server.url, autocommit=True) as connection:
                wait_until(lambda: _count(connection, "pending_projection") == 0, 600, "all traces were projected")
                [(wrong,)] = connection.execute(
                    "SELECT count(*) FROM (SELECT FROM spantree.span GROUP BY trace_id HAVING count(*) <> %s) AS odd",
                    [SPANS],
                )
                return Outcome(
                    result,
                    away,
                    back,
                    int(waiting["bodies"]) * TRACES * SPANS,
                    caught_up_s,
                    caught_up_spans,
                    _count(connection, "span"),
                    _count(connection, "execution"),
                    wrong,
                )


def _sample(memory: Memory, pids: dict[str, int], away_s: float, say: Callable[[str], None]) -> None:
    began_s = told_s = time.monotonic()
    while (past_s := time.monotonic() - began_s) < away_s:
        if past_s >= memory.settled_s:
            memory.sample(pids)
        if time.monotonic() - told_s >= _TELL_S:
            told_s = time.monotonic()
            say(f"away for {past_s:.0f} s; {memory.told()}")
        time.sleep(min(1.0, away_s / 10))


def _watch(memory: Memory, pids: dict[str, int], ended: threading.Event) -> None:
    while not ended.wait(0.25):
        memory.sample(pids)


def _stored(collector: CollectorProcess) -> int:
    return int(metric(collector.addresses, "spantree_collector_stored_spans_total"))


def _is_caught_up(collector: CollectorProcess) -> bool:
    # Never quite empty: the load goes on.
    return float(readiness(collector.addresses)["spool"]["oldest_age_s"]) < _FRESH_S


def _count(connection: psycopg.Connection[Any], table: LiteralString) -> int:
    [(count,)] = connection.execute("SELECT count(*) FROM spantree." + table)
    return int(count)


def _findings(outcome: Outcome, rate: float) -> list[str]:
    wrong = outcome.lost_or_twice()
    for name, growth in outcome.away.growth().items():
        if growth > _MOST_GROWTH:
            wrong.append(f"the memory of {name} changed by {growth:.0%} while PostgreSQL was away")
    speed = outcome.caught_up_spans / outcome.caught_up_s
    if speed < _LEAST_FACTOR * rate:
        wrong.append(f"{speed:.0f} spans/s were stored while catching up, less than {_LEAST_FACTOR:g} times the pace")
    if outcome.load.late_s > _LATE_S:
        wrong.append(f"the load fell {outcome.load.late_s:.1f} s behind its pace: the machine is too busy for it")
    return wrong


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=5_000.0, help="spans a second")
    arguments = parser.parse_args()
    print(f"PostgreSQL away for {arguments.minutes:g} minutes at {arguments.rate:g} spans/s", flush=True)
    with tempfile.TemporaryDirectory(prefix="spantree-away-") as folder:
        outcome = run(Path(folder), arguments.minutes * 60, arguments.rate, lambda line: print(line, flush=True))
    print("\n".join(outcome.lines()))
    if wrong := _findings(outcome, arguments.rate):
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
