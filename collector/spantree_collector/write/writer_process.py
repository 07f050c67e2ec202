"""`python -m spantree_collector.write.writer_process FD`: decodes, writes and projects in a process of its own.

The collector starts it (writers.py) and talks to it through the pipe FD. It ends when the pipe does, at once: what it
has not reported as committed is still in the spool. It is started with SIGINT, SIGTERM and SIGHUP blocked, because
a signal to the whole group is the collector's to answer, by Stop.
"""

from __future__ import annotations

import functools
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Iterable
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from spantree_collector.metrics_delta import MetricsBuffer
from spantree_collector.spool.spooled_body import SpooledBody
from spantree_collector.write.child_process import end_before_the_collector, end_with_the_collector, limit_address_space
from spantree_collector.write.garbage_collection import tune_garbage_collector
from spantree_collector.write.messages import (
    FromWriter,
    Heartbeat,
    Leave,
    LogLine,
    Progress,
    Rewind,
    Setup,
    Stop,
    Take,
    Wait,
)
from spantree_collector.write.pump import GRACE_S, ProjectorThread, Pump
from spantree_collector.write.retrying_store import StoreHealth, StoreState, health_now
from spantree_exporter.errors import SpantreeError
from spantree_exporter.facts import FactsReader
from spantree_exporter.postgres.partitions import PartitionWindow
from spantree_exporter.postgres.store import Store
from spantree_exporter.rules import facts_reader

# How late the collector may learn what PostgreSQL says, where no commit tells it earlier.
_PROGRESS_INTERVAL_S = 0.1
_HEARTBEAT_INTERVAL_S = 1.0
# Beyond the limit on memory, which the collector sees to, allocation fails: what one decoding grabs at once is faster
# than anybody can look. Half as much again, because address space is reserved that is never used.
_ADDRESS_SPACE_FACTOR = 1.5


class _CollectorPipe:
    """The writer's end of the pipe; any thread may send."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self.answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def send(self, message: FromWriter) -> None:
        try:
            with self._lock:
                self._connection.send(message)
        except OSError:
            _end(1)

    def ask(self, message: Take | Wait) -> Any:
        """The answer to a question. The pump has one at a time."""
        self.send(message)
        return self.answers.get()


class _PumpAndProjector:
    """The pump and the projector of this process. Is its own BodyQueue: the bodies are the collector's."""

    def __init__(self, pipe: _CollectorPipe, setup: Setup, reader: FactsReader) -> None:
        self._pipe = pipe
        self._metrics = MetricsBuffer()
        self._reported: tuple[StoreHealth, StoreHealth] | None = None
        self._reporting = threading.Lock()

        def open_store(thread: str) -> Store:
            return Store(
                setup.database_url,
                application_name=f"spantree-{thread}",
                window=PartitionWindow(setup.partition_days_back),
                read_facts=reader,
                dead_letters=setup.dead_letters,
            )

        self._projector = ProjectorThread(functools.partial(open_store, "projector"), self._metrics)
        self._pump = Pump(
            self,
            functools.partial(open_store, "pump"),
            self._metrics,
            batch_spans=setup.batch_spans,
            batch_bytes=setup.batch_bytes,
        )

    def start(self) -> None:
        self._projector.start()
        self._pump.start()

    def stop(self, drain_s: float) -> NoReturn:
        self._pump.stop(drain_s)
        self._projector.stop(GRACE_S)
        self.report()
        # A transaction that hangs is left behind.
        _end(0)

    def spent_s(self) -> float:
        """Processor time of the longest piece of work in hand."""
        return max(self._pump.spent_s(), self._projector.spent_s())

    def report(self, removed: Iterable[int] = ()) -> None:
        """Send what the collector does not know yet."""
        with self._reporting:
            ids = list(removed)
            delta = self._metrics.take()
            healths = (self._pump.health, self._projector.health)
            if ids or delta or healths != self._reported:
                self._reported = healths
                self._pipe.send(Progress(ids, delta, *healths))

    # ---- BodyQueue ---------------------------------------------------------------------------------------------

    def take(self, *, max_bodies: int, max_bytes: int) -> list[SpooledBody]:
        taken: list[SpooledBody] = self._pipe.ask(Take(max_bodies, max_bytes))
        return taken

    def wait(self, timeout_s: float) -> bool:
        return bool(self._pipe.ask(Wait(timeout_s)))

    def remove(self, ids: Iterable[int]) -> None:
        self.report(ids)

    def leave(self, ids: Iterable[int]) -> None:
        self._pipe.send(Leave(list(ids)))

    def rewind(self) -> None:
        self._pipe.send(Rewind())


class _ToCollector(logging.Handler):
    """Whoever runs the collector has decided where its log goes and how it looks."""

    def __init__(self, pipe: _CollectorPipe) -> None:
        super().__init__()
        self._pipe = pipe
        # The text alone: the collector's own handlers put level and time before it.
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self._pipe.send(LogLine(record.name, record.levelno, self.format(record)))


def main() -> None:
    """Serve one collector until its pipe ends."""
    end_with_the_collector()
    end_before_the_collector()
    connection = Connection(int(sys.argv[1]))
    try:
        setup: Setup = connection.recv()
    except (EOFError, OSError):
        return
    pipe = _CollectorPipe(connection)
    logging.basicConfig(level=setup.log_level, handlers=[_ToCollector(pipe)])
    try:
        reader = facts_reader(setup.rules)
    except SpantreeError as error:
        # They were right when the collector started; it tries again, slowly.
        report = health_now(StoreState.OPERATOR, str(error))
        pipe.send(Progress((), MetricsBuffer().take(), report, report))
        return
    tune_garbage_collector()
    writer = _PumpAndProjector(pipe, setup, reader)
    limit_address_space(int(setup.max_bytes * _ADDRESS_SPACE_FACTOR))
    writer.start()
    heartbeat_s = 0.0
    while True:
        if time.monotonic() - heartbeat_s >= _HEARTBEAT_INTERVAL_S:
            heartbeat_s = time.monotonic()
            pipe.send(Heartbeat(writer.spent_s()))
        try:
            message = connection.recv() if connection.poll(_PROGRESS_INTERVAL_S) else None
        except (EOFError, OSError):
            _end(0)
        if isinstance(message, Stop):
            threading.Thread(target=writer.stop, args=(message.drain_s,), daemon=True).start()
        elif message is not None:
            pipe.answers.put(message)
        else:
            writer.report()


def _end(status: int) -> NoReturn:
    # Threads that wait for PostgreSQL are not waited for: an orphan must not go on writing.
    os._exit(status)


if __name__ == "__main__":
    main()
