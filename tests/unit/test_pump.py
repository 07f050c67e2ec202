"""The pump's decisions, with a store that fails on command; the real store stands in tests/integration."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.otlp_requests import request, span, trace_id, trace_request
from tests.waiting import wait_until

from spantree_collector.metrics import CollectorMetrics
from spantree_collector.receive.intake import count_spans
from spantree_collector.spool.spool import Spool
from spantree_collector.spool.spooled_body import Body, SpooledBody
from spantree_collector.write.dispatcher import SpoolDispatcher
from spantree_collector.write.pump import ProjectorThread, Pump
from spantree_collector.write.retrying_store import StoreState
from spantree_exporter.errors import (
    BatchFailed,
    BatchRejected,
    OperatorError,
    SchemaVersionError,
    StoreUnavailable,
    WorkerUnavailable,
)
from spantree_exporter.otlp.decode import JSON, PROTOBUF, DeadLetter, raw_spans
from spantree_exporter.otlp.signals import DecodedItems, decode_body
from spantree_exporter.postgres.store import Projected, TenantBatch, Written
from spantree_exporter.span import Span


@dataclass
class FakeStore:
    """Keeps what is written; `failures` are raised one after the other first, `refuses` decides on content."""

    failures: list[Exception] = field(default_factory=list)
    refuses: Callable[[Sequence[Span], Sequence[DeadLetter]], bool] = lambda spans, dead: False
    refusal: Callable[[], Exception] = lambda: BatchRejected("PostgreSQL refused the batch (22P05): x", "22P05")
    written: list[list[str]] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    opened: int = 0
    checked: int = 0
    tables_checked: int = 0
    tables_failures: list[Exception] = field(default_factory=list)
    closed: int = 0
    tenants: list[dict[int, list[str]]] = field(default_factory=list)
    attempts: int = 0
    projections: list[Projected] = field(default_factory=list)
    gate: threading.Event | None = None
    workers: list[set[bytes]] = field(default_factory=list)

    def open(self) -> FakeStore:
        self.opened += 1
        return self

    def write_shares(self, shares: Sequence[TenantBatch]) -> Written:
        spans = [item for share in shares for item in share.items if isinstance(item, Span)]
        dead = [letter for share in shares for letter in share.dead]
        self.attempts += 1
        if self.gate is not None:
            assert self.gate.wait(20)
        if self.failures:
            raise self.failures.pop(0)
        if self.refuses(spans, dead):
            raise self.refusal()
        if spans or not dead:
            self.written.append([sent.name for sent in spans])
            self.tenants.append({one.tenant_id: [sent.name for sent in one.items] for one in shares})  # type: ignore[union-attr]
        self.dead.extend(dead)
        return Written(spans=len(spans), duplicates=0, projected_traces=0)

    def project_due(self) -> Projected:
        self.attempts += 1
        if self.failures:
            raise self.failures.pop(0)
        return self.projections.pop(0) if self.projections else Projected(traces=0, spans=0, more=False)

    def by_worker(self, trace_ids: Collection[bytes]) -> list[set[bytes]]:
        return [of_worker & set(trace_ids) for of_worker in self.workers] if self.workers else [set(trace_ids)]

    def check(self) -> None:
        self.checked += 1

    def check_tables(self) -> None:
        self.tables_checked += 1
        if self.tables_failures:
            raise self.tables_failures.pop(0)

    def close(self) -> None:
        self.closed += 1

    @property
    def names(self) -> list[str]:
        return [name for batch in self.written for name in batch]


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    opened = Spool(tmp_path / "spool.sqlite3")
    yield opened
    opened.close()


def put(spool: Spool, payload: bytes, encoding: str = PROTOBUF, compression: str = "", tenant_id: int = 0) -> None:
    spool.submit(Body(payload, encoding, compression, 1_700_000_000_000_000_000, tenant_id)).result(10)


def named(*names: str) -> bytes:
    return request(*(span(1, number, name=name) for number, name in enumerate(names, 1))).SerializeToString()


@pytest.fixture
def pumps() -> Iterator[list[Pump]]:
    started: list[Pump] = []
    yield started
    for pump in started:
        pump.stop(0.0)


@pytest.fixture
def run(spool: Spool, pumps: list[Pump]) -> Callable[..., Pump]:
    def start(store: FakeStore, batch_spans: int = 100, batch_bytes: int = 10**6) -> Pump:
        pump = Pump(
            SpoolDispatcher(spool, count_spans).lease(),
            store.open,
            CollectorMetrics(),
            batch_spans=batch_spans,
            batch_bytes=batch_bytes,
        )
        pumps.append(pump)
        pump.start()
        return pump

    return start


def drained(spool: Spool) -> None:
    wait_until(lambda: spool.stats().bodies == 0, 20, "the spool is empty")


def test_bodies_are_written_in_order_and_then_removed(spool: Spool, run: Callable[..., Pump]) -> None:
    for number in range(5):
        put(spool, named(f"{number} a", f"{number} b"))
    store = FakeStore()
    run(store)
    drained(spool)
    assert store.names == [f"{number} {letter}" for number in range(5) for letter in "ab"]
    assert (store.opened, store.checked) == (1, 1)


def test_a_batch_has_the_spans_of_all_tenants_that_sent_some_each_with_its_own(
    spool: Spool, run: Callable[..., Pump]
) -> None:
    for tenant_id, name in [(3, "a"), (5, "b"), (3, "c"), (0, "d"), (5, "e")]:
        put(spool, named(name), tenant_id=tenant_id)
    store = FakeStore()
    run(store)
    drained(spool)
    assert store.tenants == [{0: ["d"], 3: ["a", "c"], 5: ["b", "e"]}]


def test_a_flood_of_one_tenant_shares_the_next_batch_with_what_another_sends(
    spool: Spool, run: Callable[..., Pump]
) -> None:
    for number in range(1, 101):
        put(spool, trace_request(number, 10).SerializeToString(), tenant_id=1)
    put(spool, named("quiet"), tenant_id=2)
    store = FakeStore()
    run(store, batch_spans=200)
    drained(spool)
    assert [2 in batch for batch in store.tenants].index(True) == 0
    assert sum(len(batch.get(1, ())) for batch in store.tenants) == 1_000


def test_a_refused_span_costs_its_own_tenant_a_letter_and_the_others_nothing(
    spool: Spool, run: Callable[..., Pump], monkeypatch: pytest.MonkeyPatch
) -> None:
    # One tenant has more bad spans than are looked for one by one.
    monkeypatch.setattr("spantree_collector.write.batch_writer._MOST_REFUSED", 3)
    for number in range(6):
        put(spool, named(f"good {number}"), tenant_id=1 + number)
        put(spool, named(f"bad {number}", f"bad too {number}"), tenant_id=9)
    store = FakeStore(refuses=lambda spans, dead: any("bad" in one.name for one in spans))
    run(store)
    drained(spool)
    assert sorted(store.names) == [f"good {number}" for number in range(6)]
    assert len(store.dead) == 12


def test_an_internal_error_over_one_tenants_span_leaves_the_bodies_of_no_other_in_the_spool(
    spool: Spool, run: Callable[..., Pump]
) -> None:
    put(spool, named("one"), tenant_id=1)
    put(spool, named("fails"), tenant_id=2)
    put(spool, named("three"), tenant_id=3)
    store = FakeStore(
        refuses=lambda spans, dead: any(one.name == "fails" for one in spans),
        refusal=lambda: BatchFailed("PostgreSQL failed (XX000): x", "XX000"),
    )
    run(store)
    wait_until(lambda: spool.stats().bodies == 1, 20, "the others are gone")
    assert [one.body.tenant_id for one in spool.take(0, max_bodies=9, max_bytes=10**6)] == [2]
    assert sorted(store.names) == ["one", "three"]


def test_many_bodies_are_one_batch_and_a_large_body_is_several(spool: Spool, run: Callable[..., Pump]) -> None:
    for number in range(1, 8):
        put(spool, trace_request(number, 4).SerializeToString())
    put(spool, trace_request(9, 25).SerializeToString())
    store = FakeStore()
    run(store, batch_spans=10)
    drained(spool)
    assert [len(batch) for batch in store.written] == [12, 12, 14, 15]


def test_a_batch_is_bounded_by_bytes_as_well(spool: Spool, run: Callable[..., Pump]) -> None:
    for number in range(1, 5):
        put(spool, request(span(number, 1, payload="x" * 1000)).SerializeToString())
    store = FakeStore()
    run(store, batch_bytes=1500)
    drained(spool)
    assert [len(batch) for batch in store.written] == [2, 2]


def test_a_body_is_not_removed_before_the_commit(spool: Spool, run: Callable[..., Pump]) -> None:
    store = FakeStore(gate=threading.Event())
    put(spool, named("a"))
    run(store)
    wait_until(lambda: store.attempts == 1, 20, "the pump writes")
    assert spool.stats().bodies == 1
    assert store.gate is not None
    store.gate.set()
    drained(spool)


def test_a_database_that_is_away_is_retried_with_new_connections_until_it_is_back(
    spool: Spool, run: Callable[..., Pump]
) -> None:
    put(spool, named("a"))
    store = FakeStore(failures=[StoreUnavailable("it is away") for _ in range(3)])
    pump = run(store)
    drained(spool)
    assert (store.names, store.dead) == (["a"], [])
    assert (store.opened, store.checked, store.closed) == (4, 4, 3)
    assert (pump.health.state, pump.health.message) == (StoreState.OK, "")


def _with_a_worker_away() -> tuple[FakeStore, threading.Event]:
    """A store of two workers, a trace on each, and whether that of the second is away, as it is to begin with."""
    here, away = trace_id(1), trace_id(2)
    is_away = threading.Event()
    is_away.set()
    store = FakeStore(
        refuses=lambda spans, dead: is_away.is_set() and any(one.trace_id == away for one in spans),
        refusal=lambda: WorkerUnavailable("a worker is away"),
        workers=[{here}, {away}],
    )
    return store, is_away


def test_what_a_worker_that_is_away_has_to_take_waits_and_the_rest_is_written(
    spool: Spool, run: Callable[..., Pump]
) -> None:
    store, is_away = _with_a_worker_away()
    sent = [span(1, 1, name="here"), span(2, 2, name="away"), span(1, 3, name="here too")]
    put(spool, request(*sent).SerializeToString())
    run(store)
    wait_until(lambda: store.names == ["here", "here too"], 20, "the other worker had its spans")
    put(spool, request(span(1, 4, name="later")).SerializeToString())
    wait_until(lambda: store.names == ["here", "here too", "later"], 20, "later bodies were written, too")
    wait_until(lambda: spool.stats().bodies == 1, 20, "what is written whole was removed")
    is_away.clear()
    drained(spool)
    assert (store.names, store.dead) == (["here", "here too", "later", "away"], [])


def test_small_batches_of_which_a_part_waits_for_a_worker_hold_up_nobody(
    spool: Spool, run: Callable[..., Pump], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spantree_collector.write.pump._MOST_UNFINISHED", 1)
    store, is_away = _with_a_worker_away()
    run(store)
    for number in range(1, 4):
        put(spool, request(span(1, number, name="here"), span(2, number, name="away")).SerializeToString())
        wait_until(lambda written=number: len(store.names) == written, 20, "the other worker had its span")  # type: ignore[misc]
    assert store.names == ["here"] * 3
    is_away.clear()
    drained(spool)
    assert sorted(store.names) == ["away"] * 3 + ["here"] * 3


def test_what_only_a_person_can_mend_is_told_and_nothing_is_lost(spool: Spool, run: Callable[..., Pump]) -> None:
    put(spool, named("a"))
    store = FakeStore(failures=[SchemaVersionError("the schema is at version 3")])
    pump = run(store)
    wait_until(lambda: pump.health.state is StoreState.OPERATOR, 20, "the state is told")
    assert pump.health.message == "the schema is at version 3"
    assert spool.stats().bodies == 1
    drained(spool)
    assert (store.names, store.dead) == (["a"], [])


def test_one_refused_span_costs_one_span(spool: Spool, run: Callable[..., Pump]) -> None:
    names = [f"good {number}" for number in range(37)]
    poisoned = request(*(span(2, n, name=name) for n, name in enumerate([*names[:20], "poison", *names[20:]], 1)))
    put(spool, named("before"))
    put(spool, poisoned.SerializeToString())
    put(spool, named("after"))
    store = FakeStore(refuses=lambda spans, dead: any(sent.name == "poison" for sent in spans))
    run(store)
    drained(spool)
    assert store.names == ["before", *names, "after"]
    assert [(letter.reason, letter.encoding, letter.received_ns) for letter in store.dead] == [
        ("PostgreSQL refused the batch (22P05): x", PROTOBUF, 1_700_000_000_000_000_000)
    ]
    # The letter is a request of its own, so that it can be sent again when the reason is gone.
    assert ExportTraceServiceRequest.FromString(store.dead[0].raw) == request(
        poisoned.resource_spans[0].scope_spans[0].spans[20]
    )


def test_a_body_of_refused_spans_costs_little_more_than_a_transaction_each(
    spool: Spool, run: Callable[..., Pump], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = 0

    def counted(body: bytes, encoding: str, indexes: Collection[int]) -> Iterator[bytes]:
        nonlocal read
        read += 1
        return raw_spans(body, encoding, indexes)

    monkeypatch.setattr("spantree_collector.write.batch_writer.raw_items", counted)
    put(spool, named(*(f"poison {number}" for number in range(1000)), "good"))
    store = FakeStore(refuses=lambda spans, dead: any(sent.name.startswith("poison") for sent in spans))
    run(store, batch_spans=5000)
    drained(spool)
    assert store.names == ["good"]
    assert len(store.dead) == 1000
    assert store.attempts < 1.4 * 1000
    assert (read, store.tables_checked) == (1, 1)


def test_beyond_a_number_of_refused_spans_a_refused_piece_is_kept_whole(
    spool: Spool, run: Callable[..., Pump], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spantree_collector.write.batch_writer._MOST_REFUSED", 10)
    put(spool, named(*(f"poison {number}" for number in range(1000))))
    store = FakeStore(refuses=lambda spans, dead: bool(spans))
    run(store, batch_spans=5000)
    drained(spool)
    assert len(store.dead) == 1000
    assert store.attempts < 60


def test_what_takes_too_long_together_is_written_in_smaller_batches(
    spool: Spool, run: Callable[..., Pump], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spantree_collector.write.retrying_store._UNAVAILABLE_CAP_S", 0.01)
    monkeypatch.setattr("spantree_collector.write.retrying_store._UNAVAILABLE_FIRST_S", 0.01)
    names = [f"span {number}" for number in range(100)]
    put(spool, named(*names))
    store = FakeStore(refuses=lambda spans, dead: len(spans) > 30, refusal=lambda: BatchFailed("too slow", "57014"))
    run(store)
    drained(spool)
    assert (store.names, store.dead) == (names, [])
    assert [len(batch) for batch in store.written] == [25, 25, 25, 25]


@pytest.mark.parametrize(("sqlstate", "letters", "left"), [("57014", 1, 0), ("XX000", 0, 1)])
def test_a_span_that_fails_alone_again_and_again_is_put_aside_and_blamed_unless_postgresql_is(
    spool: Spool, run: Callable[..., Pump], monkeypatch: pytest.MonkeyPatch, sqlstate: str, letters: int, left: int
) -> None:
    monkeypatch.setattr("spantree_collector.write.retrying_store._UNAVAILABLE_CAP_S", 0.01)
    monkeypatch.setattr("spantree_collector.write.retrying_store._UNAVAILABLE_FIRST_S", 0.01)
    put(spool, named("good", "poison", "better"))
    store = FakeStore(
        refuses=lambda spans, dead: any(sent.name == "poison" for sent in spans),
        refusal=lambda: BatchFailed("it fails", sqlstate),
    )
    run(store)
    wait_until(lambda: store.names == ["good", "better"], 20, "the others are written")
    put(spool, named("next"))
    wait_until(lambda: store.names == ["good", "better", "next"], 20, "it goes on")
    wait_until(lambda: spool.stats().bodies == left, 20, "what is done is removed")
    assert len(store.dead) == letters


def test_more_memory_than_there_is_divides_a_batch_too(spool: Spool, run: Callable[..., Pump]) -> None:
    put(spool, named("good", "poison", "better"))
    store = FakeStore(
        refuses=lambda spans, dead: any(sent.name == "poison" for sent in spans) and len(spans) >= 1,
        refusal=MemoryError,
    )
    run(store)
    drained(spool)
    assert (store.names, [letter.reason for letter in store.dead]) == (
        ["good", "better"],
        ["writing it takes more memory than a writer may use"],
    )


def test_tables_that_refuse_even_a_plain_span_are_waited_for_and_no_span_is_blamed(
    spool: Spool, run: Callable[..., Pump], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spantree_collector.write.retrying_store._OPERATOR_FIRST_S", 0.01)
    put(spool, named("a", "b"))
    changed = threading.Event()
    store = FakeStore(
        refuses=lambda spans, dead: not changed.is_set(),
        tables_failures=[OperatorError("even a plain span is refused") for _ in range(1000)],
    )
    pump = run(store)
    wait_until(lambda: pump.health.state is StoreState.OPERATOR, 20, "the state is told")
    assert (pump.health.message, store.dead) == ("even a plain span is refused", [])
    changed.set()
    drained(spool)
    assert (store.names, store.dead) == (["a", "b"], [])


def test_an_error_that_no_rule_foresees_is_tried_again_and_then_bisected(
    spool: Spool, run: Callable[..., Pump]
) -> None:
    put(spool, named("good", "poison", "better"))
    store = FakeStore(
        refuses=lambda spans, dead: any(sent.name == "poison" for sent in spans),
        refusal=lambda: RuntimeError("a fault of ours"),
    )
    run(store)
    drained(spool)
    assert store.names == ["good", "better"]
    assert [letter.reason for letter in store.dead] == ["writing it fails with RuntimeError: a fault of ours"]


def test_a_passing_fault_of_ours_costs_nothing(spool: Spool, run: Callable[..., Pump]) -> None:
    put(spool, named("a", "b"))
    store = FakeStore(failures=[RuntimeError("once")])
    run(store)
    drained(spool)
    assert (store.names, store.dead, store.opened) == (["a", "b"], [], 2)


def test_a_body_that_cannot_be_decoded_becomes_a_dead_letter_whole(spool: Spool, run: Callable[..., Pump]) -> None:
    put(spool, named("a"))
    put(spool, b"this is no protobuf")
    put(spool, b"this is no gzip", compression="gzip")
    put(spool, b"{", JSON)
    put(spool, named("b"))
    store = FakeStore()
    run(store)
    drained(spool)
    assert store.names == ["a", "b"]
    assert [(letter.raw, letter.encoding) for letter in store.dead] == [
        (b"this is no protobuf", PROTOBUF),
        (b"this is no gzip", PROTOBUF),
        (b"{", JSON),
    ]
    assert all(letter.reason.startswith("the body cannot be decoded: ") for letter in store.dead)


@pytest.mark.parametrize("failures", [1, 1000])
def test_a_body_that_memory_does_not_do_for_is_decoded_alone_and_else_a_dead_letter(
    spool: Spool, run: Callable[..., Pump], monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    left = failures

    def decode(body: bytes, encoding: str, received_ns: int) -> DecodedItems:
        nonlocal left
        if b"large" in body and left:
            left -= 1
            raise MemoryError
        return decode_body(body, encoding, received_ns)

    monkeypatch.setattr("spantree_collector.write.pump.decode_body", decode)
    for name in ("before", "large", "after"):
        put(spool, named(name))
    store = FakeStore()
    run(store)
    drained(spool)
    if failures == 1:
        assert (store.names, store.dead) == (["before", "large", "after"], [])
    else:
        assert store.names == ["before", "after"]
        assert [letter.reason for letter in store.dead] == ["decoding it takes more memory than a writer may use"]


def test_a_dead_letter_that_is_refused_leaves_its_body_and_does_not_stop_the_queue(
    spool: Spool, run: Callable[..., Pump]
) -> None:
    put(spool, b"this is no protobuf")
    store = FakeStore(refuses=lambda spans, dead: bool(dead))
    run(store)
    wait_until(lambda: store.attempts >= 1, 20, "the letter was tried")
    put(spool, named("next"))
    wait_until(lambda: store.names == ["next"], 20, "the next body is written")
    wait_until(lambda: spool.stats().bodies == 1, 20, "only the refused body is left")
    assert [spooled.body.payload for spooled in spool.take(0, max_bodies=9, max_bytes=9)] == [b"this is no protobuf"]


def test_an_error_of_the_pump_itself_makes_it_begin_again_with_the_oldest_body(
    spool: Spool, run: Callable[..., Pump], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spantree_collector.write.pump._FAULT_PAUSE_S", 0.01)
    take, failures = spool.take, [RuntimeError("a fault of ours")]

    def take_or_fail(after_id: int, **bounds: int) -> list[SpooledBody]:
        if after_id and failures:
            raise failures.pop()
        return take(after_id, **bounds)

    monkeypatch.setattr(spool, "take", take_or_fail)
    store = FakeStore(gate=threading.Event())
    put(spool, named("a"))
    pump = run(store)
    wait_until(lambda: store.attempts == 1, 20, "the first body is being written")
    put(spool, named("b"))
    assert store.gate is not None
    store.gate.set()
    wait_until(lambda: not failures, 20, "the fault was met")
    drained(spool)
    assert set(store.names) == {"a", "b"}
    wait_until(lambda: pump.health.state is StoreState.OK, 20, "all is well again")


def test_stopping_writes_what_the_spool_holds(spool: Spool, run: Callable[..., Pump]) -> None:
    store = FakeStore(gate=threading.Event())
    for number in range(1, 30):
        put(spool, trace_request(number, 10).SerializeToString())
    pump = run(store, batch_spans=20)
    wait_until(lambda: store.attempts == 1, 20, "the pump writes")
    assert store.gate is not None
    store.gate.set()
    pump.stop(20.0)
    assert len(store.names) == 290
    assert store.closed == 1


def test_stopping_does_not_wait_for_a_database_that_is_away(spool: Spool, run: Callable[..., Pump]) -> None:
    put(spool, named("a"))
    store = FakeStore(failures=[OperatorError("no rights") for _ in range(1000)])
    pump = run(store)
    wait_until(lambda: store.attempts >= 1, 20, "the pump has met the error")
    pump.stop(60.0)
    assert spool.stats().bodies == 1
    assert store.names == []


def test_the_projector_goes_on_at_once_while_there_is_more_and_survives_every_error() -> None:
    store = FakeStore(
        failures=[StoreUnavailable("away")],
        projections=[Projected(traces=1, spans=5, more=True) for _ in range(50)],
    )
    projector = ProjectorThread(store.open, CollectorMetrics())
    projector.start()
    try:
        wait_until(lambda: not store.projections, 5, "all that was due is projected")
        assert projector.health.state is StoreState.OK
        attempts = store.attempts
        wait_until(lambda: store.attempts > attempts + 1, 5, "it looks again later")
    finally:
        projector.stop(5.0)
    assert store.closed == 2


@dataclass
class _SlowStore(FakeStore):
    """One whose projections take a moment; `looks_s` is when each began."""

    looks_s: list[float] = field(default_factory=list)

    def project_due(self) -> Projected:
        self.looks_s.append(time.monotonic())
        if self.projections:
            threading.Event().wait(0.08)
        return super().project_due()


def test_a_projector_that_takes_long_looks_more_seldom_so_that_more_comes_together() -> None:
    store = _SlowStore(projections=[Projected(traces=1, spans=5, more=False)])
    projector = ProjectorThread(store.open, CollectorMetrics())
    projector.start()
    try:
        wait_until(lambda: len(store.looks_s) > 1, 10, "it looks again")
    finally:
        projector.stop(5.0)
    assert store.looks_s[1] - store.looks_s[0] > 0.7
