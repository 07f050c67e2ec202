"""Collectors, writers and PostgreSQL as queues, from the measured costs: what waits how long at a rate of spans.

    python -m benchmarks.simulate                10k, 100k, 1M and 10M spans/s, on what the calculator asks for
    python -m benchmarks.simulate --spans-per-second 50000 --collectors 4 --database-cores 16
    python -m benchmarks.simulate --spans-per-second 20000 --outage-s 600     PostgreSQL is away for ten minutes

    senders -> balancer -> collector: one core receives -> spool -> writers take batches -> PostgreSQL: cores, WAL

Time goes in steps; in each, what a stage can do is its cores (or bytes) divided by what a span costs there. What is not
done waits, first in first out. Assumptions, beside the costs of spantree_deploy.capacity: spans come for `--seconds`,
with peaks of `--peak` times the rate for a tenth of the time; the balancer spreads them evenly; a batch waits for its
turn and not for others' locks; collectors have all of PostgreSQL's cores but for `--reads` of them; the disk takes
ASSUMED.wal_bytes_per_s of WAL a server; nothing fails but what --outage-s takes away; a shard costs what a server does.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import deque
from dataclasses import dataclass, replace

from spantree_deploy.capacity import ASSUMED, MEASURED, Capacity, capacity

_STEP_S = 0.05
_RATES = (10_000, 100_000, 1_000_000, 10_000_000)


@dataclass(frozen=True, slots=True)
class Load:
    """What comes, for how long, and what is away meanwhile."""

    spans_per_second: float
    seconds: float = 300.0
    peak: float = 2.0
    outage_s: float = 0.0
    reads: float = 0.1
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Machines:
    """What takes it: collectors with so many writers each, servers with so many cores each."""

    collectors: int
    writers: int
    servers: int
    database_cores: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of it. Ages are from the acknowledgement to the commit."""

    receiving: float
    writing: float
    database: float
    wal: float
    refused_part: float
    age_p50_s: float
    age_p99_s: float
    waiting_spans_most: float
    drained_after_s: float | None


class Queue:
    """Spans that wait, by the time at which they came; first in, first out."""

    def __init__(self) -> None:
        self.spans = 0.0
        self._parts: deque[tuple[float, float]] = deque()

    def put(self, at_s: float, spans: float) -> None:
        """So many more."""
        if spans > 0:
            self._parts.append((at_s, spans))
            self.spans += spans

    def take(self, most: float) -> list[tuple[float, float]]:
        """The oldest, `most` at most, with when they came."""
        taken = []
        left = most
        while self._parts and left > 1e-9:
            at_s, spans = self._parts.popleft()
            part = min(spans, left)
            taken.append((at_s, part))
            left -= part
            if spans > part:
                self._parts.appendleft((at_s, spans - part))
        self.spans = max(0.0, self.spans - (most - left))
        return taken


def simulate(load: Load, machines: Machines) -> Outcome:
    """Run the queues until what came is written, or for ten times as long."""
    chance = random.Random(load.seed)
    receive_most = machines.collectors * _STEP_S * 1e6 / MEASURED.receive_us
    write_most = machines.collectors * machines.writers * _STEP_S * 1e6 / MEASURED.write_us
    cores = machines.servers * machines.database_cores * (1 - load.reads)
    database_most = cores * _STEP_S * 1e6 / MEASURED.postgres_us
    wal_most = machines.servers * ASSUMED.wal_bytes_per_s * _STEP_S / MEASURED.wal_bytes
    # Peaks take a tenth of the time, and the rest comes the more quietly: the mean is the rate.
    quiet = (1 - 0.1 * load.peak) / 0.9
    spool = Queue()
    ages: list[tuple[float, float]] = []
    came = refused = received = written = most_waiting = 0.0
    drained_after_s: float | None = None
    away_from_s = load.seconds / 3
    now_s = 0.0
    while now_s < load.seconds or (spool.spans > 1 and now_s < 10 * load.seconds):
        if now_s < load.seconds:
            factor = load.peak if chance.random() < 0.1 else quiet
            arriving = load.spans_per_second * _STEP_S * factor
            came += arriving
            taken = min(arriving, receive_most)
            refused += arriving - taken
            received += taken
            spool.put(now_s, taken)
        away = away_from_s <= now_s < away_from_s + load.outage_s
        if not away:
            for at_s, spans in spool.take(min(write_most, database_most, wal_most)):
                ages.append((now_s + _STEP_S - at_s, spans))
                written += spans
        most_waiting = max(most_waiting, spool.spans)
        if load.outage_s and drained_after_s is None and now_s > away_from_s + load.outage_s and spool.spans < 1:
            drained_after_s = now_s - away_from_s - load.outage_s
        now_s += _STEP_S
    steps = load.seconds / _STEP_S
    return Outcome(
        receiving=received / (receive_most * steps),
        writing=written / (write_most * steps),
        database=written / (database_most * steps),
        wal=written / (wal_most * steps),
        refused_part=refused / came,
        age_p50_s=_percentile(ages, 0.5),
        age_p99_s=_percentile(ages, 0.99),
        waiting_spans_most=most_waiting,
        drained_after_s=drained_after_s,
    )


def machines_for(needed: Capacity) -> Machines:
    """What the calculator asks for."""
    writers = ASSUMED.cores_per_collector - 1
    return Machines(
        needed.collectors, writers, needed.postgres_servers, max(1.0, needed.postgres_cores / needed.postgres_servers)
    )


def _percentile(ages: list[tuple[float, float]], part: float) -> float:
    """The age that `part` of all spans do not exceed."""
    wanted = part * sum(spans for _, spans in ages)
    for age_s, spans in sorted(ages):
        wanted -= spans
        if wanted <= 0:
            return age_s
    return 0.0


def main() -> None:
    """Simulate and print a table, at last one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spans-per-second", type=float, nargs="+", default=list(_RATES))
    parser.add_argument("--collectors", type=int, default=None, help="default: what the calculator asks for")
    parser.add_argument("--writers", type=int, default=None, help="of each collector")
    parser.add_argument("--servers", type=int, default=None, help="of PostgreSQL")
    parser.add_argument("--database-cores", type=float, default=None, help="of each server")
    parser.add_argument("--seconds", type=float, default=300.0, help="seconds that spans come")
    parser.add_argument("--peak", type=float, default=2.0)
    parser.add_argument("--outage-s", type=float, default=0.0)
    parser.add_argument("--reads", type=float, default=0.1, help="part of PostgreSQL's cores that readers have")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    outcomes = []
    print(
        f"{'spans/s':>12} {'collectors':>10} {'servers':>8} {'cores':>6} {'receive':>8} {'write':>6} {'PG':>6}"
        f" {'WAL':>6} {'refused':>8} {'age p50':>8} {'p99':>8} {'most waiting':>13} {'drained':>8}"
    )
    for rate in arguments.spans_per_second:
        of = machines_for(capacity(rate, 1))
        given = {
            "collectors": arguments.collectors,
            "writers": arguments.writers,
            "servers": arguments.servers,
            "database_cores": arguments.database_cores,
        }
        machines = replace(of, **{name: value for name, value in given.items() if value is not None})
        load = Load(rate, arguments.seconds, arguments.peak, arguments.outage_s, arguments.reads, arguments.seed)
        outcome = simulate(load, machines)
        drained = "" if outcome.drained_after_s is None else f"{outcome.drained_after_s:.0f} s"
        print(f"{rate:>12,.0f} {machines.collectors:>10,} {machines.servers:>8} {machines.database_cores:>6.1f}"
              f" {outcome.receiving:>8.0%} {outcome.writing:>6.0%} {outcome.database:>6.0%} {outcome.wal:>6.0%}"
              f" {outcome.refused_part:>8.1%} {outcome.age_p50_s:>6.2f} s {outcome.age_p99_s:>6.2f} s"
              f" {outcome.waiting_spans_most:>13,.0f} {drained:>8}")  # fmt: skip
        outcomes.append({"spans/s": rate, **_fields(machines), **_fields(outcome)})
    print(json.dumps(outcomes))


def _fields(of: Machines | Outcome) -> dict[str, object]:
    return {name: getattr(of, name) for name in of.__slots__}


if __name__ == "__main__":
    main()
