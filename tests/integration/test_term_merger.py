"""Small rows of span_terms become one: once, whoever else merges, and but for what is gone meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from tests.factories import NOON_NS, SECOND_NS, span
from tests.tables import merge_all, query
from tests.waiting import wait_until

from spantree_exporter.postgres.connection import StoreConnection
from spantree_exporter.postgres.store import Store
from spantree_exporter.terms.merger import TermMerger

# tenant, spans, traces, ends of parts, seconds after noon of the first and the last
_ROWS = """
    SELECT
        tenant_id, spans, traces, part_ends,
        (first_ns - %(noon_ns)s) / 1000000000 AS first_s, (last_ns - %(noon_ns)s) / 1000000000 AS last_s
    FROM spantree.span_terms
    ORDER BY part_ends, tenant_id
"""


@pytest.fixture
def connection(migrated_url: str) -> Iterator[StoreConnection]:
    found = StoreConnection(migrated_url, "tests")
    yield found
    found.close()


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen rows are enough."""
    monkeypatch.setattr("spantree_exporter.terms.merger._LEVELS", ((1, 256, 16), (256, 4_096, 16)))


def write(url: str, batches: int, *, tenant_id: int = 0, start_ns: int = NOON_NS) -> None:
    """So many batches of two spans, a trace each."""
    store = Store(url)
    for batch in range(batches):
        at_ns = start_ns + batch * SECOND_NS
        spans = [span(number, trace=batch, start_ns=at_ns, duration_ns=SECOND_NS) for number in (1, 2)]
        store.write(spans, tenant_id=tenant_id)
    store.close()


def rows_of(url: str) -> list[tuple[Any, ...]]:
    return query(url, _ROWS, noon_ns=NOON_NS)


def test_of_each_tenant_and_day_sixteen_and_more_become_one(migrated_url: str) -> None:
    query(migrated_url, "INSERT INTO spantree.tenant (tenant_id, name) VALUES (7, 'blue')")
    write(migrated_url, 20)
    write(migrated_url, 16, tenant_id=7)
    write(migrated_url, 15, tenant_id=7, start_ns=NOON_NS - 86_400 * SECOND_NS)
    assert merge_all(migrated_url) == 36
    a_day_s = 86_400
    as_written = [(7, 2, 1, None, number - a_day_s, number - a_day_s) for number in range(15)]
    [one, other, *others] = rows_of(migrated_url)
    assert [one, other] == [(7, 32, 16, [32], 0, 15), (0, 40, 20, [40], 0, 19)]
    assert sorted(others) == as_written
    assert merge_all(migrated_url) == 0


def test_spans_without_a_day_of_their_own_stay_as_they_were_written(migrated_url: str) -> None:
    write(migrated_url, 20, start_ns=0)
    assert merge_all(migrated_url) == 0
    assert len(rows_of(migrated_url)) == 20


def test_rows_of_an_earlier_version_stay(migrated_url: str) -> None:
    write(migrated_url, 20)
    query(migrated_url, "UPDATE spantree.span_terms SET traces = NULL, lists = NULL WHERE last_ns < %(ns)s",
          ns=NOON_NS + 5 * SECOND_NS)  # fmt: skip
    assert merge_all(migrated_url) == 0
    assert len(rows_of(migrated_url)) == 20


def test_one_merges_at_a_time(migrated_url: str, connection: StoreConnection) -> None:
    write(migrated_url, 20)
    with psycopg.connect(migrated_url) as other:
        other.execute("SELECT pg_advisory_xact_lock(1936744814, 5)")
        assert TermMerger(connection).merge() == 0
    assert TermMerger(connection).merge() == 20


def test_all_processes_take_turns_at_merging(migrated_url: str, connection: StoreConnection) -> None:
    write(migrated_url, 20)
    assert TermMerger(connection).merge_when_due() == 20
    query(migrated_url, "UPDATE spantree.upkeep SET due_at = now() + interval '5 minutes' WHERE work = 'merge'")
    write(migrated_url, 20, start_ns=NOON_NS + 20 * SECOND_NS)
    assert TermMerger(connection).merge_when_due() == 0, "another has merged just now"
    query(migrated_url, "UPDATE spantree.upkeep SET due_at = now() WHERE work = 'merge'")
    assert TermMerger(connection).merge_when_due() == 21


def test_what_is_dropped_meanwhile_does_not_come_back(migrated_url: str, connection: StoreConnection) -> None:
    write(migrated_url, 20)
    with psycopg.connect(migrated_url) as retention, ThreadPoolExecutor(1) as threads:
        retention.execute("DELETE FROM spantree.span_terms WHERE last_ns < %s", (NOON_NS + 8 * SECOND_NS,))
        merging = threads.submit(TermMerger(connection).merge)
        wait_until(
            lambda: query(migrated_url, "SELECT 1 FROM pg_locks WHERE NOT granted"), 30, "the merge waits for the rows"
        )
        retention.commit()
        assert merging.result(timeout=30) == 12
    assert rows_of(migrated_url) == [(0, 24, 12, [24], 8, 19)]


def test_a_row_that_is_none_stops_no_projection(
    migrated_url: str, connection: StoreConnection, caplog: pytest.LogCaptureFixture
) -> None:
    write(migrated_url, 20)
    query(migrated_url, "UPDATE spantree.span_terms SET lists = substr(lists, 1, 17)")
    merger = TermMerger(connection)
    assert merger.merge_when_due() == 0
    assert "stay as they are" in caplog.text
    assert len(rows_of(migrated_url)) == 20
    assert merger.merge_when_due() == 0, "not before ten minutes"


def test_more_of_a_few_spans_are_waited_for(
    migrated_url: str, connection: StoreConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    write(migrated_url, 63)
    assert TermMerger(connection).merge() == 0
    write(migrated_url, 1, start_ns=NOON_NS + 63 * SECOND_NS)
    assert TermMerger(connection).merge() == 64
    assert rows_of(migrated_url) == [(0, 128, 63, [128], 0, 63)]
