"""Spans of any number of tenants -> PostgreSQL, one transaction a batch, and the rows of the traces complete in it.

    span                   COPY, all that is new in the batch; on Citus as text
    span_terms             a row for all of a tenant's: what searches find them by
    trace                  the days of each trace; who puts a trace there first may project it at once
    execution node edge    COPY, for each trace that is whole in this batch and that nobody has put into `trace` yet
    pending_projection     a row for each other trace, which a projector takes up

The rows that others may wait for (trace, pending_projection) are locked once the spans are there and the rows of
projections are made, in order of the key, and so for a short time. Two processes that wrote interleaved bodies were
slower than one while such rows were locked first (8,000 spans/s; one alone 10,000), and deadlocked when those of whole
traces were locked before the others. Whether a trace is known already is asked once before, without a lock, so that
little is made in vain; not on Citus, where it is a statement for each shard.

Of many tenants that each send a little, a transaction each costs more than twice as much as one for them all. A tenant
whose spans come twice, and so have to be written the slower way, is from then on written apart from the others.

While PostgreSQL takes in one block of spans, Python reads the facts of the next and assembles traces: on two cores
the two cost the time of the slower.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import psycopg

from spantree_exporter.changes import Changes, insert_changes
from spantree_exporter.errors import (
    BatchRejected,
    StoreUnavailable,
    classify,
    is_without_partition,
    staged_may_pass,
)
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.ids import span_id_to_hex
from spantree_exporter.log_record import LogRecord
from spantree_exporter.postgres.connection import StoreConnection
from spantree_exporter.postgres.copy_binary import HEADER, TRAILER, RowUnencodable, span_rows
from spantree_exporter.postgres.copy_text import span_lines
from spantree_exporter.postgres.dead_letters import DeadLetterLimits, DeadLetters
from spantree_exporter.postgres.known import Known
from spantree_exporter.postgres.noted_days import insert_traces, note_days
from spantree_exporter.postgres.operations import Operations
from spantree_exporter.postgres.partitions import (
    OUTSIDE_WINDOW,
    SENTINEL_DAY,
    date_of,
    day_of,
)
from spantree_exporter.postgres.rollup_store import insert_delta
from spantree_exporter.projection import CopyRows, ProjectedTrace, TolerantReader, copy_files, copy_rows, facts_of_span
from spantree_exporter.rollup import Rollup
from spantree_exporter.span import Resource, Span
from spantree_exporter.sql import statements
from spantree_exporter.terms.store import SpansAndDays, insert_terms
from spantree_exporter.trace_key import TraceKey, key_arrays

if TYPE_CHECKING:
    from spantree_exporter.otlp.decode import DeadLetter

_SQL: Final = statements("write")

# span_rows or span_lines
_Encode: TypeAlias = Callable[[int, Sequence[int], Sequence[Span], Sequence[Facts]], Iterator[bytes]]

# Rows that go to PostgreSQL before the next facts are read: whole traces, so many that a write costs nothing, so few
# that PostgreSQL is never idle for long (some 256 KiB).
_BLOCK_SPANS: Final = 256
# After COPY refused a batch, that many batches take the staged way at once: repeats come in storms, and each refusal
# costs a COPY and leaves dead rows.
_STAGED_BATCHES: Final = 8
# Resource ids of all tenants that are known to be stored; beyond this many those of whoever has most are forgotten.
_KNOWN_RESOURCES: Final = 50_000
# Tenants whose dead letters are counted here; beyond this many all are counted anew.
_KNOWN_TENANTS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Written:
    """What one `Store.write` did."""

    spans: int  # stored new
    duplicates: int  # were stored already, or twice in the batch
    projected_traces: int  # whole in the batch: their rows are there
    log_records: int = 0  # stored new
    duplicate_log_records: int = 0
    outside: int = 0  # spans under 1970-01-01: their day has no partition and may get none
    by_tenant: Mapping[int, int] = field(default_factory=dict, compare=False)  # `spans`, whose they are
    projected_by_tenant: Mapping[int, int] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Share:
    """What one tenant has in a batch of spans."""

    tenant_id: int
    spans: Sequence[Span]
    dead: Sequence[DeadLetter] = ()


# Days that one transaction may write to. Each day is some twenty tables and indexes to lock, and all transactions share
# max_locks_per_transaction (64) * max_connections (100) by default.
_DAYS_PER_TRANSACTION: Final = 8


@dataclass(frozen=True, slots=True)
class _Projection:
    """A trace that is whole in a batch, and its rows."""

    made: ProjectedTrace
    rows: CopyRows


@dataclass(slots=True)
class _Trace:
    tenant_id: int
    spans: list[Span] = field(default_factory=list)
    days: list[int] = field(default_factory=list)  # the partition of each span
    is_known: bool = False  # somebody is known to have put it into `trace`: it is a projector's
    root_ended: bool = False
    projection: _Projection | None = None


class Writer:
    """Writes batches over one connection."""

    def __init__(self, connection: StoreConnection, reader: TolerantReader, dead_letters: DeadLetterLimits) -> None:
        self._connection = connection
        self._reader = reader
        self._limits = dead_letters
        self._dead_letters: dict[int, DeadLetters] = {}
        self._known_resources: Known[int] = Known(_KNOWN_RESOURCES)
        self._today = 0  # the day on which these were noted to be in use
        self._operations = Operations()
        self._staged_left: Counter[int] = Counter()  # batches of each tenant that take the staged way

    def write(self, shares: Sequence[Share]) -> Written:
        """As Store.write_shares; each tenant has one share. Raises psycopg.Error, BatchRejected."""
        apart = [share for share in shares if self._staged_left[share.tenant_id] and share.spans]
        together = [share for share in shares if not (self._staged_left[share.tenant_id] and share.spans)]
        written = _Sum()
        for some, staged in ((together, False), (apart, True)):
            if some:
                self._write_some(some, staged, written)
        for share in apart:
            self._staged_left[share.tenant_id] -= 1
        self._staged_left = +self._staged_left
        given = sum(len(share.spans) for share in shares)
        stored = written.by_tenant.total()
        return Written(
            stored,
            given - stored,
            written.projected.total(),
            outside=written.outside,
            by_tenant=dict(written.by_tenant),
            projected_by_tenant=dict(written.projected),
        )

    def _write_some(self, shares: Sequence[Share], staged: bool, written: _Sum) -> None:
        # The first of two equal spans wins, as it does between batches. The day needs no place in this key: the
        # fingerprint covers the start that it follows from.
        unique: dict[int, list[Span]] = {}
        for share in shares:
            of_tenant: dict[tuple[bytes, int, int], Span] = {}
            for span in share.spans:
                of_tenant.setdefault((span.trace_id, span.span_id, span.fingerprint), span)
            if of_tenant:
                unique[share.tenant_id] = list(of_tenant.values())
        dead = {share.tenant_id: share.dead for share in shares if share.dead}
        for part in self._by_days(unique) or [{}]:
            self._write(part, dead, staged, written)
            dead = {}

    def _by_days(self, spans: dict[int, list[Span]]) -> list[dict[int, list[Span]]]:
        """`spans` in parts of few days each; nearly always there is one part.

        Days that have their partitions come first: to make one takes PostgreSQL some 60 ms, and whoever sends spans of
        ninety days that have none lets nobody wait for that whose spans are in the same batch.
        """
        days = {day_of(span.start_ns) for of_tenant in spans.values() for span in of_tenant}
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
        parts: dict[int, dict[int, list[Span]]] = {}
        for tenant_id, of_tenant in spans.items():
            for span in of_tenant:
                part = part_of[planned[day_of(span.start_ns)]]
                parts.setdefault(part, {}).setdefault(tenant_id, []).append(span)
        return [parts[part] for part in sorted(parts)]

    def _write(
        self, spans: dict[int, list[Span]], dead: Mapping[int, Sequence[DeadLetter]], staged: bool, written: _Sum
    ) -> None:
        batch, outside = self._traces(spans)
        try:
            stored, projected = self._transaction(batch, dead, staged=staged)
        except psycopg.Error as error:
            if staged or not staged_may_pass(error):
                raise
            # Most often a span that is there already, or a partition that retention dropped meanwhile.
            if len(spans) == 1:
                self._write_apart(spans)
            self._connection.days.forget()
            batch, outside = self._traces(spans)
            stored, projected = self._transaction(batch, dead, staged=True)
            repeated = [tenant_id for tenant_id in spans if stored[tenant_id] < len(spans[tenant_id])]
            self._write_apart(repeated)
        written.by_tenant.update(stored)
        written.projected.update(projected)
        written.outside += outside

    def _write_apart(self, tenant_ids: Iterable[int]) -> None:
        for tenant_id in tenant_ids:
            self._staged_left[tenant_id] = _STAGED_BATCHES

    def _traces(self, spans: dict[int, list[Span]]) -> tuple[dict[TraceKey, _Trace], int]:
        """(the traces of a batch in order of their keys, each span with the day of its partition; spans of no day)."""
        place = self._connection.place_days(
            {day_of(span.start_ns) for of_tenant in spans.values() for span in of_tenant}
        )
        traces: dict[TraceKey, _Trace] = {}
        outside = 0
        for tenant_id in sorted(spans):
            of_tenant: dict[bytes, _Trace] = {}
            for span in spans[tenant_id]:
                if (trace := of_tenant.get(span.trace_id)) is None:
                    trace = of_tenant[span.trace_id] = _Trace(tenant_id)
                day = place[day_of(span.start_ns)]
                trace.days.append(day)
                if day == SENTINEL_DAY:
                    outside += 1
                    span = _outside(span)
                trace.spans.append(span)
            for trace_id in sorted(of_tenant):
                traces[tenant_id, trace_id] = of_tenant[trace_id]
        return traces, outside

    def forget(self) -> None:
        """Know nothing of what is stored: another server may answer now."""
        self._known_resources.forget()
        self._operations.forget()

    def _transaction(
        self, batch: dict[TraceKey, _Trace], dead: Mapping[int, Sequence[DeadLetter]], *, staged: bool
    ) -> tuple[Counter[int], Counter[int]]:
        """(spans that are stored new, traces that were projected), each by tenant."""
        connection = self._connection.open()
        with connection.cursor() as cursor:
            self.insert_resources(cursor, ((trace.tenant_id, trace.spans) for trace in batch.values()))
            self._operations.note(cursor, ((trace.tenant_id, trace.spans) for trace in batch.values()))
            if not staged:
                self._mark_known(cursor, batch)
        stored: Counter[int] = Counter()
        projected: Counter[int] = Counter()
        with connection.transaction(), connection.cursor() as cursor:
            if batch:
                stored = self._insert_spans(cursor, batch, staged=staged)
                if stored:
                    insert_terms(cursor, _by_tenant(batch))
                projected = self._project_and_mark(cursor, batch)
            for tenant_id, letters in dead.items():
                self._dead_letters_of(tenant_id).insert(cursor, letters)
        if staged and batch:
            self._connection.temporary_tables_kept(["span_staging"])
        for tenant_id in dead:
            self._dead_letters_of(tenant_id).trim(connection)
        return stored, projected

    def _mark_known(self, cursor: psycopg.Cursor[Any], batch: dict[TraceKey, _Trace]) -> None:
        """Note which traces others have begun, so that nothing is made of them in vain.

        Late parts often look whole: spans come by their ends, so that of a trace in two parts the second has all that
        are parents. Of the reference load every seventh that looked whole was such a part.
        """
        # Of Citus each shard would have to be asked.
        if not batch or self._connection.on_citus:
            return
        cursor.execute(_SQL["days_of_traces"], self._connection.trace_keys(batch), binary=True)
        for tenant_id, trace_id, _ in cursor:
            batch[tenant_id, trace_id].is_known = True

    def _dead_letters_of(self, tenant_id: int) -> DeadLetters:
        if (letters := self._dead_letters.get(tenant_id)) is None:
            if len(self._dead_letters) >= _KNOWN_TENANTS:
                self._dead_letters.clear()
            letters = self._dead_letters[tenant_id] = DeadLetters(tenant_id, self._limits)
        return letters

    def _insert_spans(
        self, cursor: psycopg.Cursor[Any], batch: dict[TraceKey, _Trace], *, staged: bool
    ) -> Counter[int]:
        count: Counter[int] = Counter()
        if staged:
            self._connection.temporary_table("span_staging", _SQL["create_span_staging"])
        as_text = self._connection.on_citus and not staged
        statement = _SQL["copy_span_staging" if staged else "copy_span_lines" if as_text else "copy_spans"]
        encode = span_lines if as_text else span_rows
        try:
            with cursor.copy(statement) as copy:
                if not as_text:
                    copy.write(HEADER)
                block: list[_Trace] = []
                waiting = 0
                for trace in batch.values():
                    block.append(trace)
                    waiting += len(trace.spans)
                    count[trace.tenant_id] += len(trace.spans)
                    if waiting >= _BLOCK_SPANS:
                        self._write_block(copy, block, encode, assemble=not staged)
                        block, waiting = [], 0
                self._write_block(copy, block, encode, assemble=not staged)
                if not as_text:
                    copy.write(TRAILER)
        except RowUnencodable as error:
            raise BatchRejected(str(error), None) from error
        if not staged:
            return count
        try:
            cursor.execute(_SQL["insert_staged_spans"])
            return Counter(tenant_id for (tenant_id,) in cursor)
        except psycopg.errors.CheckViolation as error:
            if not is_without_partition(error):  # a CHECK that somebody added
                raise
            # No fault of the spans.
            raise StoreUnavailable(f"the partition of a day went away while it was written to: {error}") from error

    def _write_block(self, copy: psycopg.Copy, block: Sequence[_Trace], encode: _Encode, *, assemble: bool) -> None:
        for tenant_id, of_tenant in groupby(block, lambda trace: trace.tenant_id):
            traces = list(of_tenant)
            spans = [span for trace in traces for span in trace.spans]
            facts = self._reader.facts(spans)
            days = [day for trace in traces for day in trace.days]
            for rows in encode(tenant_id, days, spans, facts):
                copy.write(rows)
            first = 0
            for trace in traces:
                end = first + len(trace.spans)
                # A staged batch holds spans that were stored before, with another time of receipt perhaps.
                self._assemble(trace, facts[first:end], wanted=assemble and not trace.is_known)
                first = end

    def _assemble(self, trace: _Trace, facts: Sequence[Facts], *, wanted: bool) -> None:
        trace.root_ended = _root_ended(trace.spans, facts)
        trace.projection = None
        if not (wanted and trace.root_ended and _is_whole(trace.spans, facts)):
            return
        outcome = self._reader.assemble(
            trace.spans[0].trace_id, list(map(facts_of_span, trace.spans, facts)), trace.days
        )
        # An execution on another day than its spans is the projector's, which may make partitions.
        if not isinstance(outcome, ProjectedTrace) or outcome.execution_day not in trace.days:
            return
        try:
            # Each by itself: which of them are to be written is told when they are made (`_project_and_mark`).
            trace.projection = _Projection(outcome, copy_rows(trace.tenant_id, [outcome]))
        except RowUnencodable:
            self._reader.complain(
                "the rows of trace %s cannot be written; the projector will tell why", outcome.trace_id.hex()
            )

    def _project_and_mark(self, cursor: psycopg.Cursor[Any], batch: dict[TraceKey, _Trace]) -> Counter[int]:
        """Project what is whole and leave a pending row for every other trace; how many of whom were projected."""
        days = {key: set(trace.days) for key, trace in batch.items()}
        # Rows are made by now: from here on others may wait for these traces.
        mine = insert_traces(cursor, days)
        whole = {key: trace.projection for key, trace in batch.items() if trace.projection is not None and key in mine}
        if whole and not self._project(cursor, whole):
            whole = {}
        known = note_days(self._connection, cursor, {key: days[key] for key in batch if key not in mine})
        waiting = {key: trace for key, trace in batch.items() if key not in whole}
        if waiting:
            self._mark_pending(cursor, waiting, known)
        return Counter(tenant_id for tenant_id, _ in whole)

    def _project(self, cursor: psycopg.Cursor[Any], whole: dict[TraceKey, _Projection]) -> bool:
        """Write the rows of `whole`, and what they change.

        False, and nothing changed, where a row is refused: the projector, which takes traces one by one where need be,
        does it then.
        """
        rows = [projection.rows for projection in whole.values()]
        try:
            with cursor.connection.transaction():
                copy_files(cursor, _SQL["copy_executions"], _SQL["copy_nodes"], _SQL["copy_edges"], rows)
                rollups: dict[int, Rollup] = {}
                changes: dict[int, Changes] = {}
                for tenant_id, traces in _of_tenants(whole).items():
                    rollup, changed = rollups[tenant_id], changes[tenant_id] = Rollup(), Changes()
                    for projected in traces:
                        rollup.add(projected.assembled)
                        changed.add_new(projected.trace_id, len(projected.assembled.nodes))
                insert_delta(cursor, rollups)
                insert_changes(cursor, changes)
                return True
        except psycopg.errors.UniqueViolation:
            return False
        except psycopg.Error as error:
            if not isinstance(classify(error), BatchRejected):
                raise
            self._reader.complain("rows of a projection were refused; the projector will tell which")
        return False

    def _mark_pending(
        self, cursor: psycopg.Cursor[Any], waiting: dict[TraceKey, _Trace], known: dict[TraceKey, set[int]]
    ) -> None:
        again = {key: known[key] for key in waiting if key in known}
        span_counts: dict[TraceKey, int] = {}
        if again:
            days = [date_of(day) for day in sorted(set().union(*again.values()))]
            cursor.execute(_SQL["projected_spans"], self._connection.trace_keys(again) | {"days": days}, binary=True)
            span_counts = {(tenant_id, trace_id): count for tenant_id, trace_id, count in cursor}
        cursor.execute(
            _SQL["upsert_pending"],
            key_arrays(waiting)
            | {
                "spans": [len(trace.spans) for trace in waiting.values()],
                "projected_spans": [span_counts.get(key, 0) for key in waiting],
                "root_ended": [trace.root_ended for trace in waiting.values()],
            },
        )

    def _begin_day(self) -> None:
        """Once a day each resource is written again: retention deletes those that nobody has written for."""
        today = day_of(time.time_ns())
        if today != self._today:
            self._today = today
            self._known_resources.forget()

    def insert_resources(
        self, cursor: psycopg.Cursor[Any], of_tenants: Iterable[tuple[int, Sequence[Span | LogRecord]]]
    ) -> None:
        """Store the resources of spans or log records, each with its tenant, that are not known to be stored."""
        self._begin_day()
        new: dict[tuple[int, int], Span | LogRecord] = {}
        for tenant_id, items in of_tenants:
            known = self._known_resources.of(tenant_id)
            for item in items:
                if item.resource.id not in known:
                    new[tenant_id, item.resource.id] = item
        if not new:
            return
        keys = {"tenant_ids": [tenant_id for tenant_id, _ in new], "ids": [resource_id for _, resource_id in new]}
        today = {"today": date_of(self._today)}
        stored = set(cursor.execute(_SQL["stored_resources"], keys | today).fetchall())
        missing = {key: sender for key, sender in new.items() if key not in stored}
        if missing:
            self._insert_missing(cursor, missing)
        for tenant_id, resource_id in new:
            self._known_resources.add(tenant_id, (resource_id,))

    def _insert_missing(self, cursor: psycopg.Cursor[Any], missing: dict[tuple[int, int], Span | LogRecord]) -> None:
        resources: list[Resource] = [sender.resource for sender in missing.values()]
        cursor.execute(
            _SQL["insert_resources"],
            {
                "today": date_of(self._today),
                "tenant_ids": [tenant_id for tenant_id, _ in missing],
                "ids": [resource.id for resource in resources],
                "attributes": [resource.attributes_json.decode() for resource in resources],
                "service_names": [resource.service_name for resource in resources],
                "schema_urls": [resource.schema_url for resource in resources],
                "dropped": [resource.dropped_attributes_count for resource in resources],
                "first_seen_ns": [sender.received_ns for sender in missing.values()],
            },
        )


@dataclass(slots=True)
class _Sum:
    """What the parts of a batch came to."""

    by_tenant: Counter[int] = field(default_factory=Counter)
    projected: Counter[int] = field(default_factory=Counter)
    outside: int = 0


def _by_tenant(batch: Mapping[TraceKey, _Trace]) -> dict[int, SpansAndDays]:
    of_tenants: dict[int, tuple[list[Span], list[int]]] = {}
    for (tenant_id, _), trace in batch.items():
        spans, days = of_tenants.setdefault(tenant_id, ([], []))
        spans += trace.spans
        days += trace.days
    return dict(of_tenants)


def _of_tenants(whole: Mapping[TraceKey, _Projection]) -> dict[int, list[ProjectedTrace]]:
    of_tenants: dict[int, list[ProjectedTrace]] = {}
    for (tenant_id, _), projection in whole.items():
        of_tenants.setdefault(tenant_id, []).append(projection.made)
    return of_tenants


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
