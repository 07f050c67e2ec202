"""`make chaos`: random faults under load, and every acknowledged span is stored once or a dead letter.

    python -m tests.chaos.random_faults --faults 200 [--seed N]

The seed is printed; the same one gives the same faults in the same order, though not at the same moments.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg
from tests.chaos.cutting_proxy import CuttingProxy, cutting_proxy
from tests.chaos.exporter_load import ExporterLoad, SpanKey
from tests.chaos.processes import CollectorProcess, collector_process
from tests.collectors import readiness
from tests.waiting import wait_until
from tests.writer_processes import writer_pids

from spantree_deploy.postgres.embedded import EmbeddedPostgres
from spantree_exporter.otlp.decode import decode_request
from spantree_exporter.postgres.migrate import migrate

# Acknowledged traces between two faults: enough that something is in every writer's hands.
_TRACES_BETWEEN = 4
_TIMEOUT_S = 90.0
_ENVIRONMENT = {
    # Small, so that it fills while PostgreSQL is away; and impatient, so that stopped writers are replaced soon.
    "SPANTREE_SPOOL_MAX_BYTES": "256KiB",
    "SPANTREE_WRITER_STALL_S": "2",
    "SPANTREE_DRAIN_S": "1",
}


@dataclass
class World:
    """What faults happen to."""

    collector: CollectorProcess
    server: EmbeddedPostgres
    proxy: CuttingProxy
    random: random.Random


def kill_a_writer(world: World) -> None:
    _signal_a_writer(world, signal.SIGKILL)


def stop_a_writer(world: World) -> None:
    # The watchdog kills it.
    _signal_a_writer(world, signal.SIGSTOP)


def kill_the_collector(world: World) -> None:
    world.collector.kill()
    world.collector.start()


def restart_the_collector(world: World) -> None:
    world.collector.stop()
    world.collector.start()


def pause_the_collector(world: World) -> None:
    os.kill(world.collector.pid, signal.SIGSTOP)
    time.sleep(world.random.uniform(0.1, 1.5))
    os.kill(world.collector.pid, signal.SIGCONT)


def kill_postgresql(world: World) -> None:
    killed = world.server.pid
    if killed is not None:
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: world.server.pid not in (None, killed), _TIMEOUT_S, "PostgreSQL came back")


def cut_all_connections(world: World) -> None:
    world.proxy.cut_now()


def make_the_database_read_only(world: World) -> None:
    _alter(world, "on")
    time.sleep(world.random.uniform(0.2, 1.0))
    _alter(world, "off")


def fill_the_spool(world: World) -> None:
    world.proxy.refuse(True)
    # A small machine under load may send too slowly for that: it was an absent database, then.
    with contextlib.suppress(AssertionError):
        wait_until(lambda: readiness(world.collector.addresses)["status"] == "full", 15, "the spool is full")
    world.proxy.refuse(False)


FAULTS: list[Callable[[World], None]] = [
    kill_a_writer,
    stop_a_writer,
    kill_the_collector,
    restart_the_collector,
    pause_the_collector,
    kill_postgresql,
    cut_all_connections,
    make_the_database_read_only,
    fill_the_spool,
]


def run(folder: Path, faults: int, seed: int, say: Callable[[str], None] = lambda line: None) -> str:
    """So many faults; what came of it, in a line. Raises AssertionError where a span is lost or there twice."""
    source = random.Random(seed)
    # Each kind in turn, in random order: a short run has as many kinds as it has faults.
    order: list[Callable[[World], None]] = []
    while len(order) < faults:
        order += source.sample(FAULTS, len(FAULTS))
    with EmbeddedPostgres(folder / "server") as server:
        migrate(server.url)
        with (
            cutting_proxy(server.url, []) as proxy,
            collector_process(folder / "data", proxy.url, _ENVIRONMENT) as collector,
        ):
            with ExporterLoad(collector.addresses) as load:
                world = World(collector, server, proxy, source)
                for number, fault in enumerate(order[:faults], 1):
                    wanted = load.traces + _TRACES_BETWEEN
                    wait_until(
                        lambda: load.traces >= wanted,  # noqa: B023
                        _TIMEOUT_S,
                        f"spans were acknowledged before fault {number} of seed {seed}, {fault.__name__}",
                    )
                    say(f"{number:4} {fault.__name__}")
                    fault(world)
            wait_until(
                lambda: readiness(collector.addresses)["spool"]["bodies"] == 0,
                _TIMEOUT_S,
                f"the spool was drained after the faults of seed {seed}",
            )
        return verified(load, server.url, seed)


def verified(load: ExporterLoad, database_url: str, seed: int) -> str:
    """Hold what was acknowledged against what there is."""
    stored: Counter[SpanKey] = Counter()
    dead: set[SpanKey] = set()
    with psycopg.connect(database_url) as connection:
        for trace_id, span_id in connection.execute("SELECT trace_id, span_id FROM spantree.span"):
            stored[trace_id.int, span_id] += 1
        for raw, encoding in connection.execute("SELECT raw, encoding FROM spantree.dead_letter"):
            dead.update(
                (int.from_bytes(span.trace_id, "big"), span.span_id) for span in decode_request(raw, encoding, 0).spans
            )
    lost = load.acknowledged - stored.keys() - dead
    assert not lost, (
        f"seed {seed}: {len(lost)} of {len(load.acknowledged)} acknowledged spans are lost: {sorted(lost)[:5]}"
    )
    twice = [key for key, count in stored.items() if count > 1]
    assert not twice, f"seed {seed}: {len(twice)} spans are stored twice: {sorted(twice)[:5]}"
    unknown = stored.keys() - load.acknowledged - load.unanswered
    assert not unknown, f"seed {seed}: {len(unknown)} spans are stored that nobody sent: {sorted(unknown)[:5]}"
    return (
        f"seed {seed}: {len(load.acknowledged)} spans acknowledged, {len(stored)} stored, {len(dead)} dead letters, "
        f"{len(load.unanswered)} without an answer; none lost, none twice"
    )


def _signal_a_writer(world: World, number: signal.Signals) -> None:
    pids = sorted(writer_pids(world.collector.pid))
    if pids:
        # It may end this moment.
        with contextlib.suppress(ProcessLookupError):
            os.kill(world.random.choice(pids), number)


def _alter(world: World, value: str) -> None:
    wait_until(lambda: _is_altered(world.server.url, value), _TIMEOUT_S, "PostgreSQL took a setting")
    world.proxy.cut_now()


def _is_altered(database_url: str, value: str) -> bool:
    writable = "-c default_transaction_read_only=off"
    try:
        with psycopg.connect(database_url, autocommit=True, options=writable) as connection:
            connection.execute(f"ALTER DATABASE {connection.info.dbname} SET default_transaction_read_only = {value}")
    except psycopg.OperationalError:
        # Killed a moment ago, and starting.
        return False
    return True


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None)
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(10**6)
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    # Exporters tell of every attempt that fails, which is most of them here.
    logging.disable(logging.CRITICAL)
    print(f"{arguments.faults} random faults, --seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="spantree-chaos-") as folder:
        try:
            print(run(Path(folder), arguments.faults, seed, lambda line: print(line, flush=True)))
        except AssertionError as error:
            sys.exit(f"FAILED: {error}")


if __name__ == "__main__":
    main()
