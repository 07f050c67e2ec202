"""Processes that examine large bodies, so that no such body holds the interpreter of the collector.

Reading 12 MB of JSON takes one call that lets no other thread go on, and so does freeing what it made: measured, 0.4 s
in which nobody else is acknowledged. A process here is started by the first large body, has one body at a time, and is
ended when none has come for a while. What it may use for one is bounded:

    processor time   30 s       the kernel ends it; the body is refused for good (413)
    memory           600 MiB    allocation fails; the body is refused for good (413)
    time             120 s      the watchdog ends it; the body may come again (503)

One that ends for another reason has its body examined once more by a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import queue
import signal
import subprocess
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection

from spantree_collector.metrics import CollectorMetrics
from spantree_collector.receive.examination import BodyExaminer, Examination
from spantree_collector.receive.examiner_process import ExaminerSetup
from spantree_collector.receive.inflate import BodyTooLarge
from spantree_collector.receive.status import Overloaded
from spantree_collector.write.child_process import spawn
from spantree_exporter.redaction import Redactor

log = logging.getLogger(__name__)

PROCESSES = 2
_MAX_BYTES = 600 * 2**20
_MAX_WORK_S = 30.0
_MAX_WAIT_S = 120.0
_IDLE_S = 60.0
_ATTEMPTS = 2
_END_S = 1.0
_STOPPING = "the collector is stopping and takes no more requests; send it again"


class Examiners:
    """What examines bodies: in this process, and, with `processes`, those that ask for it in others."""

    def __init__(
        self,
        redactor: Redactor | None,
        max_objects: int,
        metrics: CollectorMetrics,
        *,
        processes: int = PROCESSES,
        max_bytes: int = _MAX_BYTES,
        max_work_s: float = _MAX_WORK_S,
    ) -> None:
        self.here = BodyExaminer(redactor, max_objects)
        setup = ExaminerSetup(None if redactor is None else redactor.rules, max_objects, max_bytes, max_work_s)
        self.watched: Sequence[ExaminerProcess] = [ExaminerProcess(setup, metrics) for _ in range(processes)]
        self._free: queue.LifoQueue[ExaminerProcess] = queue.LifoQueue()
        for process in self.watched:
            self._free.put(process)
        self._threads = ThreadPoolExecutor(max_workers=max(processes, 1), thread_name_prefix="spantree-examiners")

    async def examine_large(self, plain: bytes, encoding: str) -> Examination:
        """As BodyExaminer.examine, meanwhile letting others go on. Raises Overloaded besides."""
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, functools.partial(self._examine, plain, encoding)
        )

    def _examine(self, plain: bytes, encoding: str) -> Examination:
        found = self.here.examine_plain(plain, encoding)
        if found is not None:
            return found
        if not self.watched:
            return self.here.examine(plain, encoding)
        # As many threads as processes: there is one. The one that was used last comes first, so that others get idle.
        process = self._free.get()
        try:
            return process.examine(plain, encoding)
        finally:
            self._free.put(process)

    def close(self) -> None:
        """End the processes; what they have in hand is refused."""
        for process in self.watched:
            process.close()
        self._threads.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True, slots=True)
class _Child:
    """A process, and our end of the pipe to it."""

    process: subprocess.Popen[bytes]
    connection: Connection

    def end(self) -> int:
        """Close the pipe, wait for the end; the exit status, negative for a signal."""
        self.connection.close()
        try:
            return self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class ExaminerProcess:
    """One process, as long as there is one; one thread at a time gives it bodies, the watchdog looks at it."""

    def __init__(self, setup: ExaminerSetup, metrics: CollectorMetrics) -> None:
        self._setup = setup
        self._metrics = metrics
        self._lock = threading.Lock()  # guards what follows
        self._child: _Child | None = None
        self._is_busy = False
        self._is_closed = False
        self._is_late = False
        self._spent_s = 0.0  # with the body in hand, or without one

    @property
    def pid(self) -> int | None:
        """The process that there is at the moment."""
        child = self._child
        return None if child is None else child.process.pid

    def examine(self, plain: bytes, encoding: str) -> Examination:
        """Have `plain` examined. Raises as Examiners.examine_large does."""
        for _ in range(_ATTEMPTS):
            child = self._begin()
            try:
                answer, body = _ask(child.connection, plain, encoding)
            except (EOFError, OSError):
                self._raise_why_it_ended(child)
                continue
            except BaseException:
                # What is left of the answer in the pipe must not be taken for that to the next body.
                self._drop(child)
                raise
            self._spare()
            if isinstance(answer, Exception):
                raise answer
            return replace(answer, body=body)
        raise BodyTooLarge("processes that examine the request end over it again and again; send smaller batches")

    def watch(self, step_s: float) -> None:
        """End a process that is late, or has had nothing to do for long."""
        with self._lock:
            self._spent_s += step_s
            if self._child is None:
                return
            if self._is_busy:
                if self._spent_s > _MAX_WAIT_S and not self._is_late:
                    self._is_late = True
                    self._child.process.kill()
            elif self._spent_s > _IDLE_S:
                self._let_go()

    def close(self) -> None:
        """End the process, and start none any more."""
        with self._lock:
            self._is_closed = True
            if self._child is not None and self._is_busy:
                # Whoever waits for its answer notices, and clears up.
                self._child.process.kill()
            else:
                self._let_go()

    def _begin(self) -> _Child:
        with self._lock:
            if self._is_closed:
                raise Overloaded(_STOPPING)
            if self._child is None:
                try:
                    self._child = self._started()
                except OSError as error:
                    raise Overloaded(
                        f"no process can be started to examine a large request ({error}); send it again"
                    ) from error
            self._is_busy, self._is_late, self._spent_s = True, False, 0.0
            return self._child

    def _started(self) -> _Child:
        ours, theirs = Pipe()
        with theirs:
            try:
                process = spawn("spantree_collector.receive.examiner_process", theirs)
            except OSError:
                ours.close()
                raise
        # Where it ends at once, whoever sends next notices.
        with contextlib.suppress(OSError):
            ours.send(self._setup)
        return _Child(process, ours)

    def _spare(self) -> None:
        with self._lock:
            self._is_busy, self._spent_s = False, 0.0
            if self._is_closed:
                self._let_go()

    def _let_go(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end()

    def _drop(self, child: _Child) -> int:
        """End a process that has a body in hand, for another to take its place; how it ended."""
        status = child.end()
        with self._lock:
            self._child, self._is_busy = None, False
        return status

    def _raise_why_it_ended(self, child: _Child) -> None:
        """Clear up after a process that ended over a body. Returns where another may try."""
        status = self._drop(child)
        with self._lock:
            is_late, is_closed = self._is_late, self._is_closed
        if is_closed:
            raise Overloaded(_STOPPING)
        self._metrics.examiner_restarts.inc()
        if -status == signal.SIGXCPU:
            raise BodyTooLarge(
                f"examining the request takes more than {self._setup.max_work_s:g} s of processor time; "
                "send smaller batches"
            )
        if is_late:
            raise Overloaded(f"examining the request took more than {_MAX_WAIT_S:g} s; send it again later")
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        log.error("a process that examined a large request %s; another tries it again", how)


def _ask(connection: Connection, plain: bytes, encoding: str) -> tuple[Examination | Exception, bytes]:
    """What the process at the other end says of a body, and the body without secrets."""
    connection.send(encoding)
    connection.send_bytes(plain)
    answer: Examination | Exception
    answer, is_redacted = connection.recv()
    return answer, connection.recv_bytes() if is_redacted else plain
