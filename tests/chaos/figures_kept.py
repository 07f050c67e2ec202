"""kill -9 under late spans and rebuilds: figures, groups, operations and the stream are those of the rows afterwards.

    python -m tests.chaos.figures_kept --faults 60 [--seed N]

Traces come in parts, in any order and some of them twice, so that they are projected again and again; now and then a
rebuild reads them by other rules and is killed over it. Writers and their projectors, the collector and PostgreSQL are
killed. Held against the rows once all is quiet:

    every acknowledged span is stored, once; every trace is projected
    figures of every grain, and which step followed which, are what counting the rows gives; groups of failures, too
    every operation that a span has is one of the list, and no other
    who followed the stream has been told the state that each execution and each node is in
"""

from __future__ import annotations

import argparse
import logging
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.api_server import api_over
from tests.chaos.cutting_proxy import cutting_proxy
from tests.chaos.late_load import LateLoad, SpanKey
from tests.chaos.processes import collector_process
from tests.chaos.random_faults import (
    World,
    cut_all_connections,
    kill_a_writer,
    kill_postgresql,
    kill_the_collector,
    stop_a_writer,
)
from tests.collectors import wait_until_drained
from tests.rollup_checks import assert_all_is_counted, wrong_figures
from tests.sse import Follower, following
from tests.tables import query
from tests.waiting import wait_until

from spantree_deploy.postgres.embedded import EmbeddedPostgres
from spantree_exporter.facts import read_facts
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.postgres.migrate import migrate
from spantree_exporter.postgres.rebuild import rebuild
from spantree_exporter.span import Span

_TRACES_BETWEEN = 10
_TIMEOUT_S = 90.0
# One that was being projected when its projector was killed, repeatedly, is tried later and later.
_PROJECTED_S = 300.0
_ENVIRONMENT = {"SPANTREE_WRITER_STALL_S": "2", "SPANTREE_DRAIN_S": "1"}


def kill_a_rebuild(world: World) -> None:
    """A rebuild by other rules, killed in its midst: some traces have steps of other names from then on."""
    _kill_rebuilds(world, 1)


def kill_two_rebuilds(world: World) -> None:
    """Two at once over the same spans, both killed."""
    _kill_rebuilds(world, 2)


def _kill_rebuilds(world: World, count: int) -> None:
    command = [sys.executable, "-m", "tests.chaos.figures_kept", "--rebuild", world.server.url]
    processes = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(count)]
    deadline_s = time.monotonic() + world.random.uniform(0.5, 3.0)
    for process in processes:
        try:
            process.wait(max(deadline_s - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


FAULTS: list[Callable[[World], None]] = [
    kill_a_writer,
    kill_a_rebuild,
    kill_two_rebuilds,
    kill_postgresql,
    kill_the_collector,
    cut_all_connections,
    stop_a_writer,
]


def run(folder: Path, faults: int, seed: int, say: Callable[[str], None] = lambda line: None) -> str:
    """So many faults; what came of it, in a line. Raises AssertionError where something is not as the rows say."""
    chance = random.Random(seed)
    order: list[Callable[[World], None]] = []
    while len(order) < faults:
        order += chance.sample(FAULTS, len(FAULTS))
    with EmbeddedPostgres(folder / "server") as server:
        migrate(server.url)
        with (
            cutting_proxy(server.url, []) as proxy,
            collector_process(folder / "data", proxy.url, _ENVIRONMENT) as collector,
            api_over(server.url, None) as api,
            following(f"{api.base_url}/api/v1/stream") as follower,
        ):
            with LateLoad(collector.addresses, seed) as load:
                world = World(collector, server, proxy, chance)
                for number, fault in enumerate(order[:faults], 1):
                    wanted = load.traces + _TRACES_BETWEEN
                    wait_until(
                        lambda: load.traces >= wanted,  # noqa: B023
                        _TIMEOUT_S,
                        f"spans were acknowledged before fault {number} of seed {seed}, {fault.__name__}",
                    )
                    say(f"{number:4} {fault.__name__}")
                    fault(world)
            wait_until_drained(collector.addresses, _TIMEOUT_S)
            wait_until(
                lambda: not query(server.url, "SELECT 1 FROM spantree.pending_projection LIMIT 1"),
                _PROJECTED_S,
                "all traces were projected",
            )
            report = verified(load, server.url, seed)
            wait_until(lambda: not _untold(server.url, follower), _TIMEOUT_S, "every state was told by the stream")
        # A rebuild by the rules of this build, whole: what others left behind is gone, and all is counted right again.
        rebuild(server.url)
        _assert_counted(server.url)
        renamed = query(server.url, "SELECT count(*) FROM spantree.node WHERE name = upper(name)")
        assert renamed == [(0,)], f"{renamed[0][0]} nodes are as another rebuild left them"
        return report


def verified(load: LateLoad, database_url: str, seed: int) -> str:
    """Hold what was acknowledged against what there is, and the figures against that."""
    stored: Counter[SpanKey] = Counter()
    for trace_id, span_id in query(database_url, "SELECT trace_id, span_id FROM spantree.span"):
        stored[trace_id.int, span_id] += 1
    lost = load.acknowledged - stored.keys()
    assert not lost, f"seed {seed}: {len(lost)} of {len(load.acknowledged)} acknowledged spans are lost"
    twice = [key for key, count in stored.items() if count > 1]
    assert not twice, f"seed {seed}: {len(twice)} spans are stored twice: {sorted(twice)[:5]}"
    unprojected = query(
        database_url,
        "SELECT DISTINCT trace_id FROM spantree.span"
        " WHERE NOT EXISTS (SELECT FROM spantree.execution WHERE execution.trace_id = span.trace_id)",
    )
    assert not unprojected, f"seed {seed}: {len(unprojected)} traces are not projected"
    _assert_counted(database_url)
    operations = query(
        database_url,
        "SELECT DISTINCT service_name, name, kind FROM spantree.span"
        " JOIN spantree.resource ON resource.id = span.resource_id ORDER BY 1, 2, 3",
    )
    assert query(database_url, "SELECT service, name, kind FROM spantree.operation ORDER BY 1, 2, 3") == operations
    [(executions, nodes)] = query(
        database_url, "SELECT (SELECT count(*) FROM spantree.execution), (SELECT count(*) FROM spantree.node)"
    )
    return (
        f"seed {seed}: {len(load.acknowledged)} spans acknowledged, {len(stored)} stored, none lost, none twice; "
        f"figures, groups, {len(operations)} operations and the stream are those of {executions} executions "
        f"and {nodes} nodes"
    )


def _assert_counted(database_url: str) -> None:
    days = [day for (day,) in query(database_url, "SELECT DISTINCT day FROM spantree.execution ORDER BY day")]
    # Figures lag behind the rows by a moment; what was lost would never come.
    wait_until(lambda: not wrong_figures(database_url, days), _TIMEOUT_S, "the figures are those of the rows")
    assert_all_is_counted(database_url, days, datetime.now(UTC) + timedelta(days=30))


def _untold(database_url: str, follower: Follower) -> list[tuple[str, ...]]:
    """Rows whose state is not the last one that was told of them."""
    last: dict[tuple[str, str], tuple[str, ...]] = {}
    for event in list(follower.events):
        about = event.data
        last[about["execution_id"], about.get("id", "")] = (about["status"], about["name"])
    rows = query(
        database_url,
        "SELECT translate(trace_id::text, '-', ''), '', status, name FROM spantree.execution UNION ALL"
        " SELECT translate(trace_id::text, '-', ''), lpad(to_hex(span_id), 16, '0'), status, name FROM spantree.node",
    )
    return [row for row in rows if last.get((row[0], row[1])) != (row[2], row[3])]


def _other_facts(span: Span) -> Facts:
    facts = read_facts(span)
    return {**facts, "name": facts["name"].upper()} if "name" in facts else facts


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=60)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--rebuild", help="of the program's own: rebuild this database by other rules")
    arguments = parser.parse_args()
    # What the API logs of an absent PostgreSQL would hide the rest.
    logging.disable(logging.CRITICAL)
    if arguments.rebuild:
        rebuild(arguments.rebuild, read_facts=_other_facts, own_rules=b"names in capitals")
        return
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(10**6)
    print(f"{arguments.faults} faults, --seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="spantree-figures-") as folder:
        try:
            print(run(Path(folder), arguments.faults, seed, lambda line: print(line, flush=True)))
        except AssertionError as error:
            sys.exit(f"FAILED: {error}")


if __name__ == "__main__":
    main()
