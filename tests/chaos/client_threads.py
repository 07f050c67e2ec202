"""Threads that send until they are told to stop: what every load is made of."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self


class ClientThreads:
    """A context in which each of `clients` runs in a thread; they share `_lock`, and end once `_stop` is set."""

    def __init__(self, clients: Sequence[Callable[[], None]]) -> None:
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=client) for client in clients]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Tell the clients to begin nothing more; returns when each has come to its end."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
