"""Replaces writer processes that do not move, work on one thing without end, or grow beyond their limit.

                what is looked at                                          limit
    silence     the last message; a living one sends one a second          SPANTREE_WRITER_STALL_S
    work        processor time of one decoding, write or projection        three times that
    memory      resident bytes                                             SPANTREE_WRITER_MAX_BYTES

Time spent waiting for PostgreSQL is no work. Silence is counted in this thread's own steps: what a machine slept, or
this process itself was stopped, is nobody's silence. Nor is what a process waits for a processor that others have.
"""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

_STEP_S = 0.25
_MOST_STEP_S = 2 * _STEP_S
_PAGE_BYTES = resource.getpagesize()
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class Watched(Protocol):
    """A process that can be replaced."""

    def watch(self, step_s: float) -> None:
        """Look at it; `step_s` have passed since the last time."""
        ...


class Watchdog:
    """The thread that looks at the writers of one collector."""

    def __init__(self, watched: Sequence[Watched]) -> None:
        self._watched = watched
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spantree-watchdog", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        last_s = time.monotonic()
        while not self._stop.wait(_STEP_S):
            now_s = time.monotonic()
            step_s = min(now_s - last_s, _MOST_STEP_S)
            last_s = now_s
            for one in self._watched:
                one.watch(step_s)


class WorkClock:
    """How much processor time one piece of work of one thread has taken, for another thread to see."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began: tuple[int, float] | None = None

    def __enter__(self) -> None:
        with self._lock:
            self._began = threading.get_ident(), time.thread_time()

    def __exit__(self, *raised: object) -> None:
        with self._lock:
            self._began = None

    def spent_s(self) -> float:
        """0 while the thread has nothing in hand."""
        with self._lock:
            # The thread cannot end meanwhile, for it would come by `__exit__` first.
            if self._began is None:
                return 0.0
            thread, before_s = self._began
            return time.clock_gettime(time.pthread_getcpuclockid(thread)) - before_s


class SilenceClock:
    """For how long a process has said nothing although it could have.

    While one of its threads would run, only the processor time that the process gets counts: on a machine that others
    keep busy it may be given none for longer than any living process is silent.
    """

    def __init__(self) -> None:
        self.silent_s = 0.0
        self._used_s: float | None = None

    def heard(self) -> None:
        """It has said something."""
        self.silent_s, self._used_s = 0.0, None

    def step(self, pid: int, step_s: float) -> None:
        """Count the `step_s` since the last step."""
        used_s, would_run = _processor_use(pid)
        last_s, self._used_s = self._used_s, used_s
        if would_run and last_s is not None:
            step_s = min(step_s, max(0.0, used_s - last_s))
        self.silent_s += step_s


def _processor_use(pid: int) -> tuple[float, bool]:
    """Processor time of all threads of a process, and whether one of them has a processor or waits for one."""
    ticks, would_run = 0, False
    try:
        paths = list(Path(f"/proc/{pid}/task").glob("*/stat"))
    except OSError:
        # This process may have no more files open.
        return 0, False
    for path in paths:
        try:
            # After the name, which may hold anything: the state is field 3, utime and stime 14 and 15 (proc(5)).
            fields = path.read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
            would_run = would_run or fields[0] == "R"
        except (OSError, ValueError, IndexError):
            continue
    return ticks * _TICK_S, would_run


def resident_bytes(pid: int) -> int:
    """Memory of a process; 0 where that cannot be told."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * _PAGE_BYTES


def address_space_bytes() -> int:
    """What this process has reserved; 0 where that cannot be told."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return 0
