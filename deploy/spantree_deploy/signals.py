"""SIGTERM, SIGINT and SIGHUP: the first asks to stop in order, the second stops at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Final, Self

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopSignals:
    """Installed for the time of a `with`, in the main thread.

    While `interrupts` is true the first signal raises KeyboardInterrupt where the main thread is, so that a start that
    takes long is given up; otherwise it only ends `wait`.
    """

    def __init__(self) -> None:
        self.interrupts = True
        self.at_once: Callable[[], None] = lambda: None
        """What the second signal does before the process ends; must be quick."""
        self.number: int | None = None
        self._wake = threading.Event()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            before = signal.getsignal(number)
            # nohup ignores SIGHUP, a shell's background job ignores SIGINT: it is to stay that way.
            if before is not signal.SIG_IGN:
                self._before[number] = before
                signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def wake(self) -> None:
        """End `wait` from any thread."""
        self._wake.set()

    @property
    def stopped(self) -> threading.Event:
        """Set at the first signal, or when `wake` is called."""
        return self._wake

    def wait(self) -> None:
        """Return at the first signal, or when `wake` is called."""
        self._wake.wait()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            sys.stderr.write("a second signal: stopping at once\n")
            self.at_once()
            os._exit(128 + number)
        self.number = number
        self._wake.set()
        if self.interrupts:
            raise KeyboardInterrupt
