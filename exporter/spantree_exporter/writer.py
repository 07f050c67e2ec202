"""Spans -> PostgreSQL, one transaction a batch, and the rows of the traces that are complete in it.

    span                   COPY, all that is new in the batch
    execution node edge    COPY, for each trace that is whole in this batch and new
    pending_projection     a row for each trace: here writers and projectors of one trace meet; the rows of the whole
                           traces go again when nobody else was at them

The rows that others may wait for are locked last, in order of the key, and so only until the commit that follows. Two
processes that wrote interleaved bodies were slower than one while they were locked first (8,000 spans/s; one alone
10,000), and deadlocked when those of whole traces were locked before the others.

While PostgreSQL takes in one block of spans, Python reads the facts of the next and assembles traces: on two cores
the two cost the time of the slower.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import psycopg

from spantree_exporter.connection import StoreConnection
from spantree_exporter.copy_binary import HEADER, TRAILER, RowUnencodable, span_rows
from spantree_exporter.errors import BatchRejected, StoreUnavailable, classify
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.ids import span_id_to_hex
from spantree_exporter.partitions import day_of
from spantree_exporter.projection import ProjectedTrace, TolerantReader, copy_files, copy_rows, facts_of_span
from spantree_exporter.span import Resource, Span
from spantree_exporter.sql import statements
from spantree_exporter.stored import NUL_SIGN

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


@dataclass(slots=True)
class _Trace:
    spans: list[Span] = field(default_factory=list)
    root_ended: bool = False
    projected: ProjectedTrace | None = None


class Writer:
    """Writes batches over one connection."""

    def __init__(self, connection: StoreConnection, tenant_id: int, reader: TolerantReader) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._reader = reader
        self._known_resources: set[int] = set()
        self._staged_batches_left = 0

    def write(self, spans: Sequence[Span], dead: Sequence[DeadLetter]) -> Written:
        """As Store.write. Raises psycopg.Error, BatchRejected."""
        # The first of two equal spans wins, as it does between batches. The day needs no place in this key: the
        # fingerprint covers the start that it follows from.
        unique: dict[tuple[bytes, int, int], Span] = {}
        for span in spans:
            unique.setdefault((span.trace_id, span.span_id, span.fingerprint), span)
        traces: dict[bytes, _Trace] = {}
        for span in unique.values():
            if (trace := traces.get(span.trace_id)) is None:
                trace = traces[span.trace_id] = _Trace()
            trace.spans.append(span)
        batch = {trace_id: traces[trace_id] for trace_id in sorted(traces)}
        self._connection.ensure_days({day_of(span.start_ns) for span in unique.values()})
        if self._staged_batches_left:
            self._staged_batches_left -= 1
            stored, projected = self._transaction(batch, dead, staged=True)
        else:
            try:
                stored, projected = self._transaction(batch, dead, staged=False)
            except psycopg.Error as error:
                if not isinstance(classify(error), BatchRejected):
                    raise
                # Most often a span that is there already, or a partition that retention dropped meanwhile.
                self._staged_batches_left = _STAGED_BATCHES
                self._connection.forget_days()
                self._connection.ensure_days({day_of(span.start_ns) for span in unique.values()})
                stored, projected = self._transaction(batch, dead, staged=True)
        return Written(stored, len(spans) - stored, projected)

    def forget(self) -> None:
        """Know nothing of what is stored: another server may answer now."""
        self._known_resources.clear()

    def _transaction(self, batch: dict[bytes, _Trace], dead: Sequence[DeadLetter], *, staged: bool) -> tuple[int, int]:
        connection = self._connection.open()
        new_resources = {
            span.resource.id: span
            for trace in batch.values()
            for span in trace.spans
            if span.resource.id not in self._known_resources
        }
        with connection.cursor() as cursor:
            if new_resources:
                self._insert_resources(cursor, new_resources.values())
        if len(self._known_resources) + len(new_resources) > _KNOWN_RESOURCES:
            self._known_resources.clear()
        self._known_resources.update(new_resources)
        with connection.transaction(), connection.cursor() as cursor:
            stored = projected = 0
            if batch:
                stored = self._insert_spans(cursor, batch, staged=staged)
                projected = self._project_and_mark(cursor, batch)
            if dead:
                self._insert_dead_letters(cursor, dead)
        if staged and batch:
            self._connection.temporary_tables_kept(["span_staging"])
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
        except psycopg.errors.CheckViolation as error:
            if error.diag.constraint_name:  # a CHECK that somebody added
                raise
            # "no partition of relation" has this SQLSTATE too, names no constraint, and is no fault of the spans.
            raise StoreUnavailable(f"the partition of a day went away while it was written to: {error}") from error
        return cursor.rowcount

    def _write_block(self, copy: psycopg.Copy, block: Sequence[_Trace], *, assemble: bool) -> None:
        spans = [span for trace in block for span in trace.spans]
        facts = self._reader.facts(spans)
        days = [day_of(span.start_ns) for span in spans]
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
                    trace.spans[0].trace_id, list(map(facts_of_span, trace.spans, facts_of_trace))
                )
                trace.projected = outcome if isinstance(outcome, ProjectedTrace) else None
            first = end

    def _project_and_mark(self, cursor: psycopg.Cursor[Any], batch: dict[bytes, _Trace]) -> int:
        """Project what is whole and leave a pending row for every other trace; how many were projected."""
        cursor.execute(_SQL["known_traces"], self._keys(batch), binary=True)
        span_counts: dict[bytes, int] = {}
        known: set[bytes] = set()
        for trace_id, span_count, is_pending in cursor:
            known.add(trace_id)
            if not is_pending:
                span_counts[trace_id] = span_count
        new = {
            trace_id: trace.projected
            for trace_id, trace in batch.items()
            if trace.projected is not None and trace_id not in known
        }
        if not new or (fresh := self._project(cursor, new, batch, span_counts)) is None:
            self._mark_pending(cursor, batch, span_counts)
            return 0
        # One that another writer has marked meanwhile stays pending: its spans are still to be added.
        done = [trace_id for trace_id in new if trace_id in fresh]
        if done:
            cursor.execute(_SQL["delete_pending"], self._keys(done))
        return len(done)

    def _project(
        self,
        cursor: psycopg.Cursor[Any],
        new: dict[bytes, ProjectedTrace],
        batch: dict[bytes, _Trace],
        span_counts: dict[bytes, int],
    ) -> set[bytes] | None:
        """Write the rows of `new` and mark all of `batch` pending; which of those nobody had marked.

        None, and nothing changed, where a row is refused, or one of them was projected by somebody else meanwhile.
        The projector, which takes traces one by one where need be, does it then.
        """
        try:
            rows = copy_rows(self._tenant_id, list(new.values()))
            with cursor.connection.transaction():
                copy_files(cursor, _SQL["copy_executions"], _SQL["copy_nodes"], _SQL["copy_edges"], rows)
                fresh = self._mark_pending(cursor, batch, span_counts)
                # Seen only now: whoever projects one of them marks or locks its pending row too.
                if cursor.execute(_SQL["doubled_executions"], self._keys(new)).fetchone():
                    raise psycopg.Rollback
                return fresh
        except psycopg.errors.UniqueViolation:
            return None
        except RowUnencodable:
            self._reader.complain("rows of a projection cannot be written; the projector will tell which")
        except psycopg.Error as error:
            if not isinstance(classify(error), BatchRejected):
                raise
            self._reader.complain("rows of a projection were refused; the projector will tell which")
        return None

    def _mark_pending(
        self, cursor: psycopg.Cursor[Any], batch: dict[bytes, _Trace], span_counts: dict[bytes, int]
    ) -> set[bytes]:
        """Those of `batch` that had no pending row. `span_counts` is of the traces that are projected already."""
        cursor.execute(
            _SQL["upsert_pending"],
            self._keys(batch)
            | {
                "spans": [len(trace.spans) for trace in batch.values()],
                "projected_spans": [span_counts.get(trace_id, 0) for trace_id in batch],
                "root_ended": [trace.root_ended for trace in batch.values()],
            },
            binary=True,
        )
        return {trace_id for trace_id, batches in cursor if batches == 1}

    def _keys(self, trace_ids: Iterable[bytes]) -> dict[str, Any]:
        return {"tenant_id": self._tenant_id, "trace_ids": [trace_id.hex() for trace_id in trace_ids]}

    def _insert_resources(self, cursor: psycopg.Cursor[Any], senders: Collection[Span]) -> None:
        resources: list[Resource] = [span.resource for span in senders]
        cursor.execute(
            _SQL["insert_resources"],
            {
                "tenant_id": self._tenant_id,
                "ids": [resource.id for resource in resources],
                "attributes": [resource.attributes_json.decode() for resource in resources],
                "service_names": [resource.service_name for resource in resources],
                "schema_urls": [resource.schema_url for resource in resources],
                "dropped": [resource.dropped_attributes_count for resource in resources],
                "first_seen_ns": [span.received_ns for span in senders],
            },
        )

    def _insert_dead_letters(self, cursor: psycopg.Cursor[Any], dead: Sequence[DeadLetter]) -> None:
        cursor.execute(
            _SQL["insert_dead_letters"],
            {
                "tenant_id": self._tenant_id,
                "digests": [sha256(letter.encoding.encode() + b"\x00" + letter.raw).digest() for letter in dead],
                "received_ns": [letter.received_ns for letter in dead],
                # A reason may quote what was sent.
                "reasons": [letter.reason.replace("\x00", NUL_SIGN) for letter in dead],
                "encodings": [letter.encoding for letter in dead],
                "raws": [letter.raw for letter in dead],
            },
        )


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
