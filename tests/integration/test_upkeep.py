"""Turns at work in the background: one for all processes, a share of the time, and never lost with who took them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.tables import query
from tests.upkeep import due_in_s

from spantree_exporter.postgres.connection import StoreConnection
from spantree_exporter.postgres.upkeep import Turns


@pytest.fixture
def connections(migrated_url: str) -> Iterator[list[StoreConnection]]:
    found = [StoreConnection(migrated_url, "tests") for _ in range(2)]
    yield found
    for connection in found:
        connection.close()


def turns(connection: StoreConnection) -> Turns:
    return Turns(connection, "fold", share=0.02, retry_s=600.0)


def test_nobody_else_has_a_turn_meanwhile(connections: list[StoreConnection]) -> None:
    one, other = connections
    assert turns(one).begin()
    assert not turns(other).begin()


def test_who_ended_a_turn_leaves_the_work_alone_in_proportion_to_what_it_took(
    migrated_url: str, connections: list[StoreConnection], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = connections
    clock_s = [1_000.0]
    monkeypatch.setattr("spantree_exporter.postgres.upkeep.time.monotonic", lambda: clock_s[0])
    taken = turns(one)
    assert taken.begin()
    clock_s[0] += 3.0
    taken.end(rest_s=1.0)
    assert 140 < due_in_s(migrated_url) <= 150
    assert not turns(other).begin()


def test_a_turn_that_took_no_time_rests_as_long_as_it_says(
    migrated_url: str, connections: list[StoreConnection]
) -> None:
    taken = turns(connections[0])
    assert taken.begin()
    taken.end(rest_s=500.0)
    assert 490 < due_in_s(migrated_url) <= 500


def test_where_there_is_more_to_do_the_next_turn_is_at_once(connections: list[StoreConnection]) -> None:
    taken = turns(connections[0])
    assert taken.begin()
    taken.end(rest_s=500.0, more=True)
    assert taken.begin()


def test_the_turn_of_a_process_that_died_passes_to_others_in_time(
    migrated_url: str, connections: list[StoreConnection]
) -> None:
    one, other = connections
    assert turns(one).begin()
    one.close()
    assert 590 < due_in_s(migrated_url) <= 600
    query(migrated_url, "UPDATE spantree.upkeep SET due_at = due_at - interval '600 seconds'")
    assert turns(other).begin()


def test_a_process_that_was_stopped_in_its_turn_keeps_the_work_from_others_for_minutes_at_most(
    migrated_url: str, connections: list[StoreConnection], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock_s = [1_000.0]
    monkeypatch.setattr("spantree_exporter.postgres.upkeep.time.monotonic", lambda: clock_s[0])
    taken = turns(connections[0])
    assert taken.begin()
    clock_s[0] += 7_200.0
    taken.end(rest_s=1.0)
    assert 590 < due_in_s(migrated_url) <= 600


def test_what_a_clock_that_was_ahead_has_noted_is_due(migrated_url: str, connections: list[StoreConnection]) -> None:
    query(migrated_url, "UPDATE spantree.upkeep SET due_at = clock_timestamp() + interval '1 year'")
    one, other = connections
    assert turns(one).begin()
    assert not turns(other).begin()


def test_a_process_asks_the_database_once_a_second_at_most(
    migrated_url: str, connections: list[StoreConnection], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock_s = [1_000.0]
    monkeypatch.setattr("spantree_exporter.postgres.upkeep.time.monotonic", lambda: clock_s[0])
    one, other = connections
    asking = turns(other)
    assert turns(one).begin()
    assert not asking.begin()
    query(migrated_url, "UPDATE spantree.upkeep SET due_at = '-infinity'")
    clock_s[0] += 0.9
    assert not asking.begin()
    clock_s[0] += 0.2
    assert asking.begin()


def test_work_that_is_not_wanted_writes_nothing(migrated_url: str, connections: list[StoreConnection]) -> None:
    rows = "SELECT work, xmin::text, due_at::text FROM spantree.upkeep ORDER BY work"
    before = query(migrated_url, rows)
    assert not turns(connections[0]).begin(lambda: False)
    assert query(migrated_url, rows) == before
    assert turns(connections[0]).begin(lambda: True)
