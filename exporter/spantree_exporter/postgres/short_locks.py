"""DDL beside live traffic: a lock is waited for briefly, given up and tried again, so that nobody queues up behind.

Who waits for ACCESS EXCLUSIVE behind one long reader holds up every reader and writer that comes after it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import psycopg

from spantree_exporter.sql import statements

_SQL: Final = statements("short_locks")
# Each attempt waits for each lock for two seconds at most, and holds up whoever comes after it for as long.
_ATTEMPTS: Final = 30
_PAUSE_S: Final = 1.0


def in_transaction(connection: psycopg.Connection[Any], action: Callable[[], object]) -> None:
    """Run `action` in a transaction of its own, which waits briefly for locks and is repeated where it got none.

    The connection is in autocommit; `action` runs up to thirty times. Raises what `action` raises, LockNotAvailable
    where somebody holds a lock for a minute and more: to be repeated then.
    """

    def attempt() -> None:
        with connection.transaction():
            connection.execute(_SQL["limit_of_transaction"])
            action()

    _repeated(attempt)


def outside_transaction(connection: psycopg.Connection[Any], action: Callable[[], object]) -> None:
    """Run one statement that cannot be in a transaction, with the same patience. It must bear repetition."""
    connection.execute(_SQL["limit_of_session"])
    try:
        _repeated(action)
    finally:
        if not connection.broken:
            connection.execute(_SQL["no_limit_of_session"])


def _repeated(attempt: Callable[[], object]) -> None:
    for left in reversed(range(_ATTEMPTS)):
        try:
            attempt()
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            if not left:
                raise
            time.sleep(_PAUSE_S)
        else:
            return
