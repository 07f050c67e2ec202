"""What is left behind by attempts that PostgreSQL does not answer."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from typing import cast

import pytest
from tests.collectors import AWAY_URL

from spantree_collector.metrics_delta import MetricsBuffer
from spantree_collector.write import retrying_store
from spantree_collector.write.retrying_store import RetryingStore, Stopped, StoreLike
from spantree_exporter.errors import BatchFailed
from spantree_exporter.postgres.store import Store


class _Answering:
    """A store whose PostgreSQL answers."""

    def check(self) -> None:
        """It is there, with this build's schema."""

    def close(self) -> None:
        """Nothing to close."""


@pytest.mark.parametrize("tries", [1, 2, 3])
def test_what_postgresql_gives_up_on_is_tried_so_often_and_then_told(
    monkeypatch: pytest.MonkeyPatch, tries: int
) -> None:
    monkeypatch.setattr(retrying_store, "_UNAVAILABLE_FIRST_S", 0.001)
    store = RetryingStore("pump", cast("Callable[[], StoreLike]", _Answering), threading.Event(), MetricsBuffer())
    asked: list[StoreLike] = []

    def gives_up(one: StoreLike) -> None:
        asked.append(one)
        raise BatchFailed("it took too long", "57014")

    with pytest.raises(BatchFailed):
        store.run(gives_up, tries)
    # Each time over a new connection.
    assert len({id(one) for one in asked}) == len(asked) == tries


def test_attempts_that_fail_leave_nothing_behind_although_garbage_is_collected_rarely(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retrying_store, "_UNAVAILABLE_FIRST_S", 0.001)
    monkeypatch.setattr(retrying_store, "_UNAVAILABLE_CAP_S", 0.001)
    opened: list[weakref.ref[Store]] = []
    stop = threading.Event()

    def open_store() -> Store:
        if len(opened) == 20:
            stop.set()
        store = Store(AWAY_URL)
        opened.append(weakref.ref(store))
        return store

    gc.disable()
    try:
        with pytest.raises(Stopped):
            RetryingStore("pump", open_store, stop, MetricsBuffer()).run(lambda store: None)
        assert len(opened) == 21
        # Two are held by the error that ended it, one by the line of the log that the test runner keeps.
        assert len([one for one in opened if one() is not None]) <= 3
    finally:
        gc.enable()
