"""Traces that are due -> their rows: all their spans' facts read, assembled, and what changed written.

claim      an advisory lock for each trace, of the session: any number of projectors may run, writers are not held up;
           and for its days, so that retention hides none of its rows. One that has hidden rows waits
load       the facts of all its spans, by the days it has rows on; of a very large one of those that tell most
assemble   outside of any transaction: however long it takes, nothing waits for it
write      one transaction for some traces; what is refused or too slow is tried in halves, until one trace is left,
           which waits longer and longer and holds up no other

Each attempt is noted before it begins. Traces with one that has not come to an end, whether it failed or took the
process along, are suspects: tried later and later, few together and then alone, after others, and for a tenth of the
time at most.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

import psycopg

from spantree_exporter.assemble.budget import tell_left_out
from spantree_exporter.changes import Changes, Touched, insert_changes
from spantree_exporter.errors import BatchFailed, BatchRejected, classify
from spantree_exporter.facts.storable import cut_name
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.log_projection import facts_with_logs
from spantree_exporter.postgres.connection import StoreConnection
from spantree_exporter.postgres.large_traces import read_large
from spantree_exporter.postgres.partitions import SENTINEL_DAY, date_of, day_number, day_of, trace_days
from spantree_exporter.postgres.readable_days import hold_days
from spantree_exporter.postgres.rollup_store import insert_delta
from spantree_exporter.projection import ProjectedTrace, TolerantReader, copy_files, copy_rows, first_line
from spantree_exporter.rollup import HOUR_NS, Rollup, steps_of
from spantree_exporter.rows import SpanFacts
from spantree_exporter.sql import statements
from spantree_exporter.trace_key import TraceKey, key_arrays

_SQL: Final = statements("project") | statements("write")

# An advisory lock each: a fraction of PostgreSQL's shared lock table (max_locks_per_transaction * max_connections).
_CLAIMED_TRACES: Final = 400
# How many due traces are looked at for ones that are not locked by other projectors.
_CANDIDATES: Final = 4 * _CLAIMED_TRACES
# Of each of many tenants, at least.
_CANDIDATES_EACH: Final = 20
_FETCHED_ROWS: Final = 2000
_STAGING: Final = ("execution_staging", "node_staging", "edge_staging")
# Traces whose stored rows are compared with new ones by one statement: of some hundred keys, without statistics,
# PostgreSQL thinks that they are all there is, and reads a whole index.
_REPLACED_TRACES: Final = 50
# Days that one statement names and one transaction writes to, as for writers; a trace that has more goes alone.
_DAYS: Final = 8
# A trace of this size is tried again a minute after an attempt that has not come to an end, others after seconds; and
# read as a large one.
_RISKY_SPANS: Final = 20_000
# Suspects of one unfinished attempt that are tried together; those of more are tried alone.
_SUSPECTS: Final = 20
# How long a trace is left alone that has a day which retention is taking off.
_PUT_OFF_S: Final = 5.0
# For each second that suspects took, so many are left to other traces that are due.
_REST_FACTOR: Final = 9.0
# Whose key it is that a row was there already. By the message: all that a worker of a Citus cluster leaves (errors.py).
_NODES_KEY: Final = re.compile(r"\bnode_\d{8}_pkey")
_EXECUTIONS_KEY: Final = re.compile(r"\bexecution_\d{8}_pkey")
# Statement timeout, no memory or locks for it, a limit of PostgreSQL: of something smaller they may not come.
_TOO_MUCH: Final = (psycopg.errors.QueryCanceled, psycopg.errors.OutOfMemory, psycopg.errors.ProgramLimitExceeded)


@dataclass(frozen=True, slots=True)
class Projected:
    """What one `Store.project_due` did. `more`: call again at once, there is work left; `failed`: traces left as is.

    `by_tenant`: whose traces got their rows; `due_s`: for how long the first of each tenant's has been due, where that
    was looked at.
    """

    traces: int
    spans: int
    more: bool
    failed: int = 0
    by_tenant: Mapping[int, int] = field(default_factory=dict, compare=False)
    due_s: Mapping[int, float] | None = field(default=None, compare=False)


@dataclass(slots=True)
class _Claimed:
    """One trace to be projected."""

    tenant_id: int
    trace_id: bytes
    batches: int  # of its pending row, before its spans were read
    days: list[int]
    is_large: bool = False  # or may be: whatever it is noted with, its last attempt has not come to an end
    spans: list[SpanFacts] = field(default_factory=list)
    span_days: list[int] = field(default_factory=list)
    left_out: int = 0  # spans that are stored and were not read
    last_seen_ns: int = 0  # of these, too
    took_s: float = 0.0  # to assemble
    projected: ProjectedTrace | None = None

    @property
    def key(self) -> TraceKey:
        """Which trace it is."""
        return self.tenant_id, self.trace_id


class Projector:
    """Projects traces of any tenants over one connection."""

    def __init__(self, connection: StoreConnection, reader: TolerantReader) -> None:
        self._connection = connection
        self._reader = reader
        self._suspects_at_s = 0.0  # when suspects may be tried again

    def project_due(self, tenant_ids: Sequence[int], limit_spans: int) -> Projected:
        """As Store.project_due, for these tenants, whose turns come in this order. Raises psycopg.Error."""
        connection = self._connection.open()
        with connection.cursor() as cursor:
            try:
                claimed, more = self._claim(cursor, tenant_ids, limit_spans)
                done = [self._project(cursor, some) for some in _by_days(claimed)]
                if time.monotonic() >= self._suspects_at_s:
                    suspects, _ = self._claim(cursor, tenant_ids, limit_spans, suspects=True)
                    if suspects:
                        claimed += suspects
                        done.append(self._project_suspects(cursor, suspects))
            finally:
                if not connection.closed:
                    cursor.execute(_SQL["release_claims"])
        traces, spans = sum(traces for traces, _ in done), sum(spans for _, spans in done)
        of_tenants = Counter(one.tenant_id for one in claimed if one.projected is not None)
        return Projected(traces, spans, more, len(claimed) - traces, dict(of_tenants))

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
            cursor.execute(_SQL["note_failures"], key_arrays([claimed[0].key]) | errors)
            return 0, 0
        finally:
            ended_s = time.monotonic()
            self._suspects_at_s = ended_s + _REST_FACTOR * (ended_s - began_s)
        return sum(traces for traces, _ in done), sum(spans for _, spans in done)

    def _claim(
        self, cursor: psycopg.Cursor[Any], tenant_ids: Sequence[int], limit_spans: int, *, suspects: bool = False
    ) -> tuple[list[_Claimed], bool]:
        """(traces that no other projector works on, as many as `limit_spans` allows but at least one; any left)."""
        traces = _SUSPECTS if suspects else _CLAIMED_TRACES
        cursor.execute(
            _SQL["claim_due"],
            {
                "tenant_ids": list(tenant_ids),
                "candidates": max(_CANDIDATES // len(tenant_ids), _CANDIDATES_EACH),
                "traces": traces,
                "suspects": suspects,
            },
            binary=True,
        )
        locked: list[TraceKey] = cursor.fetchall()
        if not locked:
            return [], False
        cursor.execute(_SQL["claimed_pending"], key_arrays(locked), binary=True)
        batches: dict[TraceKey, int] = {}
        large: set[TraceKey] = set()
        total = 0
        more = len(locked) == _CLAIMED_TRACES
        for tenant_id, trace_id, of_trace, spans, attempts in cursor.fetchall():
            if batches and (total + spans > limit_spans or attempts > 1):
                more = True
                if attempts > 1:
                    break
                # One that is too large for the rest comes first when it is its tenant's turn to be the first.
                continue
            total += spans
            batches[tenant_id, trace_id] = of_trace
            if suspects or spans >= _RISKY_SPANS:
                large.add((tenant_id, trace_id))
            if attempts > 1:
                break
        cursor.execute(_SQL["days_of_traces"], self._connection.trace_keys(sorted(batches)), binary=True)
        days = {(tenant_id, trace_id): list(map(day_number, of_trace)) for tenant_id, trace_id, of_trace in cursor}
        # Held until claims are released: what is read of a trace is all of it, and still is when its rows are written.
        hidden = hold_days(cursor, sorted(set().union(*days.values())))
        put_off = [key for key, of_trace in sorted(days.items()) if not hidden.isdisjoint(of_trace)]
        if put_off:
            cursor.execute(_SQL["put_off"], key_arrays(put_off) | {"seconds": _PUT_OFF_S})
        keys = sorted(batches.keys() - put_off)
        cursor.execute(_SQL["note_begun"], key_arrays(keys) | {"risky_spans": _RISKY_SPANS}, binary=True)
        begun: list[TraceKey] = cursor.fetchall()
        return [_Claimed(*key, batches[key], days.get(key, []), key in large) for key in begun], more

    def _project(self, cursor: psycopg.Cursor[Any], claimed: Sequence[_Claimed]) -> tuple[int, int]:
        """Project some traces that share their days; (traces, spans) that were."""
        self._load(cursor, claimed)
        traces: list[_Claimed] = []
        failures: dict[TraceKey, str] = {}
        # In order of the key, as writers do it: both may write rows of the same traces.
        for one in sorted(claimed, key=lambda one: one.key):
            if not one.spans:  # retention took them
                continue
            began_s = time.monotonic()
            outcome = self._reader.assemble(one.trace_id, one.spans, one.span_days)
            one.took_s = time.monotonic() - began_s
            if isinstance(outcome, ProjectedTrace):
                if one.left_out:
                    tell_left_out(outcome.assembled, one.left_out, one.last_seen_ns)
                one.projected = outcome
                traces.append(one)
            else:
                failures[one.key] = outcome
        self._place_executions([one.projected for one in traces if one.projected is not None])
        self._write_in_parts(cursor, claimed, traces, failures)
        for one in claimed:
            if one.key in failures:
                one.projected = None
        done = [one for one in claimed if one.key not in failures]
        return len(done), sum(len(one.spans) for one in done)

    def _load(self, cursor: psycopg.Cursor[Any], claimed: Sequence[_Claimed]) -> None:
        by_key = {one.key: one for one in claimed}
        usual = [one for one in claimed if not one.is_large]
        for one in claimed:
            if one.is_large:
                read = read_large(cursor.connection, one.key, _day_groups(one.days))
                one.spans, one.span_days = read.spans, read.days
                one.left_out, one.last_seen_ns = read.left_out, read.last_seen_ns
        for days in _day_groups({day for one in usual for day in one.days}):
            keys = key_arrays(one.key for one in usual) | _dates(days)
            cursor.execute(_SQL["span_facts"], keys, binary=True)
            while rows := cursor.fetchmany(_FETCHED_ROWS):
                for (
                    tenant_id, trace_id, span_id, parent_span_id, fingerprint, name, kind, status_code, status_message,
                    start_ns, end_ns, received_ns, service, links, facts, anomalies, day, attributes,
                ) in rows:  # fmt: skip
                    one = by_key[tenant_id, trace_id]
                    one.span_days.append(day_number(day))
                    one.spans.append(
                        SpanFacts(
                            span_id, parent_span_id, fingerprint, name, kind, status_code, status_message or "",
                            start_ns, end_ns, received_ns, cut_name(service),
                            [(linked_trace, linked_span) for linked_trace, linked_span in links] if links else [],
                            facts or Facts(), anomalies or [], attributes or {},
                        )
                    )  # fmt: skip
        self._add_logs(cursor, by_key)

    def _add_logs(self, cursor: psycopg.Cursor[Any], by_key: dict[TraceKey, _Claimed]) -> None:
        """Let log records have their say about their spans."""
        days = [date_of(day) for day in sorted({day for one in by_key.values() for day in one.days})]
        with_logs = facts_with_logs(cursor, by_key, days, self._reader)
        if not with_logs:
            return
        for key, one in by_key.items():
            for span in one.spans:
                facts = with_logs.get((key, span.span_id, span.fingerprint))
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
        traces: Sequence[_Claimed],
        failures: dict[TraceKey, str],
    ) -> None:
        """Write and settle all `claimed` in one transaction or, where that is too much for PostgreSQL, in halves."""
        figures = _Figures()
        try:
            with cursor.connection.transaction():
                used_staging = self._write(cursor, traces, failures, figures)
                insert_delta(cursor, figures.rollups)
                insert_changes(cursor, figures.changes)
                self._settle(cursor, claimed, failures)
            if used_staging:
                self._connection.temporary_tables_kept(_STAGING)
            return
        except _TOO_MUCH as error:
            if cursor.connection.closed:
                raise
            if len(claimed) == 1:
                self._reader.complain(
                    "the rows of trace %s cannot be written; its spans are stored", claimed[0].trace_id.hex()
                )
                failures[claimed[0].key] = first_line(error)
                with cursor.connection.transaction():
                    self._settle(cursor, claimed, failures)
                return
        half = len(claimed) // 2
        left = [one for one in traces if one.key not in failures]
        for part in (claimed[:half], claimed[half:]):
            keys = {one.key for one in part}
            self._write_in_parts(cursor, part, [one for one in left if one.key in keys], failures)

    def _write(
        self,
        cursor: psycopg.Cursor[Any],
        traces: Sequence[_Claimed],
        failures: dict[TraceKey, str],
        figures: _Figures,
    ) -> bool:
        """Write what changed; whether staging tables were used. Traces that are refused go to `failures`."""
        if not traces:
            return False
        cursor.execute(
            _SQL["projected_spans"],
            self._connection.trace_keys(one.key for one in traces) | _dates(_all_days(traces)),
            binary=True,
        )
        projected_before = {(tenant_id, trace_id) for tenant_id, trace_id, _ in cursor}
        new = [one for one in traces if one.key not in projected_before]
        again = [one for one in traces if one.key in projected_before]
        astray: list[_Claimed] = []
        self._tolerantly(cursor, new, self._insert, failures, figures, astray)
        again += astray
        if again:
            for name in _STAGING:
                self._connection.temporary_table(name, _SQL[f"create_{name}"])
            is_first = True
            # One tenant's at a time.
            again.sort(key=lambda one: one.tenant_id)
            for _, group in groupby(again, lambda one: one.tenant_id):
                some = list(group)
                for first in range(0, len(some), _REPLACED_TRACES):
                    if not is_first:
                        cursor.execute(_SQL["empty_staging"])
                    is_first = False
                    self._tolerantly(cursor, some[first : first + _REPLACED_TRACES], self._replace, failures, figures)
        more_days = {
            one.key: one.projected.all_days
            for one in traces
            if one.projected is not None and not one.projected.all_days <= set(one.days)
        }
        if more_days:
            cursor.execute(_SQL["extend_traces"], trace_days(more_days))
        return bool(again)

    def _tolerantly(
        self,
        cursor: psycopg.Cursor[Any],
        traces: Sequence[_Claimed],
        write: Callable[[psycopg.Cursor[Any], Sequence[_Claimed]], _Figures],
        failures: dict[TraceKey, str],
        figures: _Figures,
        astray: list[_Claimed] | None = None,
    ) -> None:
        """`write` all `traces` at once or, where that is refused for what they hold, one at a time.

        What that changes is added to `figures`. Those that have nodes without an execution go to `astray`, where given.
        """
        if not traces:
            return
        try:
            with cursor.connection.transaction():
                changed = write(cursor, traces)
            figures.merge(changed)
        except Exception as error:
            if isinstance(error, psycopg.Error) and not isinstance(classify(error), BatchRejected):
                raise
            if len(traces) == 1:
                if astray is not None and _has_nodes(error):
                    astray.append(traces[0])
                    return
                if not _is_overtaken(error):
                    self._reader.complain(
                        "the rows of trace %s are refused; its spans are stored", traces[0].trace_id.hex()
                    )
                failures[traces[0].key] = first_line(error)
                return
            for one in traces:
                self._tolerantly(cursor, [one], write, failures, figures, astray)

    def _insert(self, cursor: psycopg.Cursor[Any], traces: Sequence[_Claimed]) -> _Figures:
        of_tenants = _by_tenant(traces)
        rows = [copy_rows(tenant_id, projected) for tenant_id, projected in of_tenants.items()]
        copy_files(cursor, _SQL["copy_executions"], _SQL["copy_nodes"], _SQL["copy_edges"], rows)
        added = _Figures()
        for tenant_id, some in of_tenants.items():
            rollup, changes = added.of(tenant_id)
            for projected in some:
                rollup.add(projected.assembled)
                changes.add_new(projected.trace_id, len(projected.assembled.nodes))
        return added

    def _replace(self, cursor: psycopg.Cursor[Any], traces: Sequence[_Claimed]) -> _Figures:
        """For traces of one tenant."""
        ((tenant_id, some),) = _by_tenant(traces).items()
        rows = copy_rows(tenant_id, some)
        staging = (_SQL["copy_execution_staging"], _SQL["copy_node_staging"], _SQL["copy_edge_staging"])
        copy_files(cursor, *staging, [rows])
        trace_ids = [one.trace_id.hex() for one in traces]
        keys = {"tenant_id": tenant_id, "trace_ids": trace_ids} | _dates(_all_days(traces))
        figures = _Figures()
        changed, changes = figures.of(tenant_id)
        touched = Touched()
        cursor.execute(_SQL["stored_steps"], keys)
        changed.add_steps(((start_ns // HOUR_NS, *step) for start_ns, *step in cursor), -1)
        changed.add_executions(touched.executions(cursor.execute(_SQL["delete_stale_executions"], keys)), -1)
        changed.add_executions(touched.executions(cursor.execute(_SQL["insert_staged_executions"])), 1)
        changed.add_nodes(touched.nodes(cursor.execute(_SQL["delete_stale_nodes"], keys)), -1)
        changed.add_nodes(touched.nodes(cursor.execute(_SQL["insert_staged_nodes"])), 1)
        cursor.execute(_SQL["delete_stale_edges"], keys)
        cursor.execute(_SQL["insert_staged_edges"])
        for projected in some:
            changed.add_steps(steps_of(projected.assembled), 1)
        changes.merge(touched.changes())
        return figures

    def _settle(self, cursor: psycopg.Cursor[Any], claimed: Sequence[_Claimed], failures: dict[TraceKey, str]) -> None:
        """Settle the pending rows: they go where nothing came meanwhile."""
        seen = {one.key: one for one in sorted(claimed, key=lambda one: one.key)}
        cursor.execute(_SQL["lock_pending"], key_arrays(seen), binary=True)
        batches_now: dict[TraceKey, int] = {(tenant_id, trace_id): batches for tenant_id, trace_id, batches in cursor}
        done = [key for key, one in seen.items() if key not in failures and batches_now.get(key) == one.batches]
        changed = [key for key in batches_now if key not in failures and batches_now[key] != seen[key].batches]
        failed = {key: error for key, error in failures.items() if key in seen}
        if done:
            cursor.execute(_SQL["delete_pending"], key_arrays(done))
        if changed:
            restarted = {"took_s": [seen[key].took_s for key in changed]}
            cursor.execute(_SQL["restart_pending"], key_arrays(changed) | restarted)
        if failed:
            cursor.execute(_SQL["note_failures"], key_arrays(failed) | {"errors": list(failed.values())})


class _Figures:
    """What a transaction changes, tenant by tenant: of figures, and which rows."""

    def __init__(self) -> None:
        self.rollups: dict[int, Rollup] = {}
        self.changes: dict[int, Changes] = {}

    def of(self, tenant_id: int) -> tuple[Rollup, Changes]:
        """Those of one tenant, to be added to."""
        return self.rollups.setdefault(tenant_id, Rollup()), self.changes.setdefault(tenant_id, Changes())

    def merge(self, other: _Figures) -> None:
        """Add all that `other` holds."""
        for tenant_id, changes in other.changes.items():
            self.of(tenant_id)[1].merge(changes)
        for tenant_id, rollup in other.rollups.items():
            self.of(tenant_id)[0].merge(rollup)


def still_pending(connection: StoreConnection, tenant_id: int, trace_ids: Collection[bytes]) -> set[bytes]:
    """As Store.still_pending. Raises psycopg.Error."""
    keys = {"tenant_id": tenant_id, "trace_ids": [trace_id.hex() for trace_id in trace_ids]}
    cursor = connection.open().execute(_SQL["still_pending"], keys, binary=True)
    return {trace_id for (trace_id,) in cursor}


def _by_tenant(traces: Sequence[_Claimed]) -> dict[int, list[ProjectedTrace]]:
    of_tenants: dict[int, list[ProjectedTrace]] = {}
    for one in traces:
        if one.projected is not None:
            of_tenants.setdefault(one.tenant_id, []).append(one.projected)
    return of_tenants


def _all_days(traces: Sequence[_Claimed]) -> list[int]:
    """The days that the traces have rows on, or are to have."""
    days = {day for one in traces for day in one.days}
    return sorted(days.union(*(one.projected.all_days for one in traces if one.projected is not None)))


def due_tenants(connection: StoreConnection) -> dict[int, float]:
    """The tenants that have traces to be projected now, and for how many seconds the first has been due.

    Raises psycopg.Error.
    """
    return dict(connection.open().execute(_SQL["due_tenants"], binary=True).fetchall())


def recall_ahead(connection: StoreConnection) -> None:
    """Make due what a clock that was ahead has put off. Raises psycopg.Error."""
    connection.open().execute(_SQL["recall_ahead"])


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


def _day_groups(days: Iterable[int]) -> list[list[int]]:
    """As many at a time as one statement names."""
    listed = sorted(days)
    return [listed[first : first + _DAYS] for first in range(0, len(listed), _DAYS)]


def _dates(days: Iterable[int]) -> dict[str, Any]:
    return {"days": [date_of(day) for day in days]}


def _has_nodes(error: Exception) -> bool:
    """Whether nodes are there, as of a run over midnight of which retention took the first day."""
    return isinstance(error, psycopg.Error) and _NODES_KEY.search(str(error)) is not None


def _is_overtaken(error: Exception) -> bool:
    """Whether a writer that had the trace whole put the execution there first; the next attempt replaces its rows."""
    return isinstance(error, psycopg.Error) and _EXECUTIONS_KEY.search(str(error)) is not None
