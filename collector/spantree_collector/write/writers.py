"""The writers of a collector: processes that take bodies of the spool to PostgreSQL, or threads of its own.

Receiving and writing compute without a pause and would share one interpreter's lock; in processes of their own they use
a processor each. A thread here for each writer process hands it bodies, undecoded, and removes those that it has
committed. A process that dies is started again, and its bodies are handed out again: writing is idempotent.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import random
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Protocol, assert_never

from spantree_collector.config import CollectorConfig
from spantree_collector.metrics import CollectorMetrics
from spantree_collector.spool.spool import SpoolFailed
from spantree_collector.write.backoff import Backoff
from spantree_collector.write.child_process import spawn
from spantree_collector.write.dispatcher import BodyLease, SpoolDispatcher
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
from spantree_collector.write.retrying_store import StoreHealth, StoreLike, StoreState, health_now
from spantree_collector.write.watchdog import SilenceClock, resident_bytes
from spantree_exporter.facts import FactsReader
from spantree_exporter.postgres.dead_letters import DeadLetterLimits
from spantree_exporter.postgres.partitions import PartitionWindow
from spantree_exporter.postgres.store import Store

log = logging.getLogger(__name__)

_RESTART_FIRST_S = 0.2
_RESTART_CAP_S = 10.0
# A process that does not end in time after Stop is killed: what it has not committed is in the spool.
_END_S = 1.0
# One that is just starting imports for some seconds before it can say anything.
_START_FACTOR = 3.0
_WORK_FACTOR = 3.0


class SpoolWriter(Protocol):
    """One way from the spool to PostgreSQL."""

    @property
    def store(self) -> StoreHealth:
        """What PostgreSQL last said to the pump."""
        ...

    @property
    def projector(self) -> StoreHealth:
        """What PostgreSQL last said to the projector."""
        ...

    def start(self) -> None:
        """Begin with the oldest body."""
        ...

    def ask_to_stop(self, drain_s: float) -> None:
        """Let it write what the spool holds, for at most `drain_s` and while PostgreSQL takes it, then end."""
        ...

    def join(self) -> None:
        """Wait for that end, and force it soon after its time."""
        ...


class WriterThreads:
    """A pump and a projector in the collector's own process."""

    def __init__(
        self,
        lease: BodyLease,
        open_store: Callable[[str], StoreLike],
        metrics: CollectorMetrics,
        *,
        batch_spans: int,
        batch_bytes: int,
    ) -> None:
        self._projector = ProjectorThread(functools.partial(open_store, "projector"), metrics)
        self._pump = Pump(
            lease, functools.partial(open_store, "pump"), metrics, batch_spans=batch_spans, batch_bytes=batch_bytes
        )
        self._drain_s = 0.0

    @property
    def store(self) -> StoreHealth:
        """What PostgreSQL last said to the pump."""
        return self._pump.health

    @property
    def projector(self) -> StoreHealth:
        """What PostgreSQL last said to the projector."""
        return self._projector.health

    def start(self) -> None:
        """Begin with the oldest body."""
        self._projector.start()
        self._pump.start()

    def ask_to_stop(self, drain_s: float) -> None:
        """Note how long stopping may take; `join` does it."""
        self._drain_s = drain_s

    def join(self) -> None:
        """Drain and end."""
        self._pump.stop(self._drain_s)
        self._projector.stop(GRACE_S)


class WriterProcess:
    """A pump and a projector in a process of their own, and the thread that serves it."""

    def __init__(self, number: int, setup: Setup, lease: BodyLease, metrics: CollectorMetrics, stall_s: float) -> None:
        self._name = f"writer process {number}"
        self._stall_s = stall_s
        self._silence = SilenceClock()
        self._is_up = False
        self._spent_s = 0.0
        self._replaced_because = ""
        self._setup = setup
        self._lease = lease
        self._metrics = metrics
        self._stopping = threading.Event()
        self._drain_s = 0.0
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._backoff = Backoff(_RESTART_FIRST_S, _RESTART_CAP_S, random.Random())  # noqa: S311  jitter, no secret
        self.store = self.projector = health_now(StoreState.STARTING, "")
        self._thread = threading.Thread(target=self._run, name=f"spantree-writer-{number}", daemon=True)

    @property
    def pid(self) -> int | None:
        """The process that writes at the moment."""
        process = self._process
        return process.pid if process is not None else None

    def start(self) -> None:
        """Start the process; it begins with the oldest body once it is up."""
        self._thread.start()

    def ask_to_stop(self, drain_s: float) -> None:
        """Tell the process to drain and end. One that is dead meanwhile is not started again."""
        self._drain_s = drain_s
        self._stopping.set()
        # Held longer only where the process does not read what is sent to it: `join` kills it.
        if self._lock.acquire(timeout=_END_S):
            try:
                if self._connection is not None:
                    self._send_stop(self._connection)
            finally:
                self._lock.release()

    def join(self) -> None:
        """Wait for the end of the process, and kill it when it is late."""
        self._thread.join(self._drain_s + GRACE_S + _END_S)
        process = self._process
        if self._thread.is_alive() and process is not None:
            log.warning("%s does not end in time and is killed; the spool has what it did not write", self._name)
            process.kill()
            self._thread.join(_END_S)

    def watch(self, step_s: float) -> None:
        """Kill the process when it is beyond a limit; it is then replaced as any other that ends."""
        process = self._process
        if process is None or self._connection is None or self._stopping.is_set() or self._replaced_because:
            return
        # Anything that it says sets this to 0, from another thread: a step that is lost costs a quarter of a second.
        self._silence.step(process.pid, step_s)
        stall_s = self._stall_s if self._is_up else self._stall_s * _START_FACTOR
        memory_bytes = resident_bytes(process.pid)
        if self._silence.silent_s > stall_s:
            because = f"gave no sign of life for {stall_s:g} s"
        elif self._spent_s > _WORK_FACTOR * self._stall_s:
            because = f"had worked on one thing for {self._spent_s:.0f} s"
        elif memory_bytes > self._setup.max_bytes:
            because = f"held {memory_bytes} bytes of at most {self._setup.max_bytes}"
        else:
            return
        self._replaced_because = f"{because} and was killed"
        # SIGKILL ends a process that is stopped, too.
        process.kill()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                ended = self._serve_one()
            except SpoolFailed as error:
                log.debug("%s ends: %s", self._name, error)
                break
            except Exception as error:
                log.exception("%s met an error that there is no rule for", self._name)
                ended = f"failed with {type(error).__name__}: {error}"
            if self._stopping.is_set():
                break
            if self._replaced_because or self.store.state not in (StoreState.UNAVAILABLE, StoreState.OPERATOR):
                self._lease.crashed(ended, suspect=bool(self._replaced_because))
            else:
                # It only waited: whoever ended it, what it had in hand did not.
                self._lease.rewind()
            self._metrics.writer_restarts.inc()
            log.error("%s %s; it is started again, and what it had in hand is written again", self._name, ended)
            if self.store.state is not StoreState.OPERATOR:
                report = health_now(StoreState.FAULT, f"{self._name} {ended}; it is started again")
                if self.store.state is StoreState.FAULT:
                    # Since the first of a row of ends.
                    report = replace(report, since_s=self.store.since_s)
                self.store = self.projector = report
            self._stopping.wait(self._backoff.next_s())

    def _serve_one(self) -> str:
        """Start a process and serve it to its end; how it ended."""
        ours, theirs = Pipe()
        with ours:
            with theirs:
                process = spawn("spantree_collector.write.writer_process", theirs)
            self._silence.heard()
            self._spent_s, self._is_up, self._replaced_because = 0.0, False, ""
            self._process = process
            try:
                ours.send(self._setup)
                with self._lock:
                    self._connection = ours
                    if self._stopping.is_set():
                        self._send_stop(ours)
                while True:
                    message = ours.recv()
                    self._silence.heard()
                    self._is_up = True
                    self._answer(ours, message)
            except (EOFError, OSError):
                pass
            finally:
                with self._lock:
                    self._connection = None
                # Without its pipe it ends at once.
                ours.close()
                try:
                    process.wait(_END_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        if self._replaced_because:
            return self._replaced_because
        status = process.returncode
        return f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"

    def _answer(self, connection: Connection, message: FromWriter) -> None:
        match message:
            case Take(max_bodies, max_bytes):
                self._send(connection, self._lease.take(max_bodies=max_bodies, max_bytes=max_bytes))
            case Wait(timeout_s):
                self._send(connection, self._lease.wait(timeout_s))
            case Progress(removed, delta, store, projector):
                self._metrics.add(delta)
                self.store, self.projector = store, projector
                if removed:
                    self._backoff.reset()
                    self._lease.remove(removed)
            case Heartbeat(spent_s):
                self._spent_s = spent_s
            case Rewind():
                self._lease.rewind()
            case Leave(ids):
                self._lease.leave(ids)
            case LogLine(logger, level, text):
                target = logging.getLogger(logger)
                if target.isEnabledFor(level):
                    target.handle(target.makeRecord(logger, level, self._name, 0, text, (), None))
            case _:
                assert_never(message)

    def _send(self, connection: Connection, answer: object) -> None:
        # Stop may be sent by another thread.
        with self._lock:
            connection.send(answer)

    def _send_stop(self, connection: Connection) -> None:
        # Where it died this moment, the thread that serves it notices.
        with contextlib.suppress(OSError):
            connection.send(Stop(self._drain_s))


def new_writers(
    config: CollectorConfig, reader: FactsReader, dispatcher: SpoolDispatcher, metrics: CollectorMetrics
) -> list[SpoolWriter]:
    """The writers that the settings ask for, not started. `reader` is what a process makes of `config.rules`."""
    limits = DeadLetterLimits(config.dead_letters_max, config.dead_letters_max_bytes)

    def open_store(thread: str) -> Store:
        return Store(
            config.database_url,
            application_name=f"spantree-{thread}",
            window=PartitionWindow(config.partition_days_back),
            read_facts=reader,
            dead_letters=limits,
        )

    if config.writers == 0:
        return [
            WriterThreads(
                dispatcher.lease(),
                open_store,
                metrics,
                batch_spans=config.batch_spans,
                batch_bytes=config.batch_bytes,
            )
        ]
    setup = Setup(
        database_url=config.database_url,
        rules=config.rules,
        batch_spans=config.batch_spans,
        batch_bytes=config.batch_bytes,
        partition_days_back=config.partition_days_back,
        log_level=logging.getLogger("spantree_collector").getEffectiveLevel(),
        dead_letters=limits,
        max_bytes=config.writer_max_bytes,
    )
    return [
        WriterProcess(number, setup, dispatcher.lease(), metrics, config.writer_stall_s)
        for number in range(1, config.writers + 1)
    ]


# The better first: STARTING says little, UNAVAILABLE may pass by itself, the others need somebody.
_SEVERITY = (StoreState.OK, StoreState.STARTING, StoreState.UNAVAILABLE, StoreState.OPERATOR, StoreState.FAULT)


def worst(reports: Sequence[StoreHealth]) -> StoreHealth:
    """The report of the writer that is worst off, the longest: another that comes and goes does not hide it."""
    return max(reports, key=lambda report: (_SEVERITY.index(report.state), -report.since_s))
