"""Rebuild: stored spans read again give the rows that this build would have written."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from datetime import date

import psycopg
import pytest
from psycopg.rows import dict_row
from tests.factories import DAY_NS, NOON_NS, span, trace_id, workflow
from tests.tables import empty, query, tables

from spantree_exporter.assemble import assemble
from spantree_exporter.errors import SchemaVersionError
from spantree_exporter.facts import Facts, read_facts
from spantree_exporter.postgres import rebuild as rebuild_module
from spantree_exporter.postgres import reprojection
from spantree_exporter.postgres.rebuild import RebuildProgress, rebuild
from spantree_exporter.postgres.store import Store
from spantree_exporter.rows import Assembled, SpanFacts
from spantree_exporter.span import Event, Link, Span
from spantree_exporter.sql import statements
from spantree_exporter.stored_span import SpanRows


@pytest.fixture
def store(migrated_url: str) -> Iterator[Store]:
    store = Store(migrated_url)
    yield store
    store.close()


def _sorted_keys(spans: Sequence[Span]) -> list[dict[str, object]]:
    """Spans as dicts, without the JSON texts, in which jsonb has its own order of keys."""
    texts = ("attributes_json", "events_json", "links_json")
    plain = [dataclasses.asdict(each) for each in spans]
    for each in plain:
        for text in texts:
            del each[text]
        del each["resource"]["attributes_json"]
        del each["scope"]["json"]
    return sorted(plain, key=lambda each: (each["trace_id"], each["span_id"]))


def test_a_stored_span_reads_back_as_it_was_written(migrated_url: str, store: Store) -> None:
    sent = [
        span(
            2**64 - 5,
            parent=7,
            error="no",
            attributes={
                "zebra": 1,
                "a": 2.0,
                "deep": {"x": [None, True, 1e300]},
                "bytes": {"$b": "AAE="},
                "nul": "\x00",
            },
            events=[Event(5, "exception", {"z": 1, "b": "c"})],
            links=[Link("ab" * 16, "cd" * 8, "", {})],
        ),
        span(1, trace=2),
    ]
    store.write(sent)
    keys = {"tenant_id": 0, "day": "2026-11-20", "trace_id": "0" * 32, "span_id": 0, "fingerprint": 0, "spans": 10}
    with psycopg.connect(migrated_url, row_factory=dict_row) as connection:
        cursor = connection.cursor(binary=True)
        rows = cursor.execute(statements("rebuild")["spans_after"], keys).fetchall()
    reader = SpanRows()
    assert _sorted_keys([reader.span(row) for row in rows]) == _sorted_keys(sent)


def test_rows_that_are_gone_come_back_as_they_were(migrated_url: str, store: Store) -> None:
    for trace in range(1, 6):
        store.write(workflow(trace, failing=trace == 2, start_ns=NOON_NS + trace * DAY_NS))
    before = tables(migrated_url)
    empty(migrated_url, "execution", "node", "edge")
    progress: list[RebuildProgress] = []
    last = rebuild(migrated_url, progress=progress.append)
    assert last == progress[-1] == RebuildProgress(date(2026, 11, 25), 25, 0, 5)
    assert [step.day.day for step in progress] == [21, 22, 23, 24, 25]
    assert tables(migrated_url) == before
    assert query(migrated_url, "SELECT count(*) FROM spantree.pending_projection") == [(0,)]
    assert query(migrated_url, "SELECT count(*) FROM spantree.rebuild_position") == [(0,)]
    # Not counted twice, although nothing took the figures of the rows away that are gone.
    assert query(
        migrated_url, "SELECT sum(total)::int FROM spantree.rollup WHERE subject = 'node' AND grain_h = 1"
    ) == [(25,)]
    assert query(
        migrated_url, "SELECT target, total FROM spantree.rollup WHERE subject = 'edge' AND grain_h = 1 ORDER BY 1"
    ) == [(step, 1) for step in sorted(["search", "charge", "answer"] * 5)]


def test_every_tenant_is_rebuilt_and_one_that_is_through_is_not_begun_again(migrated_url: str, store: Store) -> None:
    query(migrated_url, "INSERT INTO spantree.tenant (tenant_id, name, dropped_at) VALUES (7, 'blue', now())")
    store.write(workflow(1))
    store.write(workflow(1), tenant_id=7)
    before = tables(migrated_url)
    empty(migrated_url, "execution", "node", "edge")

    def interrupt(progress: RebuildProgress) -> None:
        if progress.spans > 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild(migrated_url, progress=interrupt)
    assert rebuild(migrated_url).spans == 0
    assert query(migrated_url, "SELECT count(*) FROM spantree.rebuild_position") == [(0,)]
    assert tables(migrated_url) == before
    counts = query(migrated_url, "SELECT tenant_id, count(*) FROM spantree.node GROUP BY 1 ORDER BY 1")
    assert counts == [(0, 5), (7, 5)]


def test_facts_of_an_older_build_are_replaced(migrated_url: str) -> None:
    def older(of: Span) -> Facts:
        return {} if of.name == "plan" else read_facts(of)

    old = Store(migrated_url, read_facts=older)
    old.write(workflow())
    old.close()
    assert rebuild(migrated_url).changed_facts == 1
    rebuilt = tables(migrated_url)
    empty(migrated_url)
    new = Store(migrated_url)
    new.write(workflow())
    new.close()
    assert rebuilt == tables(migrated_url)


def test_only_the_days_asked_for_are_read(migrated_url: str, store: Store) -> None:
    for trace in range(1, 5):
        store.write(workflow(trace, start_ns=NOON_NS + trace * DAY_NS))
    last = rebuild(migrated_url, since=date(2026, 11, 22), until=date(2026, 11, 23))
    assert last == RebuildProgress(date(2026, 11, 23), 10, 0, 2)


def test_an_interrupted_rebuild_goes_on_where_it_stopped(
    migrated_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild_module, "_CHUNK_SPANS", 3)
    store.write([each for trace in range(1, 5) for each in workflow(trace)])
    empty(migrated_url, "execution", "node", "edge")

    def interrupt(progress: RebuildProgress) -> None:
        if progress.spans >= 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild(migrated_url, progress=interrupt)
    assert rebuild(migrated_url).spans == 11
    assert query(migrated_url, "SELECT sum(span_count), count(*) FROM spantree.execution") == [(20, 4)]


def test_a_rebuild_that_other_rules_began_starts_anew(
    migrated_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild_module, "_CHUNK_SPANS", 3)
    store.write([each for trace in range(1, 5) for each in workflow(trace)])

    def interrupt(progress: RebuildProgress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild(migrated_url, progress=interrupt)
    query(migrated_url, "UPDATE spantree.rebuild_position SET rules = 'older'")
    assert rebuild(migrated_url).spans == 20
    # A team's own rules are rules, too.
    with pytest.raises(KeyboardInterrupt):
        rebuild(migrated_url, progress=interrupt, own_rules=b"name = 1")
    assert rebuild(migrated_url, own_rules=b"name = 2").spans == 20


def test_spans_that_come_while_rebuilding_are_not_lost(migrated_url: str, store: Store) -> None:
    store.write([*workflow(1), *workflow(2)])
    late = [span(9, parent=1)]

    def assemble_while_writing(spans: Sequence[SpanFacts], trace: str) -> Assembled:
        if late and trace == trace_id(1).hex():
            store.write([late.pop()])
        return assemble(spans, trace)

    rebuild(migrated_url, assemble=assemble_while_writing)
    query(migrated_url, "UPDATE spantree.pending_projection SET due_at = now() - interval '1 s'")
    store.project_due()
    assert query(migrated_url, "SELECT span_count FROM spantree.execution ORDER BY 1") == [(5,), (6,)]


def test_a_database_without_the_schema_is_told(database_url: str) -> None:
    with pytest.raises(SchemaVersionError, match="spantree migrate"):
        rebuild(database_url)


def test_a_large_trace_is_projected_once_when_all_its_spans_are_through(
    migrated_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild_module, "_CHUNK_SPANS", 10)
    monkeypatch.setattr(reprojection, "_LARGE_SPANS", 40)
    steps = [span(number, parent=1, name=f"step {number}") for number in range(2, 61)]
    others = [workflow(number) for number in (2, 3, 4)]
    store.write([span(1), *steps, *(one for spans in others for one in spans)])
    written = tables(migrated_url)
    projected: list[tuple[str, int]] = []

    def noting(spans: Sequence[SpanFacts], of_trace: str) -> Assembled:
        projected.append((of_trace, len(spans)))
        return assemble(spans, of_trace)

    query(migrated_url, "UPDATE spantree.node SET name = 'of an older build'")
    rebuild(migrated_url, assemble=noting)
    assert [spans for of_trace, spans in projected if of_trace == trace_id(1).hex()] == [60]
    assert {of_trace for of_trace, _ in projected} == {trace_id(number).hex() for number in (1, 2, 3, 4)}
    assert tables(migrated_url) == written
    assert query(migrated_url, "SELECT count(*) FROM spantree.pending_projection") == [(0,)]
