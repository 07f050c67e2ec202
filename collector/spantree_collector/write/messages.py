"""The messages between the collector and a writer process, over a pipe that both ends notice the other's death by.

    writer -> collector   Take, Wait (each is answered), Rewind, Leave, Progress, Heartbeat, LogLine
    collector -> writer   Setup (first of all), the answers, Stop

The messages are pickles; each end is a process of the same account, started by the other, with the same code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spantree_collector.metrics_delta import MetricsDelta
from spantree_collector.write.retrying_store import StoreHealth
from spantree_exporter.postgres.dead_letters import DeadLetterLimits


@dataclass(frozen=True, slots=True)
class Setup:
    """What a writer process needs to know. It travels here, for arguments and environments can be read by others."""

    database_url: str = field(repr=False)
    rules: Path | None
    batch_spans: int
    batch_bytes: int
    partition_days_back: int
    log_level: int
    dead_letters: DeadLetterLimits
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Take:
    """Asks for bodies; the answer is a list of SpooledBody."""

    max_bodies: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Asks whether there may be bodies, within `timeout_s`; the answer is a bool."""

    timeout_s: float


@dataclass(frozen=True, slots=True)
class Rewind:
    """Whatever was taken and not removed is to be handed out again."""


@dataclass(frozen=True, slots=True)
class Leave:
    """These bodies stay in the spool."""

    ids: Sequence[int]


@dataclass(frozen=True, slots=True)
class Progress:
    """What is committed, was counted since the last time, and what PostgreSQL said."""

    removed: Sequence[int]
    delta: MetricsDelta
    store: StoreHealth
    projector: StoreHealth


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Sent every second by the main thread. `spent_s`: processor time of the longest piece of work in hand."""

    spent_s: float


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line for the collector's log."""

    logger: str
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Write what the spool holds, for at most `drain_s`, then end."""

    drain_s: float


FromWriter = Take | Wait | Rewind | Leave | Progress | Heartbeat | LogLine
