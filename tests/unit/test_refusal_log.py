"""What of refused requests is logged, and when."""

from __future__ import annotations

import logging

import pytest

from spantree_collector.receive.refusal_log import RefusalLog
from spantree_collector.receive.status import refusal_of
from spantree_collector.spool.spool import SpoolFull
from spantree_exporter.errors import MalformedRequest

FULL = refusal_of(SpoolFull("the spool is full"))
MALFORMED = refusal_of(MalformedRequest("the body is no JSON"))


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def refusals(clock: Clock, caplog: pytest.LogCaptureFixture) -> RefusalLog:
    caplog.set_level(logging.INFO)
    return RefusalLog(clock)


def test_the_first_is_told_then_one_line_a_minute_with_the_number(
    refusals: RefusalLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(601):
        refusals.refused("http", FULL)
        clock.now_s += 0.25
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("ERROR", "a request over http got 503: the spool is full"),
        ("ERROR", "a request over http and 239 more within the last minute got 503: the spool is full"),
        ("ERROR", "a request over http and 239 more within the last minute got 503: the spool is full"),
    ]


def test_that_it_is_over_is_told_once_and_not_while_small_ones_still_fit(
    refusals: RefusalLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        refusals.refused("grpc", FULL)
        clock.now_s += 2
        refusals.accepted()
    assert len(caplog.records) == 1
    clock.now_s += 5
    refusals.accepted()
    refusals.accepted()
    assert [record.getMessage() for record in caplog.records[1:]] == [
        "requests are not refused any more for the reason spool_full; 3 were, within 4 s"
    ]
    refusals.refused("grpc", FULL)
    assert caplog.records[-1].getMessage() == "a request over grpc got 503: the spool is full"


def test_each_reason_is_told_by_itself_and_a_senders_fault_is_a_warning(
    refusals: RefusalLog, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(10):
        refusals.refused("http", FULL)
        refusals.refused("http", MALFORMED)
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


def test_a_fault_of_ours_is_told_with_its_traceback(refusals: RefusalLog, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        try:
            raise RuntimeError("a bug")
        except RuntimeError as error:
            refusals.refused("http", refusal_of(error), error)
    assert len(caplog.records) == 1
    assert "RuntimeError: a bug" in caplog.text


def test_a_message_that_quotes_a_lot_is_cut(refusals: RefusalLog, caplog: pytest.LogCaptureFixture) -> None:
    refusals.refused("http", refusal_of(MalformedRequest("x" * 10_000)))
    assert len(caplog.records[0].getMessage()) < 600
