"""One run of retention over a database: what is unfinished, what is due, and what hangs on days that are gone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import orjson
import psycopg
from psycopg.sql import SQL, Identifier
from psycopg.types.json import set_json_loads

from spantree_exporter.errors import OperatorError, classify
from spantree_exporter.own_audit import drop_old, write
from spantree_exporter.own_audit_event import Actor, Channel, Event
from spantree_exporter.postgres.connection import connect
from spantree_exporter.postgres.migrate import check_version
from spantree_exporter.postgres.partitions import date_of
from spantree_exporter.retention.day import PARENTS, WORKED_ON, DayRetirement, Say
from spantree_exporter.retention.policy import Policy
from spantree_exporter.sql import statements

SERVICE: Final = Actor("service", "retention")
"""Who drops days where no person asks for it: a collector."""

_SQL: Final = statements("retention")
_ROWS: Final = 5_000
_TRACES: Final = 1_000
_DAY_NS: Final = 86_400_000_000_000
# What starts on a day was taken in on it or later, but for senders whose clocks are ahead: two days are allowed.
_SEEN_BEFORE: Final = timedelta(days=3)
# How long a dropped day is remembered: whoever lets older ones in by SPANTREE_PARTITION_DAYS_BACK wants them.
_REMEMBERED: Final = timedelta(days=3 * 365)


@dataclass(frozen=True, slots=True)
class DuePlan:
    """A day of which something goes, as a dry run tells it. `executions` and `kept` are None where nobody counted."""

    day: date
    age_days: int
    bytes: int
    executions: int
    kept: int
    unfinished: bool = False


@dataclass(slots=True)
class RetentionReport:
    """What one run did. `busy`: another process was at it, and nothing was done."""

    busy: bool = False
    dropped: list[date] = field(default_factory=list)
    thinned: list[date] = field(default_factory=list)
    sentinel_traces: int = 0
    dead_letters: int = 0
    failure_groups: int = 0
    resources: int = 0


def plan(database_url: str, policy: Policy, today: date | None = None) -> list[DuePlan]:
    """What `run` would do now, oldest first. Changes nothing. Raises StoreUnavailable, OperatorError."""
    with _connected(database_url) as connection:
        found = []
        for day, age_days, size in _due(connection, policy, today or _today()):
            kept = policy.kept_beyond(age_days)
            wanted = {"day": day, "statuses": kept.statuses, "workflows": kept.workflows}
            row = connection.execute(_SQL["count_kept"], wanted).fetchone()
            executions, stay = row or (0, 0)
            found.append(DuePlan(day, age_days, size, executions, stay))
        unfinished = [
            DuePlan(day, age_days, 0, 0, 0, True)
            for day, _, age_days in connection.execute(_SQL["unfinished"]).fetchall()
        ]
        return unfinished + found


def run(
    database_url: str,
    policy: Policy,
    say: Say = lambda sentence: None,
    today: date | None = None,
    actor: Actor = SERVICE,
) -> RetentionReport:
    """Drop and thin what is due, once over any number of processes that do so at a time; `actor` is who is told of it.

    What it did not come to the end of, for a crash or because somebody had a lock for minutes, the next run goes on
    with. Raises StoreUnavailable, OperatorError (an archive that cannot be written, rights that do not suffice).
    """
    today = today or _today()
    report = RetentionReport()
    with _connected(database_url) as connection:
        _check_owner(connection)
        row = connection.execute(_SQL["try_lock"]).fetchone()
        if row is None or not row[0]:
            report.busy = True
            return report
        for day, state, age_days in connection.execute(_SQL["unfinished"]).fetchall():
            _finish(connection, policy, day, state, age_days, say, report)
            _record(connection, actor, report, day)
        for day, age_days, _ in list(_due(connection, policy, today)):
            retirement = DayRetirement(connection, policy, day, say)
            retirement.begin(age_days)
            _finish(connection, policy, day, "retiring", age_days, say, report)
            _record(connection, actor, report, day)
        _clean(connection, policy, today, report)
        connection.execute(_SQL["unlock"])
    return report


def drop_own_audit(database_url: str, keep_days: int) -> int:
    """Drop months of the own audit that are older than is kept; how many. Raises StoreUnavailable, OperatorError."""
    with _connected(database_url) as connection:
        return drop_old(connection, keep_days)


def _check_owner(connection: psycopg.Connection[Any]) -> None:
    """Before anything is noted: who writes for a collector may do all of it but take partitions off."""
    row = connection.execute(_SQL["owner"]).fetchone()
    if row is not None:
        raise OperatorError(
            f'days are dropped by who owns the tables, "{row[0]}", and this is "{connection.info.user}": run '
            '"spantree retention" as the owner, and take SPANTREE_RETENTION_DAYS from the collector'
        )


def _record(connection: psycopg.Connection[Any], actor: Actor, report: RetentionReport, day: date) -> None:
    action = "drop" if day in report.dropped else "thin"
    channel: Channel = "service" if actor.kind == "service" else "command"
    write(connection, Event(actor, channel, action, 0, "day", day.isoformat()))


def _finish(
    connection: psycopg.Connection[Any],
    policy: Policy,
    day: date,
    state: str,
    age_days: int,
    say: Say,
    report: RetentionReport,
) -> None:
    began_s = time.monotonic()
    ended = DayRetirement(connection, policy, day, say).finish(state, age_days)
    if ended == "dropped":
        _in_chunks(connection, "delete_terms", {"day": day})
    (report.dropped if ended == "dropped" else report.thinned).append(day)
    say(f"{day} is {ended}, in {time.monotonic() - began_s:.1f} s")


def _due(connection: psycopg.Connection[Any], policy: Policy, today: date) -> Iterator[tuple[date, int, int]]:
    """(day, the age that it has passed, its bytes), oldest first."""
    for day, state, done_age_days, held_until, size in connection.execute(_SQL["days"]).fetchall():
        age_days = policy.age_due((today - day).days)
        if age_days is None or state in WORKED_ON or (held_until is not None and held_until >= today):
            continue
        if state == "thinned" and done_age_days is not None and done_age_days >= age_days:
            continue
        yield day, age_days, size


def _clean(connection: psycopg.Connection[Any], policy: Policy, today: date, report: RetentionReport) -> None:
    """What is on no day of its own, or hangs on days that are gone."""
    now_ns = (today - date_of(0)).days * _DAY_NS
    report.sentinel_traces = _clean_sentinel(connection, now_ns - policy.ages[-1] * _DAY_NS)
    first_ns, last_ns = now_ns - policy.days * _DAY_NS, now_ns - policy.ages[-1] * _DAY_NS
    report.dead_letters = _in_chunks(connection, "delete_dead_letters", {"before_ns": first_ns})
    report.failure_groups = _in_chunks(connection, "delete_failure_groups", {"before_ns": last_ns})
    before = datetime.combine(today, datetime.min.time(), UTC) - timedelta(days=policy.ages[-1])
    _in_chunks(connection, "delete_failure_group_changes", {"before": before})
    _clean_analyses(connection, today - timedelta(days=policy.days))
    days = [row[0] for row in connection.execute(_SQL["days"]).fetchall()]
    oldest = min([*days, today - timedelta(days=policy.ages[-1])]) - _SEEN_BEFORE
    report.resources = _in_chunks(connection, "delete_resources", {"before": oldest})
    _in_chunks(connection, "delete_operations", {"before": oldest})
    _in_chunks(connection, "delete_terms_before", {"before": oldest})
    connection.execute(_SQL["delete_gaps"], {"before": oldest})
    connection.execute(_SQL["forget_days"], {"before": today - _REMEMBERED})


def _in_chunks(connection: psycopg.Connection[Any], name: str, keys: dict[str, Any]) -> int:
    done = 0
    while True:
        count = connection.execute(_SQL[name], {**keys, "rows": _ROWS}).rowcount
        done += count
        if count < _ROWS:
            return done


def _clean_analyses(connection: psycopg.Connection[Any], before: date) -> None:
    """Analyses of executions that are gone; in steps, for Citus joins no local table with one of shards."""
    at: dict[str, Any] = {"tenant_id": -(2**31), "trace_id": UUID(int=0), "before": before, "rows": _ROWS}
    while rows := connection.execute(_SQL["old_analyses"], at).fetchall():
        at["tenant_id"], at["trace_id"] = rows[-1]
        known = set(connection.execute(_SQL["known_traces"], _trace_keys(rows)).fetchall())
        if gone := [row for row in rows if row not in known]:
            connection.execute(_SQL["delete_analyses"], _trace_keys(gone))


def _trace_keys(rows: list[tuple[int, UUID]]) -> dict[str, Any]:
    return {"tenant_ids": [tenant_id for tenant_id, _ in rows], "trace_ids": [trace_id for _, trace_id in rows]}


def _clean_sentinel(connection: psycopg.Connection[Any], before_ns: int) -> int:
    """Traces whose newest span on the sentinel's day came before: their rows there, and the day of their `trace`."""
    at: dict[str, Any] = {"tenant_id": -(2**31), "trace_id": UUID(int=0), "traces": _TRACES, "before_ns": before_ns}
    done = 0
    while rows := connection.execute(_SQL["old_sentinel_traces"], at).fetchall():
        at["tenant_id"], at["trace_id"] = rows[-1][0], rows[-1][1]
        old: dict[int, list[UUID]] = {}
        for tenant_id, trace_id, is_old in rows:
            if is_old:
                old.setdefault(tenant_id, []).append(trace_id)
        for tenant_id, trace_ids in old.items():
            keys = {"tenant_id": tenant_id, "trace_ids": sorted(trace_ids)}
            with connection.transaction():
                for parent in PARENTS:
                    connection.execute(SQL(_SQL["delete_sentinel_rows"]).format(parent=Identifier(parent)), keys)
                connection.execute(_SQL["forget_sentinel_day"], keys)
                connection.execute(SQL(_SQL["delete_traces_without_days"]).format(), keys)
            done += len(trace_ids)
    return done


def _today() -> date:
    return datetime.now(UTC).date()


@contextmanager
def _connected(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    try:
        with connect(database_url, "spantree retention") as connection:
            connection.execute(_SQL["settings"])
            set_json_loads(orjson.loads, connection)
            check_version(connection)
            yield connection
    except psycopg.Error as error:
        raise classify(error) from error
    except OSError as error:
        raise OperatorError(
            f"the archive cannot be written ({error.filename}: {error.strerror}); what was to go stays until then"
        ) from error
