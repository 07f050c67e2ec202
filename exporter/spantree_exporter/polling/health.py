"""How a watcher fares, from its figures. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from spantree_exporter.polling.states import Job

SEEN_WITHIN_S: Final = 300.0
STUCK_PENDING_S: Final = 3600.0
STUCK_RUNNING_S: Final = 7200.0
"""As `spantree stuck` has them."""
ERROR_RATE: Final = 0.5
"""Of the last hour's looks, beyond which the other system counts as hard to reach."""


@dataclass(frozen=True, slots=True)
class PollerHealth:
    """`status`: ok; degraded (jobs are stuck, or looks fail); down (no watcher is alive)."""

    status: Literal["ok", "degraded", "down"]
    message: str
    seen_s: float | None
    """seconds since the watcher was alive; None: it never was"""
    jobs: dict[str, int]
    """by state; RETRYING are failed ones that are to be tried again"""
    looks_last_hour: int
    errors_last_hour: dict[str, int]
    """by class"""
    error_rate: float
    """of the last hour's looks"""
    can_connect: bool | None
    """whether any look of the last hour was answered; None: there was none"""
    stuck: list[str]
    """keys of jobs PENDING for over one hour or RUNNING for over two, the longest first"""


def health_of(
    beat_at_s: float | None, open_jobs: Iterable[Job], counts: Mapping[str, int], looks: Mapping[str, int], now_s: float
) -> PollerHealth:
    """Judge a watcher by when it was alive, its open jobs, all jobs by state, and the last hour's looks by outcome."""
    seen_s = None if beat_at_s is None else max(0.0, now_s - beat_at_s)
    errors = {outcome: count for outcome, count in looks.items() if outcome != "ok"}
    total, failed = sum(looks.values()), sum(errors.values())
    rate = failed / total if total else 0.0
    stuck = [job for job in open_jobs if _is_stuck(job, now_s)]
    keys = [job.key for job in sorted(stuck, key=lambda job: (job.state_since_s, job.key))]
    status: Literal["ok", "degraded", "down"] = "ok"
    message = f"{total} looks in the last hour, {failed} failed"
    if seen_s is None or seen_s > SEEN_WITHIN_S:
        status = "down"
        when = "was never seen" if seen_s is None else f"was last seen {seen_s:.0f} s ago"
        message = f"the watcher {when}: start the service that watches"
    elif total and rate > ERROR_RATE:
        most = max(errors, key=lambda name: (errors[name], name))
        status = "degraded"
        message = f"{failed} of {total} looks in the last hour failed, most with {most}"
    elif keys:
        status = "degraded"
        message = f"{len(keys)} jobs are stuck, {keys[0]} for the longest"
    can_connect = None if not total else failed < total
    return PollerHealth(status, message, seen_s, dict(counts), total, errors, rate, can_connect, keys)


def _is_stuck(job: Job, now_s: float) -> bool:
    since_s = now_s - job.state_since_s
    return (job.state == "PENDING" and since_s > STUCK_PENDING_S) or (
        job.state == "RUNNING" and since_s > STUCK_RUNNING_S
    )
