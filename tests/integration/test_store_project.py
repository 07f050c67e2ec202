"""Projection: what is not whole in one batch is projected when due, beside writers and other projectors."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha512
from typing import Any
from uuid import UUID

import pytest
from tests.factories import DAY_NS, NOON_NS, SECOND_NS, live_mark, span, trace_id, workflow
from tests.tables import empty, project_all, query, tables
from tests.waiting import wait_until

from spantree_exporter.assemble import assemble
from spantree_exporter.errors import BatchFailed
from spantree_exporter.postgres import projector, writer
from spantree_exporter.postgres.store import Projected, Store
from spantree_exporter.projection import CopyRows, ProjectedTrace, copy_rows
from spantree_exporter.rows import Assembled, SpanFacts

OpenStore = Callable[..., Store]
_PENDING = "SELECT count(*) FROM spantree.pending_projection"
_MAKE_DUE = "UPDATE spantree.pending_projection SET due_at = now() - interval '1 second'"


@pytest.fixture
def open_store() -> Iterator[OpenStore]:
    stores: list[Store] = []

    def open_one(url: str, **options: object) -> Store:
        stores.append(Store(url, **options))  # type: ignore[arg-type]
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


def test_a_trace_in_two_batches_is_projected_a_second_after_it_fell_quiet(
    migrated_url: str, open_store: OpenStore
) -> None:
    store = open_store(migrated_url)
    spans = workflow()
    store.write(spans[:2])
    assert store.write(spans[2:]).projected_traces == 0
    assert store.project_due() == Projected(0, 0, False)
    wait_until(lambda: store.project_due() == Projected(1, 5, False), 5, "the trace was due")
    assert query(migrated_url, _PENDING) == [(0,)]
    assert query(migrated_url, "SELECT status, span_count FROM spantree.execution") == [("completed", 5)]


def test_projected_at_once_or_later_the_rows_are_the_same(migrated_url: str, open_store: OpenStore) -> None:
    store = open_store(migrated_url)
    late = NOON_NS + DAY_NS // 2 - 3 * SECOND_NS
    whole = [workflow(1), workflow(2, failing=True), workflow(3, start_ns=late), [span(1, trace=4, error="boom")]]
    for spans in whole:
        assert store.write(spans).projected_traces == 1
    at_once = tables(migrated_url)
    empty(migrated_url, "trace", "span", "execution", "node", "edge")
    for spans in whole:
        for each in spans:
            if len(spans) == 1:
                # An id of its own would be needed to keep it from being whole: let a mark announce another span.
                store.write([each, live_mark(900, of=901, trace=4)])
            else:
                store.write([each])
    project_all(migrated_url, store)
    later = tables(migrated_url)
    lone = trace_id(4)
    for found in (at_once, later):
        for name in found:
            if name != "resource":
                found[name] = [row for row in found[name] if row["trace_id"].bytes != lone]
    assert later == at_once


def test_a_running_node_shows_before_its_span_and_gives_way_to_it(migrated_url: str, open_store: OpenStore) -> None:
    store = open_store(migrated_url)
    store.write([live_mark(100, of=1)])
    wait_until(lambda: store.project_due().traces, 5, "the live mark was projected")
    assert query(migrated_url, "SELECT status FROM spantree.execution") == [("running",)]
    assert query(migrated_url, "SELECT span_id, status, ended_ns FROM spantree.node") == [(1, "running", None)]
    assert store.write(workflow()).projected_traces == 0
    project_all(migrated_url, store)
    assert query(migrated_url, "SELECT status FROM spantree.execution") == [("completed",)]
    assert query(migrated_url, "SELECT span_id, status FROM spantree.node ORDER BY sequence") == [
        (number, "completed") for number in range(1, 6)
    ]


def test_marks_whose_spans_have_not_come_keep_a_trace_from_being_whole(
    migrated_url: str, open_store: OpenStore
) -> None:
    store = open_store(migrated_url)
    assert store.write([*workflow(), live_mark(100, of=77, of_parent=1)]).projected_traces == 0
    assert store.write([*workflow(2), live_mark(100, of=2, of_parent=1, trace=2)]).projected_traces == 1


def test_an_earlier_span_that_comes_late_moves_the_execution_to_its_day(
    migrated_url: str, open_store: OpenStore
) -> None:
    store = open_store(migrated_url)
    assert store.write(workflow(start_ns=NOON_NS + DAY_NS)).projected_traces == 1
    store.write([span(9, parent=1, start_ns=NOON_NS, name="early")])
    project_all(migrated_url, store)
    assert query(migrated_url, "SELECT day::text, span_count FROM spantree.execution") == [("2026-11-20", 6)]
    assert query(migrated_url, "SELECT count(*), count(DISTINCT span_id) FROM spantree.node") == [(6, 6)]


def test_two_writers_of_one_trace_leave_one_whole_execution(migrated_url: str, open_store: OpenStore) -> None:
    stores = [open_store(migrated_url), open_store(migrated_url)]
    rounds = 12
    barrier = threading.Barrier(2)

    def write(index: int) -> None:
        for trace in range(rounds):
            spans = [*workflow(trace), span(9, trace=trace, parent=5, name="tail")]
            half = spans[:3] if index == 0 else spans[3:]
            barrier.wait(timeout=30)
            stores[index].write([*half, *workflow(1000 + 2 * trace + index)])

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, range(2)))
    project_all(migrated_url, stores[0])
    assert query(migrated_url, "SELECT span_count, count(*) FROM spantree.execution GROUP BY 1 ORDER BY 1") == [
        (5, 2 * rounds),
        (6, rounds),
    ]
    assert query(migrated_url, "SELECT count(*) FROM spantree.node") == [(2 * rounds * 5 + rounds * 6,)]


def _spy_before_rows(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], None]) -> None:
    """Let `meanwhile` happen once after a writer found its traces new and before it writes their rows."""
    left = [meanwhile]

    def copy_rows_later(tenant_id: int, traces: Sequence[ProjectedTrace]) -> CopyRows:
        while left:
            left.pop()()
        return copy_rows(tenant_id, traces)

    monkeypatch.setattr(writer, "copy_rows", copy_rows_later)


@pytest.mark.parametrize("early_ns", [NOON_NS - DAY_NS, NOON_NS - SECOND_NS])
def test_a_trace_that_is_projected_while_a_writer_has_it_whole_gets_one_execution(
    migrated_url: str, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch, early_ns: int
) -> None:
    first, other = open_store(migrated_url), open_store(migrated_url)

    def project_an_early_span() -> None:
        other.write([span(9, parent=1, start_ns=early_ns, name="early")])
        query(migrated_url, _MAKE_DUE)
        assert other.project_due().traces == 1

    _spy_before_rows(monkeypatch, project_an_early_span)
    assert first.write([*workflow(1), *workflow(2)]).projected_traces == 1
    assert query(migrated_url, "SELECT count(DISTINCT trace_id) - count(*) FROM spantree.execution") == [(0,)]
    project_all(migrated_url, first)
    assert query(migrated_url, "SELECT span_count FROM spantree.execution ORDER BY 1") == [(5,), (6,)]


def test_rows_are_made_once_and_of_no_part_that_comes_late(
    migrated_url: str, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[int, list[bytes]]] = []

    def noted(tenant_id: int, traces: Sequence[ProjectedTrace]) -> CopyRows:
        made.append((tenant_id, [one.trace_id for one in traces]))
        return copy_rows(tenant_id, traces)

    monkeypatch.setattr(writer, "copy_rows", noted)
    store = open_store(migrated_url)
    store.write([span(9, trace=1, parent=1, name="ended first")])
    # What is left of trace 1 looks whole.
    assert store.write([*workflow(1), *workflow(2), *workflow(3)]).projected_traces == 2
    assert sorted(made) == [(0, [span(1, trace=2).trace_id]), (0, [span(1, trace=3).trace_id])]
    project_all(migrated_url, store)
    assert query(migrated_url, "SELECT span_count FROM spantree.execution ORDER BY 1") == [(5,), (5,), (6,)]


def test_a_projector_whose_trace_grows_under_it_projects_it_again(
    migrated_url: str, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other, store = (open_store(migrated_url) for _ in range(3))
    has_looked, go_on = threading.Event(), threading.Event()

    def copy_rows_later(tenant_id: int, traces: Sequence[ProjectedTrace]) -> CopyRows:
        has_looked.set()
        assert go_on.wait(timeout=30)
        return copy_rows(tenant_id, traces)

    monkeypatch.setattr(projector, "copy_rows", copy_rows_later)
    projecting: list[Future[Projected]] = []
    with ThreadPoolExecutor(1) as pool:

        def begin_to_project_an_early_span() -> None:
            other.write([span(9, parent=1, start_ns=NOON_NS - DAY_NS, name="early")])
            query(migrated_url, _MAKE_DUE)
            projecting.append(pool.submit(store.project_due))
            assert has_looked.wait(timeout=30)

        _spy_before_rows(monkeypatch, begin_to_project_an_early_span)
        assert first.write(workflow(1)).projected_traces == 0
        go_on.set()
        assert projecting[0].result(timeout=30) == Projected(1, 1, more=False)
    assert query(migrated_url, "SELECT span_count FROM spantree.execution") == [(1,)]
    project_all(migrated_url, first)
    assert query(migrated_url, "SELECT day::text, span_count FROM spantree.execution") == [("2026-11-19", 6)]


def test_writers_of_the_same_spans_at_once_store_them_once(migrated_url: str, open_store: OpenStore) -> None:
    stores = [open_store(migrated_url) for _ in range(3)]
    barrier = threading.Barrier(3)

    def write(store: Store) -> int:
        stored = 0
        for start in range(0, 30, 10):
            spans = [each for trace in range(start, start + 10) for each in workflow(trace)]
            barrier.wait(timeout=30)
            stored += store.write(spans).spans
        return stored

    with ThreadPoolExecutor(3) as pool:
        assert sum(pool.map(write, stores)) == 150
    project_all(migrated_url, stores[0])
    assert query(migrated_url, "SELECT count(*), sum(span_count) FROM spantree.execution") == [(30, 150)]


def test_a_projector_beside_a_writer_loses_nothing(migrated_url: str, open_store: OpenStore) -> None:
    writing, projecting, expected = (open_store(migrated_url) for _ in range(3))
    stop = threading.Event()

    def project() -> None:
        while not stop.is_set():
            query(migrated_url, _MAKE_DUE)
            projecting.project_due()

    thread = threading.Thread(target=project)
    thread.start()
    try:
        for trace in range(10):
            for each in workflow(trace, failing=trace % 3 == 0):
                writing.write([each])
    finally:
        stop.set()
        thread.join(timeout=30)
    project_all(migrated_url, projecting)
    raced = tables(migrated_url)
    empty(migrated_url)
    for trace in range(10):
        expected.write(workflow(trace, failing=trace % 3 == 0))
    assert raced == tables(migrated_url)


def test_spans_that_come_while_a_trace_is_projected_keep_it_pending(migrated_url: str, open_store: OpenStore) -> None:
    writer = open_store(migrated_url)
    late = [span(9, parent=1, name="late")]

    def assemble_while_writing(spans: Sequence[SpanFacts], trace: str) -> Assembled:
        if late:
            writer.write([late.pop()])
        return assemble(spans, trace)

    projector = open_store(migrated_url, assemble=assemble_while_writing)
    spans = workflow()
    writer.write(spans[:2])
    writer.write(spans[2:])
    query(migrated_url, _MAKE_DUE)
    assert projector.project_due().traces == 1
    assert query(migrated_url, "SELECT span_count FROM spantree.execution") == [(5,)]
    assert query(migrated_url, _PENDING) == [(1,)]
    project_all(migrated_url, projector)
    assert query(migrated_url, "SELECT span_count FROM spantree.execution") == [(6,)]


def test_two_projectors_share_the_work_and_no_trace(migrated_url: str, open_store: OpenStore) -> None:
    writer = open_store(migrated_url)
    writer.write(workflow(1)[:4])
    in_assemble, go_on = threading.Event(), threading.Event()

    def slow(spans: Sequence[SpanFacts], trace: str) -> Assembled:
        in_assemble.set()
        assert go_on.wait(timeout=30)
        return assemble(spans, trace)

    first, second = open_store(migrated_url, assemble=slow), open_store(migrated_url)
    query(migrated_url, _MAKE_DUE)
    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(first.project_due)
        assert in_assemble.wait(timeout=30)
        writer.write(workflow(2)[:4])
        query(migrated_url, _MAKE_DUE)
        assert second.project_due() == Projected(1, 4, False)
        go_on.set()
        assert busy.result(timeout=30).traces == 1
    assert query(migrated_url, "SELECT count(*) FROM spantree.execution") == [(2,)]


def test_a_trace_that_cannot_be_assembled_stays_pending_with_the_reason(
    migrated_url: str, open_store: OpenStore, caplog: pytest.LogCaptureFixture
) -> None:
    bad = trace_id(2).hex()

    def faulty(spans: Sequence[SpanFacts], trace: str) -> Assembled:
        if trace == bad:
            raise RuntimeError("a rule is wrong")
        return assemble(spans, trace)

    store = open_store(migrated_url, assemble=faulty)
    assert store.write([*workflow(1), *workflow(2), *workflow(3)]).projected_traces == 2
    query(migrated_url, _MAKE_DUE)
    assert store.project_due() == Projected(0, 0, False, failed=1)
    pending = "SELECT failures, error, due_at > now() FROM spantree.pending_projection"
    assert query(migrated_url, pending) == [(1, "RuntimeError: a rule is wrong", True)]
    assert "cannot be assembled" in caplog.text
    project_all(migrated_url, open_store(migrated_url))
    assert query(migrated_url, "SELECT count(*) FROM spantree.execution") == [(3,)]


def test_rows_that_postgres_refuses_cost_their_own_trace_only(migrated_url: str, open_store: OpenStore) -> None:
    bad = trace_id(2).hex()

    def faulty(spans: Sequence[SpanFacts], trace: str) -> Assembled:
        assembled = assemble(spans, trace)
        if trace == bad:
            assembled.nodes[0].status = "no such status"
        return assembled

    store = open_store(migrated_url, assemble=faulty)
    assert store.write([*workflow(1), *workflow(2), *workflow(3)]).spans == 15
    query(migrated_url, _MAKE_DUE)
    assert store.project_due() == Projected(2, 10, False, failed=1)
    [(failures, error)] = query(migrated_url, "SELECT failures, error FROM spantree.pending_projection")
    assert failures == 1
    assert "node_status_check" in error
    # The same once there are rows to replace.
    store.write([span(9, trace=trace, parent=1) for trace in (1, 2, 3)])
    query(migrated_url, _MAKE_DUE)
    assert store.project_due().traces == 2
    assert query(migrated_url, "SELECT span_count FROM spantree.execution") == [(6,), (6,)]


@pytest.mark.parametrize("at_once", [True, False])
def test_a_service_whose_name_no_index_takes_has_its_runs_under_the_beginning_of_it(
    migrated_url: str, open_store: OpenStore, *, at_once: bool
) -> None:
    store = open_store(migrated_url)
    # Of digits that PostgreSQL cannot make small, and of characters that take four bytes each.
    ids = "".join(sha512(b"%d" % number).hexdigest() for number in range(400))
    spans = [span(1, service=ids), span(2, parent=1, service="\N{SNAKE}" * 3_000)]
    for batch in [spans] if at_once else [spans[1:], spans[:1]]:
        store.write(batch)
    query(migrated_url, _MAKE_DUE)
    project_all(migrated_url, store)
    cut = [ids[:512], "\N{SNAKE}" * 375]
    assert query(migrated_url, "SELECT service, services, total_count FROM spantree.execution") == [(ids[:512], cut, 2)]
    assert query(migrated_url, "SELECT service FROM spantree.node ORDER BY span_id") == [(cut[0],), (cut[1],)]
    assert query(migrated_url, _PENDING) == [(0,)]
    sent = "SELECT attributes ->> 'service.name' FROM spantree.resource ORDER BY 1"
    assert query(migrated_url, sent) == [(ids,), ("\N{SNAKE}" * 3_000,)]


def test_a_trace_that_ends_its_projector_is_tried_later_and_later_and_holds_up_no_other(
    migrated_url: str, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However small it is: what ended the first one, before it could note a thing, is tried alone by the third."""

    class Killed(BaseException):
        pass

    bad = trace_id(2).hex()
    tried: list[set[str]] = []

    def load(self: projector.Projector, cursor: object, claimed: Sequence[projector._Claimed]) -> None:
        ids = {one.trace_id.hex() for one in claimed}
        tried.append(ids)
        if bad in ids:
            raise Killed
        loaded(self, cursor, claimed)  # type: ignore[arg-type]

    loaded = projector.Projector._load
    monkeypatch.setattr(projector.Projector, "_load", load)
    for trace in (1, 2, 3):
        open_store(migrated_url).write([span(2, trace=trace, parent=1), span(3, trace=trace, parent=1)])
    one, two, three = (trace_id(trace).hex() for trace in (1, 2, 3))
    query(migrated_url, _MAKE_DUE)
    with pytest.raises(Killed):
        open_store(migrated_url).project_due()
    open_store(migrated_url).write([span(2, trace=4, parent=1), span(3, trace=4, parent=1)])
    for _ in range(2):
        query(migrated_url, _MAKE_DUE)
        with pytest.raises(Killed):
            open_store(migrated_url).project_due()
    four = trace_id(4).hex()
    assert tried == [{one, two, three}, {four}, {one, two, three}, {two}]
    query(migrated_url, "UPDATE spantree.pending_projection SET due_at = now() WHERE begun < 3")
    assert open_store(migrated_url).project_due().traces == 1
    pending = "SELECT trace_id::text, begun, due_at > now() + interval '3 s', error FROM spantree.pending_projection"
    ended = "its last projection has not come to an end: it took too much time or memory, or was ended"
    query(migrated_url, "UPDATE spantree.pending_projection SET due_at = now() WHERE begun < 3")
    assert open_store(migrated_url).project_due().traces == 1
    assert query(migrated_url, pending) == [(str(UUID(two)), 3, True, ended)]
    # New spans of it do not bring it forward.
    open_store(migrated_url).write([span(4, trace=2, parent=1)])
    assert query(migrated_url, pending) == [(str(UUID(two)), 3, True, ended)]
    monkeypatch.undo()
    assert project_all(migrated_url, open_store(migrated_url)) == 1


def test_a_trace_whose_spans_cannot_be_read_in_time_says_so(
    migrated_url: str, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(self: projector.Projector, cursor: Any, claimed: Sequence[projector._Claimed]) -> None:
        if any(one.trace_id == trace_id(2) for one in claimed):
            cursor.execute("SET statement_timeout = 1")
            try:
                cursor.execute("SELECT pg_sleep(5)")
            finally:  # claims are not given back in a millisecond where much else runs
                cursor.execute("SET statement_timeout = '60s'")
        loaded(self, cursor, claimed)

    loaded = projector.Projector._load
    monkeypatch.setattr(projector.Projector, "_load", load)
    for trace in (1, 2, 3):
        open_store(migrated_url).write([span(2, trace=trace, parent=1), span(3, trace=trace, parent=1)])
    for _ in range(5):  # all, all again, then each alone
        query(migrated_url, f"{_MAKE_DUE} WHERE failures = 0")
        with contextlib.suppress(BatchFailed):
            open_store(migrated_url).project_due()
    assert query(migrated_url, "SELECT failures, error FROM spantree.pending_projection") == [
        (1, "QueryCanceled: canceling statement due to statement timeout")
    ]


def test_a_trace_that_never_falls_quiet_is_due_all_the_same(migrated_url: str, open_store: OpenStore) -> None:
    store = open_store(migrated_url)
    store.write([span(2, parent=1)])
    query(migrated_url, "UPDATE spantree.pending_projection SET first_pending_at = now() - interval '1.1 seconds'")
    store.write([span(3, parent=1)])
    assert query(migrated_url, "SELECT due_at <= now() FROM spantree.pending_projection") == [(True,)]


def test_what_a_clock_that_was_ahead_has_put_off_is_projected(migrated_url: str, open_store: OpenStore) -> None:
    store = open_store(migrated_url)
    store.write([span(2, parent=1)])
    query(migrated_url, "UPDATE spantree.pending_projection SET due_at = now() + interval '3 days'")
    assert store.project_due().traces == 1


def test_a_large_trace_is_projected_less_often(migrated_url: str, open_store: OpenStore) -> None:
    store = open_store(migrated_url)
    store.write([span(1), *(span(number, parent=1) for number in range(2, 1500))])
    project_all(migrated_url, store)
    store.write([span(2000, parent=1)])
    query(
        migrated_url,
        "UPDATE spantree.pending_projection SET first_pending_at = now() - interval '60 s', projected_spans = 100000",
    )
    assert query(migrated_url, "SELECT batches FROM spantree.pending_projection") == [(1,)]
    store.write([span(2001, parent=1)])
    wait_s = "SELECT round(extract(epoch FROM due_at - now())) FROM spantree.pending_projection"
    assert query(migrated_url, wait_s) == [(10,)]
    query(migrated_url, "UPDATE spantree.pending_projection SET first_pending_at = now() - interval '99 s'")
    store.write([span(2002, parent=1)])
    assert query(migrated_url, wait_s) == [(1,)]


def test_what_a_large_trace_was_projected_from_is_known_to_the_next_batch(
    migrated_url: str, open_store: OpenStore
) -> None:
    store = open_store(migrated_url)
    store.write([span(1), *(span(number, parent=1) for number in range(2, 1500))])
    store.write([span(2000, parent=1)])
    assert query(migrated_url, "SELECT projected_spans FROM spantree.pending_projection") == [(1499,)]


def test_a_call_stops_at_about_the_spans_it_was_allowed(migrated_url: str, open_store: OpenStore) -> None:
    store = open_store(migrated_url)
    for trace in range(5):
        store.write(workflow(trace)[:4])
    query(migrated_url, _MAKE_DUE)
    assert store.project_due(limit_spans=9) == Projected(2, 8, True)
    assert store.project_due(limit_spans=1) == Projected(1, 4, True)
    assert store.project_due() == Projected(2, 8, False)
