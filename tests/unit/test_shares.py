"""Who gets which body: each goes to one pump, and to another when the writer that had it died."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.waiting import wait_until

from spantree_collector.shares import Share, SpoolShares
from spantree_collector.spool import Body, Spool
from spantree_exporter.decode import PROTOBUF


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    opened = Spool(tmp_path / "spool.sqlite3")
    yield opened
    opened.close()


@pytest.fixture
def shares(spool: Spool) -> SpoolShares:
    return SpoolShares(spool)


def put(spool: Spool, count: int) -> None:
    for _ in range(count):
        spool.submit(Body(b"12345678", PROTOBUF, "", 1)).result(10)


def taken(share: Share, max_bodies: int = 100, max_bytes: int = 10**6) -> list[int]:
    return [spooled.id for spooled in share.take(max_bodies=max_bodies, max_bytes=max_bytes)]


def test_each_body_is_handed_out_once_in_order(spool: Spool, shares: SpoolShares) -> None:
    put(spool, 5)
    one, two = shares.share(), shares.share()
    assert (taken(one, 2), taken(two, max_bytes=16), taken(one), taken(two)) == ([1, 2], [3, 4], [5], [])
    assert not two.wait(0.0)


def test_what_is_removed_is_gone_and_the_rest_stays(spool: Spool, shares: SpoolShares) -> None:
    put(spool, 4)
    one, two = shares.share(), shares.share()
    assert (taken(one, 2), taken(two, 2)) == ([1, 2], [3, 4])
    two.remove([3, 4])
    wait_until(lambda: spool.stats().bodies == 2, 10, "two bodies are gone")
    assert [spooled.id for spooled in spool.take(0, max_bodies=9, max_bytes=99)] == [1, 2]


def test_a_rewound_pump_gets_its_own_again_and_before_anything_new(spool: Spool, shares: SpoolShares) -> None:
    put(spool, 6)
    one, two = shares.share(), shares.share()
    assert (taken(one, 1), taken(two, 1), taken(one, 2)) == ([1], [2], [3, 4])
    one.remove([1])
    one.rewind()
    assert (taken(one), taken(one)) == ([3, 4], [5, 6])


def test_what_a_dead_writer_had_goes_to_whoever_asks_next(spool: Spool, shares: SpoolShares) -> None:
    put(spool, 6)
    one, two = shares.share(), shares.share()
    assert (taken(one, 1), taken(two, 1), taken(one, 2)) == ([1], [2], [3, 4])
    assert one.give_back_of_the_dead() == 0
    assert two.wait(0.0)
    # 2 lies between and is another's.
    assert (taken(two), taken(two), taken(one)) == ([1], [3, 4], [5, 6])


def test_a_body_that_writers_die_over_travels_alone_and_is_left_at_last(spool: Spool, shares: SpoolShares) -> None:
    put(spool, 3)
    one, two = shares.share(), shares.share()
    for _ in range(2):
        assert taken(one) == [1, 2, 3]
        assert one.give_back_of_the_dead() == 0
    # Each alone now; the second one kills.
    assert (taken(one), taken(one)) == ([1], [])
    one.remove([1])
    for left in (0, 0, 1):
        assert (taken(one), taken(two)) == ([2], [3])
        two.rewind()
        assert one.give_back_of_the_dead() == left
    assert (taken(one), taken(two)) == ([3], [])
    one.remove([3])
    wait_until(lambda: spool.stats().bodies == 1, 10, "only the second one waits")
    put(spool, 1)
    assert taken(one) == [4]


def test_a_suspected_body_is_not_given_to_a_pump_with_others_in_hand(spool: Spool, shares: SpoolShares) -> None:
    put(spool, 2)
    one, two = shares.share(), shares.share()
    for _ in range(2):
        assert taken(one, 1) == [1]
        one.give_back_of_the_dead()
    put(spool, 1)
    third = shares.share()
    assert taken(third) == [1]
    assert taken(two, 1) == [2]
    third.rewind()
    assert taken(two) == []
    two.leave([2])
    assert taken(two) == [1]
    two.remove([1])
    assert taken(two) == [3]


def test_a_closed_spool_has_nothing_to_hand_out(spool: Spool, shares: SpoolShares) -> None:
    put(spool, 2)
    one = shares.share()
    assert taken(one) == [1, 2]
    one.rewind()
    spool.close()
    assert taken(one) == []
