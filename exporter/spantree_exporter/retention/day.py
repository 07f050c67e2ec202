"""One day that is thinned or dropped, in steps that each may be the last of a process.

    state        what is done                                                              and if it ends here
    retiring     the partitions are detached (nobody waits for it) and renamed: from       its rows are in tables of
                 then on nothing changes in them; readable_days.py says who waits until    their own
                 what stays is there again
                 which traces stay is noted                                                noted again
                 new partitions with what stays, attached in one transaction               nothing of it, or all
    restocked    what goes is written to the archive                                       written again
    archived     `trace` forgets the day                                                   goes on
                 the tables are dropped                                                    goes on
    thinned      what stays is there; dropped: nothing is

What is kept is copied, not what goes deleted: it is the small part, the disk is free at once, and no index has to be
vacuumed. Between detaching and attaching, what stays of the day cannot be read: about as long as copying it takes.
Archived is what was detached, so nothing can come between the archive and the drop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from datetime import date
from functools import partial
from operator import attrgetter
from typing import Any, Final, LiteralString
from uuid import UUID

import psycopg
from psycopg.rows import dict_row
from psycopg.sql import SQL, Composed, Identifier

from spantree_exporter.otlp.encode_logs_json import logs_lines
from spantree_exporter.otlp.rows import KeptLog, OtlpLog, OtlpSpan, SpanRow
from spantree_exporter.postgres.distribution import distribute_like_spans, is_distributed
from spantree_exporter.postgres.partitions import day_number, ensure_partitions
from spantree_exporter.retention.archive import Archive
from spantree_exporter.retention.policy import Policy
from spantree_exporter.sql import statements

_SQL: Final = statements("retention") | statements("readable_days")
# What is read last is taken off last: no execution without its spans.
PARENTS: Final = ("execution", "edge", "node", "log_record", "span")
# States that a day is in while it is worked on.
WORKED_ON: Final = ("retiring", "restocked", "archived")
# How long taking off one partition is tried before the day waits for the next run.
_PATIENCE_S: Final = 120.0
_PAUSE_S: Final = 0.5
_ROWS: Final = 200
_LOGS: Final = 1_000
_TRACES: Final = 5_000
_NO_TRACE: Final = UUID(int=0)
_SPAN_FIELDS: Final = tuple(field.name for field in fields(SpanRow))
_LOG_FIELDS: Final = tuple(field.name for field in fields(OtlpLog))

Say = Callable[[str], None]


class DayRetirement:
    """Thins or drops one day of one database, over a connection in autocommit mode that no one else uses."""

    def __init__(self, connection: psycopg.Connection[Any], policy: Policy, day: date, say: Say) -> None:
        self._connection = connection
        self._policy = policy
        self._day = day
        self._say = say
        self._suffix = f"{day:%Y%m%d}"
        self._keep = f"retired_keep_{self._suffix}"
        self._is_distributed = is_distributed(connection)

    def begin(self, age_days: int) -> None:
        """Note what is to be done: rows that are kept no longer than `age_days` go.

        Waits for those that read all of the day.
        """

        def attempt() -> None:
            with self._connection.transaction():
                self._connection.execute(_SQL["take_day"], {"day": self._day})
                self._connection.execute(_SQL["begin_day"], {"day": self._day, "age_days": age_days})

        self._patiently(attempt)

    def finish(self, state: str, age_days: int) -> str:
        """Do what is left of it; the state in the end. Raises psycopg.Error, OSError: it goes on from there."""
        if state == "retiring":
            for parent in PARENTS:
                self._take_off(parent)
            self._note_kept(age_days)
            self._restock()
        if state != "archived":
            self._archive()
            self._set_state("archived")
        for table in ("execution", "span", "log_record"):
            self._forget_traces(table)
        ended = "thinned" if self._scalar("any_kept", keep=self._keep) else "dropped"
        for parent in PARENTS:
            self._patiently(partial(self._run, "drop", table=self._retired(parent)))
        with self._connection.transaction():
            self._run("drop", table=self._keep)
            self._set_state(ended)
        return ended

    # ---- taking off ------------------------------------------------------------------------------------------------

    def _take_off(self, parent: str) -> None:
        partition, retired = f"{parent}_{self._suffix}", self._retired(parent)

        def attempt() -> None:
            while True:
                row = self._connection.execute(_SQL["partition_state"], {"name": partition}).fetchone()
                if row is None:
                    return
                if row[0] == "detached":
                    self._run("rename", partition=partition, retired=retired)
                else:
                    attached = "detach_on_citus" if self._is_distributed else "detach"
                    name = attached if row[0] == "attached" else "finalize"
                    self._run(name, parent=parent, partition=partition)

        self._patiently(attempt)

    def _patiently(self, attempt: Callable[[], None]) -> None:
        """Again and again while somebody has a lock: it is asked for briefly, so that nobody queues up behind it."""
        deadline_s = time.monotonic() + _PATIENCE_S
        while True:
            try:
                attempt()
                return
            except (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled, psycopg.errors.DeadlockDetected):
                if time.monotonic() > deadline_s:
                    raise
            time.sleep(_PAUSE_S)

    # ---- what stays ------------------------------------------------------------------------------------------------

    def _note_kept(self, age_days: int) -> None:
        kept = self._policy.kept_beyond(age_days)
        tables = {"span": "span", "log": "log_record", "execution": "execution"}
        names = {name: self._retired(table) for name, table in tables.items()}
        with self._connection.transaction():
            self._connection.execute(_SQL["unbounded"])
            self._run("create_keep", keep=self._keep)
            self._run("comment_keep", keep=self._keep)
            if self._is_distributed:
                distribute_like_spans(self._connection, self._keep)
            if kept:
                rows = self._connection.execute(_named("other_days", **names)).fetchall()
                wanted = {"statuses": kept.statuses, "workflows": kept.workflows, "days": [day for (day,) in rows]}
                self._connection.execute(_named("insert_keep", keep=self._keep, **names), wanted)
            self._run("analyze", table=self._keep)

    def _restock(self) -> None:
        with self._connection.transaction():
            self._connection.execute(_SQL["unbounded"])
            if self._scalar("any_kept", keep=self._keep):
                # In this state, which nobody else sees, the day may have partitions.
                self._set_state("thinned")
                ensure_partitions(self._connection, [day_number(self._day)])
                for parent in PARENTS:
                    self._run("copy_kept", parent=parent, retired=self._retired(parent), keep=self._keep)
            self._set_state("restocked")

    # ---- what goes -------------------------------------------------------------------------------------------------

    def _archive(self) -> None:
        if self._policy.archive_dir is None or not self._exists(self._retired("span")):
            return
        tenants = self._connection.execute(
            _named("tenants", span=self._retired("span"), log=self._retired("log_record"))
        ).fetchall()
        for (tenant_id,) in tenants:
            with Archive(self._policy.archive_dir, self._day, tenant_id) as archive, self._connection.transaction():
                self._connection.execute(_SQL["unbounded"])
                archive.add(self._spans(tenant_id))
                for logs in self._logs(tenant_id):
                    archive.add_lines(logs_lines(logs))
            self._connection.execute(_SQL["set_archive"], {"day": self._day, "archived_as": archive.name})
            self._say(f"{self._day}: {archive.spans} spans are archived as {archive.name}")

    def _spans(self, tenant_id: int) -> Iterator[OtlpSpan]:
        query = _named("spans_that_go", span=self._retired("span"), keep=self._keep)
        with self._connection.cursor("retired_spans", row_factory=dict_row) as cursor:
            cursor.itersize = _ROWS
            for row in cursor.execute(query, {"tenant_id": tenant_id}):
                yield OtlpSpan(SpanRow(*(row[name] for name in _SPAN_FIELDS)), row["raw"])

    def _logs(self, tenant_id: int) -> Iterator[list[KeptLog]]:
        query = _named("logs_that_go", log=self._retired("log_record"), keep=self._keep)
        with self._connection.cursor("retired_logs", row_factory=dict_row) as cursor:
            cursor.execute(query, {"tenant_id": tenant_id})
            while rows := cursor.fetchmany(_LOGS):
                some = [KeptLog(OtlpLog(*(row[name] for name in _LOG_FIELDS)), row["received_ns"]) for row in rows]
                some.sort(key=attrgetter("log.resource_id"))
                yield some

    def _forget_traces(self, parent: str) -> None:
        if not self._exists(self._retired(parent)):
            return
        query = _named("traces_of_day", table=self._retired(parent))
        at: dict[str, Any] = {"tenant_id": -(2**31), "trace_id": _NO_TRACE, "traces": _TRACES}

        def attempt() -> None:
            while rows := self._connection.execute(query, at).fetchall():
                of_tenants: dict[int, list[UUID]] = {}
                for tenant_id, trace_id in rows:
                    of_tenants.setdefault(tenant_id, []).append(trace_id)
                with self._connection.transaction():
                    # A day that is restocked takes late spans again: those of a writer that has not committed, which
                    # counts on the day being noted, cannot be seen.
                    for late in ("span", "log_record"):
                        if self._exists(f"{late}_{self._suffix}"):
                            self._run("hold_writers", partition=f"{late}_{self._suffix}")
                    for tenant_id, trace_ids in of_tenants.items():
                        keys = {"tenant_id": tenant_id, "trace_ids": trace_ids, "day": self._day}
                        for name in ("delete_traces_of_day", "forget_day_of_traces"):
                            self._connection.execute(_named(name, keep=self._keep), keys)
                at["tenant_id"], at["trace_id"] = rows[-1]

        self._patiently(attempt)

    # ---- statements ------------------------------------------------------------------------------------------------

    def _retired(self, parent: str) -> str:
        return f"retired_{parent}_{self._suffix}"

    def _exists(self, table: str) -> bool:
        row = self._connection.execute(_SQL["partition_state"], {"name": table}).fetchone()
        return row is not None

    def _set_state(self, state: str) -> None:
        self._connection.execute(_SQL["set_state"], {"day": self._day, "state": state})

    def _run(self, name: str, **identifiers: str) -> None:
        self._connection.execute(_named(name, **identifiers))

    def _scalar(self, name: str, **identifiers: str) -> Any:
        row = self._connection.execute(_named(name, **identifiers)).fetchone()
        return row[0] if row else None


def _named(name: str, **identifiers: str) -> Composed:
    text: LiteralString = _SQL[name]
    return SQL(text).format(**{key: Identifier(identifier) for key, identifier in identifiers.items()})
