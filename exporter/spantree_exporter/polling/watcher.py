"""`JobWatcher`: looks at jobs of other systems until they are over, and tells of each as a live execution.

watch() --> file --> due? --> poll (10 at once) --> states.py decides --> file, spans, on_change
             ^                                                             |
             '------------- a restart goes on from here <------------------'
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from opentelemetry import trace

from spantree_exporter.polling import states
from spantree_exporter.polling.error_classes import ErrorClass, class_of
from spantree_exporter.polling.health import PollerHealth, health_of
from spantree_exporter.polling.results import MAX_RESULT_BYTES, Result, ResultFormat, result_of
from spantree_exporter.polling.spans import JobSpans
from spantree_exporter.polling.states import Job, Moved, Rules
from spantree_exporter.polling.store import JobStore
from spantree_exporter.tracing.planned_id import tell_response
from spantree_exporter.tracing.span import new_trace_id
from spantree_exporter.tracing.value import json_text

logger = logging.getLogger(__name__)

POLL_TIMEOUT_S: Final = 30.0
"""A look that takes longer has failed, with class TIMEOUT."""
BEAT_S: Final = 30.0
"""How often a watcher says that it is alive; health allows 300 s."""
CALLBACKS_S: Final = 5.0
"""How long the end of a watcher waits for callbacks that have begun."""
_SENT_WITHIN_S: Final = 60.0
"""How long what ended may wait to be sent, here and until its last retry, before a process that is killed."""
_MAX_KEY_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at a job may give, where a state's word is not enough.

    `error` and `error_class` say why it failed (the class is found by the words where none is given); `result` is
    kept when the state is SUCCESS.
    """

    state: str
    error: str | None = None
    error_class: ErrorClass | None = None
    result: object = None
    result_format: ResultFormat = "json"


@dataclass(frozen=True, slots=True)
class Change:
    """A job went from one state to another."""

    job: Job
    before: states.JobState
    result: Result | None = None


Poll = Callable[[Job], Awaitable[Seen | str]]
StartAgain = Callable[[Job], Awaitable[None]]
OnChange = Callable[[Change], Awaitable[None] | None]


class JobWatcher:
    """Watches jobs of another system by `poll`, an async function that says what state a job is in.

        async with JobWatcher(poll, "jobs.sqlite3") as watcher:
            watcher.watch("query-7", name="nightly query")
            job = await watcher.wait("query-7")

    Args:
        poll: Called with a `Job`, every `rules.interval_s` and at most `concurrency` times at once; gives a word of
            `STATES`, in any case of letters, or a `Seen`. What it raises is a failed look, of that job alone.
        path: The SQLite file of the watched jobs. Give each process its own, on a disk that outlives it.
        rules: How often to look, when to give up, what to try again.
        concurrency: Looks at once.
        poll_timeout_s: A look that takes longer has failed.
        start_again: Starts another attempt of a job that failed with a class of `rules.retry_classes`. Without it
            nothing is tried again. What it raises counts as the next attempt's failure.
        on_change: Told of every change of state, in order for each job; what it raises is logged.
        max_result_bytes: Larger results are cut.
        clock: Seconds since 1970.

    All methods must be called from the event loop's thread.
    """

    def __init__(
        self,
        poll: Poll,
        path: str | Path,
        *,
        rules: Rules | None = None,
        concurrency: int = 10,
        poll_timeout_s: float = POLL_TIMEOUT_S,
        start_again: StartAgain | None = None,
        on_change: OnChange | None = None,
        max_result_bytes: int = MAX_RESULT_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if concurrency < 1 or poll_timeout_s <= 0:
            raise ValueError(f"concurrency {concurrency} and poll_timeout_s {poll_timeout_s} must be positive")
        self._poll = poll
        self._rules = replace(rules or Rules(), can_retry=start_again is not None)
        self._concurrency = concurrency
        self._poll_timeout_s = poll_timeout_s
        self._start_again = start_again
        self._on_change = on_change
        self._max_result_bytes = max_result_bytes
        self._clock = clock
        self._store = JobStore(Path(path))
        self._spans = JobSpans(self._rules)
        self._looking: dict[str, asyncio.Task[None]] = {}
        self._ended: dict[str, asyncio.Event] = {}
        self._calling: dict[str, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._loop_task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Go on with what an earlier watcher left open, and begin to look."""
        before_s = self._store.beat_at_s()
        if before_s is not None:
            for job in self._store.jobs_over(before_s - _SENT_WITHIN_S):
                self._spans.tell_end(job, self._store.result(job.key))
        for job in self._store.open_jobs():
            self._spans.begin(job)
        self._store.beat(self._clock())
        self._loop_task = asyncio.create_task(self._run(), name="spantree job watcher")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop looking. Jobs that are not over stay in the file, and their executions open, for the next watcher."""
        tasks = [task for task in (self._loop_task, *self._looking.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._calling:
            _, late = await asyncio.wait(self._calling.values(), timeout=CALLBACKS_S)
            for task in late:
                task.cancel()
        self._store.close()

    def watch(self, key: str, *, name: str, detail: object = None, timeout_s: float | None = None) -> Job:
        """Watch a job from now on, or learn how it is watched: there is one of a key, also after a restart.

        `name` is the workflow's; `detail` (stored as JSON text) is what `poll` may need to know beside the key, and the
        execution's input. An attempt that takes longer than `timeout_s` counts as TIMEOUT; the other system is not told
        of that.
        """
        if not 0 < len(key) <= _MAX_KEY_CHARS:
            raise ValueError(f"a job's key has {len(key)} characters, must have 1 to {_MAX_KEY_CHARS}")
        known = self._store.job(key)
        if known is not None:
            return known
        now_s = self._clock()
        around = trace.get_current_span().get_span_context()
        link = f"00-{around.trace_id:032x}-{around.span_id:016x}-01" if around.is_valid else None
        job = Job(
            key=key,
            name=name,
            watched_at_s=now_s,
            state_since_s=now_s,
            attempt_since_s=now_s,
            detail=json_text(detail)[0],
            trace_id=f"{new_trace_id():032x}",
            link=link,
            timeout_s=timeout_s,
            next_poll_s=now_s,
        )
        self._store.put(job)
        self._spans.begin(job)
        tell_response(job.trace_id)
        self._wake.set()
        return job

    def tell(self, key: str, said: Seen | str) -> Job:
        """Take what somebody else knows of a job, as if a look had given it (a webhook of the other system)."""
        return self._settle(self._known(key), said)

    def job(self, key: str) -> Job | None:
        """The job as it is now; None where it is not watched, or was over for a week."""
        return self._store.job(key)

    def jobs(self, state: str | None = None, after: str = "", limit: int = 50) -> list[Job]:
        """Jobs in order of their keys, of one state if it is given, beginning behind the key `after`."""
        return self._store.jobs(state, after, limit)

    def result(self, key: str) -> Result | None:
        """What the job gave."""
        return self._store.result(key)

    async def wait(self, key: str) -> Job:
        """The job once it is over: its state is final and no retry is to come. Raises KeyError for one not watched."""
        while not (job := self._known(key)).is_over:
            await self._ended.setdefault(key, asyncio.Event()).wait()
        self._ended.pop(key, None)
        return job

    def health(self) -> PollerHealth:
        """How this watcher fares."""
        return _health(self._store, self._clock())

    def _known(self, key: str) -> Job:
        job = self._store.job(key)
        if job is None:
            raise KeyError(f"no job {key!r} is watched; watch() it first")
        return job

    async def _run(self) -> None:
        beat_s = self._clock()
        while True:
            now_s = self._clock()
            if now_s - beat_s >= BEAT_S:
                beat_s = now_s
                self._store.beat(now_s)
            self._wake.clear()
            free = self._concurrency - len(self._looking)
            if free > 0:
                # those that are looked at are due still
                for key in self._store.due(now_s, self._concurrency + free):
                    if key not in self._looking and len(self._looking) < self._concurrency:
                        self._looking[key] = asyncio.create_task(self._attend(key), name=f"look at {key}")
            due_s = self._next_due_s()
            wait_s = BEAT_S if due_s is None else min(BEAT_S, max(0.0, due_s - now_s))
            # not wait_for: in 3.11 it takes a cancellation for a result where both come at once
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()

    def _next_due_s(self) -> float | None:
        """When the loop has something to do; None: when a look ends, which wakes it, or a job is watched."""
        if len(self._looking) >= self._concurrency:
            return None
        soonest = self._store.due(float("inf"), len(self._looking) + 1)
        job = next((self._store.job(key) for key in soonest if key not in self._looking), None)
        return None if job is None else job.next_poll_s

    async def _attend(self, key: str) -> None:
        try:
            job = self._store.job(key)
            if job is None or job.is_over:
                return
            if job.next_retry_at_s is not None:
                await self._try_again(job)
            elif states.has_timed_out(job, self._clock()):
                self._apply(job, states.timed_out(job, self._clock(), self._rules), None)
            else:
                await self._look(job)
        except Exception:
            # the file: it is tried again, later
            logger.exception("could not attend to job %s; it is looked at again in %g s", key, self._rules.interval_s)
            await asyncio.sleep(self._rules.interval_s)
        finally:
            self._looking.pop(key, None)
            self._wake.set()

    async def _look(self, job: Job) -> None:
        try:
            async with asyncio.timeout(self._poll_timeout_s):
                said = await self._poll(job)
        except Exception as error:
            self._fail_look(job, error)
            return
        # it may have been told of meanwhile
        self._settle(self._known(job.key), said)

    def _fail_look(self, job: Job, error: Exception) -> None:
        now_s = self._clock()
        error_class = class_of(error)
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        self._store.count_look(now_s, error_class)
        known = self._known(job.key)
        moved = states.look_failed(known, text, error_class, now_s, self._rules)
        logger.warning(
            "look %d of %d at job %s failed (%s): %s", moved.job.error_count, self._rules.strikes, job.key,
            error_class, text[: states.MAX_TEXT_CHARS],
        )  # fmt: skip
        self._apply(known, moved, None)

    def _settle(self, job: Job, said: Seen | str) -> Job:
        now_s = self._clock()
        seen = said if isinstance(said, Seen) else Seen(str(said))
        error_class = seen.error_class or (class_of(seen.error) if seen.error else None)
        self._store.count_look(now_s, "ok")
        moved = states.seen(job, seen.state, now_s, self._rules, error=seen.error, error_class=error_class)
        result = None
        if moved.changed and moved.job.state == "SUCCESS" and seen.result is not None:
            result = self._kept(moved.job, seen, now_s)
        self._apply(job, moved, result)
        return moved.job

    def _kept(self, job: Job, seen: Seen, now_s: float) -> Result | None:
        try:
            duration_s = now_s - job.attempt_since_s
            result = result_of(seen.result, seen.result_format, duration_s, self._max_result_bytes)
        except Exception:
            logger.exception("the result of job %s could not be kept; the job has succeeded all the same", job.key)
            return None
        self._store.put_result(job.key, result)
        return result

    async def _try_again(self, job: Job) -> None:
        if self._start_again is None:
            # it was stored by a watcher that could
            job = replace(job, next_retry_at_s=None, ended_at_s=self._clock())
            self._apply(job, Moved(job, changed=True), None)
            return
        moved = states.tried_again(job, self._clock())
        self._apply(job, moved, None)
        try:
            async with asyncio.timeout(self._poll_timeout_s):
                await self._start_again(moved.job)
        except Exception as error:
            logger.warning("job %s could not be started again: %s", job.key, error)
            text, now_s = f"it could not be started again: {error}", self._clock()
            failed = states.seen(moved.job, "FAILED", now_s, self._rules, error=text, error_class=class_of(error))
            self._apply(moved.job, failed, None)

    def _apply(self, before: Job, moved: Moved, result: Result | None) -> None:
        job, now_s = moved.job, self._clock()
        self._store.put(job)
        if moved.rejected is not None:
            logger.warning("job %s: the transition %s is none that there is; it is ignored", job.key, moved.rejected)
            self._spans.reject(job, moved.rejected, now_s)
        if not moved.changed:
            self._spans.sign_of_life(job, now_s)
            return
        self._spans.change(before, job, result)
        if job.is_over and (ended := self._ended.get(job.key)) is not None:
            ended.set()
        if self._on_change is not None:
            self._call_back(Change(job, before.state, result))

    def _call_back(self, change: Change) -> None:
        key = change.job.key
        task = asyncio.create_task(self._called(change, self._calling.get(key)), name=f"on_change of {key}")
        self._calling[key] = task
        task.add_done_callback(lambda done: self._calling.pop(key) if self._calling.get(key) is done else None)

    async def _called(self, change: Change, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        try:
            called = self._on_change(change) if self._on_change is not None else None
            if inspect.isawaitable(called):
                await called
        except Exception:
            logger.exception("on_change raised for job %s", change.job.key)


def health_of_file(path: str | Path, now_s: float | None = None) -> PollerHealth:
    """How the watcher that has the file fares, asked from any process. Raises PollingStoreError without a file."""
    store = JobStore(Path(path), read_only=True)
    try:
        return _health(store, time.time() if now_s is None else now_s)
    finally:
        store.close()


def _health(store: JobStore, now_s: float) -> PollerHealth:
    looks = store.looks_since(now_s - 3600)
    return health_of(store.beat_at_s(), store.open_jobs(), store.counts(), looks, now_s)
