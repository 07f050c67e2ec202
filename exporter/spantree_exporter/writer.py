"""Spans -> PostgreSQL, one transaction a batch, and the rows of the traces that are complete in it.

    span                   COPY, all that is new in the batch
    span_terms             a row for them all: what searches find them by
    execution node edge    COPY, for each trace that is whole in this batch and that nobody has put into `trace` yet
    trace                  the days of each trace; who puts a trace there first may project it at once
    pending_projection     a row for each other trace, which a projector takes up

The rows that others may wait for (trace, pending_projection) are locked last, in order of the key, and so only until
the commit that follows. Two processes that wrote interleaved bodies were slower than one while such rows were locked
first (8,000 spans/s; one alone 10,000), and deadlocked when those of whole traces were locked before the others.

While PostgreSQL takes in one block of spans, Python reads the facts of the next and assembles traces: on two cores
the two cost the time of the slower.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import psycopg

from spantree_exporter.changes import Changes, insert_changes
from spantree_exporter.connection import StoreConnection
from spantree_exporter.copy_binary import HEADER, TRAILER, RowUnencodable, span_rows
from spantree_exporter.dead_letters import DeadLetterLimits, DeadLetters
from spantree_exporter.errors import (
    BatchRejected,
    StoreUnavailable,
    classify,
    is_refused_in_copy,
    is_without_partition,
    staged_may_pass,
)
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.ids import span_id_to_hex
from spantree_exporter.log_record import LogRecord
from spantree_exporter.operations import Operations
from spantree_exporter.partitions import (
    OUTSIDE_WINDOW,
    SENTINEL_DAY,
    date_arrays,
    date_of,
    day_number,
    day_of,
    trace_days,
)
from spantree_exporter.projection import ProjectedTrace, TolerantReader, copy_files, copy_rows, facts_of_span
from spantree_exporter.rollup import Rollup
from spantree_exporter.rollup_store import insert_delta
from spantree_exporter.span import Resource, Span
from spantree_exporter.sql import statements
from spantree_exporter.term_store import insert_terms

if TYPE_CHECKING:
    from spantree_exporter.decode import DeadLetter

_SQL: Final = statements("write")

# Rows that go to PostgreSQL before the next facts are read: whole traces, so many that a write costs nothing, so few
# that PostgreSQL is never idle for long (some 256 KiB).
_BLOCK_SPANS: Final = 256
# After COPY refused a batch, that many batches take the staged way at once: repeats come in storms, and each refusal
# costs a COPY and leaves dead rows.
_STAGED_BATCHES: Final = 8
# Resource ids that are known to be stored; beyond this many they are forgotten together.
_KNOWN_RESOURCES: Final = 20_000


@dataclass(frozen=True, slots=True)
class Written:
    """What one `Store.write` did."""

    spans: int  # stored new
    duplicates: int  # were stored already, or twice in the batch
    projected_traces: int  # whole in the batch: their rows are there
    log_records: int = 0  # stored new
    duplicate_log_records: int = 0
    outside: int = 0  # spans under 1970-01-01: their day has no partition and may get none


# Days that one transaction may write to. Each day is some twenty tables and indexes to lock, and all transactions share
# max_locks_per_transaction (64) * max_connections (100) by default.
_DAYS_PER_TRANSACTION: Final = 8


@dataclass(slots=True)
class _Trace:
    spans: list[Span] = field(default_factory=list)
    days: list[int] = field(default_factory=list)  # the partition of each span
    root_ended: bool = False
    projected: ProjectedTrace | None = None


class Writer:
    """Writes batches over one connection."""

    def __init__(
        self, connection: StoreConnection, tenant_id: int, reader: TolerantReader, dead_letters: DeadLetterLimits
    ) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._reader = reader
        self._dead_letters = DeadLetters(tenant_id, dead_letters)
        self._known_resources: set[int] = set()
        self._today = 0  # the day on which these were noted to be in use
        self._operations = Operations(tenant_id)
        self._staged_batches_left = 0
        self._outside = 0  # of the batch in hand

    def write(self, spans: Sequence[Span], dead: Sequence[DeadLetter]) -> Written:
        """As Store.write. Raises psycopg.Error, BatchRejected."""
        # The first of two equal spans wins, as it does between batches. The day needs no place in this key: the
        # fingerprint covers the start that it follows from.
        unique: dict[tuple[bytes, int, int], Span] = {}
        for span in spans:
            unique.setdefault((span.trace_id, span.span_id, span.fingerprint), span)
        stored = projected = outside = 0
        for part in self._by_days(list(unique.values())) or [[]]:
            part_stored, part_projected = self._write(part, dead)
            stored += part_stored
            projected += part_projected
            outside += self._outside
            dead = ()
        return Written(stored, len(spans) - stored, projected, outside=outside)

    def _by_days(self, spans: list[Span]) -> list[list[Span]]:
        """`spans` in parts of few days each; nearly always there is one part.

        Days that have their partitions come first: to make one takes PostgreSQL some 60 ms, and whoever sends spans of
        ninety days that have none lets nobody wait for that whose spans are in the same batch.
        """
        days = {day_of(span.start_ns) for span in spans}
        if len(days) <= _DAYS_PER_TRANSACTION:
            return [spans] if spans else []
        known = self._connection.days
        # What is outside of the window goes together, however many days it claims.
        planned = known.plan(self._connection.open(), days)
        newest = sorted(set(planned.values()), reverse=True)
        ready = [day for day in newest if known.is_ready(day)]
        others = [day for day in newest if not known.is_ready(day)]
        part_of: dict[int, int] = {}
        for part, some in enumerate((*_chunks(ready), *_chunks(others))):
            part_of.update(dict.fromkeys(some, part))
        parts: dict[int, list[Span]] = {}
        for span in spans:
            parts.setdefault(part_of[planned[day_of(span.start_ns)]], []).append(span)
        return [parts[part] for part in sorted(parts)]

    def _write(self, spans: Sequence[Span], dead: Sequence[DeadLetter]) -> tuple[int, int]:
        batch = self._traces(spans)
        if self._staged_batches_left:
            self._staged_batches_left -= 1
            return self._transaction(batch, dead, staged=True)
        try:
            return self._transaction(batch, dead, staged=False)
        except psycopg.Error as error:
            if not staged_may_pass(error):
                raise
            # Most often a span that is there already, or a partition that retention dropped meanwhile.
            self._staged_batches_left = _STAGED_BATCHES
            self._connection.days.forget()
            return self._transaction(self._traces(spans), dead, staged=True)

    def _traces(self, spans: Sequence[Span]) -> dict[bytes, _Trace]:
        """The traces of a batch in order of their ids, each span with the day whose partition takes it."""
        place = self._connection.place_days({day_of(span.start_ns) for span in spans})
        traces: dict[bytes, _Trace] = {}
        self._outside = (
            sum(place[day_of(span.start_ns)] == SENTINEL_DAY for span in spans) if SENTINEL_DAY in place.values() else 0
        )
        for span in spans:
            if (trace := traces.get(span.trace_id)) is None:
                trace = traces[span.trace_id] = _Trace()
            day = place[day_of(span.start_ns)]
            trace.days.append(day)
            trace.spans.append(span if day != SENTINEL_DAY else _outside(span))
        return {trace_id: traces[trace_id] for trace_id in sorted(traces)}

    def forget(self) -> None:
        """Know nothing of what is stored: another server may answer now."""
        self._known_resources.clear()
        self._operations.forget()

    def _transaction(self, batch: dict[bytes, _Trace], dead: Sequence[DeadLetter], *, staged: bool) -> tuple[int, int]:
        connection = self._connection.open()
        self._begin_day()
        new_resources = {
            span.resource.id: span
            for trace in batch.values()
            for span in trace.spans
            if span.resource.id not in self._known_resources
        }
        with connection.cursor() as cursor:
            if new_resources:
                self._insert_resources(cursor, new_resources.values())
            self._operations.note(cursor, (span for trace in batch.values() for span in trace.spans))
        if len(self._known_resources) + len(new_resources) > _KNOWN_RESOURCES:
            self._known_resources.clear()
        self._known_resources.update(new_resources)
        with connection.transaction(), connection.cursor() as cursor:
            stored = projected = 0
            if batch:
                stored = self._insert_spans(cursor, batch, staged=staged)
                if stored:
                    self._insert_terms(cursor, batch)
                projected = self._project_and_mark(cursor, batch)
            if dead:
                self._dead_letters.insert(cursor, dead)
        if staged and batch:
            self._connection.temporary_tables_kept(["span_staging"])
        if dead:
            self._dead_letters.trim(connection)
        return stored, projected

    def _insert_spans(self, cursor: psycopg.Cursor[Any], batch: dict[bytes, _Trace], *, staged: bool) -> int:
        count = 0
        if staged:
            self._connection.temporary_table("span_staging", _SQL["create_span_staging"])
        try:
            with cursor.copy(_SQL["copy_span_staging" if staged else "copy_spans"]) as copy:
                copy.write(HEADER)
                block: list[_Trace] = []
                waiting = 0
                for trace in batch.values():
                    block.append(trace)
                    waiting += len(trace.spans)
                    if waiting >= _BLOCK_SPANS:
                        self._write_block(copy, block, assemble=not staged)
                        count += waiting
                        block, waiting = [], 0
                self._write_block(copy, block, assemble=not staged)
                count += waiting
                copy.write(TRAILER)
        except RowUnencodable as error:
            raise BatchRejected(str(error), None) from error
        if not staged:
            return count
        try:
            cursor.execute(_SQL["insert_staged_spans"])
            return len(cursor.fetchall())
        except psycopg.errors.CheckViolation as error:
            if not is_without_partition(error):  # a CHECK that somebody added
                raise
            # No fault of the spans.
            raise StoreUnavailable(f"the partition of a day went away while it was written to: {error}") from error

    def _insert_terms(self, cursor: psycopg.Cursor[Any], batch: dict[bytes, _Trace]) -> None:
        spans = [span for trace in batch.values() for span in trace.spans]
        insert_terms(cursor, self._tenant_id, spans, [day for trace in batch.values() for day in trace.days])

    def _write_block(self, copy: psycopg.Copy, block: Sequence[_Trace], *, assemble: bool) -> None:
        spans = [span for trace in block for span in trace.spans]
        facts = self._reader.facts(spans)
        days = [day for trace in block for day in trace.days]
        for rows in span_rows(self._tenant_id, days, spans, facts):
            copy.write(rows)
        first = 0
        for trace in block:
            end = first + len(trace.spans)
            facts_of_trace = facts[first:end]
            trace.root_ended = _root_ended(trace.spans, facts_of_trace)
            trace.projected = None
            # A staged batch holds spans that were stored before, with another time of receipt perhaps.
            if assemble and trace.root_ended and _is_whole(trace.spans, facts_of_trace):
                outcome = self._reader.assemble(
                    trace.spans[0].trace_id, list(map(facts_of_span, trace.spans, facts_of_trace)), trace.days
                )
                # An execution on another day than its spans is the projector's, which may make partitions.
                if isinstance(outcome, ProjectedTrace) and outcome.execution_day in trace.days:
                    trace.projected = outcome
            first = end

    def _project_and_mark(self, cursor: psycopg.Cursor[Any], batch: dict[bytes, _Trace]) -> int:
        """Project what is whole and leave a pending row for every other trace; how many were projected."""
        cursor.execute(_SQL["days_of_traces"], self._keys(batch), binary=True)
        known: dict[bytes, set[int]] = {trace_id: set(map(day_number, days)) for trace_id, days in cursor}
        days = {trace_id: set(trace.days) for trace_id, trace in batch.items()}
        unknown = {trace_id: days[trace_id] for trace_id in batch if trace_id not in known}
        whole = {trace_id: projected for trace_id in unknown if (projected := batch[trace_id].projected) is not None}
        mine = self._project(cursor, whole, unknown) if whole else None
        if mine is None:
            whole = {}
            mine = self._insert_traces(cursor, unknown)
        more_days = {
            trace_id: of_trace
            for trace_id, of_trace in days.items()
            if trace_id not in mine and not of_trace <= known.get(trace_id, set())
        }
        if more_days:
            cursor.execute(_SQL["extend_traces"], {"tenant_id": self._tenant_id} | trace_days(more_days))
        waiting = {trace_id: trace for trace_id, trace in batch.items() if trace_id not in whole}
        if waiting:
            self._mark_pending(cursor, waiting, known)
        return len(whole)

    def _project(
        self, cursor: psycopg.Cursor[Any], whole: dict[bytes, ProjectedTrace], unknown: dict[bytes, set[int]]
    ) -> set[bytes] | None:
        """Write the rows of `whole` and put all `unknown` traces into `trace`; which of those nobody had put there.

        None, and nothing changed, where a row is refused, or somebody else has put one of `whole` there meanwhile:
        the projector, which takes traces one by one where need be, does it then.
        """
        try:
            rows = copy_rows(self._tenant_id, list(whole.values()))
            with cursor.connection.transaction():
                copy_files(cursor, _SQL["copy_executions"], _SQL["copy_nodes"], _SQL["copy_edges"], rows)
                rollup, changes = Rollup(), Changes()
                for trace_id, projected in whole.items():
                    if not self._connection.days.is_counted(projected.execution_day):
                        rollup.add(projected.assembled)
                    changes.add_new(trace_id, len(projected.assembled.nodes))
                insert_delta(cursor, self._tenant_id, rollup)
                insert_changes(cursor, self._tenant_id, changes)
                mine = self._insert_traces(cursor, unknown)
                if not whole.keys() <= mine:
                    raise psycopg.Rollback
                return mine
        except RowUnencodable:
            self._reader.complain("rows of a projection cannot be written; the projector will tell which")
        except psycopg.errors.UniqueViolation:
            return None
        except psycopg.Error as error:
            if not isinstance(classify(error), BatchRejected):
                raise
            if is_refused_in_copy(error):  # most often a trace that another writer put there
                return None
            self._reader.complain("rows of a projection were refused; the projector will tell which")
        return None

    def _insert_traces(self, cursor: psycopg.Cursor[Any], traces: dict[bytes, set[int]]) -> set[bytes]:
        if not traces:
            return set()
        arguments = self._keys(traces) | {"days": date_arrays(traces.values())}
        cursor.execute(_SQL["insert_traces"], arguments, binary=True)
        return {trace_id for (trace_id,) in cursor}

    def _mark_pending(
        self, cursor: psycopg.Cursor[Any], waiting: dict[bytes, _Trace], known: dict[bytes, set[int]]
    ) -> None:
        again = {trace_id: known[trace_id] for trace_id in waiting if trace_id in known}
        span_counts: dict[bytes, int] = {}
        if again:
            days = [date_of(day) for day in sorted(set().union(*again.values()))]
            cursor.execute(_SQL["projected_spans"], self._keys(again) | {"days": days}, binary=True)
            span_counts = dict(cursor.fetchall())
        cursor.execute(
            _SQL["upsert_pending"],
            self._keys(waiting)
            | {
                "spans": [len(trace.spans) for trace in waiting.values()],
                "projected_spans": [span_counts.get(trace_id, 0) for trace_id in waiting],
                "root_ended": [trace.root_ended for trace in waiting.values()],
            },
        )

    def _keys(self, trace_ids: Iterable[bytes]) -> dict[str, Any]:
        return {"tenant_id": self._tenant_id, "trace_ids": [trace_id.hex() for trace_id in trace_ids]}

    def _begin_day(self) -> None:
        """Once a day each resource is written again: retention deletes those that nobody has written for."""
        today = day_of(time.time_ns())
        if today != self._today:
            self._today = today
            self._known_resources.clear()

    def insert_resources(self, cursor: psycopg.Cursor[Any], senders: Collection[LogRecord]) -> None:
        """Store the resources of log records that are not known to be stored."""
        self._begin_day()
        new = [record for record in senders if record.resource.id not in self._known_resources]
        if new:
            self._insert_resources(cursor, new)
            self._known_resources.update(record.resource.id for record in new)

    def _insert_resources(self, cursor: psycopg.Cursor[Any], senders: Collection[Span | LogRecord]) -> None:
        keys = {"tenant_id": self._tenant_id, "today": date_of(self._today)}
        ids = {"ids": [span.resource.id for span in senders]}
        stored = {resource_id for (resource_id,) in cursor.execute(_SQL["stored_resources"], keys | ids)}
        senders = [span for span in senders if span.resource.id not in stored]
        if not senders:
            return
        resources: list[Resource] = [span.resource for span in senders]
        cursor.execute(
            _SQL["insert_resources"],
            keys
            | {
                "ids": [resource.id for resource in resources],
                "attributes": [resource.attributes_json.decode() for resource in resources],
                "service_names": [resource.service_name for resource in resources],
                "schema_urls": [resource.schema_url for resource in resources],
                "dropped": [resource.dropped_attributes_count for resource in resources],
                "first_seen_ns": [span.received_ns for span in senders],
            },
        )


def _chunks(days: Sequence[int]) -> list[Sequence[int]]:
    return [days[first : first + _DAYS_PER_TRANSACTION] for first in range(0, len(days), _DAYS_PER_TRANSACTION)]


def _outside(span: Span) -> Span:
    """`span` with the anomaly that tells why it is on the sentinel day."""
    return replace(span, anomalies=[*span.anomalies, OUTSIDE_WINDOW])


def _root_ended(spans: Sequence[Span], facts: Sequence[Facts]) -> bool:
    for span, fact in zip(spans, facts, strict=True):
        if span.parent_span_id is None and span.end_ns and fact.get("fold") != "pending":
            return True
    return False


def _is_whole(spans: Sequence[Span], facts: Sequence[Facts]) -> bool:
    """Whether every span's parent, and every span that a live mark announces, is among `spans`."""
    span_ids = {span.span_id for span in spans}
    parents = {span.parent_span_id for span in spans}
    parents.discard(None)
    if not parents <= span_ids:
        return False
    announced = {fact.get("pending_of", "") for fact in facts if fact.get("fold") == "pending"}
    if not announced:
        return True
    ended = {
        span_id_to_hex(span.span_id) for span, fact in zip(spans, facts, strict=True) if fact.get("fold") != "pending"
    }
    return announced <= ended
