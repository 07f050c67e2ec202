"""Rollups in PostgreSQL: differences beside the rows that make them, folded into the figures in the background."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import psycopg

from spantree_exporter.postgres.connection import StoreConnection
from spantree_exporter.postgres.failure_groups import note_failure_groups
from spantree_exporter.postgres.gathered_names import gather, take_surplus
from spantree_exporter.postgres.partitions import date_of, day_number
from spantree_exporter.postgres.patience import any_time
from spantree_exporter.postgres.upkeep import Turns
from spantree_exporter.rollup import HOUR_NS, Rollup
from spantree_exporter.rollup_names import OTHER_NAMES
from spantree_exporter.sql import statements

_SQL: Final = statements("rollup")

# Folding takes up to this share of the time of one processor, and at least so long passes between two folds. What a
# line takes is told here (25,000 of the reference load: 0.35 s of PostgreSQL and 0.2 s of ours). By the clock, figures
# of a few runs would be a quarter of a minute late wherever the machine has other work.
_SHARE: Final = 0.02
_LINE_S: Final = 25e-6
_INTERVAL_S: Final = 0.5
# Whether anything waits is looked at so often: whoever sees a run asks for its figures next.
_LOOK_S: Final = 0.3
# However slow the server is, it has this much of the time for others.
_MOST_OF_THE_TIME: Final = 0.5
_RETRY_S: Final = 10.0
_DAY_H: Final = 24
_DAY_S: Final = 86_400
# Changes that one fold takes, one for each tenant of a transaction; the more of one tenant there are together, the less
# each costs. In memory a change takes some ten times its bytes.
_DELTAS: Final = 2_000
_DELTA_BYTES: Final = 8 * 2**20
# An interval is summed up anew at most so often: a day of a thousand names takes a second.
_CLOSE_INTERVAL_S: Final = 10.0
# COPY's text format: what it reads otherwise than it is written, and NULL (https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.2).
_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_NULL: Final = "\\N"


def insert_delta(cursor: psycopg.Cursor[Any], rollups: Mapping[int, Rollup]) -> None:
    """Note what the rollup of each tenant changes, in the caller's transaction. Raises psycopg.Error.

    Of days that retention has begun with, nothing: their figures stay as they were. The transaction holds its days, or
    has written to their partitions: retention takes none of them off before it ends.
    """
    # Retention is after no day before it is two days old: what comes in time asks nothing.
    yesterday = int(time.time()) // _DAY_S - 1
    old = {day for rollup in rollups.values() for day in rollup.days() if day < yesterday}
    if old:
        counted = cursor.execute(_SQL["counted_days"], {"days": [date_of(day) for day in old]}).fetchall()
        if counted:
            days = {day_number(day) for (day,) in counted}
            for rollup in rollups.values():
                rollup.leave_out(days)
    some = {tenant_id: rollup for tenant_id, rollup in rollups.items() if rollup}
    if some:
        changes = [rollup.encoded() for rollup in some.values()]
        cursor.execute(_SQL["insert_delta"], {"tenant_ids": list(some), "changes": changes})


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
    """Figures of these UTC days that are not what the rows say, `limit` a day at most; reads all their rows,
    however long that takes.

    Days that retention has thinned or dropped are left out: their figures are those of rows that are gone, too. Raises
    psycopg.Error.
    """
    found: list[Difference] = []
    wanted_days = list(days)
    for (day,) in connection.execute(_SQL["days_with_all_rows"], {"days": wanted_days}).fetchall():
        with any_time(connection), connection.transaction():
            connection.execute(_SQL["unbounded"])
            wanted = {"tenant_id": tenant_id, "day": day, "limit": limit, "other": OTHER_NAMES}
            rows = connection.execute(_SQL["differences"], wanted).fetchall()
        found += [Difference(day, *row) for row in rows]
    return found


def recount(connection: StoreConnection, tenant_id: int, day: date) -> None:
    """Count the hours of a UTC day anew from its rows, which must all be there. Raises psycopg.Error.

    For rows that were taken away by hand. One snapshot for the rows and for what waits to be folded, so that
    projections beside it are counted once.
    """
    opened = connection.open()
    first_ns = (day - date(1970, 1, 1)).days * 24 * HOUR_NS
    keys = {"tenant_id": tenant_id, "day": day, "first_ns": first_ns, "end_ns": first_ns + 24 * HOUR_NS}
    opened.execute(_SQL["lock_folding"])
    try:
        opened.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        with any_time(opened), opened.transaction(), opened.cursor() as cursor:
            cursor.execute(_SQL["unbounded"])
            while _fold_some(connection, cursor).changes:
                pass
            for statement in ("delete_hours", "recount_hours", "recount_steps", "recount_calls", "mark_day_outdated"):
                cursor.execute(_SQL[statement], keys)
            since = datetime(day.year, day.month, day.day, tzinfo=UTC)
            _gather_surplus(connection, cursor, tenant_id, 1, since, since + timedelta(days=1))
    finally:
        if not opened.closed:
            opened.isolation_level = None
            opened.execute(_SQL["unlock_folding"])


@dataclass(frozen=True, slots=True)
class _Folded:
    """What one fold did. `lines`: rows of figures that it changed; `is_behind`: many more changes may wait."""

    changes: int
    lines: int
    is_behind: bool


_NOTHING: Final = _Folded(0, 0, is_behind=False)


class RollupFolder:
    """Folds what projections changed into the figures, over one connection, now and then."""

    def __init__(self, connection: StoreConnection) -> None:
        self._connection = connection
        self._last = _NOTHING
        # Where it fails, traces are projected all the same before it is tried again.
        self._turns = Turns(connection, "fold", share=_MOST_OF_THE_TIME, retry_s=_RETRY_S, look_s=_LOOK_S)
        self._close_at_s = 0.0

    def fold_when_due(self) -> int:
        """Fold, if it is time and nobody else is at it; how many changes were folded. Raises psycopg.Error."""
        if not self._turns.begin(self._is_wanted):
            return 0
        folded = self.fold()
        began_s = time.monotonic()
        if not folded and began_s >= self._close_at_s:
            self.sum_up(datetime.now(UTC))
            ended_s = time.monotonic()
            self._close_at_s = ended_s + max(_CLOSE_INTERVAL_S, (ended_s - began_s) / _SHARE)
        # At once again where more is waiting than one fold takes.
        rest_s = max(_INTERVAL_S, self._last.lines * _LINE_S / _SHARE)
        self._turns.end(rest_s=rest_s, more=self._last.is_behind)
        return folded

    def _is_wanted(self) -> bool:
        if time.monotonic() >= self._close_at_s:
            return True
        row = self._connection.open().execute(_SQL["is_any_waiting"]).fetchone()
        return row is not None and bool(row[0])

    def fold(self) -> int:
        """Fold up to some thousand changes; how many: 0 also where somebody else folds just now."""
        self._last = _NOTHING
        with self._locked() as cursor:
            if cursor is None:
                return 0
            self._last = _fold_some(self._connection, cursor)
        if self._last.changes:
            self._connection.temporary_tables_kept(["rollup_staging"])
        return self._last.changes

    def sum_up(self, now: datetime) -> bool:
        """Make one day of its hours, or eight days of their days, where one is outdated and over; whether one was."""
        with self._locked() as cursor:
            row = cursor and cursor.execute(_SQL["next_outdated"], {"now": now}).fetchone()
            if not cursor or not row:
                return False
            tenant_id, grain_h, started_at = row
            interval = {
                "tenant_id": tenant_id,
                "grain_h": grain_h,
                "started_at": started_at,
                "part_h": 1 if grain_h == _DAY_H else _DAY_H,
            }
            for statement in ("delete_interval", "sum_interval", "delete_outdated"):
                cursor.execute(_SQL[statement], interval)
            until = started_at + timedelta(hours=grain_h)
            _gather_surplus(self._connection, cursor, tenant_id, grain_h, started_at, until)
            return True

    @contextmanager
    def _locked(self) -> Iterator[psycopg.Cursor[Any] | None]:
        """A cursor in a transaction that holds the lock of folders; None where somebody else does."""
        with self._connection.open().transaction(), self._connection.open().cursor() as cursor:
            row = cursor.execute(_SQL["try_fold"]).fetchone()
            yield cursor if row and row[0] else None


def _fold_some(connection: StoreConnection, cursor: psycopg.Cursor[Any]) -> _Folded:
    """Fold some changes, in the caller's transaction and under its lock."""
    rollups: dict[int, Rollup] = {}
    count = size_bytes = lines = 0
    limits = {"deltas": _DELTAS, "bytes": _DELTA_BYTES}
    for tenant_id, changes in cursor.execute(_SQL["take_deltas"], limits, binary=True):
        count += 1
        size_bytes += len(changes)
        rollups.setdefault(tenant_id, Rollup()).add_encoded(changes)
    if count:
        gather(cursor, rollups)
        connection.temporary_table("rollup_staging", _SQL["create_rollup_staging"])
        for statement, some in zip(("copy_sums", "copy_steps"), _lines(rollups), strict=True):
            lines += len(some)
            if some:
                with cursor.copy(_SQL[statement]) as copy:
                    copy.write("".join(some))
        cursor.execute(_SQL["fold"], {"grain_h": 1})
        cursor.execute(_SQL["mark_outdated"])
        note_failure_groups(cursor, {day for rollup in rollups.values() for day in rollup.days_of_errors()})
        cursor.execute(_SQL["empty_rollup_staging"])
    return _Folded(count, lines, count == _DELTAS or size_bytes > _DELTA_BYTES // 2)


def _gather_surplus(
    connection: StoreConnection,
    cursor: psycopg.Cursor[Any],
    tenant_id: int,
    grain_h: int,
    since: datetime,
    until: datetime,
) -> None:
    connection.temporary_table("rollup_staging", _SQL["create_rollup_staging"])
    if take_surplus(cursor, tenant_id, grain_h, since, until):
        cursor.execute(_SQL["fold"], {"grain_h": grain_h})
        cursor.execute(_SQL["empty_rollup_staging"])


class _Escaped(dict[str, str]):
    """Texts as they stand in a line of COPY; names repeat."""

    def __missing__(self, text: str) -> str:
        written = self[text] = text.translate(_ESCAPES)
        return written


class _Hours(dict[int, str]):
    """Hours, in ns since 1970, as PostgreSQL reads them."""

    def __missing__(self, hour_ns: int) -> str:
        written = self[hour_ns] = datetime.fromtimestamp(hour_ns // 1_000_000_000, UTC).isoformat()
        return written


def _lines(rollups: dict[int, Rollup]) -> tuple[list[str], list[str]]:
    """Lines for COPY: of sums, of steps; about in the order of the key of `rollup`, with which they begin."""
    escaped, at = _Escaped(), _Hours()
    sums, steps = [], []
    for tenant_id, rollup in rollups.items():
        for subject, hour_ns, workflow, name, kind, role, hidden, columns, buckets, counts in rollup.sums():
            key = f"{escaped[workflow]}\t{escaped[name]}\t{escaped[kind]}\t{role}\t{hidden}"
            numbers = "\t".join([_NULL if number is None else str(number) for number in columns])
            histogram = f"{{{','.join(map(str, buckets))}}}\t{{{','.join(map(str, counts))}}}"
            sums.append(f"{tenant_id}\t{subject}\t{at[hour_ns]}\t{key}\t{numbers}\t{histogram}\n")
        for hour_ns, workflow, service, name, kind, target, edge_type, count, failures in rollup.steps():
            key = f"{escaped[workflow]}\t{escaped[service]}\t{escaped[name]}\t{escaped[kind]}\t{escaped[target]}"
            steps.append(f"{tenant_id}\t{at[hour_ns]}\t{key}\t{edge_type}\t{count}\t{failures}\t{hour_ns}\n")
    return sorted(sums), sorted(steps)
