"""Differences of metrics: a writer process sends what it has counted since its last message, the collector adds it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

CounterName = Literal[
    "stored_spans",
    "duplicate_spans",
    "outside_spans",
    "stored_log_records",
    "duplicate_log_records",
    "projected_traces",
    "failed_projections",
    "dead_letters",
    "left_bodies",
    "store_errors",
    "tenant_stored_spans",
    "tenant_projected_traces",
]
CounterKey = tuple[CounterName, tuple[str, ...]]


class Counts(Protocol):
    """What the pump, the projector and their stores need of CollectorMetrics. Any thread may call it."""

    def count(self, counter: CounterName, amount: int = 1, labels: Sequence[str] = ()) -> None:
        """Add `amount` to the counter with these label values."""
        ...

    def observe_write(self, elapsed_s: float) -> None:
        """One committed batch."""
        ...

    def note_lags(self, lag_s: Mapping[int, float]) -> None:
        """How long the trace of each tenant that is due for longest has been."""
        ...


@dataclass(frozen=True, slots=True)
class MetricsDelta:
    """What was counted since the last time."""

    counts: Mapping[CounterKey, int]
    writes_s: Sequence[float]
    lag_s: Mapping[int, float] | None = None  # by tenant; None: as before

    def __bool__(self) -> bool:
        return bool(self.counts or self.writes_s or self.lag_s is not None)


class MetricsBuffer:
    """Counts that are sent to the process that shows them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[CounterKey] = Counter()
        self._writes_s: list[float] = []
        self._lag_s: Mapping[int, float] = {}
        self._told_lag_s: Mapping[int, float] = {}

    def count(self, counter: CounterName, amount: int = 1, labels: Sequence[str] = ()) -> None:
        """Add `amount` to the counter with these label values."""
        with self._lock:
            self._counts[counter, tuple(labels)] += amount

    def observe_write(self, elapsed_s: float) -> None:
        """One committed batch."""
        with self._lock:
            self._writes_s.append(elapsed_s)

    def note_lags(self, lag_s: Mapping[int, float]) -> None:
        """How long the trace of each tenant that is due for longest has been."""
        with self._lock:
            self._lag_s = lag_s

    def take(self) -> MetricsDelta:
        """What was counted since the last call."""
        with self._lock:
            lag_s = None if self._lag_s == self._told_lag_s else self._lag_s
            self._told_lag_s = self._lag_s
            delta = MetricsDelta(dict(self._counts), self._writes_s, lag_s)
            self._counts = Counter()
            self._writes_s = []
        return delta
