"""A store that retries: what one thread does when PostgreSQL does not answer, and the health that a person reads."""

from __future__ import annotations

import enum
import gc
import logging
import random
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from spantree_collector.metrics_delta import Counts
from spantree_collector.write.backoff import Backoff
from spantree_collector.write.watchdog import WorkClock
from spantree_exporter.errors import BatchFailed, BatchRejected, OperatorError, StoreUnavailable, WorkerUnavailable

if TYPE_CHECKING:
    from spantree_exporter.postgres.store import Projected, TenantBatch, Written

log = logging.getLogger(__name__)

# Short, because a drain is to begin within seconds of the database's return; the jitter keeps the load of it small.
_UNAVAILABLE_FIRST_S = 0.1
_UNAVAILABLE_CAP_S = 2.0
# Slower: needs an operator.
_OPERATOR_FIRST_S = 1.0
_OPERATOR_CAP_S = 10.0
_LOG_INTERVAL_S = 60.0
_T = TypeVar("_T")


class StoreLike(Protocol):
    """What the collector needs of spantree_exporter.postgres.store.Store."""

    def write_shares(self, shares: Sequence[TenantBatch]) -> Written:
        """Store items of requests and dead letters, of each tenant in one share."""
        ...

    def project_due(self) -> Projected:
        """Project traces that are due."""
        ...

    def by_worker(self, trace_ids: Collection[bytes]) -> list[set[bytes]]:
        """`trace_ids` in sets that can be written apart where one worker of a cluster is away."""
        ...

    def check(self) -> None:
        """Raise when the database is away or its schema is not this build's."""
        ...

    def check_tables(self) -> None:
        """Raise OperatorError when even a plain span is refused."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class Stopped(Exception):
    """The thread was asked to stop while PostgreSQL did not take its work. Nothing is lost: the spool has it."""


class StoreState(enum.Enum):
    """How a thread's last attempt ended."""

    STARTING = "starting"
    OK = "ok"
    UNAVAILABLE = "unavailable"
    OPERATOR = "operator"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """For GET /readyz: `message` is the last error, "" when all is well; `since_s` is a time.time()."""

    state: StoreState
    message: str
    since_s: float


def health_now(state: StoreState, message: str) -> StoreHealth:
    """A report of what is so from this moment on."""
    return StoreHealth(state, message, time.time())


class RetryingStore:
    """Runs actions on a Store of its own until PostgreSQL takes them.

    A connection that failed is never used again: the next attempt opens a new Store and checks the schema, because
    another server may answer by then.
    """

    def __init__(
        self,
        thread: str,
        open_store: Callable[[], StoreLike],
        stop: threading.Event,
        counts: Counts,
        source: random.Random | None = None,
    ) -> None:
        self.work = WorkClock()
        self._thread = thread
        self._open_store = open_store
        self._stop = stop
        self._counts = counts
        source = source or random.Random()  # noqa: S311  jitter, no secret
        self._unavailable = Backoff(_UNAVAILABLE_FIRST_S, _UNAVAILABLE_CAP_S, source)
        self._operator = Backoff(_OPERATOR_FIRST_S, _OPERATOR_CAP_S, source)
        self._store: StoreLike | None = None
        self._logged: tuple[StoreState, float] = (StoreState.STARTING, 0.0)
        self._fault_logged_s: dict[str, float] = {}  # by the name of its class
        self.health = health_now(StoreState.STARTING, "")

    def run(self, action: Callable[[StoreLike], _T], tries: int | None = None) -> _T:
        """The result of `action` once PostgreSQL has taken it, however long that takes.

        Raises BatchRejected at once, for retrying cannot help, BatchFailed and WorkerUnavailable at the last of `tries`
        (None: never), and Stopped when it does not pass while stopping.
        """
        failures = 0
        while True:
            try:
                with self.work:
                    result = action(self._connected())
            except BatchRejected:
                self._well()
                raise
            except (BatchFailed, WorkerUnavailable) as error:
                failures += 1
                if failures == tries:
                    self.close()
                    raise
                self._wait(StoreState.UNAVAILABLE, error, self._unavailable)
            except StoreUnavailable as error:
                self._wait(StoreState.UNAVAILABLE, error, self._unavailable)
            except OperatorError as error:
                self._wait(StoreState.OPERATOR, error, self._operator)
            else:
                self._well()
                return result

    def fault(self, error: Exception) -> None:
        """Note an error that no rule foresees, log its kind once a minute, and start again with a new connection."""
        self._counts.count("store_errors", 1, (self._thread, StoreState.FAULT.value))
        now_s = time.monotonic()
        kind = type(error).__name__
        if now_s - self._fault_logged_s.get(kind, float("-inf")) >= _LOG_INTERVAL_S:
            self._fault_logged_s[kind] = now_s
            log.error("the %s thread met an error that it has no rule for", self._thread, exc_info=error)
        self._note(StoreState.FAULT, f"{type(error).__name__}: {error}")
        self.close()

    def close(self) -> None:
        """Close the connection; the next action opens another."""
        store, self._store = self._store, None
        if store is not None:
            try:
                store.close()
            except Exception as error:
                log.warning("closing the connection of the %s thread failed: %s", self._thread, error)

    def _connected(self) -> StoreLike:
        if self._store is None:
            self._store = self._open_store()
            self._store.check()
        return self._store

    def _well(self) -> None:
        self._unavailable.reset()
        self._operator.reset()
        if self.health.state is not StoreState.OK:
            if self.health.state is not StoreState.STARTING:
                # As loud as the line that it takes back.
                log.warning("PostgreSQL takes the work of the %s thread again", self._thread)
            self._note(StoreState.OK, "")

    def _wait(self, state: StoreState, error: Exception, backoff: Backoff) -> None:
        self._counts.count("store_errors", 1, (self._thread, state.value))
        now_s = time.monotonic()
        logged_state, logged_s = self._logged
        if logged_state is not state or now_s - logged_s >= _LOG_INTERVAL_S:
            self._logged = (state, now_s)
            level = logging.ERROR if state is StoreState.OPERATOR else logging.WARNING
            log.log(level, "the %s thread waits for PostgreSQL; what was acknowledged is safe: %s", self._thread, error)
        self._note(state, str(error))
        self.close()
        # Errors and their tracebacks hold the store in cycles, 24 kB an attempt, which processes that handle batches
        # would look for after half a gigabyte. There is nothing else to do now.
        gc.collect()
        if self._stop.wait(backoff.next_s()):
            raise Stopped

    def _note(self, state: StoreState, message: str) -> None:
        since_s = self.health.since_s if state is self.health.state else time.time()
        self.health = StoreHealth(state, message, since_s)
