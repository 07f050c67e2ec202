"""What was acknowledged is stored, once, whatever dies. Real processes, a real PostgreSQL, a real load."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.chaos.cutting_proxy import cutting_proxy
from tests.chaos.load import Load, assert_each_once
from tests.chaos.processes import collector_process
from tests.collectors import metric, post, readiness, running, settings
from tests.otlp_requests import trace_request
from tests.waiting import wait_until
from tests.writer_processes import is_running, wait_for_writers

from spantree_collector.app import Addresses
from spantree_deploy.postgres.embedded import EmbeddedPostgres
from spantree_exporter.postgres.migrate import migrate

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A durable server of the test's own, since it is to be killed; it comes back by itself."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("server")) as started:
        migrate(started.url)
        yield started


def drained(addresses: Addresses, timeout_s: float = 60) -> None:
    wait_until(lambda: readiness(addresses)["spool"]["bodies"] == 0, timeout_s, "the spool is drained")


def test_kill_9_of_the_collector_right_after_its_200s(tmp_path: Path, migrated_url: str) -> None:
    with collector_process(tmp_path / "data", migrated_url) as collector:
        with Load(collector.addresses) as load:
            for round_number in range(1, 5):
                wanted = len(load.acknowledged) + 60
                wait_until(lambda: len(load.acknowledged) >= wanted, 30, f"60 more were acknowledged ({round_number})")  # noqa: B023
                collector.kill()
                collector.start()
        drained(collector.addresses)
        assert len(load.acknowledged) >= 240
        assert_each_once(load, migrated_url)


def test_kill_9_leaves_no_writer_behind(tmp_path: Path, migrated_url: str) -> None:
    with collector_process(tmp_path / "data", migrated_url) as collector, Load(collector.addresses) as load:
        pids = wait_for_writers(collector.pid, 2)
        wait_until(lambda: len(load.acknowledged) >= 60, 30, "60 requests were acknowledged")
        wait_until(lambda: readiness(collector.addresses)["store"]["state"] == "ok", 30, "all writers are up")
        # One that is stopped cannot notice it by itself.
        os.kill(min(pids), signal.SIGSTOP)
        collector.kill()
        wait_until(lambda: not any(map(is_running, pids)), 5, "the writers ended too")


def test_kill_9_of_the_writers_under_load(tmp_path: Path, migrated_url: str) -> None:
    with collector_process(tmp_path / "data", migrated_url) as collector:
        with Load(collector.addresses) as load:
            for killed in range(1, 7):
                wanted = len(load.acknowledged) + 30
                wait_until(lambda: len(load.acknowledged) >= wanted, 30, f"30 more were acknowledged ({killed})")  # noqa: B023
                os.kill(min(wait_for_writers(collector.pid, 2)), signal.SIGKILL)
                wait_until(
                    lambda: metric(collector.addresses, "spantree_collector_writer_restarts_total") == killed,  # noqa: B023
                    30,
                    "the death was noticed",
                )
        drained(collector.addresses)
        # Not one request was refused meanwhile.
        assert load.unanswered == set()
        assert_each_once(load, migrated_url)


def test_kill_9_of_postgresql_under_load(tmp_path: Path, server: EmbeddedPostgres) -> None:
    with running(settings(tmp_path / "data", server.url)) as addresses:
        with Load(addresses) as load:
            for _ in range(3):
                wanted = len(load.acknowledged) + 100
                wait_until(lambda: len(load.acknowledged) >= wanted, 30, "100 more were acknowledged")  # noqa: B023
                killed = server.pid
                assert killed is not None
                os.kill(killed, signal.SIGKILL)
                wait_until(lambda: server.pid not in (None, killed), 60, "PostgreSQL came back")  # noqa: B023
        drained(addresses)
        # Not one request was refused meanwhile.
        assert load.unanswered == set()
        assert_each_once(load, server.url)


def test_200s_go_on_while_the_database_is_away_and_the_drain_begins_within_seconds(
    tmp_path: Path, server: EmbeddedPostgres
) -> None:
    with running(settings(tmp_path / "data", server.url)) as addresses:
        with Load(addresses) as load:
            wait_until(lambda: len(load.acknowledged) >= 50, 30, "the load runs")
            server.stop()
            wait_until(lambda: readiness(addresses)["store"]["state"] == "unavailable", 30, "the loss is told")
            before = len(load.acknowledged)
            wait_until(lambda: len(load.acknowledged) >= before + 200, 30, "200 more were acknowledged")
            assert readiness(addresses)["status"] == "ready"
        waiting = readiness(addresses)["spool"]["bodies"]
        assert waiting >= 200
        assert load.unanswered == set()
        server.start()
        back_s = time.monotonic()
        wait_until(lambda: readiness(addresses)["spool"]["bodies"] < waiting, 10, "the drain has begun")
        assert time.monotonic() - back_s < 5
        drained(addresses)
        assert_each_once(load, server.url)


def test_a_connection_that_is_cut_in_the_middle_of_a_write(tmp_path: Path, migrated_url: str) -> None:
    # After the first statements, within COPY, near the commit: wherever these fall, twice over for both threads.
    cuts = [300, 2_000, 5_000, 20_000, 40_000, 80_000, 160_000, 320_000]
    with (
        cutting_proxy(migrated_url, [cut for cut in cuts for _ in range(2)]) as proxy,
        running(settings(tmp_path / "data", proxy.url)) as addresses,
    ):
        with Load(addresses) as load:
            wait_until(lambda: proxy.cuts >= 6, 60, "six connections were cut")
            wanted = len(load.acknowledged) + 50
            wait_until(lambda: len(load.acknowledged) >= wanted, 30, "50 more were acknowledged")
        drained(addresses)
        assert load.unanswered == set()
        assert_each_once(load, migrated_url)


def test_a_table_that_somebody_locks_delays_the_rows_and_not_the_answers(tmp_path: Path, migrated_url: str) -> None:
    with running(settings(tmp_path / "data", migrated_url)) as addresses:
        with psycopg.connect(migrated_url) as connection:
            connection.execute("LOCK TABLE spantree.span IN ACCESS EXCLUSIVE MODE")
            started_s = time.monotonic()
            for number in range(1, 51):
                assert post(addresses, trace_request(number, 20).SerializeToString()).status == 200
            assert time.monotonic() - started_s < 20
            assert readiness(addresses)["spool"]["bodies"] == 50
        drained(addresses)
        assert metric(addresses, "spantree_collector_stored_spans_total") == 1000


def test_two_collectors_that_are_given_the_same_spans_store_them_once(tmp_path: Path, migrated_url: str) -> None:
    with (
        running(settings(tmp_path / "one", migrated_url)) as one,
        running(settings(tmp_path / "two", migrated_url)) as two,
    ):
        for number in range(1, 101):
            body = trace_request(number, 20).SerializeToString()
            assert [post(addresses, body).status for addresses in (one, two)] == [200, 200]
        drained(one)
        drained(two)
        stored = sum(metric(addresses, "spantree_collector_stored_spans_total") for addresses in (one, two))
        assert stored == 2000
        with psycopg.connect(migrated_url) as connection:
            assert connection.execute("SELECT count(*) FROM spantree.span").fetchone() == (2000,)
