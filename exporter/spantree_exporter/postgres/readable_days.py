"""Reading all rows of some days beside retention, which hides those of a day while it copies what stays of it.

Whoever concludes something from all rows of a trace, or means to change all rows of a day, would take the hidden ones
for gone. So it holds the days, which keeps retention from taking them off, and then asks which are taken off already.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import date
from typing import Any, Final, TypeVar

import psycopg

from spantree_exporter.errors import OperatorError
from spantree_exporter.postgres.connection import StoreConnection
from spantree_exporter.postgres.partitions import date_of, day_number
from spantree_exporter.sql import statements

_SQL: Final = statements("readable_days")
# How long a day that is taken off is waited for, and how often it is looked at.
_PATIENCE_S: Final = 120.0
_POLL_S: Final = 0.2

_T = TypeVar("_T")


def hold_days(cursor: psycopg.Cursor[Any], days: Iterable[int]) -> set[int]:
    """Keep retention from `days` until the session's advisory locks are released; those that it is at already.

    Raises psycopg.Error.
    """
    return _held(cursor, _SQL["hold_days"], [date_of(day) for day in days])


def rewrite(connection: StoreConnection, tenant_id: int, day: date, work: Callable[[], _T]) -> _T:
    """Run `work`, which reads stored rows of one tenant and day and writes them anew, in a transaction; its answer.

    Of several processes that do so one runs at a time, and none while what stays of the day cannot be seen. Raises
    psycopg.Error; OperatorError where retention does not come to its end with the day.
    """
    deadline_s = time.monotonic() + _PATIENCE_S
    while True:
        opened = connection.open()
        with opened.transaction(), opened.cursor() as cursor:
            cursor.execute(_SQL["lock_rewriting"], {"tenant_id": tenant_id})
            if not _held(cursor, _SQL["hold_days_of_transaction"], [day]):
                return work()
        if time.monotonic() > deadline_s:
            raise OperatorError(
                f"{day} cannot be read: retention has taken it off and not put back what stays of it; run "
                '"spantree retention" until it comes to its end, then this again, which goes on where it is'
            )
        time.sleep(_POLL_S)


def _held(cursor: psycopg.Cursor[Any], hold: Any, dates: list[date]) -> set[int]:
    if not dates:
        return set()
    cursor.execute(hold, {"days": dates})
    return {day_number(day) for (day,) in cursor.execute(_SQL["hidden_days"], {"days": dates}).fetchall()}
