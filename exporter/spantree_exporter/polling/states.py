r"""What becomes of a watched job: a pure function of what it was, what was seen of it, and the time.

    PENDING -> RUNNING -> SUCCESS | FAILED | CANCELLED | TIMEOUT
        \---------------------^   a job can be over before anybody looked

A transition that is not drawn here is recorded and ignored. The four on the right are final for an attempt. A failed
attempt is followed by another where the rules say so and somebody can start one; the job then is PENDING again.
Times are seconds since 1970, UTC.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

from spantree_exporter.polling.error_classes import ErrorClass

JobState = Literal["PENDING", "RUNNING", "SUCCESS", "FAILED", "CANCELLED", "TIMEOUT"]
STATES: Final[tuple[JobState, ...]] = get_args(JobState)
FINAL: Final[frozenset[JobState]] = frozenset({"SUCCESS", "FAILED", "CANCELLED", "TIMEOUT"})
TRANSITIONS: Final[dict[JobState, frozenset[JobState]]] = {
    "PENDING": FINAL | {"RUNNING"},
    "RUNNING": FINAL,
    "SUCCESS": frozenset(),
    "FAILED": frozenset(),
    "CANCELLED": frozenset(),
    "TIMEOUT": frozenset(),
}
MAX_TEXT_CHARS: Final = 1000
"""Of an error's text; as much as a node's error_message holds."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How often to look, when to give up, and what to try again."""

    interval_s: float = 15.0
    """between two looks at a job"""
    strikes: int = 5
    """looks in a row that may fail before the job counts as FAILED"""
    poll_backoff: float = 2.0
    """factor by which the interval grows with each failed look in a row"""
    max_interval_s: float = 300.0
    retry_classes: frozenset[ErrorClass] = frozenset({"NETWORK", "API"})
    """classes of a job's failure after which another attempt is started"""
    max_retries: int = 3
    retry_delay_s: float = 60.0
    """before the first retry; doubles with each"""
    max_retry_delay_s: float = 300.0
    can_retry: bool = False
    """whether there is somebody to start another attempt"""

    def __post_init__(self) -> None:
        if self.interval_s <= 0 or self.strikes < 1 or self.poll_backoff < 1 or self.max_retries < 0:
            raise ValueError(
                f"interval_s {self.interval_s}, strikes {self.strikes}, poll_backoff {self.poll_backoff}, max_retries "
                f"{self.max_retries}: must be positive, at least 1, at least 1 and not negative"
            )

    def wait_s(self, error_count: int) -> float:
        """How long to wait after a look, the `error_count`-th in a row that failed (0: it did not)."""
        return min(
            self.interval_s * self.poll_backoff ** min(error_count, 64), max(self.max_interval_s, self.interval_s)
        )

    def retry_wait_s(self, retry_count: int) -> float:
        """How long to wait before the retry after `retry_count` of them."""
        return float(min(self.retry_delay_s * 2 ** min(retry_count, 64), self.max_retry_delay_s))


@dataclass(frozen=True, slots=True)
class Job:
    """A watched job, as it is stored and given to callbacks."""

    key: str
    """the other system's id of it, or yours; there is one job of a key"""
    name: str
    """equal for all jobs of a sort: the workflow's name in spantree"""
    watched_at_s: float
    state: JobState = "PENDING"
    state_since_s: float = 0.0
    detail: str = "null"
    """what `watch` was given, as JSON text"""
    trace_id: str = ""
    """the execution's id in spantree, 32 hex digits"""
    span_id: int = 0
    link: str | None = None
    """traceparent of the span that was current when it was watched"""
    timeout_s: float | None = None
    """an attempt that takes longer counts as TIMEOUT"""
    attempt: int = 1
    attempt_since_s: float = 0.0
    running_since_s: float | None = None
    """when the latest attempt was first seen to run"""
    polls: int = 0
    next_poll_s: float = 0.0
    error_count: int = 0
    """looks in a row that failed"""
    last_error: str | None = None
    last_error_class: ErrorClass | None = None
    last_error_at_s: float | None = None
    rejected_count: int = 0
    last_rejected: str | None = None
    """the latest transition that was ignored, such as `RUNNING -> PENDING`"""
    error: str | None = None
    """why the latest attempt failed"""
    error_class: ErrorClass | None = None
    failed_at_s: float | None = None
    retry_count: int = 0
    next_retry_at_s: float | None = None
    ended_at_s: float | None = None
    """when it ended for good"""

    @property
    def is_over(self) -> bool:
        """Whether its state is final and no retry is to come."""
        return self.state in FINAL and self.next_retry_at_s is None


@dataclass(frozen=True, slots=True)
class Moved:
    """A job after something was seen: `changed` its state did, `rejected` is the transition that was ignored."""

    job: Job
    changed: bool = False
    rejected: str | None = None


def state_of(word: object) -> JobState | None:
    """The state that `word` names, in upper or lower case; None where it names none."""
    text = word.strip().upper() if isinstance(word, str) else ""
    return text if text in TRANSITIONS else None


def seen(
    job: Job,
    said: object,
    now_s: float,
    rules: Rules,
    *,
    error: str | None = None,
    error_class: ErrorClass | None = None,
) -> Moved:
    """What becomes of `job` when its system says that it is `said`; `error` is why it failed or was called off."""
    after = state_of(said)
    if job.state in FINAL and after == job.state:
        return Moved(job)
    looked = replace(job, polls=job.polls + 1, error_count=0, next_poll_s=_next_poll_s(job, now_s + rules.wait_s(0)))
    if after == job.state:
        return Moved(looked)
    if after is None or after not in TRANSITIONS[job.state]:
        rejected = f"{job.state} -> {str(said)[:40]}"
        ignored = replace(job if job.state in FINAL else looked, rejected_count=job.rejected_count + 1)
        return Moved(replace(ignored, last_rejected=rejected), rejected=rejected)
    return Moved(_moved(looked, after, now_s, rules, error, error_class or "UNKNOWN"), changed=True)


def look_failed(job: Job, error: str, error_class: ErrorClass, now_s: float, rules: Rules) -> Moved:
    """What becomes of `job` when it could not be seen: after `rules.strikes` in a row it counts as FAILED."""
    if job.state in FINAL:
        return Moved(job)
    count = job.error_count + 1
    struck = replace(
        job,
        polls=job.polls + 1,
        error_count=count,
        last_error=error[:MAX_TEXT_CHARS],
        last_error_class=error_class,
        last_error_at_s=now_s,
        next_poll_s=_next_poll_s(job, now_s + rules.wait_s(count)),
    )
    if count < rules.strikes:
        return Moved(struck)
    why = f"it could not be looked at {count} times in a row: {error}"
    return Moved(_moved(struck, "FAILED", now_s, rules, why, error_class), changed=True)


def has_timed_out(job: Job, now_s: float) -> bool:
    """Whether the attempt takes longer than it may."""
    return job.state not in FINAL and job.timeout_s is not None and now_s - job.attempt_since_s >= job.timeout_s


def timed_out(job: Job, now_s: float, rules: Rules) -> Moved:
    """`job` when `has_timed_out` says so."""
    why = f"it was {job.state} for longer than {job.timeout_s:g} s"
    return Moved(_moved(job, "TIMEOUT", now_s, rules, why, "TIMEOUT"), changed=True)


def tried_again(job: Job, now_s: float) -> Moved:
    """`job` when its next attempt was started. Raises ValueError where none is due."""
    if job.next_retry_at_s is None:
        raise ValueError(f"job {job.key} is {job.state} and has no retry to come")
    return Moved(
        replace(
            job,
            state="PENDING",
            state_since_s=now_s,
            attempt=job.attempt + 1,
            attempt_since_s=now_s,
            running_since_s=None,
            retry_count=job.retry_count + 1,
            next_retry_at_s=None,
            next_poll_s=now_s,
            error_count=0,
        ),
        changed=True,
    )


def _next_poll_s(job: Job, at_s: float) -> float:
    # a timeout is not noticed later than it is
    return at_s if job.timeout_s is None else min(at_s, job.attempt_since_s + job.timeout_s)


def _moved(job: Job, after: JobState, now_s: float, rules: Rules, error: str | None, error_class: ErrorClass) -> Job:
    moved = replace(job, state=after, state_since_s=now_s)
    if after not in FINAL:
        return replace(moved, running_since_s=now_s)
    if after == "SUCCESS":
        return replace(moved, error=None, error_class=None, ended_at_s=now_s)
    moved = replace(moved, error=None if error is None else error[:MAX_TEXT_CHARS])
    if after == "FAILED":
        moved = replace(moved, error_class=error_class, failed_at_s=now_s)
        if rules.can_retry and error_class in rules.retry_classes and job.retry_count < rules.max_retries:
            at_s = now_s + rules.retry_wait_s(job.retry_count)
            return replace(moved, next_retry_at_s=at_s, next_poll_s=at_s)
    elif after == "TIMEOUT":
        moved = replace(moved, error_class="TIMEOUT", failed_at_s=now_s)
    return replace(moved, ended_at_s=now_s)
