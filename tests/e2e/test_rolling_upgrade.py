"""A rolling upgrade: the release before and this one at once on one database, which is migrated while both write."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import httpx
import psycopg
import pytest
from tests.api_rows import fold_all
from tests.chaos.load import SPANS_PER_REQUEST, Load, span_counts
from tests.chaos.processes import CollectorProcess, collector_process
from tests.collectors import readiness, wait_until_drained
from tests.otlp_requests import trace_id
from tests.postgres import shards_of
from tests.previous_release import ON_CITUS, ON_ONE_SERVER, previous_release
from tests.spantree_process import environment, spantree, started
from tests.tables import query
from tests.waiting import free_port, wait_until

from spantree_exporter.postgres.migrate import LATEST, schema_version
from spantree_exporter.postgres.rollup_store import differences

pytestmark = pytest.mark.slow

# Each load's traces have numbers of their own.
_APART = 1_000_000
# What the release before answers, with Retry-After, when a table has gained a column under a prepared statement; this
# one repeats the read. Once a connection, and whoever asks has one at a time.
_ONCE = "cached plan must not change result type"
_PATHS = ("executions?limit=5", "executions/{}/tree", "executions/{}/nodes", "stats/workflows", "failures", "health")


class Asking:
    """Asks an API for lists, an execution and statistics without a pause, and keeps what is not answered 200."""

    def __init__(self, url: str, trace: int) -> None:
        self.asked: Counter[str] = Counter()
        self.failures: list[str] = []
        self._url = url
        self._id = trace_id(trace).hex()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Asking:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        paths = itertools.cycle(_PATHS)
        with httpx.Client(base_url=f"{self._url}/api/v1/", timeout=60, trust_env=False) as client:
            while not self._stop.wait(0.05):
                path = next(paths)
                answer = client.get(path.format(self._id))
                self.asked[path] += 1
                if answer.status_code != 200:
                    self.failures.append(f"{path}: {answer.status_code} {answer.text}")


def reads(api_url: str, trace: int) -> bool:
    """Whether the API tells the trace of this number whole."""
    answer = httpx.get(f"{api_url}/api/v1/executions/{trace_id(trace).hex()}/tree", timeout=60, trust_env=False)
    return answer.status_code == 200 and answer.json()["span_count"] == SPANS_PER_REQUEST


@pytest.mark.timeout(600)
def test_old_and_new_share_a_database_that_is_migrated_while_both_write(database_url: str, tmp_path: Path) -> None:
    """On a Citus cluster, whose tables the release before has distributed, too."""
    shards = shards_of(database_url)
    release = ON_ONE_SERVER if shards is None else ON_CITUS
    old = previous_release(tmp_path / "previous", release)
    migrate = [sys.executable, "-m", "spantree_deploy", "migrate", "--database-url", database_url]
    at_first = environment(**old)
    if shards is not None:
        migrate.append("--distribute")
        at_first["SPANTREE_CITUS_SHARDS"] = str(shards)
    migrated = subprocess.run(migrate, cwd=tmp_path, env=at_first, capture_output=True, text=True, timeout=120)
    assert migrated.stdout.endswith(f"the schema is at version {release.newest_migration}\n"), migrated.stderr
    with contextlib.ExitStack() as stack:

        def collector(name: str, env: dict[str, str]) -> CollectorProcess:
            settings = {"SPANTREE_DRAIN_S": "20", "SPANTREE_WRITERS": "1"}
            return stack.enter_context(collector_process(tmp_path / name, database_url, env | settings))

        def api(env: dict[str, str]) -> str:
            port = free_port()
            options = ("--database-url", database_url, "--api-port", str(port))
            stack.enter_context(started("api", *options, directory=tmp_path, env=env, ready="the API answers on"))
            return f"http://127.0.0.1:{port}"

        def load(collector: CollectorProcess, number: int) -> Load:
            return stack.enter_context(Load(collector.addresses, http_clients=1, pause_s=0.05, first=number * _APART))

        def goes_on(of: Load, more: int = 20) -> None:
            wanted = len(of.acknowledged) + more
            wait_until(lambda: len(of.acknowledged) >= wanted, 60, f"{more} more were acknowledged")

        def stored(of: Load) -> None:
            """What is acknowledged from now on becomes rows."""
            goes_on(of)
            wanted = max(of.acknowledged)
            wait_until(lambda: wanted in span_counts(database_url), 60, "it was stored")

        old_ones = [collector("old-1", old), collector("old-2", old)]
        old_loads = [load(one, number) for number, one in enumerate(old_ones, 1)]
        for one in old_loads:
            stored(one)
        old_url = api(old)
        before = min(old_loads[0].acknowledged)
        wait_until(lambda: reads(old_url, before), 60, "the old API tells it")
        asking_old = stack.enter_context(Asking(old_url, before))

        # The new ones come first, as a rolling update may have it, and wait with what they take in.
        new_one = collector("new", {})
        new_load = load(new_one, 3)
        goes_on(new_load)
        wait_until(
            lambda: 'run "spantree migrate"' in readiness(new_one.addresses)["store"]["message"], 60, "it says why"
        )

        migrated = spantree("migrate", "--database-url", database_url, directory=tmp_path)
        assert migrated.stdout.endswith(f"the schema is at version {LATEST}\n"), migrated.stderr
        assert schema_version(database_url) == LATEST
        for one in (*old_loads, new_load):
            stored(one)
        new_url = api({})
        asking_new = stack.enter_context(Asking(new_url, before))
        for of in (*old_loads, new_load):
            latest = max(of.acknowledged)
            for url in (old_url, new_url):
                wait_until(lambda: reads(url, latest), 60, f"{url} tells what came last")  # noqa: B023

        # One of the old ones is taken away in the midst; its load ends before, as a balancer has it.
        old_loads[0].stop()
        old_ones[0].stop()
        # The other dies, and this release goes on with its spool.
        old_ones[1].kill()
        old_loads[1].stop()
        heir = collector("old-2", {})
        goes_on(new_load)
        new_load.stop()
        for each in (heir, new_one):
            wait_until_drained(each.addresses)
        wait_until(
            lambda: query(database_url, "SELECT count(*) FROM spantree.pending_projection") == [(0,)],
            60,
            "all was projected",
        )

    assert set(asking_old.asked) == set(asking_new.asked) == set(_PATHS)
    assert asking_new.failures == []
    assert [failure for failure in asking_old.failures if _ONCE not in failure] == []
    assert len(asking_old.failures) <= 1
    assert old_loads[0].unanswered == new_load.unanswered == set()
    counts = span_counts(database_url)
    for of in (*old_loads, new_load):
        assert sorted(of.acknowledged - counts.keys()) == []
    assert set(counts.values()) == {SPANS_PER_REQUEST}
    assert query(database_url, "SELECT count(*) FROM spantree.execution") == [(len(counts),)]
    fold_all(database_url)
    days = [day for (day,) in query(database_url, "SELECT DISTINCT day FROM spantree.execution")]
    with psycopg.connect(database_url) as connection:
        assert differences(connection, 0, days) == []
