"""What a rate of spans and a retention need: processors, disk, network. Pure arithmetic on measured costs.

    spans/s  ->  collectors (cores)  ->  PostgreSQL (cores, WAL)  ->  disk (bytes a span * retention)

Costs are per span of the reference load and linear in the rate; what is not linear is named in docs/scale.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

DAY_S: Final = 86_400
MOST_SPANS_PER_SECOND: Final = 1_000_000_000
MOST_RETENTION_DAYS: Final = 36_500


@dataclass(frozen=True, slots=True)
class Costs:
    """What one span of the reference load costs, as `python -m benchmarks.costs` prints it; the compiled hot path.

    The lesser of two runs of 100,103 spans on two cores that others used, too: processor time is rather too high. The
    only home of these figures: the calculator and the simulation read them here, a test holds docs/scale.md to them.
    """

    receive_us: float = 19.3
    """processor of the collector's own process, us: receive, fsync, hand out; `of them receiving and spooling`"""
    write_us: float = 100.9
    """processor of its writers, us: decode, facts, rows, projection, figures; `of them writing and projecting`"""
    postgres_us: float = 85.6
    """processor of PostgreSQL, us, autovacuum included; `PostgreSQL us a span`"""
    disk_bytes: float = 2828.0
    """bytes of tables and indexes after VACUUM; `bytes a span on disk`"""
    wal_bytes: float = 3577.0
    """bytes of WAL, full page images included; `WAL bytes a span`"""
    wire_bytes: float = 934.3
    """bytes of OTLP/protobuf; `wire bytes a span`"""
    gzip_bytes: float = 208.0
    """the same with gzip; `wire bytes a span, gzip`"""


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What is not measured here and decides all the same; `spantree capacity --json` tells them with its answer."""

    utilisation: float = 0.6
    """part of a processor, and of the WAL, that is planned with; the rest is for peaks and for catching up"""
    cores_per_collector: int = 4
    """of a collector: one receives, the others write (SPANTREE_WRITERS)"""
    cores_per_postgres: int = 32
    """of a PostgreSQL server before a second one is wanted"""
    wal_bytes_per_s: float = 300e6
    """WAL that one server's disk and its replica take steadily"""
    bloat: float = 1.2
    """disk beyond what VACUUM leaves: partitions of today, indexes that have split"""
    outage_s: float = 3600.0
    """how long PostgreSQL may be away: what the spools are to hold"""


MEASURED: Final = Costs()
ASSUMED: Final = Assumptions()


@dataclass(frozen=True, slots=True)
class Capacity:
    """What is needed. Bytes are bytes; cores are whole processors at the planned utilisation."""

    spans_per_second: float
    retention_days: float
    collectors: int
    collector_cores: float
    postgres_servers: int
    postgres_cores: float
    connections: int
    disk_bytes_per_day: float
    disk_bytes: float
    wal_bytes_per_s: float
    wire_bits_per_s: float
    wire_bits_per_s_gzip: float
    spool_bytes_per_collector: float
    bottleneck: str
    advice: str


def capacity(
    spans_per_second: float, retention_days: float, costs: Costs = MEASURED, assumed: Assumptions = ASSUMED
) -> Capacity:
    """What `spans_per_second`, at the busiest hour, and `retention_days` need."""
    cores = spans_per_second / 1e6 / assumed.utilisation
    receiving, writing = cores * costs.receive_us, cores * costs.write_us
    # One process receives: a collector takes as much as one core receives, and what its other cores write.
    collectors = max(1, math.ceil(receiving), math.ceil(writing / (assumed.cores_per_collector - 1)))
    postgres_cores = cores * costs.postgres_us
    wal_bytes_per_s = spans_per_second * costs.wal_bytes
    by_cores = math.ceil(postgres_cores / assumed.cores_per_postgres)
    by_wal = math.ceil(wal_bytes_per_s / (assumed.wal_bytes_per_s * assumed.utilisation))
    servers = max(1, by_cores, by_wal)
    day_bytes = spans_per_second * DAY_S * costs.disk_bytes * assumed.bloat
    step = next(step for step in STEPS if spans_per_second <= step.up_to)
    return Capacity(
        spans_per_second=spans_per_second,
        retention_days=retention_days,
        collectors=collectors,
        collector_cores=receiving + writing,
        postgres_servers=servers,
        postgres_cores=postgres_cores,
        connections=collectors * 2 * (assumed.cores_per_collector - 1),
        disk_bytes_per_day=day_bytes,
        disk_bytes=day_bytes * retention_days,
        wal_bytes_per_s=wal_bytes_per_s,
        wire_bits_per_s=spans_per_second * costs.wire_bytes * 8,
        wire_bits_per_s_gzip=spans_per_second * costs.gzip_bytes * 8,
        spool_bytes_per_collector=spans_per_second * costs.wire_bytes * assumed.outage_s / collectors,
        bottleneck=step.bottleneck,
        advice=step.advice,
    )


@dataclass(frozen=True, slots=True)
class Step:
    """A range of rates, what is scarce in it, and what to do."""

    up_to: float
    bottleneck: str
    advice: str


STEPS: Final = (
    Step(
        3_000,
        "nothing: one machine, everything on it",
        "`spantree up`, or one collector beside the PostgreSQL that you have",
    ),
    Step(
        30_000,
        "processors of the collector, whose writers take half of what a span costs; then disk",
        "PostgreSQL on a machine of its own, several collectors behind a balancer, SPANTREE_WRITERS as many as cores",
    ),
    Step(
        300_000,
        "disk: what is kept outgrows one server before its processors do",
        "fewer days (SPANTREE_RETENTION_DAYS, failures longer), sampling by trace in the OpenTelemetry Collector; "
        "a replica for reading",
    ),
    Step(
        3_000_000,
        "WAL and processors of one PostgreSQL",
        "Citus, spread by trace_id, workers by cores; Kafka in between where a company has it",
    ),
    Step(
        math.inf,
        "disk and network of the whole: more than anybody reads",
        "sample by trace before it gets here (tail sampling keeps failures and slow ones); several installations",
    ),
)
