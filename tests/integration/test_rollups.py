"""Rollups: equal to the rows at every quiet moment, whatever was written, projected again, rebuilt or killed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest
from tests.factories import DAY_NS, NOON_NS, SECOND_NS, live_mark, span, trace_id, workflow
from tests.rollup_checks import CALLS_OF_ROLLUPS, assert_all_is_counted, fold, sum_up, wrong_figures
from tests.tables import empty, project_all, query
from tests.upkeep import due_in_s

from spantree_exporter.postgres import rollup_store
from spantree_exporter.postgres.connection import StoreConnection
from spantree_exporter.postgres.rebuild import rebuild
from spantree_exporter.postgres.rollup_store import Difference, RollupFolder, differences, recount
from spantree_exporter.postgres.store import Store
from spantree_exporter.rollup import GAMMA, HOUR_NS, Rollup, bucket_of, quantile_ns
from spantree_exporter.span import Attributes, Span

_DAYS = [date(2026, 11, day) for day in range(18, 24)]
_HOURS = "SELECT * FROM spantree.rollup WHERE grain_h = 1 AND total <> 0 ORDER BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11"


@pytest.fixture
def store(migrated_url: str) -> Iterator[Store]:
    store = Store(migrated_url)
    yield store
    store.close()


def _mixed(chance: random.Random) -> list[Span]:
    spans: list[Span] = []
    for trace in range(30):
        start_ns = NOON_NS + chance.randrange(-2, 3) * DAY_NS + chance.randrange(20) * 1800 * SECOND_NS
        steps = workflow(trace, failing=chance.random() < 0.3, start_ns=start_ns)
        if chance.random() < 0.4:
            steps.append(live_mark(500, of=2, of_parent=1, trace=trace, start_ns=start_ns))
        if chance.random() < 0.4:
            attributes: Attributes = {
                "gen_ai.operation.name": "chat",
                "gen_ai.request.model": "m-1",
                "gen_ai.usage.input_tokens": 7,
            }
            steps.append(span(9, trace=trace, parent=2, name="chat m-1", start_ns=start_ns, attributes=attributes))
            if chance.random() < 0.5:  # as the provider's client tells the same call
                steps.append(span(10, trace=trace, parent=9, name="chat m-1", start_ns=start_ns, attributes=attributes))
        if chance.random() < 0.2:
            steps.append(span(11, trace=trace, parent=1, name="early", start_ns=start_ns - DAY_NS))
        spans += steps
    return spans


def _calling(spans: list[Span], chance: random.Random) -> list[Span]:
    """Spans of other services below the roots of `spans`, and below each other."""
    called: list[Span] = []
    roots = {trace_id(trace): trace for trace in range(30)}
    for root in spans:
        if root.parent_span_id is None:
            trace, at_ns = roots[root.trace_id], root.start_ns
            for number in range(20, 20 + chance.randrange(4)):
                bank = f"bank-{number % 2}"
                called.append(span(number, trace=trace, parent=1, service=bank, start_ns=at_ns))
                called.append(span(10 + number, trace=trace, parent=number, service="ledger", start_ns=at_ns))
    chance.shuffle(called)
    return called


@pytest.mark.parametrize("seed", range(3))
def test_rollups_equal_the_rows_after_a_mix_of_everything(migrated_url: str, store: Store, seed: int) -> None:
    chance = random.Random(seed)
    spans = _mixed(chance)
    if seed:
        chance.shuffle(spans)
    called = _calling(spans, random.Random(seed))
    while spans:
        count = chance.randrange(1, 40)
        part, spans = spans[:count], spans[count:]
        store.write(part)
        store.write(called[:count])
        del called[:count]
        if chance.random() < 0.3:
            store.write(chance.sample(part, len(part) // 2 + 1))
        if chance.random() < 0.4:
            project_all(migrated_url, store)
        if chance.random() < 0.3:
            assert wrong_figures(migrated_url, _DAYS) == []
    store.write(called)
    project_all(migrated_url, store)
    assert wrong_figures(migrated_url, _DAYS) == []
    calls = query(migrated_url, CALLS_OF_ROLLUPS, grain=1)
    assert len(calls) == 4
    assert (
        query(migrated_url, "SELECT caller, called, sum(calls) FROM spantree.service_calls GROUP BY 1, 2 ORDER BY 1, 2")
        == calls
    )
    before = query(migrated_url, _HOURS)
    rebuild(migrated_url)
    fold(migrated_url)
    assert query(migrated_url, _HOURS) == before
    assert_all_is_counted(migrated_url, _DAYS)


def test_a_day_is_not_made_of_its_hours_before_it_is_over_and_again_when_they_change(
    migrated_url: str, store: Store
) -> None:
    store.write(workflow(1))
    fold(migrated_url)
    connection = StoreConnection(migrated_url, "spantree test")
    folder = RollupFolder(connection)
    assert not folder.sum_up(datetime(2026, 11, 21, 0, 29, tzinfo=UTC))
    query(migrated_url, "UPDATE spantree.rollup_outdated SET since = '2026-11-20 12:00Z'")
    assert folder.sum_up(datetime(2026, 11, 21, 0, 31, tzinfo=UTC))
    assert not folder.sum_up(datetime(2026, 11, 21, 0, 31, tzinfo=UTC))
    assert query(migrated_url, "SELECT grain_h FROM spantree.rollup_outdated") == [(192,)]
    total = "SELECT grain_h, total FROM spantree.rollup WHERE subject = 'workflow' ORDER BY 1"
    assert query(migrated_url, total) == [(1, 1), (24, 1)]
    store.write(workflow(2))
    fold(migrated_url)
    assert query(migrated_url, "SELECT grain_h FROM spantree.rollup_outdated ORDER BY 1") == [(24,), (192,)]
    connection.close()
    sum_up(migrated_url)
    assert query(migrated_url, total) == [(1, 2), (24, 2), (192, 2)]


def test_a_fold_of_few_runs_is_followed_by_the_next_at_once_however_slow_the_machine(
    migrated_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock_s = [1_000.0]
    monkeypatch.setattr("spantree_exporter.postgres.upkeep.time.monotonic", lambda: clock_s[0])
    connection = StoreConnection(migrated_url, "test")
    folder = RollupFolder(connection)
    fold_some = rollup_store._fold_some

    def slowly(*given: Any) -> rollup_store._Folded:
        clock_s[0] += 0.4
        return fold_some(*given)

    monkeypatch.setattr(rollup_store, "_fold_some", slowly)
    store.write(workflow(1))
    assert folder.fold_when_due() == 1
    assert 0.0 < due_in_s(migrated_url) <= 1.0
    connection.close()


def test_a_fold_of_many_figures_has_a_fiftieth_of_the_time(
    migrated_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = StoreConnection(migrated_url, "test")
    folder = RollupFolder(connection)
    monkeypatch.setattr(rollup_store, "_fold_some", lambda *_: rollup_store._Folded(10, 40_000, is_behind=False))
    folder.fold_when_due()
    assert 45.0 < due_in_s(migrated_url) <= 50.0
    connection.close()


def test_rows_that_are_gone_do_not_take_their_figures_with_them(migrated_url: str, store: Store) -> None:
    store.write(workflow(1))
    fold(migrated_url)
    empty(migrated_url, "execution", "node", "edge")
    assert query(migrated_url, "SELECT total FROM spantree.rollup WHERE subject = 'workflow' AND grain_h = 1") == [(1,)]
    assert [(one.day, one.subject) for one in wrong_figures(migrated_url, _DAYS) if one.subject == "workflow"] == [
        (date(2026, 11, 20), "workflow")
    ]


def test_calls_of_a_day_are_counted_anew_from_its_rows(migrated_url: str, store: Store) -> None:
    store.write([span(1), span(2, parent=1, service="bank"), span(3, parent=1, service="bank")])
    fold(migrated_url)
    counted = query(migrated_url, CALLS_OF_ROLLUPS, grain=1)
    assert counted == [("shop", "bank", 2)]
    query(migrated_url, "DELETE FROM spantree.rollup WHERE subject = 'call'")
    day = date(2026, 11, 20)
    assert wrong_figures(migrated_url, _DAYS) == [Difference(day, "call", "", "shop", 2, 0)]
    connection = StoreConnection(migrated_url, "spantree test")
    recount(connection, 0, day)
    connection.close()
    assert query(migrated_url, CALLS_OF_ROLLUPS, grain=1) == counted
    assert wrong_figures(migrated_url, _DAYS) == []


def test_a_day_may_take_longer_to_count_than_a_statement_of_the_road(
    migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = StoreConnection(migrated_url, "spantree test")
    connection.open().execute("SET statement_timeout = '500ms'")
    for name in ("recount_hours", "differences"):
        monkeypatch.setitem(rollup_store._SQL, name, "SELECT 'x', 'x', 'x', 1, 0 FROM pg_sleep(0.7)")
    recount(connection, 0, _DAYS[0])
    assert differences(connection.open(), 0, _DAYS[:1]) == [Difference(_DAYS[0], "x", "x", "x", 1, 0)]
    assert connection.open().execute("SHOW statement_timeout").fetchone() == ("500ms",)
    connection.close()


def test_a_batch_that_is_refused_leaves_no_figures(migrated_url: str, store: Store) -> None:
    query(migrated_url, "ALTER TABLE spantree.edge ADD CONSTRAINT nothing_follows CHECK (false)")
    store.write(workflow(1))
    assert query(migrated_url, "SELECT count(*) FROM spantree.rollup_delta") == [(0,)]
    query(migrated_url, "UPDATE spantree.pending_projection SET due_at = now()")
    store.project_due()
    assert query(migrated_url, "SELECT count(*) FROM spantree.execution") == [(0,)]
    assert wrong_figures(migrated_url, _DAYS) == []


@pytest.mark.parametrize("duration_ns", [0, 1, 2, 3, 1_000, 123_456_789, 10**12, 9 * 10**18])
def test_a_duration_is_told_from_its_bucket_to_two_percent(duration_ns: int) -> None:
    told = quantile_ns([bucket_of(duration_ns)], [1], 0.5)
    assert told is not None
    assert abs(told - duration_ns) <= max(1, 0.02 * duration_ns)


def test_changes_that_an_older_version_left_are_still_folded() -> None:
    step = [500_000, "report", "agent", "fetch", "step", "render", "sequential"]
    changes = Rollup()
    changes.add_encoded(json.dumps([[], [[*step, 2]]]).encode())
    changes.add_encoded(json.dumps([[], [[*step, 1, 1]]]).encode())
    changes.add_encoded(changes.encoded())
    assert list(changes.steps()) == [(500_000 * HOUR_NS, *step[1:], 6, 2)]


def test_quantiles_of_a_histogram_are_those_of_the_durations() -> None:
    chance = random.Random(5)
    durations = sorted(int(chance.lognormvariate(18, 2)) for _ in range(5_000))
    histogram: dict[int, int] = {}
    for duration_ns in durations:
        histogram[bucket_of(duration_ns)] = histogram.get(bucket_of(duration_ns), 0) + 1
    buckets = sorted(histogram)
    counts = [histogram[bucket] for bucket in buckets]
    for quantile in (0.01, 0.5, 0.95, 0.99, 1.0):
        exact = durations[max(0, -int(-quantile * len(durations) // 1) - 1)]
        told = quantile_ns(buckets, counts, quantile)
        assert told is not None
        assert abs(told - exact) <= (GAMMA - 1) / (GAMMA + 1) * exact * 1.0001
    assert quantile_ns([], [], 0.5) is None
