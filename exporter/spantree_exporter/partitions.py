"""Which day partition a row belongs to, and making the partitions that are missing."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import psycopg

from spantree_exporter.sql import statements

_DAY_NS: Final = 86_400_000_000_000
_EPOCH: Final = date(1970, 1, 1)
FIRST_DAY: Final = date(2015, 1, 1)
LAST_DAY: Final = date(2099, 12, 31)

# Where spans go whose start is no believable time (0, a uint64 gone wrong): one more partition, not one for each day
# that a broken clock makes up. Its value is also the day number of 1970-01-01.
SENTINEL_DAY: Final = 0
_FIRST_DAY: Final = (FIRST_DAY - _EPOCH).days
_LAST_DAY: Final = (LAST_DAY - _EPOCH).days

# Made ahead so that no batch has to wait for DDL: yesterday for late spans, a week in case nobody writes for days.
_DAYS_BEHIND: Final = 1
_DAYS_AHEAD: Final = 7

# Without the table's lock in this time the caller tries again later, rather than queueing up behind a long reader.
_LOCK_TIMEOUT_MS: Final = 5000
_WRITE: Final = statements("partitions")


def day_of(start_ns: int) -> int:
    """The partition day of a start time, as days since 1970-01-01: its UTC day, or SENTINEL_DAY if out of range."""
    day = start_ns // _DAY_NS
    return day if _FIRST_DAY <= day <= _LAST_DAY else SENTINEL_DAY


def date_of(day: int) -> date:
    """The date of a day number."""
    return _EPOCH + timedelta(days=day)


def days_to_keep_ready(now: datetime) -> list[int]:
    """The days around `now`, and the sentinel, whose partitions should always exist."""
    today = (now.astimezone(UTC).date() - _EPOCH).days
    return [SENTINEL_DAY, *range(today - _DAYS_BEHIND, today + _DAYS_AHEAD + 1)]


def ensure_partitions(connection: psycopg.Connection[Any], days: Iterable[int]) -> int:
    """Make the partitions of `days` that are missing, in a transaction of its own; how many it made.

    Safe when several processes do it at once. Raises psycopg.Error, LockNotAvailable after five seconds.
    """
    with connection.transaction():
        connection.execute(_WRITE["set_lock_timeout"], {"lock_timeout": f"{_LOCK_TIMEOUT_MS}ms"})
        row = connection.execute(
            _WRITE["ensure_partitions"], {"days": [date_of(day) for day in sorted(days)]}
        ).fetchone()
    return int(row[0]) if row else 0
