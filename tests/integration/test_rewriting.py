"""Rebuild and redaction beside each other and beside retention: no secret comes back, no row is left out or doubled."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Final

import psycopg
import pytest
from tests import factories
from tests.rollup_checks import fold, wrong_figures
from tests.tables import project_all, query, tables
from tests.waiting import wait_until

from spantree_exporter.facts import Facts, read_facts
from spantree_exporter.postgres import readable_days
from spantree_exporter.postgres.partitions import PartitionWindow, day_number
from spantree_exporter.postgres.rebuild import rebuild
from spantree_exporter.postgres.store import Store
from spantree_exporter.redaction import Redactor
from spantree_exporter.redaction.rules import DEFAULT_RULES
from spantree_exporter.redaction.stored import Asked, redact_stored
from spantree_exporter.retention.day import PARENTS, DayRetirement
from spantree_exporter.retention.policy import Policy, keep_rules
from spantree_exporter.retention.run import run
from spantree_exporter.span import Span

_REDACTOR: Final = Redactor(DEFAULT_RULES)
_SECRET: Final = "AKIAIOSFODNN7EXAMPLE"
_KEEP_FAILED: Final = Policy(30, keep_rules("failed:90, partial:90"))
_OLD: Final = datetime.now(UTC).date() - timedelta(days=40)
_OLD_NS: Final = day_number(_OLD) * factories.DAY_NS + factories.DAY_NS // 2


@pytest.fixture
def store(migrated_url: str) -> Iterator[Store]:
    store = Store(migrated_url, window=PartitionWindow(400))
    yield store
    store.close()


def run_with_secret(start_ns: int) -> Span:
    attributes: dict[str, Any] = {"spantree.execution.name": "flow", "spantree.input": _SECRET}
    return factories.span(1, name="order", start_ns=start_ns, error="failed", attributes=attributes)


def places_of_the_secret(url: str) -> list[str]:
    return [name for name, rows in tables(url, "span", "execution", "node").items() if _SECRET in str(rows)]


@contextmanager
def thinning(url: str) -> Iterator[None]:
    """While retention has taken the old day off; behind it, what failed on that day is there again."""
    with psycopg.connect(url, autocommit=True) as connection:
        retirement = DayRetirement(connection, _KEEP_FAILED, _OLD, lambda sentence: None)
        retirement.begin(30)
        for parent in PARENTS:
            retirement._take_off(parent)
        yield
        assert retirement.finish("retiring", 30) == "thinned"


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once somebody has found that a day cannot be read."""
    found = threading.Event()

    def sleep(pause_s: float) -> None:
        found.set()
        time.sleep(pause_s)

    monkeypatch.setattr(readable_days, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
    return found


def test_a_rebuild_that_has_read_a_span_does_not_put_back_what_redaction_takes(migrated_url: str, store: Store) -> None:
    store.write([run_with_secret(factories.NOON_NS)])
    beside: list[Any] = []

    with ThreadPoolExecutor(1) as pool:

        def facts_of_another_build(span: Span) -> Facts:
            if not beside:
                beside.append(pool.submit(redact_stored, migrated_url, _REDACTOR, Asked()))
                waiting = (
                    "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
                )
                wait_until(lambda: beside[0].done() or query(migrated_url, waiting), 20, "redaction waits or is done")
            return {**read_facts(span), "max_attempts": 3}

        rebuild(migrated_url, read_facts=facts_of_another_build)
        assert beside[0].result(60).redacted["span"] == 1
    assert places_of_the_secret(migrated_url) == []


def test_what_is_kept_of_a_day_that_is_thinned_meanwhile_is_redacted(
    migrated_url: str, store: Store, waits: threading.Event
) -> None:
    store.write([run_with_secret(_OLD_NS)])
    with ThreadPoolExecutor(1) as pool:
        with thinning(migrated_url):
            redacting = pool.submit(redact_stored, migrated_url, _REDACTOR, Asked())
            wait_until(lambda: redacting.done() or waits.is_set(), 20, "redaction waits or is done")
        assert redacting.result(60).redacted["span"] == 1
    assert places_of_the_secret(migrated_url) == []
    assert query(migrated_url, "SELECT count(*) FROM spantree.span") == [(1,)]


def test_what_is_kept_of_a_day_that_is_thinned_meanwhile_is_rebuilt(
    migrated_url: str, store: Store, waits: threading.Event
) -> None:
    store.write(factories.workflow(1, start_ns=_OLD_NS, failing=True))
    with ThreadPoolExecutor(1) as pool:
        with thinning(migrated_url):
            rebuilding = pool.submit(rebuild, migrated_url, read_facts=lambda span: {**read_facts(span), "name": "new"})
            wait_until(lambda: rebuilding.done() or waits.is_set(), 20, "the rebuild waits or is done")
        assert rebuilding.result(60).spans == 5
    assert query(migrated_url, "SELECT DISTINCT name FROM spantree.node") == [("new",)]


def test_a_late_span_of_a_kept_run_makes_no_second_one_while_its_day_is_taken_off(
    migrated_url: str, store: Store
) -> None:
    store.write(factories.workflow(1, start_ns=_OLD_NS, failing=True))
    fold(migrated_url)
    with thinning(migrated_url):
        store.write([factories.span(9, trace=1, parent=1, start_ns=_OLD_NS + 30 * factories.DAY_NS)])
        query(migrated_url, "UPDATE spantree.pending_projection SET due_at = 'epoch'")
        assert store.project_due().traces == 0
    project_all(migrated_url, store)
    found = query(migrated_url, "SELECT day, span_count, total_count FROM spantree.execution")
    assert found == [(_OLD, 6, 6)]
    late = _OLD + timedelta(days=30)
    assert wrong_figures(migrated_url, [late]) == []


def test_what_a_run_of_a_thinned_day_did_after_midnight_is_counted_once(migrated_url: str, store: Store) -> None:
    midnight_ns = (day_number(_OLD) + 1) * factories.DAY_NS
    kept = factories.workflow(1, start_ns=_OLD_NS, failing=True)
    # Its last step begins at midnight, on a day that is not due.
    taken = factories.workflow(2, start_ns=midnight_ns - 4 * factories.SECOND_NS)
    store.write([*kept, *taken])
    fold(migrated_url)
    figures = (
        "SELECT (started_at AT TIME ZONE 'UTC')::date, subject, sum(total)::bigint FROM spantree.rollup"
        " WHERE subject IN ('node', 'workflow') AND grain_h = 1 GROUP BY 1, 2 ORDER BY 1, 2"
    )
    before = query(migrated_url, figures)
    assert {day for day, _, _ in before} == {_OLD, _OLD + timedelta(days=1)}
    with thinning(migrated_url):
        pass
    store.write(taken)
    project_all(migrated_url, store)
    fold(migrated_url)
    assert query(migrated_url, figures) == before
    store.write([factories.span(9, trace=2, parent=1, start_ns=midnight_ns + factories.SECOND_NS)])
    project_all(migrated_url, store)
    assert wrong_figures(migrated_url, [_OLD + timedelta(days=1)]) == []
    executions = "SELECT day, span_count, total_count FROM spantree.execution ORDER BY span_count"
    assert query(migrated_url, executions) == [(_OLD, 5, 5), (_OLD, 6, 6)]


def test_retention_waits_until_a_projection_of_the_day_has_come_to_its_end(migrated_url: str, store: Store) -> None:
    began, go_on = threading.Event(), threading.Event()

    def slow(span: Span) -> Facts:
        began.set()
        assert go_on.wait(30)
        return read_facts(span)

    store.write(factories.workflow(1, start_ns=_OLD_NS, failing=True))
    with ThreadPoolExecutor(2) as pool:
        rebuilding = pool.submit(rebuild, migrated_url, read_facts=slow)
        assert began.wait(30)
        retiring = pool.submit(run, migrated_url, _KEEP_FAILED)
        asking = "SELECT pid FROM pg_locks WHERE classid = 1936744818 AND NOT granted"
        wait_until(lambda: query(migrated_url, asking), 20, "retention asks for the day")
        assert query(migrated_url, "SELECT count(*) FROM spantree.retention_day") == [(0,)]
        go_on.set()
        assert rebuilding.result(60).spans == 5
        assert retiring.result(60).thinned == [_OLD]


def test_a_rebuild_leaves_the_figures_of_days_alone_that_were_thinned(migrated_url: str, store: Store) -> None:
    for trace in (1, 2, 3):
        store.write(factories.workflow(trace, start_ns=_OLD_NS, failing=trace == 3))
    fold(migrated_url)
    figures = "SELECT subject, name, sum(total), sum(failed) FROM spantree.rollup GROUP BY 1, 2 ORDER BY 1, 2"
    before = query(migrated_url, figures)
    assert run(migrated_url, _KEEP_FAILED).thinned == [_OLD]
    rebuild(migrated_url)
    fold(migrated_url)
    assert query(migrated_url, figures) == before
    assert wrong_figures(migrated_url, [_OLD]) == []
