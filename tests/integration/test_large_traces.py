"""Traces that are read a part at a time: the rows are those of others; where all is too much, of what tells most."""

from __future__ import annotations

import random
from contextlib import closing
from typing import Any

import pytest
from tests.factories import NOON_NS, SECOND_NS, span, trace_id, workflow
from tests.tables import PROJECTED, empty, project_all, query, tables

from spantree_exporter.assemble import budget
from spantree_exporter.postgres import large_traces, projector
from spantree_exporter.postgres.store import Store
from spantree_exporter.span import Event, Link, Span

_SUMMARY = "SELECT total_count, span_count, status, first_failed_name, last_seen_ns, anomalies FROM spantree.execution"
_NAMES = "SELECT name FROM spantree.node ORDER BY sequence"


def batch(*, name: str = "nightly", seen_ns: int = NOON_NS) -> list[Span]:
    """A run of 60 steps over midnight, of which the 50th failed; the last is the newest to come."""
    parts = [
        span(
            number + 2,
            parent=1,
            name=f"row {number}",
            start_ns=NOON_NS + number * 900 * SECOND_NS,
            error="no such row" if number == 50 else None,
            attributes={"note": "n" * 300},
            links=[Link(trace_id(1).hex(), f"{number + 1:016x}", "", {})] if number == 9 else [],
            events=[Event(NOON_NS, "exception", {"exception.type": "KeyError"})] if number == 50 else [],
            received_ns=seen_ns + number,
        )
        for number in range(60)
    ]
    root = span(1, name=name, duration_ns=60 * 900 * SECOND_NS, attributes={"spantree.execution.name": name})
    return [*parts, root]


def projected(url: str, spans: list[Span]) -> None:
    """Write `spans` in two batches and project them."""
    with closing(Store(url)) as store:
        store.write(spans[: len(spans) // 2])
        store.write(spans[len(spans) // 2 :])
        project_all(url, store)


def test_a_large_trace_has_the_rows_that_it_would_have_as_a_small_one(
    migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for spans in (batch(), workflow(2, failing=True)):
        projected(migrated_url, spans)
    small = tables(migrated_url, *PROJECTED)
    empty(migrated_url)
    monkeypatch.setattr(projector, "_RISKY_SPANS", 1)
    monkeypatch.setattr(large_traces, "_FETCHED_ROWS", 7)
    for spans in (batch(), workflow(2, failing=True)):
        projected(migrated_url, spans)
    assert tables(migrated_url, *PROJECTED) == small


def test_of_more_than_fit_failures_come_first_then_what_began_first_and_all_are_counted(
    migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projector, "_RISKY_SPANS", 1)
    monkeypatch.setattr(budget, "MAX_NODES", 6)
    shuffled = random.Random(1).sample(batch(), 61)
    for spans in (batch(), shuffled):
        projected(migrated_url, spans)
        # Of the spans that are not read, too: the root came a minute after noon.
        seen_ns = NOON_NS + 60 * SECOND_NS
        assert query(migrated_url, _SUMMARY) == [
            (6, 61, "partial", "row 50", seen_ns, [budget.NODES_REDUCED]),
        ]
        assert query(migrated_url, _NAMES) == [("nightly",), *((f"row {number}",) for number in (0, 1, 2, 3, 50))]
        empty(migrated_url)


def test_the_last_sign_of_life_is_that_of_all_spans(migrated_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projector, "_RISKY_SPANS", 1)
    monkeypatch.setattr(budget, "MAX_NODES", 6)
    projected(migrated_url, batch(seen_ns=NOON_NS + 3600 * SECOND_NS))
    assert query(migrated_url, "SELECT last_seen_ns FROM spantree.execution") == [(NOON_NS + 3600 * SECOND_NS + 59,)]


def test_spans_that_say_much_are_fewer(migrated_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projector, "_RISKY_SPANS", 1)
    monkeypatch.setattr(large_traces, "_MOST_BYTES", 20 * large_traces._SPAN_BYTES)
    said = [{"input.value": "x" * 400, "openinference.span.kind": "CHAIN"} for _ in range(60)]
    spans = [
        span(number + 2, parent=1, name=f"call {number}", start_ns=NOON_NS + number, attributes=dict(attributes))
        for number, attributes in enumerate(said)
    ]
    projected(migrated_url, [*spans, span(1, name="root", duration_ns=60 * SECOND_NS)])
    [(nodes, stored, anomalies)] = query(
        migrated_url, "SELECT total_count, span_count, anomalies FROM spantree.execution"
    )
    assert (stored, anomalies) == (61, [budget.NODES_REDUCED])
    assert 10 < nodes < 20


def test_a_trace_that_was_begun_in_vain_is_read_as_a_large_one(
    migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "MAX_NODES", 6)
    with closing(Store(migrated_url)) as store:
        store.write(batch()[:30])
        store.write(batch()[30:])
        # As a process leaves it that was killed over it, noted with few spans.
        query(migrated_url, "UPDATE spantree.pending_projection SET begun = 1, spans = 1, due_at = now()")
        read: list[int] = []
        read_large = large_traces.read_large

        def noting(*arguments: Any) -> large_traces.LargeTrace:
            found = read_large(*arguments)
            read.append(len(found.spans))
            return found

        monkeypatch.setattr(projector, "read_large", noting)
        store.project_due()
    assert read == [6]
    assert query(migrated_url, "SELECT total_count, span_count FROM spantree.execution") == [(6, 61)]
