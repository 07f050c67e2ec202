"""Who gets which body: each goes to one pump, and to another when the writer that had it died."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.waiting import wait_until

from spantree_collector.spool.spool import Spool
from spantree_collector.spool.spooled_body import Body, Part, SpooledBody
from spantree_collector.write.dispatcher import BodyLease, SpoolDispatcher
from spantree_exporter.otlp.decode import PROTOBUF


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    opened = Spool(tmp_path / "spool.sqlite3")
    yield opened
    opened.close()


@pytest.fixture
def dispatcher(spool: Spool) -> SpoolDispatcher:
    return SpoolDispatcher(spool, lambda spooled: 4)


WHY = "was killed by signal 9"


def put(spool: Spool, count: int, tenant_id: int = 0) -> None:
    for _ in range(count):
        spool.submit(Body(b"12345678", PROTOBUF, "", 1, tenant_id)).result(10)


def taken(lease: BodyLease, max_bodies: int = 100, max_bytes: int = 10**6) -> list[int]:
    return [spooled.id for spooled in lease.take(max_bodies=max_bodies, max_bytes=max_bytes)]


def test_each_body_is_handed_out_once_in_order(spool: Spool, dispatcher: SpoolDispatcher) -> None:
    put(spool, 5)
    one, two = dispatcher.lease(), dispatcher.lease()
    assert (taken(one, 2), taken(two, max_bytes=16), taken(one), taken(two)) == ([1, 2], [3, 4], [5], [])
    assert not two.wait(0.0)


def test_tenants_take_turns_and_share_what_is_handed_out(spool: Spool, dispatcher: SpoolDispatcher) -> None:
    put(spool, 4, tenant_id=7)
    put(spool, 1, tenant_id=2)
    put(spool, 1, tenant_id=7)
    one, two = dispatcher.lease(), dispatcher.lease()
    # 32 bytes are two bodies of each, where each has two.
    assert (taken(one, max_bytes=32), taken(two, 2)) == ([5, 1, 2], [3, 4])
    put(spool, 3, tenant_id=2)
    assert two.wait(0.0)
    assert (taken(two, max_bytes=16), taken(two), taken(two)) == ([6, 7], [8, 9], [])
    one.rewind()
    assert (taken(two), taken(two)) == ([1, 2], [5])


def test_a_flood_of_one_tenant_does_not_keep_a_thousand_others_waiting(
    spool: Spool, dispatcher: SpoolDispatcher
) -> None:
    for _ in range(2_000):
        spool.submit(Body(b"12345678", PROTOBUF, "", 1, 1))
    for tenant_id in range(2, 1_002):
        last = spool.submit(Body(b"12345678", PROTOBUF, "", 1, tenant_id))
    last.result(10)
    lease = dispatcher.lease()
    found: list[int] = []
    while bodies := lease.take(max_bodies=500, max_bytes=8 * 100):
        found += [one.body.tenant_id for one in bodies]
        if len(set(found)) == 1_001:
            break
    # Of the flood, not more than once round and what the last batch had room for.
    assert len(found) <= 1_100


def test_where_reading_fails_midway_what_was_read_is_handed_out_and_nothing_is_passed_over(
    spool: Spool, dispatcher: SpoolDispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tenant_id in (1, 2, 3):
        put(spool, 1, tenant_id)
    lease = dispatcher.lease()
    take = spool.take

    def failing(after_id: int, *, max_bodies: int, max_bytes: int, tenant_id: int | None = None) -> list[SpooledBody]:
        if tenant_id == 2:
            raise OSError("a fault")
        return take(after_id, max_bodies=max_bodies, max_bytes=max_bytes, tenant_id=tenant_id)

    monkeypatch.setattr(spool, "take", failing)
    assert taken(lease) == [1]
    with pytest.raises(OSError, match="a fault"):
        taken(lease)
    monkeypatch.setattr(spool, "take", take)
    assert taken(lease) == [2, 3]


def test_what_is_removed_is_gone_and_the_rest_stays(spool: Spool, dispatcher: SpoolDispatcher) -> None:
    put(spool, 4)
    one, two = dispatcher.lease(), dispatcher.lease()
    assert (taken(one, 2), taken(two, 2)) == ([1, 2], [3, 4])
    two.remove([3, 4])
    wait_until(lambda: spool.stats().bodies == 2, 10, "two bodies are gone")
    assert [spooled.id for spooled in spool.take(0, max_bodies=9, max_bytes=99)] == [1, 2]


def test_a_rewound_pump_gets_its_own_again_and_before_anything_new(spool: Spool, dispatcher: SpoolDispatcher) -> None:
    put(spool, 6)
    one, two = dispatcher.lease(), dispatcher.lease()
    assert (taken(one, 1), taken(two, 1), taken(one, 2)) == ([1], [2], [3, 4])
    one.remove([1])
    one.rewind()
    assert (taken(one), taken(one)) == ([3, 4], [5, 6])


def test_what_a_dead_writer_had_goes_to_whoever_asks_next(spool: Spool, dispatcher: SpoolDispatcher) -> None:
    put(spool, 6)
    one, two = dispatcher.lease(), dispatcher.lease()
    assert (taken(one, 1), taken(two, 1), taken(one, 2)) == ([1], [2], [3, 4])
    one.crashed(WHY)
    assert two.wait(0.0)
    # 2 lies between and is another's.
    assert (taken(two), taken(two), taken(one)) == ([1], [3, 4], [5, 6])


def parts(lease: BodyLease) -> list[SpooledBody]:
    return lease.take(max_bodies=100, max_bytes=10**6)


def only_part(lease: BodyLease) -> Part | None:
    (spooled,) = parts(lease)
    return spooled.part


def test_a_body_that_writers_end_over_travels_alone_and_is_divided_down_to_the_span(
    spool: Spool, dispatcher: SpoolDispatcher
) -> None:
    put(spool, 3)
    one, two = dispatcher.lease(), dispatcher.lease()
    for _ in range(2):
        assert taken(one) == [1, 2, 3]
        one.crashed(WHY)
    # Each alone now; the second one does it.
    assert (taken(one), taken(one)) == ([1], [])
    one.remove([1])
    assert (taken(one), taken(two)) == ([2], [3])
    two.remove([3])
    one.crashed(WHY)
    # It can be read, and of its four spans the third one is it.
    assert only_part(one) == Part(0, 0)
    one.remove([2])
    assert only_part(one) == Part(0, 2)
    one.remove([2])
    assert only_part(one) == Part(2, 4)
    one.crashed(WHY)
    assert only_part(one) == Part(2, 3)
    one.crashed(WHY)
    verdict = f"writer processes end over it again and again; the last one {WHY}"
    assert only_part(one) == Part(2, 3, verdict)
    one.remove([2])
    wait_until(lambda: spool.stats().bodies == 1, 10, "only the second one waits")
    assert only_part(one) == Part(3, 4)
    one.remove([2])
    wait_until(lambda: spool.stats().bodies == 0, 10, "all of it is done")
    put(spool, 1)
    assert taken(one) == [4]


def test_what_the_watchdog_ended_is_suspect_at_once(spool: Spool, dispatcher: SpoolDispatcher) -> None:
    put(spool, 2)
    one = dispatcher.lease()
    assert taken(one) == [1, 2]
    one.crashed(WHY, suspect=True)
    assert (taken(one), taken(one)) == ([1], [])


def test_a_body_that_cannot_even_be_read_becomes_one_dead_letter(spool: Spool, dispatcher: SpoolDispatcher) -> None:
    put(spool, 1)
    one = dispatcher.lease()
    assert taken(one) == [1]
    one.crashed(WHY, suspect=True)
    assert only_part(one) is None
    one.crashed(WHY)
    assert only_part(one) == Part(0, 0)
    one.crashed(WHY)
    assert only_part(one) == Part(0, 0, f"writer processes end over it again and again; the last one {WHY}")
    one.remove([1])
    wait_until(lambda: spool.stats().bodies == 0, 10, "it is done")


def test_a_part_that_has_to_stay_keeps_its_body_and_the_other_parts_are_written(
    spool: Spool, dispatcher: SpoolDispatcher
) -> None:
    put(spool, 1)
    one = dispatcher.lease()
    for _ in range(2):
        taken(one)
        one.crashed(WHY, suspect=True)
    assert only_part(one) == Part(0, 0)
    one.remove([1])
    assert only_part(one) == Part(0, 2)
    one.leave([1])
    assert only_part(one) == Part(2, 4)
    one.remove([1])
    assert parts(one) == []
    # What is removed goes with the next body at the latest.
    put(spool, 1)
    assert spool.stats().bodies == 2


def test_a_suspected_body_is_not_given_to_a_pump_with_others_in_hand(spool: Spool, dispatcher: SpoolDispatcher) -> None:
    put(spool, 2)
    one, two = dispatcher.lease(), dispatcher.lease()
    for _ in range(2):
        assert taken(one, 1) == [1]
        one.crashed(WHY)
    put(spool, 1)
    third = dispatcher.lease()
    assert taken(third) == [1]
    assert taken(two, 1) == [2]
    third.rewind()
    assert taken(two) == []
    two.leave([2])
    assert taken(two) == [1]
    two.remove([1])
    assert taken(two) == [3]


def test_a_closed_spool_has_nothing_to_hand_out(spool: Spool, dispatcher: SpoolDispatcher) -> None:
    put(spool, 2)
    one = dispatcher.lease()
    assert taken(one) == [1, 2]
    one.rewind()
    spool.close()
    assert taken(one) == []
