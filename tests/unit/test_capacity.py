"""The calculator and the simulation agree with each other, with the costs, and with what docs/scale.md says of them."""

from __future__ import annotations

import json
import re
from dataclasses import astuple, replace
from pathlib import Path

import pytest
from benchmarks.simulate import Load, Machines, machines_for, simulate

from spantree_deploy.capacity import ASSUMED, MEASURED, Costs, capacity
from spantree_deploy.cli import run

DOCUMENT = Path(__file__).parents[2] / "docs" / "scale.md"
_RATES = (10_000, 100_000, 1_000_000, 10_000_000)


def test_needs_follow_from_the_costs() -> None:
    costs = Costs(
        receive_us=6, write_us=30, postgres_us=60, disk_bytes=1000, wal_bytes=2000, wire_bytes=500, gzip_bytes=100
    )
    found = capacity(100_000, 10, costs, replace(ASSUMED, utilisation=0.6, cores_per_collector=4, bloat=1.5))
    assert (found.collectors, round(found.collector_cores, 6), round(found.postgres_cores, 6)) == (2, 6.0, 10.0)
    assert (found.disk_bytes_per_day, found.disk_bytes) == (1.296e13, 1.296e14)
    assert (found.wal_bytes_per_s, found.wire_bits_per_s, found.wire_bits_per_s_gzip) == (2e8, 4e8, 8e7)
    assert found.postgres_servers == 2  # by WAL: two thirds of a server's, of which six tenths are planned with
    assert found.connections == 12


def test_what_is_linear_is() -> None:
    one, ten = capacity(50_000, 7), capacity(500_000, 7)
    for name in ("collector_cores", "postgres_cores", "disk_bytes", "wal_bytes_per_s", "wire_bits_per_s"):
        assert getattr(ten, name) == pytest.approx(10 * getattr(one, name)), name
    assert capacity(50_000, 14).disk_bytes == 2 * one.disk_bytes


def test_json_tells_it_in_base_units(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["capacity", "--spans-per-second", "20000", "--retention-days", "7", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    found = capacity(20_000, 7)
    assert {name: told[name] for name in found.__slots__} == dict(zip(found.__slots__, astuple(found), strict=True))
    assert told["assumed"]["utilisation"] == ASSUMED.utilisation


def test_a_rate_of_nothing_is_refused() -> None:
    assert run(["capacity", "--spans-per-second", "0"]) == 2


@pytest.mark.parametrize("rate", _RATES)
def test_what_is_asked_for_takes_the_rate_and_its_peaks(rate: int) -> None:
    outcome = simulate(Load(rate, seconds=60), machines_for(capacity(rate, 1)))
    assert outcome.refused_part == 0
    assert outcome.age_p99_s < 5
    assert max(outcome.receiving, outcome.writing, outcome.database, outcome.wal) < 0.95


def test_too_few_let_spans_wait_and_an_outage_is_caught_up_with() -> None:
    few = Machines(collectors=1, writers=1, servers=1, database_cores=32)
    assert simulate(Load(20_000, seconds=30), few).age_p99_s > 5
    outcome = simulate(Load(10_000, seconds=90, outage_s=20), machines_for(capacity(10_000, 1)))
    assert outcome.waiting_spans_most >= 10_000 * 19
    assert outcome.drained_after_s is not None and 5 < outcome.drained_after_s < 200


def test_the_document_has_the_measured_costs() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    told = {name: float(value.replace(",", "")) for name, value in re.findall(r"\| `(\w+)` \| ([\d.,]+) \|", text)}
    assert told == dict(zip(Costs.__slots__, astuple(MEASURED), strict=True))
