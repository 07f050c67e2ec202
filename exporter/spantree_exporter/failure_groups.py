"""Groups of failures in PostgreSQL: what a fold of the figures tells of them, written in the fold's transaction."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import psycopg

from spantree_exporter.partitions import SENTINEL_DAY, date_of
from spantree_exporter.sql import statements

_SQL: Final = statements("failure_groups")

# Days that one statement names, the newest of those that failures are on: partitions of the others are not looked at.
_DAYS: Final = 8
# Groups whose executions are looked up in one fold: some ten milliseconds.
_LOOKED_UP: Final = 100


def note_failure_groups(cursor: psycopg.Cursor[Any], days: Collection[int]) -> None:
    """Note the groups of failures that rollup_staging has more of; `days` are the day numbers that those are on.

    In the transaction of the fold, whose lock keeps others away. Raises psycopg.Error.
    """
    if not days:
        return
    parameters = {
        "days": [date_of(SENTINEL_DAY), *(date_of(day) for day in sorted(days)[-_DAYS:])],
        "looked_up": _LOOKED_UP,
    }
    cursor.execute(_SQL["reopen_groups"], parameters)
    cursor.execute(_SQL["note_groups"], parameters)
