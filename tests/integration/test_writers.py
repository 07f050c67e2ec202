"""Writer processes: what they do, and that they neither outlive their collector nor answer signals in its place."""

from __future__ import annotations

import os
import random
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.collectors import metric, post, readiness, running, settings
from tests.otlp_requests import request, span, trace_request
from tests.waiting import wait_until
from tests.writer_processes import is_running, wait_for_writers, writer_pids

from spantree_collector.app import Addresses, Collector
from spantree_exporter.errors import ConfigError


def rows(database_url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database_url) as connection:
        return connection.execute(query).fetchall()


def drained(addresses: Addresses) -> None:
    wait_until(lambda: readiness(addresses)["spool"]["bodies"] == 0, 30, "the spool is drained")


@pytest.mark.parametrize("writers", [0, 1, 3])
def test_there_are_as_many_as_wanted_and_none_after_the_stop(tmp_path: Path, migrated_url: str, writers: int) -> None:
    with running(settings(tmp_path, migrated_url, writers=writers)) as addresses:
        pids = wait_for_writers(os.getpid(), writers)
        for number in range(1, 21):
            assert post(addresses, trace_request(number, 5).SerializeToString()).status == 200
        drained(addresses)
        assert metric(addresses, "spantree_collector_stored_spans_total") == 100
        assert metric(addresses, "spantree_collector_write_seconds_count") >= 1
    assert not any(map(is_running, pids))
    assert rows(migrated_url, "SELECT count(*) FROM spantree.span") == [(100,)]


def test_in_whatever_order_and_by_whomever_bodies_are_written_the_rows_are_the_same(
    tmp_path: Path, migrated_url: str
) -> None:
    numbers = list(range(1, 41))
    random.Random(7).shuffle(numbers)
    # A span a body and a body a batch: both writers meet in one trace all the time.
    bodies = [
        request(span(1, number, parent=number // 2 or None, name=f"step {number}")).SerializeToString()
        for number in numbers
    ]
    with running(settings(tmp_path, migrated_url, writers=2, batch_spans=1)) as addresses:
        with ThreadPoolExecutor(8) as clients:
            assert {answer.status for answer in clients.map(lambda body: post(addresses, body), bodies)} == {200}
        drained(addresses)
        wait_until(
            lambda: rows(migrated_url, "SELECT span_count FROM spantree.execution") == [(40,)],
            30,
            "one execution has all spans",
        )
        assert rows(migrated_url, "SELECT count(*), count(DISTINCT span_id) FROM spantree.span") == [(40, 40)]
        parents = rows(
            migrated_url,
            "SELECT one.name, other.name FROM spantree.span one JOIN spantree.span other "
            "ON one.trace_id = other.trace_id AND one.parent_span_id = other.span_id",
        )
        assert set(parents) == {(f"step {number}", f"step {number // 2}") for number in range(2, 41)}


def test_signals_to_the_whole_group_are_left_to_the_collector(tmp_path: Path, migrated_url: str) -> None:
    with running(settings(tmp_path, migrated_url)) as addresses:
        pids = wait_for_writers(os.getpid(), 2)
        # At any moment, also before they are up.
        for pid in pids:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(pid, number)
        assert post(addresses, trace_request(1, 5).SerializeToString()).status == 200
        drained(addresses)
        assert writer_pids(os.getpid()) == pids
        assert metric(addresses, "spantree_collector_writer_restarts_total") == 0


def test_one_that_dies_is_told_counted_and_replaced(
    tmp_path: Path, migrated_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with running(settings(tmp_path, migrated_url, writers=1)) as addresses:
        (killed,) = wait_for_writers(os.getpid(), 1)
        wait_until(lambda: readiness(addresses)["store"]["state"] == "ok", 20, "it is up")
        os.kill(killed, signal.SIGKILL)
        assert post(addresses, trace_request(1, 5).SerializeToString()).status == 200
        wait_until(
            lambda: metric(addresses, "spantree_collector_writer_restarts_total") == 1, 20, "the death is counted"
        )
        drained(addresses)
        wait_until(lambda: readiness(addresses)["store"]["state"] == "ok", 20, "all is well again")
        assert wait_for_writers(os.getpid(), 1) != {killed}
    assert rows(migrated_url, "SELECT count(*) FROM spantree.span") == [(5,)]
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "writer process 1 was killed by signal 9; it is started again, and what it had in hand is written again"
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="others choose by no score")
def test_memory_that_runs_out_takes_a_writer_before_the_collector(tmp_path: Path, migrated_url: str) -> None:
    own = int(Path("/proc/self/oom_score_adj").read_text())
    with running(settings(tmp_path, migrated_url, writers=1)) as addresses:
        (writer,) = wait_for_writers(os.getpid(), 1)
        wait_until(lambda: readiness(addresses)["store"]["state"] == "ok", 20, "it is up")
        assert int(Path(f"/proc/{writer}/oom_score_adj").read_text()) == min(1000, own + 500)


def test_stopping_does_not_wait_for_one_that_does_not_answer(tmp_path: Path, migrated_url: str) -> None:
    collector = Collector(settings(tmp_path, migrated_url, writers=1))
    addresses = collector.start()
    try:
        wait_until(lambda: readiness(addresses)["store"]["state"] == "ok", 20, "it is up")
        (stuck,) = wait_for_writers(os.getpid(), 1)
        os.kill(stuck, signal.SIGSTOP)
        for number in range(1, 4):
            assert post(addresses, trace_request(number, 50, payload="x" * 9000).SerializeToString()).status == 200
    finally:
        collector.stop()
    assert not is_running(stuck)
    # Nothing is lost by it.
    with running(settings(tmp_path, migrated_url)) as addresses:
        drained(addresses)
    assert rows(migrated_url, "SELECT count(*) FROM spantree.span") == [(150,)]


POISONS = {
    "ends": "os._exit(9)",
    "stops": "os.kill(os.getpid(), signal.SIGSTOP)",
    "works without end": "exec('while True: pass')",
    "eats memory": "held.append(os.urandom(1) * 2**24)",
}


@pytest.mark.slow
@pytest.mark.timeout(500)
@pytest.mark.parametrize("poison", POISONS)
def test_the_span_that_a_writer_ends_over_is_found_and_all_others_are_stored(
    tmp_path: Path, migrated_url: str, monkeypatch: pytest.MonkeyPatch, poison: str
) -> None:
    # Within the writer processes only: they have this process's path.
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys, time\n"
        "if 'spantree_collector.write.writer_process' in sys.orig_argv:\n"
        "    from spantree_exporter.postgres.store import Store\n"
        "    write, held = Store.write_shares, []\n"
        "    def eat(spans):\n"
        "        while any(span.name == 'poison' for span in spans):\n"
        f"            {POISONS[poison]}\n"
        "            time.sleep(0.01)\n"
        "    def poisoned(self, shares):\n"
        "        eat([span for share in shares for span in share.items])\n"
        "        return write(self, shares)\n"
        "    Store.write_shares = poisoned\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    config = settings(tmp_path / "data", migrated_url, writers=1, writer_stall_s=1.0, writer_max_bytes=256 * 2**20)
    with running(config) as addresses:
        # Of four spans: each half that a writer ends over costs several writers and their time to be found out.
        names = ["step 1", "step 2", "step 3"]
        spans = [span(1, number, name=name) for number, name in enumerate([*names[:2], "poison", *names[2:]], 1)]
        assert post(addresses, request(*spans).SerializeToString()).status == 200
        assert post(addresses, request(span(2, 1, name="another body")).SerializeToString()).status == 200
        # Of a writer that works without end processor time is counted, of which a busy machine gives little.
        wait_until(lambda: readiness(addresses)["spool"]["bodies"] == 0, 400, "the spool is drained")
    stored = rows(migrated_url, "SELECT name FROM spantree.span ORDER BY name")
    assert [name for (name,) in stored] == ["another body", *names]
    [(reason, raw)] = rows(migrated_url, "SELECT reason, raw FROM spantree.dead_letter")
    assert b"poison" in raw
    assert "step" not in raw.decode("latin-1")
    if poison != "eats memory":  # that may fail before anybody looks
        assert reason.startswith("writer processes end over it again and again; the last one ")


def test_one_that_is_stopped_is_replaced_and_its_bodies_are_written(
    tmp_path: Path, migrated_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    # Long enough for its heir to be heard of on a machine where much else runs.
    with running(settings(tmp_path, migrated_url, writers=1, writer_stall_s=5.0)) as addresses:
        (stopped,) = wait_for_writers(os.getpid(), 1)
        wait_until(lambda: readiness(addresses)["store"]["state"] == "ok", 20, "it is up")
        os.kill(stopped, signal.SIGSTOP)
        # More than a pipe holds: the thread that serves it is stuck as well.
        assert post(addresses, trace_request(1, 300, payload="x" * 2000).SerializeToString()).status == 200
        drained(addresses)
        assert not is_running(stopped)
    assert rows(migrated_url, "SELECT count(*) FROM spantree.span") == [(300,)]
    assert "gave no sign of life for 5 s and was killed" in caplog.text


@pytest.mark.parametrize("writers", [0, 1])
def test_a_teams_own_rules_are_applied(tmp_path: Path, migrated_url: str, writers: int) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[attributes]\nnode_name = ["payload"]\n')
    with running(settings(tmp_path / "data", migrated_url, writers=writers, rules=rules)) as addresses:
        body = request(span(1, 1), span(1, 2, parent=1, payload="my own name")).SerializeToString()
        assert post(addresses, body).status == 200
        wait_until(
            lambda: ("my own name",) in rows(migrated_url, "SELECT name FROM spantree.node"), 20, "the node is named"
        )


def test_rules_that_are_wrong_are_told_before_anything_is_taken(tmp_path: Path) -> None:
    collector = Collector(settings(tmp_path / "data", rules=tmp_path / "nowhere.toml"))
    with pytest.raises(ConfigError, match=r"nowhere\.toml cannot be read"):
        collector.start()
    assert writer_pids(os.getpid()) == set()
