"""Rollups in PostgreSQL: differences beside the rows that make them, folded into the figures in the background."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

import psycopg

from spantree_exporter.connection import StoreConnection
from spantree_exporter.rollup import Rollup
from spantree_exporter.sql import statements

_SQL: Final = statements("rollup")

# Often enough that reads have few differences to add up, seldom enough that folding costs nothing beside writing.
_FOLD_INTERVAL_S: Final = 5.0
# Differences that one transaction folds; some 50 ms.
_FOLDED: Final = 5_000


def insert_deltas(cursor: psycopg.Cursor[Any], tenant_id: int, rollup: Rollup) -> None:
    """Write what `rollup` holds to rollup_delta, in the caller's transaction. Raises psycopg.Error."""
    if not rollup:
        return
    with cursor.copy(_SQL["copy_deltas"]) as copy:
        for subject, hour_ns, *sums in rollup.rows():
            copy.write_row((tenant_id, subject, datetime.fromtimestamp(hour_ns // 1_000_000_000, UTC), *sums))


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure that is not what the rows say."""

    day: date
    subject: str
    workflow_name: str
    name: str
    counted: int
    rolled_up: int


def differences(
    connection: psycopg.Connection[Any], tenant_id: int, days: Iterable[date], limit: int = 20
) -> list[Difference]:
    """Figures of these UTC days that are not what the rows say, `limit` a day at most; reads all their rows.

    A day whose partitions retention has taken has figures and no rows. Raises psycopg.Error.
    """
    found: list[Difference] = []
    for day in days:
        rows = connection.execute(_SQL["differences"], {"tenant_id": tenant_id, "day": day, "limit": limit}).fetchall()
        found += [Difference(day, *row) for row in rows]
    return found


class RollupFolder:
    """Folds over one connection, now and then."""

    def __init__(self, connection: StoreConnection) -> None:
        self._connection = connection
        self._fold_at_s = 0.0

    def fold_when_due(self) -> int:
        """Fold, if it is time and nobody else is at it; how many differences were folded. Raises psycopg.Error."""
        if time.monotonic() < self._fold_at_s:
            return 0
        folded = self.fold()
        # At once again where more may be left.
        if folded < _FOLDED:
            self._fold_at_s = time.monotonic() + _FOLD_INTERVAL_S
        return folded

    def fold(self) -> int:
        """Fold up to some thousand differences; how many it were: 0 also where somebody else folds just now."""
        with self._connection.open().transaction(), self._connection.open().cursor() as cursor:
            if not _first(cursor.execute(_SQL["try_fold"])):
                return 0
            return int(_first(cursor.execute(_SQL["fold"], {"deltas": _FOLDED})))


def _first(cursor: psycopg.Cursor[Any]) -> Any:
    row = cursor.fetchone()
    return row[0] if row else None
