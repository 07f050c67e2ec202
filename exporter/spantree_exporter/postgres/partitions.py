"""Which day partition a row belongs to, and making the partitions that are missing.

A span's day is the UTC day of its start where that day has a partition or may get one: the days around the
collector's clock that `PartitionWindow` names. Every other span goes to the sentinel day and keeps its true times, so
that a broken clock cannot make a partition for each day that it invents.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from spantree_exporter.sql import statements
from spantree_exporter.trace_key import TraceKey, key_arrays

if TYPE_CHECKING:
    import psycopg

_DAY_NS: Final = 86_400_000_000_000
_EPOCH: Final = date(1970, 1, 1)
FIRST_DAY: Final = date(2015, 1, 1)
LAST_DAY: Final = date(2099, 12, 31)

# Where spans go whose start is no believable time (0, a uint64 gone wrong) or outside the window. Its value is also the
# day number of 1970-01-01.
SENTINEL_DAY: Final = 0
_FIRST_DAY: Final = (FIRST_DAY - _EPOCH).days
_LAST_DAY: Final = (LAST_DAY - _EPOCH).days

# As far back as spans are taken to be late rather than wrong, where no setting says how long they are kept.
DEFAULT_DAYS_BACK: Final = 90
# A sender's clock may be ahead, and nobody should have to wait for DDL at midnight.
_DAYS_AHEAD: Final = 2
# Made ahead of need on the other side, for late spans.
_DAYS_BEHIND: Final = 1
# Each day is four tables with some twenty indexes, all locked until the commit: max_locks_per_transaction (64) times
# max_connections (100) is all that PostgreSQL has by default.
_DAYS_PER_TRANSACTION: Final = 8
# How long a day is remembered to have no partition, and how many such days at most.
_ABSENT_S: Final = 60.0
_ABSENT_DAYS: Final = 10_000
# How long a day is believed to have one: a day may have been dropped and have come back by an import meanwhile.
_KNOWN_S: Final = 300.0

# Without the table's lock in this time the caller tries again later, rather than queueing up behind a long reader.
_LOCK_TIMEOUT_MS: Final = 5000
_SQL: Final = statements("partitions")

OUTSIDE_WINDOW: Final = "the start is outside of the days that have partitions; the span is stored under 1970-01-01"


def day_of(start_ns: int) -> int:
    """The UTC day of a start time, as days since 1970-01-01, or SENTINEL_DAY if that is no believable time."""
    day = start_ns // _DAY_NS
    return day if _FIRST_DAY <= day <= _LAST_DAY else SENTINEL_DAY


def date_of(day: int) -> date:
    """The date of a day number."""
    return _EPOCH + timedelta(days=day)


def day_number(day: date) -> int:
    """The day number of a date: `date_of` the other way round."""
    return (day - _EPOCH).days


def date_arrays(days: Iterable[Iterable[int]]) -> list[str]:
    """Each of `days` as the text of a date[]: unnest takes no arrays of arrays that differ in length."""
    return [f"{{{','.join([date_of(day).isoformat() for day in sorted(some)])}}}" for some in days]


def trace_days(days: Mapping[TraceKey, Iterable[int]]) -> dict[str, list[Any]]:
    """`days` of traces as the arrays of a statement: a tenant, a trace id in hex and a date for each pair."""
    pairs = [(key, date_of(day)) for key, of_trace in days.items() for day in of_trace]
    return key_arrays(key for key, _ in pairs) | {"days": [day for _, day in pairs]}


def days_to_keep_ready(now: datetime) -> list[int]:
    """The days around `now`, and the sentinel, whose partitions should always exist."""
    today = day_number(now.astimezone(UTC).date())
    return [SENTINEL_DAY, *range(today - _DAYS_BEHIND, today + _DAYS_AHEAD + 1)]


def ensure_partitions(connection: psycopg.Connection[Any], days: Iterable[int]) -> int:
    """Make the partitions of `days` that are missing, a few days a transaction; how many tables it made.

    Safe when several processes do it at once. Raises psycopg.Error, LockNotAvailable after five seconds.
    """
    made = 0
    wanted = [date_of(day) for day in sorted(set(days))]
    for first in range(0, len(wanted), _DAYS_PER_TRANSACTION):
        with connection.transaction():
            connection.execute(_SQL["set_lock_timeout"], {"lock_timeout": f"{_LOCK_TIMEOUT_MS}ms"})
            some = {"days": wanted[first : first + _DAYS_PER_TRANSACTION]}
            row = connection.execute(_SQL["ensure_partitions"], some).fetchone()
            made += int(row[0]) if row else 0
    return made


@dataclass(frozen=True, slots=True)
class PartitionWindow:
    """The days that spans may make partitions for. What has a partition is used, whatever the window says."""

    days_back: int = field(default_factory=lambda: DEFAULT_DAYS_BACK)

    def __contains__(self, day: int) -> bool:
        today = int(time.time()) // 86_400
        return day == SENTINEL_DAY or today - self.days_back <= day <= today + _DAYS_AHEAD


class PartitionDays:
    """What one connection knows of the partitions. Forget it when the connection broke: another server may answer."""

    def __init__(self, window: PartitionWindow) -> None:
        self._window = window
        self._ready: set[int] = set()
        self._absent: dict[int, float] = {}
        self._known_since_s = time.monotonic()

    def place(self, connection: psycopg.Connection[Any], days: Collection[int]) -> dict[int, int]:
        """Day -> the day whose partition takes its rows: itself, or SENTINEL_DAY. Makes what the window allows.

        Outside of a transaction: making partitions commits on its own. Raises psycopg.Error.
        """
        if time.monotonic() - self._known_since_s > _KNOWN_S:
            self.forget()
        unknown = [day for day in days if day not in self._ready and not self._known_absent(day)]
        if unknown:
            self._look_up(connection, unknown)
        placed = {day: day if day in self._ready else SENTINEL_DAY for day in days}
        if SENTINEL_DAY in placed.values() and SENTINEL_DAY not in self._ready:
            self.make(connection, [SENTINEL_DAY])
        return placed

    def plan(self, connection: psycopg.Connection[Any], days: Collection[int]) -> dict[int, int]:
        """Day -> the day whose partition will take its rows, as `place` would tell, but nothing is made.

        Raises psycopg.Error.
        """
        unknown = [day for day in days if day not in self._ready and not self._known_absent(day)]
        if unknown:
            self._find(connection, unknown)
        return {day: day if day in self._ready or day in self._window else SENTINEL_DAY for day in days}

    def is_ready(self, day: int) -> bool:
        """Whether the partition of `day` is known to exist."""
        return day in self._ready

    def make(self, connection: psycopg.Connection[Any], days: Collection[int]) -> None:
        """Make the partitions of `days`, wherever they lie, but not of days that were dropped. Raises psycopg.Error."""
        ensure_partitions(connection, days)
        self._find(connection, days)
        missing = [date_of(day) for day in days if day not in self._ready]
        if missing:
            rows = connection.execute(_SQL["dropped_days"], {"days": missing}).fetchall()
            dropped = {day_number(day) for (day,) in rows}
            # A day that has none for another reason is tried, so that whoever writes is told.
            self._ready.update(day for day in days if day not in dropped)

    def hold(self, connection: psycopg.Connection[Any], days: Collection[int], until: date) -> None:
        """Let `days` have partitions although retention dropped them, and keep it from them up to `until`."""
        connection.execute(_SQL["hold_days"], {"days": [date_of(day) for day in sorted(days)], "until": until})
        self.forget()

    def forget(self) -> None:
        """Look again at which partitions exist: one that was known may have been dropped."""
        self._ready.clear()
        self._absent.clear()
        self._known_since_s = time.monotonic()

    def _known_absent(self, day: int) -> bool:
        until_s = self._absent.get(day)
        return until_s is not None and time.monotonic() < until_s

    def _look_up(self, connection: psycopg.Connection[Any], days: Collection[int]) -> None:
        self._find(connection, days)
        missing = [day for day in days if day not in self._ready and day in self._window]
        if missing:
            self.make(connection, missing)
        absent = [day for day in days if day not in self._ready]
        if len(self._absent) + len(absent) > _ABSENT_DAYS:
            self._absent.clear()
        until_s = time.monotonic() + _ABSENT_S
        self._absent.update((day, until_s) for day in absent)

    def _find(self, connection: psycopg.Connection[Any], days: Collection[int]) -> None:
        rows = connection.execute(_SQL["existing_days"], {"days": [date_of(day) for day in days]}).fetchall()
        self._ready.update(day_number(day) for (day,) in rows)
