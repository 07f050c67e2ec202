"""Traces that are due -> their rows: all their spans' facts read, assembled, and what changed written.

claim      an advisory lock for each trace, of the session: any number of projectors may run, writers are not held up
load       the facts of all its spans, by the days it has rows on
assemble   outside of any transaction: however long it takes, nothing waits for it
write      one transaction for some traces; what is refused or too slow is tried in halves, until one trace is left,
           which waits longer and longer and holds up no other

Each attempt is noted before it begins. Traces with one that has not come to an end, whether it failed or took the
process along, are suspects: tried later and later, few together and then alone, after others, and for a tenth of the
time at most.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any, Final

import psycopg

from spantree_exporter.changes import Changes, Touched, insert_changes
from spantree_exporter.connection import StoreConnection
from spantree_exporter.errors import BatchFailed, BatchRejected, classify
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.log_projection import facts_with_logs
from spantree_exporter.partitions import SENTINEL_DAY, date_of, day_number, day_of, trace_days
from spantree_exporter.projection import ProjectedTrace, TolerantReader, copy_files, copy_rows, first_line
from spantree_exporter.rollup import HOUR_NS, Rollup, steps_of
from spantree_exporter.rollup_store import insert_delta
from spantree_exporter.rows import SpanFacts
from spantree_exporter.sql import statements

_SQL: Final = statements("project") | statements("write")

# An advisory lock each: a fraction of PostgreSQL's shared lock table (max_locks_per_transaction * max_connections).
_CLAIMED_TRACES: Final = 400
# How many due traces are looked at for ones that are not locked by other projectors.
_CANDIDATES: Final = 4 * _CLAIMED_TRACES
_FETCHED_ROWS: Final = 2000
_STAGING: Final = ("execution_staging", "node_staging", "edge_staging")
# Traces whose stored rows are compared with new ones by one statement: of some hundred keys, without statistics,
# PostgreSQL thinks that they are all there is, and reads a whole index.
_REPLACED_TRACES: Final = 50
# Days that one statement names and one transaction writes to, as for writers; a trace that has more goes alone.
_DAYS: Final = 8
# A trace of this size is tried again a minute after an attempt that has not come to an end, others after seconds.
_RISKY_SPANS: Final = 20_000
# Suspects of one unfinished attempt that are tried together; those of more are tried alone.
_SUSPECTS: Final = 20
# For each second that suspects took, so many are left to other traces that are due.
_REST_FACTOR: Final = 9.0
# Statement timeout, no memory or locks for it, a limit of PostgreSQL: of something smaller they may not come.
_TOO_MUCH: Final = (psycopg.errors.QueryCanceled, psycopg.errors.OutOfMemory, psycopg.errors.ProgramLimitExceeded)


@dataclass(frozen=True, slots=True)
class Projected:
    """What one `Store.project_due` did. `more`: call again at once, there is work left; `failed`: traces left as is."""

    traces: int
    spans: int
    more: bool
    failed: int = 0


@dataclass(slots=True)
class _Claimed:
    """One trace to be projected."""

    trace_id: bytes
    batches: int  # of its pending row, before its spans were read
    days: list[int]
    spans: list[SpanFacts] = field(default_factory=list)
    span_days: list[int] = field(default_factory=list)
    took_s: float = 0.0  # to assemble


class Projector:
    """Projects one tenant's traces over one connection."""

    def __init__(self, connection: StoreConnection, tenant_id: int, reader: TolerantReader) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._reader = reader
        self._suspects_at_s = 0.0  # when suspects may be tried again

    def project_due(self, limit_spans: int) -> Projected:
        """As Store.project_due. Raises psycopg.Error."""
        connection = self._connection.open()
        with connection.cursor() as cursor:
            try:
                claimed, more = self._claim(cursor, limit_spans)
                done = [self._project(cursor, some) for some in _by_days(claimed)]
                if time.monotonic() >= self._suspects_at_s:
                    suspects, _ = self._claim(cursor, limit_spans, suspects=True)
                    if suspects:
                        claimed += suspects
                        done.append(self._project_suspects(cursor, suspects))
            finally:
                if not connection.closed:
                    cursor.execute(_SQL["release_claims"])
        traces, spans = sum(traces for traces, _ in done), sum(spans for _, spans in done)
        return Projected(traces, spans, more, len(claimed) - traces)

    def _project_suspects(self, cursor: psycopg.Cursor[Any], claimed: Sequence[_Claimed]) -> tuple[int, int]:
        """As `_project`, for traces that were begun in vain: of one that fails alone the reason is noted."""
        began_s = time.monotonic()
        try:
            done = [self._project(cursor, some) for some in _by_days(claimed)]
        except Exception as error:
            if len(claimed) > 1 or cursor.connection.closed or not _is_of_the_trace(error):
                raise
            self._reader.complain("trace %s cannot be projected; its spans are stored", claimed[0].trace_id.hex())
            errors = {"errors": [first_line(error)]}
            cursor.execute(_SQL["note_failures"], self._keys([claimed[0].trace_id]) | errors)
            return 0, 0
        finally:
            ended_s = time.monotonic()
            self._suspects_at_s = ended_s + _REST_FACTOR * (ended_s - began_s)
        return sum(traces for traces, _ in done), sum(spans for _, spans in done)

    def still_pending(self, trace_ids: Collection[bytes]) -> set[bytes]:
        """As Store.still_pending. Raises psycopg.Error."""
        cursor = self._connection.open().execute(_SQL["still_pending"], self._keys(list(trace_ids)), binary=True)
        return {trace_id for (trace_id,) in cursor}

    def _claim(
        self, cursor: psycopg.Cursor[Any], limit_spans: int, *, suspects: bool = False
    ) -> tuple[list[_Claimed], bool]:
        """(traces that no other projector works on, as many as `limit_spans` allows but at least one; any left)."""
        cursor.execute(
            _SQL["claim_due"],
            {
                "tenant_id": self._tenant_id,
                "candidates": _CANDIDATES,
                "traces": _SUSPECTS if suspects else _CLAIMED_TRACES,
                "suspects": suspects,
            },
            binary=True,
        )
        locked = [trace_id for (trace_id,) in cursor]
        if not locked:
            return [], False
        cursor.execute(_SQL["claimed_pending"], self._keys(locked), binary=True)
        batches: dict[bytes, int] = {}
        total = 0
        more = len(locked) == _CLAIMED_TRACES
        for trace_id, of_trace, spans, attempts in cursor.fetchall():
            if batches and (total + spans > limit_spans or attempts > 1):
                more = True
                break
            total += spans
            batches[trace_id] = of_trace
            if attempts > 1:
                break
        cursor.execute(_SQL["note_begun"], self._keys(batches) | {"risky_spans": _RISKY_SPANS}, binary=True)
        begun = [trace_id for (trace_id,) in cursor]
        cursor.execute(_SQL["days_of_traces"], self._keys(begun), binary=True)
        days = {trace_id: list(map(day_number, of_trace)) for trace_id, of_trace in cursor}
        return [_Claimed(trace_id, batches[trace_id], days.get(trace_id, [])) for trace_id in begun], more

    def _project(self, cursor: psycopg.Cursor[Any], claimed: Sequence[_Claimed]) -> tuple[int, int]:
        """Project some traces that share their days; (traces, spans) that were."""
        self._load(cursor, claimed)
        traces: list[ProjectedTrace] = []
        failures: dict[bytes, str] = {}
        # In order of the key, as writers do it: both may write rows of the same traces.
        for one in sorted(claimed, key=lambda one: one.trace_id):
            if not one.spans:  # retention took them
                continue
            began_s = time.monotonic()
            outcome = self._reader.assemble(one.trace_id, one.spans, one.span_days)
            one.took_s = time.monotonic() - began_s
            if isinstance(outcome, ProjectedTrace):
                traces.append(outcome)
            else:
                failures[one.trace_id] = outcome
        self._place_executions(traces)
        self._write_in_parts(cursor, claimed, traces, failures)
        done = [one for one in claimed if one.trace_id not in failures]
        return len(done), sum(len(one.spans) for one in done)

    def _load(self, cursor: psycopg.Cursor[Any], claimed: Sequence[_Claimed]) -> None:
        by_id = {one.trace_id: one for one in claimed}
        days = sorted({day for one in claimed for day in one.days})
        for first in range(0, len(days), _DAYS):
            keys = self._keys(list(by_id)) | _dates(days[first : first + _DAYS])
            cursor.execute(_SQL["span_facts"], keys, binary=True)
            while rows := cursor.fetchmany(_FETCHED_ROWS):
                for (
                    trace_id, span_id, parent_span_id, fingerprint, name, kind, status_code, status_message,
                    start_ns, end_ns, received_ns, service, links, facts, anomalies, day, attributes,
                ) in rows:  # fmt: skip
                    one = by_id[trace_id]
                    one.span_days.append(day_number(day))
                    one.spans.append(
                        SpanFacts(
                            span_id, parent_span_id, fingerprint, name, kind, status_code, status_message or "",
                            start_ns, end_ns, received_ns, service,
                            [(linked_trace, linked_span) for linked_trace, linked_span in links] if links else [],
                            facts or Facts(), anomalies or [], attributes or {},
                        )
                    )  # fmt: skip
        self._add_logs(cursor, by_id)

    def _add_logs(self, cursor: psycopg.Cursor[Any], by_id: dict[bytes, _Claimed]) -> None:
        """Let log records have their say about their spans."""
        days = [date_of(day) for day in sorted({day for one in by_id.values() for day in one.days})]
        with_logs = facts_with_logs(cursor, self._tenant_id, list(by_id), days, self._reader)
        if not with_logs:
            return
        for trace_id, one in by_id.items():
            for span in one.spans:
                facts = with_logs.get((trace_id, span.span_id, span.fingerprint))
                if facts is not None:
                    span.facts = facts

    def _place_executions(self, traces: Sequence[ProjectedTrace]) -> None:
        """Put executions that start on none of their spans' days on their own, where it has or may get a partition."""
        self._connection.place_days({trace.execution_day for trace in traces})
        astray = [trace for trace in traces if trace.execution_day not in trace.days]
        if not astray:
            return
        place = self._connection.place_days({day_of(trace.assembled.execution.started_ns) for trace in astray})
        for trace in astray:
            day = place[day_of(trace.assembled.execution.started_ns)]
            trace.execution_day = min(trace.days) if day == SENTINEL_DAY else day

    def _write_in_parts(
        self,
        cursor: psycopg.Cursor[Any],
        claimed: Sequence[_Claimed],
        traces: Sequence[ProjectedTrace],
        failures: dict[bytes, str],
    ) -> None:
        """Write and settle all `claimed` in one transaction or, where that is too much for PostgreSQL, in halves."""
        rollup, changes = Rollup(), Changes()
        try:
            with cursor.connection.transaction():
                days = {one.trace_id: one.days for one in claimed}
                used_staging = self._write(cursor, traces, days, failures, rollup, changes)
                insert_delta(cursor, self._tenant_id, rollup)
                insert_changes(cursor, self._tenant_id, changes)
                self._settle(cursor, claimed, failures)
            if used_staging:
                self._connection.temporary_tables_kept(_STAGING)
            return
        except _TOO_MUCH as error:
            if cursor.connection.closed:
                raise
            if len(claimed) == 1:
                trace_id = claimed[0].trace_id
                self._reader.complain("the rows of trace %s cannot be written; its spans are stored", trace_id.hex())
                failures[trace_id] = first_line(error)
                with cursor.connection.transaction():
                    self._settle(cursor, claimed, failures)
                return
        half = len(claimed) // 2
        left = [trace for trace in traces if trace.trace_id not in failures]
        for part in (claimed[:half], claimed[half:]):
            ids = {one.trace_id for one in part}
            self._write_in_parts(cursor, part, [trace for trace in left if trace.trace_id in ids], failures)

    def _write(
        self,
        cursor: psycopg.Cursor[Any],
        traces: Sequence[ProjectedTrace],
        known_days: dict[bytes, list[int]],
        failures: dict[bytes, str],
        rollup: Rollup,
        changes: Changes,
    ) -> bool:
        """Write what changed; whether staging tables were used. Traces that are refused go to `failures`."""
        if not traces:
            return False
        days = sorted({day for trace in traces for day in trace.all_days.union(known_days[trace.trace_id])})
        keys = self._keys([trace.trace_id for trace in traces])
        cursor.execute(_SQL["projected_spans"], keys | _dates(days), binary=True)
        projected_before = {trace_id for trace_id, _ in cursor}
        new = [trace for trace in traces if trace.trace_id not in projected_before]
        again = [trace for trace in traces if trace.trace_id in projected_before]
        self._tolerantly(
            cursor, [one for one in new if not self._is_counted(one)], self._insert, failures, rollup, changes
        )
        # What an import brings back after retention took it: its figures stayed.
        self._tolerantly(
            cursor, [one for one in new if self._is_counted(one)], self._insert, failures, Rollup(), changes
        )
        if again:
            for name in _STAGING:
                self._connection.temporary_table(name, _SQL[f"create_{name}"])
            # Those whose figures count together.
            again.sort(key=lambda trace: self._is_counted(trace))
            fresh = sum(not self._is_counted(trace) for trace in again)
            firsts = [*range(0, fresh, _REPLACED_TRACES), *range(fresh, len(again), _REPLACED_TRACES), len(again)]
            for first, end in pairwise(firsts):
                if first:
                    cursor.execute(_SQL["empty_staging"])
                into = rollup if first < fresh else Rollup()
                self._tolerantly(cursor, again[first:end], partial(self._replace, known_days), failures, into, changes)
        more_days = {
            trace.trace_id: trace.all_days for trace in traces if not trace.all_days <= set(known_days[trace.trace_id])
        }
        if more_days:
            cursor.execute(_SQL["extend_traces"], {"tenant_id": self._tenant_id} | trace_days(more_days))
        return bool(again)

    def _is_counted(self, trace: ProjectedTrace) -> bool:
        return self._connection.days.is_counted(trace.execution_day)

    def _tolerantly(
        self,
        cursor: psycopg.Cursor[Any],
        traces: Sequence[ProjectedTrace],
        write: Callable[[psycopg.Cursor[Any], Sequence[ProjectedTrace]], tuple[Rollup, Changes]],
        failures: dict[bytes, str],
        rollup: Rollup,
        changes: Changes,
    ) -> None:
        """`write` all `traces` at once or, where that is refused for what they hold, one at a time.

        What that changes in the figures is added to `rollup`, which rows to `changes`.
        """
        if not traces:
            return
        try:
            with cursor.connection.transaction():
                figures, rows = write(cursor, traces)
            rollup.merge(figures)
            changes.merge(rows)
        except Exception as error:
            if isinstance(error, psycopg.Error) and not isinstance(classify(error), BatchRejected):
                raise
            if len(traces) == 1:
                trace_id = traces[0].trace_id
                if not _is_overtaken(error):
                    self._reader.complain("the rows of trace %s are refused; its spans are stored", trace_id.hex())
                failures[trace_id] = first_line(error)
                return
            for trace in traces:
                self._tolerantly(cursor, [trace], write, failures, rollup, changes)

    def _insert(self, cursor: psycopg.Cursor[Any], traces: Sequence[ProjectedTrace]) -> tuple[Rollup, Changes]:
        rows = copy_rows(self._tenant_id, traces)
        copy_files(cursor, _SQL["copy_executions"], _SQL["copy_nodes"], _SQL["copy_edges"], rows)
        added, new = Rollup(), Changes()
        for trace in traces:
            added.add(trace.assembled)
            new.add_new(trace.trace_id, len(trace.assembled.nodes))
        return added, new

    def _replace(
        self, known_days: dict[bytes, list[int]], cursor: psycopg.Cursor[Any], traces: Sequence[ProjectedTrace]
    ) -> tuple[Rollup, Changes]:
        rows = copy_rows(self._tenant_id, traces)
        staging = (_SQL["copy_execution_staging"], _SQL["copy_node_staging"], _SQL["copy_edge_staging"])
        copy_files(cursor, *staging, rows)
        days = sorted({day for trace in traces for day in trace.all_days.union(known_days[trace.trace_id])})
        keys = self._keys([trace.trace_id for trace in traces]) | _dates(days)
        changed, touched = Rollup(), Touched()
        cursor.execute(_SQL["stored_steps"], keys)
        changed.add_steps(((start_ns // HOUR_NS, *step) for start_ns, *step in cursor), -1)
        changed.add_executions(touched.executions(cursor.execute(_SQL["delete_stale_executions"], keys)), -1)
        changed.add_executions(touched.executions(cursor.execute(_SQL["insert_staged_executions"])), 1)
        changed.add_nodes(touched.nodes(cursor.execute(_SQL["delete_stale_nodes"], keys)), -1)
        changed.add_nodes(touched.nodes(cursor.execute(_SQL["insert_staged_nodes"])), 1)
        cursor.execute(_SQL["delete_stale_edges"], keys)
        cursor.execute(_SQL["insert_staged_edges"])
        for trace in traces:
            changed.add_steps(steps_of(trace.assembled), 1)
        return changed, touched.changes()

    def _settle(self, cursor: psycopg.Cursor[Any], claimed: Sequence[_Claimed], failures: dict[bytes, str]) -> None:
        """Settle the pending rows: they go where nothing came meanwhile."""
        seen = {one.trace_id: one.batches for one in claimed}
        cursor.execute(_SQL["lock_pending"], self._keys(list(seen)), binary=True)
        batches_now: dict[bytes, int] = dict(cursor.fetchall())
        done = [
            trace_id
            for trace_id, batches in seen.items()
            if trace_id not in failures and batches_now.get(trace_id) == batches
        ]
        changed = [
            trace_id for trace_id in batches_now if trace_id not in failures and batches_now[trace_id] != seen[trace_id]
        ]
        failed = {trace_id: error for trace_id, error in failures.items() if trace_id in seen}
        if done:
            cursor.execute(_SQL["delete_pending"], self._keys(done))
        if changed:
            took_s = {one.trace_id: one.took_s for one in claimed}
            restarted = {"took_s": [took_s[trace_id] for trace_id in changed]}
            cursor.execute(_SQL["restart_pending"], self._keys(changed) | restarted)
        if failed:
            cursor.execute(_SQL["note_failures"], self._keys(list(failed)) | {"errors": list(failed.values())})

    def _keys(self, trace_ids: Iterable[bytes]) -> dict[str, Any]:
        return {"tenant_id": self._tenant_id, "trace_ids": [trace_id.hex() for trace_id in trace_ids]}


def due_tenants(connection: StoreConnection) -> list[int]:
    """The tenants that have traces to be projected now, in order of their ids. Raises psycopg.Error."""
    return [tenant_id for (tenant_id,) in connection.open().execute(_SQL["due_tenants"], binary=True)]


def _is_of_the_trace(error: Exception) -> bool:
    """Whether the trace may be why, and not the database or its schema."""
    return not isinstance(error, psycopg.Error) or isinstance(classify(error), BatchFailed | BatchRejected)


def _by_days(claimed: Sequence[_Claimed]) -> Iterator[list[_Claimed]]:
    """All `claimed`, in groups that have few days together; a trace that has many is a group of its own."""
    group: list[_Claimed] = []
    days: set[int] = set()
    for one in sorted(claimed, key=lambda one: one.days):
        together = days.union(one.days)
        if group and len(together) > _DAYS:
            yield group
            group, together = [], set(one.days)
        group.append(one)
        days = together
    if group:
        yield group


def _dates(days: Iterable[int]) -> dict[str, Any]:
    return {"days": [date_of(day) for day in days]}


def _is_overtaken(error: Exception) -> bool:
    """Whether a writer that had the trace whole put the execution there first; the next attempt replaces its rows."""
    return isinstance(error, psycopg.errors.UniqueViolation) and (error.diag.table_name or "").startswith("execution_")
