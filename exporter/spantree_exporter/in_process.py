"""Spans -> PostgreSQL inside the process that makes them: no spool, so everything is bounded in time.

write    one connection, tried again while PostgreSQL is away and time is left; what PostgreSQL refuses for its content
         is bisected down to the one span, which becomes a dead letter
project  traces that were not whole in one batch, by a thread that runs only while there are any: a service may be
         all there is, with no collector to do it; where there is one, the two share the work
"""

from __future__ import annotations

import logging
import math
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar

import psycopg
from opentelemetry import context as otel_context
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from spantree_exporter.config import CREATE, ExporterConfig
from spantree_exporter.errors import BatchRejected, ConfigError, SpantreeError, StoreUnavailable
from spantree_exporter.otlp.decode import PROTOBUF, DeadLetter
from spantree_exporter.postgres.migrate import migrate
from spantree_exporter.postgres.store import Store, Written
from spantree_exporter.readable import ReadSpans
from spantree_exporter.setting_fields import SPANTREE_DATABASE_URL
from spantree_exporter.span import Span

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

_FIRST_WAIT_S: Final = 0.1
_LONGEST_WAIT_S: Final = 2.0
# A trace is due a second after its last span (sql/write.sql), or later if it is large.
_PROJECT_EVERY_S: Final = 1.0
# One transaction of some 50 ms, since an export that comes meanwhile waits for it.
_PROJECT_SPANS: Final = 5_000
# A trace of ours that is still pending by then cannot be projected; pending_projection.error says why.
_PROJECT_FOR_S: Final = 120.0
# More that wait than these are left to whoever projects next, this process or another: they are noted in PostgreSQL.
_MOST_PENDING: Final = 10_000
# What a process that ends waits at most for the last traces to become due and be projected.
CLOSE_S: Final = 3.0
_LOG_EVERY_S: Final = 60.0

# The SDK and every instrumentation look at it; it has no public name. Without it the statements of the exporter would
# be traced, exported and traced again where the host's PostgreSQL driver is instrumented.
_SUPPRESS_KEY: Final[str] = getattr(otel_context, "_SUPPRESS_INSTRUMENTATION_KEY", "suppress_instrumentation")

# Connections that a fork handed down. Closing one, or letting it be collected, would end the parent's session.
_inherited: list[Store] = []


@contextmanager
def untraced() -> Iterator[None]:
    """Nothing that runs inside makes spans."""
    token = otel_context.attach(otel_context.set_value(_SUPPRESS_KEY, True))
    try:
        yield
    finally:
        otel_context.detach(token)


class Complaints:
    """Log records for a person, at most one a minute: a host's log is not ours to fill."""

    def __init__(self) -> None:
        self._quiet_until_s = 0.0

    def warn(self, message: str, *values: object, error: BaseException) -> None:
        """Log `message`, which has a % for each of `values` and a last %s for `error`."""
        now_s = time.monotonic()
        if now_s >= self._quiet_until_s:
            self._quiet_until_s = now_s + _LOG_EVERY_S
            expected = isinstance(error, SpantreeError)
            logger.warning(message, *values, error, exc_info=None if expected else error)


class InProcessWriter:
    """Writes batches and sees to it that their traces are projected. Safe for threads and across forks."""

    def __init__(self, config: ExporterConfig, complaints: Complaints) -> None:
        self._database_url = _with_connect_timeout(config)
        self._create_schema = config.schema == CREATE
        self._complaints = complaints
        self._begin()
        if hasattr(os, "register_at_fork"):
            weak_self = weakref.ref(self)

            def begin_in_child() -> None:
                if (writer := weak_self()) is not None:
                    _inherited.append(writer._store)
                    writer._begin()

            os.register_at_fork(after_in_child=begin_in_child)

    def _begin(self) -> None:
        self._store = Store(self._database_url, application_name="spantree exporter")
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._pending: dict[bytes, float] = {}  # trace -> until when it is waited for, the soonest first

    # ---- writing -----------------------------------------------------------------------------------------------

    def write(self, read: ReadSpans, deadline_s: float) -> None:
        """Store all spans of a batch; returns after the commit.

        Gives up at `deadline_s` of the monotonic clock. Raises StoreUnavailable, OperatorError; BatchRejected where a
        span can be stored neither as a row nor as a dead letter. What was stored before that stays; sending it again
        does no harm.
        """
        lost: BatchRejected | None = None
        with self._locked(deadline_s):
            pieces: list[tuple[int, int, Sequence[DeadLetter]]] = [(0, len(read.spans), read.dead)]
            while pieces:
                first, end, dead = pieces.pop()
                try:
                    self._write_piece(read.spans[first:end], dead, deadline_s)
                except BatchRejected as error:
                    if dead and first < end:
                        pieces += [(first, end, ()), (first, first, dead)]
                    elif len(dead) > 1:
                        pieces += [(first, first, [letter]) for letter in dead]
                    elif end - first > 1:
                        middle = (first + end) // 2
                        pieces += [(middle, end, ()), (first, middle, ())]
                    elif first < end:
                        raw = read.raw(first)
                        letter = DeadLetter(str(error), raw, PROTOBUF, read.spans[first].received_ns, "refused")
                        pieces.append((first, first, [letter]))
                    else:
                        lost = error
        if lost is not None:
            raise lost

    def _write_piece(self, spans: Sequence[Span], dead: Sequence[DeadLetter], deadline_s: float) -> None:
        written: Written = self._trying(lambda store: store.write(spans, dead), deadline_s)
        traces = {span.trace_id for span in spans}
        if written.spans and written.projected_traces < len(traces):
            until_s = time.monotonic() + _PROJECT_FOR_S
            for trace_id in traces:
                self._pending.pop(trace_id, None)
                self._pending[trace_id] = until_s
            self._give_up_on_the_oldest()
            self._wake.set()
            self._start_projecting()

    def _awaited_until_s(self) -> float:
        """Until when some trace is waited for; long past where none is. Another thread may be writing."""
        return max(self._pending.values(), default=-math.inf)

    def _give_up_on_the_oldest(self) -> None:
        now_s = time.monotonic()
        while self._pending and (len(self._pending) > _MOST_PENDING or next(iter(self._pending.values())) < now_s):
            del self._pending[next(iter(self._pending))]

    def _trying(self, operation: Callable[[Store], _T], deadline_s: float) -> _T:
        wait_s = _FIRST_WAIT_S
        while True:
            try:
                if self._create_schema:
                    migrate(self._database_url)
                    self._create_schema = False
                return operation(self._store)
            except StoreUnavailable:
                if time.monotonic() + wait_s >= deadline_s:
                    raise
            # Not all processes of a service at the same moment; not on after `close`.
            if self._closing.wait(wait_s * random.SystemRandom().uniform(0.5, 1.0)):
                raise StoreUnavailable("the exporter is being shut down while PostgreSQL is away")
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    # ---- projecting --------------------------------------------------------------------------------------------

    def project(self, deadline_s: float) -> None:
        """Project what is due now. Raises StoreUnavailable, OperatorError."""
        more = True
        while more and time.monotonic() < deadline_s:
            with self._locked(deadline_s):
                more = self._store.project_due(_PROJECT_SPANS).more
                if self._pending and not more:
                    still = self._store.still_pending(self._pending.keys())
                    self._pending = {trace_id: until for trace_id, until in self._pending.items() if trace_id in still}
                    self._give_up_on_the_oldest()

    def _start_projecting(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._project_while_needed, name="spantree-project", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:
                # The interpreter is on its way out; `close` projects what it can.
                self._thread = None

    def _project_while_needed(self) -> None:
        closing, wake = self._closing, self._wake
        wait_s = _PROJECT_EVERY_S
        with untraced():
            while not closing.wait(wait_s):
                if self._awaited_until_s() < time.monotonic():
                    wake.wait()
                    wake.clear()
                    wait_s = _PROJECT_EVERY_S
                    continue
                try:
                    self.project(time.monotonic() + _PROJECT_FOR_S)
                    wait_s = _PROJECT_EVERY_S
                except Exception as error:
                    wait_s = min(2 * wait_s, 30 * _PROJECT_EVERY_S)
                    self._complaints.warn("traces are stored, but cannot be projected for now: %s", error=error)

    # ---- closing -----------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Project what becomes due within CLOSE_S, then close the connection. Raises as `project` does."""
        deadline_s = time.monotonic() + CLOSE_S
        self._closing.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(CLOSE_S)
        try:
            while time.monotonic() < min(deadline_s, self._awaited_until_s()):
                self.project(deadline_s)
                if self._pending:
                    time.sleep(_FIRST_WAIT_S)
        finally:
            with self._locked(deadline_s + _FIRST_WAIT_S):
                self._store.close()

    @contextmanager
    def _locked(self, deadline_s: float) -> Iterator[None]:
        lock = self._lock
        if not lock.acquire(timeout=max(0.0, deadline_s - time.monotonic())):
            raise StoreUnavailable("another batch of this process is still being written")
        try:
            yield
        finally:
            lock.release()


def _with_connect_timeout(config: ExporterConfig) -> str:
    """The URL with a time limit for connecting that leaves time for a second try. Raises ConfigError."""
    try:
        given = conninfo_to_dict(config.database_url)
    except psycopg.Error:
        # Its text quotes the URL, which may hold a password.
        raise ConfigError([f"{SPANTREE_DATABASE_URL} is neither a PostgreSQL URL nor a libpq string"]) from None
    if "connect_timeout" in given:
        return config.database_url
    # libpq takes whole seconds, and less than two as two
    return make_conninfo(config.database_url, connect_timeout=max(2, min(10, int(config.export_timeout_s / 2))))
