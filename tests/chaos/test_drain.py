"""A collector that is told to stop writes what it has; what it cannot write it tells, and another process can."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.chaos.load import SPANS_PER_REQUEST, Load, assert_each_once, span_counts
from tests.chaos.processes import collector_process
from tests.collectors import AWAY_URL, post
from tests.otlp_requests import trace_request
from tests.spantree_process import spantree
from tests.waiting import wait_until

from spantree_collector.app import LEFT

pytestmark = pytest.mark.slow


def test_told_to_stop_under_load_it_writes_all_that_it_has_acknowledged(tmp_path: Path, migrated_url: str) -> None:
    settings = {"SPANTREE_DRAIN_S": "60", "SPANTREE_WRITERS": "1"}
    with collector_process(tmp_path / "data", migrated_url, settings) as collector, Load(collector.addresses) as load:
        wait_until(lambda: len(load.acknowledged) >= 100, 60, "requests were acknowledged")
        assert collector.ended() == 0
        load.stop()
        assert_each_once(load, migrated_url)


def test_what_it_cannot_write_it_tells_and_another_process_writes(tmp_path: Path, migrated_url: str) -> None:
    data = tmp_path / "data"
    with collector_process(data, AWAY_URL, {"SPANTREE_DRAIN_S": "1", "SPANTREE_WRITERS": "1"}) as collector:
        for number in range(1, 21):
            assert post(collector.addresses, trace_request(number, SPANS_PER_REQUEST).SerializeToString()).status == 200
        assert collector.ended() == LEFT
        assert "still holds 20 requests" in collector.log()

    def drain(url: str, drain_s: float) -> tuple[int, str]:
        env = {"SPANTREE_PARTITION_DAYS_BACK": os.environ["SPANTREE_PARTITION_DAYS_BACK"], "SPANTREE_WRITERS": "1"}
        options = ("--data", data, "--database-url", url, "--set", f"drain_s={drain_s}")
        done = spantree("collector", "--drain", *options, directory=tmp_path, env=env)
        return done.returncode, done.stderr

    status, said = drain(AWAY_URL, 1)
    assert (status, "20 requests are left in the spool" in said) == (LEFT, True), said
    status, said = drain(migrated_url, 50)
    assert (status, "the spool is empty: all is written" in said) == (0, True), said
    assert span_counts(migrated_url) == dict.fromkeys(range(1, 21), SPANS_PER_REQUEST)
    status, said = drain(AWAY_URL, 1)
    assert (status, "the spool is empty: all is written" in said) == (0, True), said
