"""Kills on a Citus cluster under load: of a worker, the coordinator, the collector; a worker away; shards moved.

    python -m tests.chaos.citus [--rounds 2] [--away-s 60]

Each acknowledged span is stored once in the end. While a worker is away, what is on the others is written and read, and
lists say what is away. Ends with 2 where there is no Citus.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen
from uuid import UUID

import psycopg
from tests.api_server import api_over, refused
from tests.chaos.exporter_load import ExporterLoad
from tests.chaos.processes import CollectorProcess, collector_process
from tests.chaos.random_faults import verified
from tests.citus_cluster import CitusCluster, CitusNotThere, citus_cluster
from tests.collectors import readiness, wait_until_drained
from tests.waiting import wait_until

from spantree_exporter.postgres.migrate import migrate

_TIMEOUT_S = 180.0
_TRACES_BETWEEN = 30
_SHARDS = 6
_STORED = re.compile(r"^spantree_collector_stored_spans_total\S* (\S+)", re.MULTILINE)


def run(folder: Path, rounds: int, away_s: float, say: Callable[[str], None]) -> str:
    """Do it all; a sentence for people. Raises AssertionError where something is lost, doubled or held up."""
    with citus_cluster(workers=3) as cluster:
        url = cluster.coordinator.url
        migrate(url, shards=_SHARDS)
        with (
            collector_process(folder / "data", url, {"SPANTREE_WRITER_STALL_S": "20"}) as collector,
            ExporterLoad(collector.addresses) as load,
        ):
            for number in range(rounds):
                for fault in (_kill_a_worker, _kill_the_coordinator, _kill_the_collector, _move_shards):
                    _more_traces(load)
                    say(f"{number + 1}: {fault.__name__.strip('_').replace('_', ' ')}")
                    fault(cluster, collector, number)
                _more_traces(load)
                say(f"{number + 1}: a worker is away for {away_s:.0f} s")
                say(f"   {_without_a_worker(cluster, collector, number, away_s)}")
            load.stop()
            say("draining")
            wait_until_drained(collector.addresses, _TIMEOUT_S)
        return verified(load, url, 0)


def _kill_a_worker(cluster: CitusCluster, collector: CollectorProcess, number: int) -> None:
    worker = cluster.workers[number % len(cluster.workers)]
    worker.kill()
    worker.start()


def _kill_the_coordinator(cluster: CitusCluster, collector: CollectorProcess, number: int) -> None:
    cluster.coordinator.kill()
    cluster.coordinator.start()


def _kill_the_collector(cluster: CitusCluster, collector: CollectorProcess, number: int) -> None:
    collector.kill()
    collector.start()


def _move_shards(cluster: CitusCluster, collector: CollectorProcess, number: int) -> None:
    """Those of the first shard, from where they are to another worker, while they are written to."""
    with psycopg.connect(cluster.coordinator.url, autocommit=True) as connection:
        row = connection.execute(
            "SELECT shardid, nodeport FROM citus_shards WHERE table_name = 'spantree.span'::regclass ORDER BY 1 LIMIT 1"
        ).fetchone()
        assert row is not None
        shard_id, port = row
        to = next(worker.port for worker in cluster.workers if worker.port != port)
        connection.execute(
            "SELECT citus_move_shard_placement(%s, '127.0.0.1', %s, '127.0.0.1', %s, 'block_writes')",
            [shard_id, port, to],
        )


def _without_a_worker(cluster: CitusCluster, collector: CollectorProcess, number: int, away_s: float) -> str:
    worker = cluster.workers[number % len(cluster.workers)]
    with psycopg.connect(cluster.coordinator.url, autocommit=True) as connection:

        def traces() -> tuple[list[UUID], list[UUID]]:
            # In order of ids, which are random: of all workers. Without an order all may be of one shard.
            rows = connection.execute("SELECT trace_id FROM spantree.execution ORDER BY trace_id LIMIT 60").fetchall()
            return _of_worker(connection, worker.port, [trace_id for (trace_id,) in rows])

        # What came while a worker was killed is projected a while later where much else runs.
        wait_until(lambda: all(traces()), _TIMEOUT_S, "traces of the worker and of the others were projected")
        own, others = traces()
    with api_over(cluster.coordinator.url) as api:
        worker.kill()
        began_s = time.monotonic()
        halves = []
        for until_s in (away_s / 2, away_s):
            before = _stored(collector)
            wait_until(lambda before=before: _stored(collector) > before, _TIMEOUT_S, "others' spans were stored")  # type: ignore[misc]
            time.sleep(max(0.0, until_s - (time.monotonic() - began_s)))
            halves.append(_stored(collector) - before)
        status, _, said = refused(api.get("/api/v1/executions"))
        assert (status, "a worker of the Citus cluster is away" in said) == (503, True), said
        answers = {trace_id: api.get(f"/api/v1/executions/{trace_id.hex}") for trace_id in (*others, *own)}
        wrong = [answers[trace_id].text for trace_id in others if answers[trace_id].status_code != 200]
        wrong += [answers[trace_id].text for trace_id in own if answers[trace_id].status_code != 503]
        assert not wrong, wrong[0]
        waiting = readiness(collector.addresses)["spool"]["bodies"]
        worker.start()
        wait_until(lambda: api.get("/api/v1/executions").status_code == 200, _TIMEOUT_S, "lists were answered again")
    first, second = halves
    return (
        f"meanwhile {first:.0f} and {second:.0f} spans of the others were stored in the two halves, {waiting} requests "
        f"wait; {len(others)} traces of the others were read, {len(own)} of its own and lists were refused"
    )


def _of_worker(
    connection: psycopg.Connection[tuple[object, ...]], port: int, trace_ids: list[UUID]
) -> tuple[list[UUID], list[UUID]]:
    """(those that the worker has, the others)."""
    rows = connection.execute(
        """
        SELECT sent.id
        FROM unnest(%s::uuid[]) AS sent (id)
        JOIN citus_shards
            ON table_name = 'spantree.span'::regclass
            AND shardid = get_shard_id_for_distribution_column('spantree.span', sent.id)
        WHERE nodeport = %s
        """,
        [trace_ids, port],
    ).fetchall()
    own = {trace_id for (trace_id,) in rows}
    return [one for one in trace_ids if one in own], [one for one in trace_ids if one not in own]


def _more_traces(load: ExporterLoad) -> None:
    wanted = load.traces + _TRACES_BETWEEN
    wait_until(lambda: load.traces >= wanted, _TIMEOUT_S, "spans were acknowledged")


def _stored(collector: CollectorProcess) -> float:
    with urlopen(f"{collector.addresses.http_url}/metrics", timeout=30) as answer:
        return sum(map(float, _STORED.findall(answer.read().decode())))


def main() -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--away-s", type=float, default=60.0)
    given = parser.parse_args()
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    # Exporters tell of every attempt that fails.
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="spantree-chaos-") as folder:
        try:
            print(run(Path(folder), given.rounds, given.away_s, lambda line: print(line, flush=True)))
        except CitusNotThere as error:
            print(error, file=sys.stderr)
            return 2
        except AssertionError as error:
            print(f"FAILED: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
