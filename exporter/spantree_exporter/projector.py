"""Traces that are due -> their rows: all their spans' facts read, assembled, and what changed written.

Any number of projectors may run. Who works on a trace holds an advisory lock until its transaction ends; writers are
not held up, and a batch that comes meanwhile keeps the trace pending.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from spantree_exporter.connection import StoreConnection
from spantree_exporter.copy_binary import RowUnencodable
from spantree_exporter.errors import BatchRejected, classify
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.partitions import date_of
from spantree_exporter.projection import ProjectedTrace, TolerantReader, copy_files, copy_rows, days_of, first_line
from spantree_exporter.rows import SpanFacts
from spantree_exporter.sql import statements

_SQL: Final = statements("project") | statements("write") | statements("partitions")

# An advisory lock each: a fraction of PostgreSQL's shared lock table (max_locks_per_transaction * max_connections).
_CLAIMED_TRACES: Final = 400
# How many due traces are looked at for ones that are not locked by other projectors.
_CANDIDATES: Final = 4 * _CLAIMED_TRACES
_FETCHED_ROWS: Final = 2000
_STAGING: Final = ("execution_staging", "node_staging", "edge_staging")


@dataclass(frozen=True, slots=True)
class Projected:
    """What one `Store.project_due` did. `more`: call again at once, there is work left."""

    traces: int
    spans: int
    more: bool


class Projector:
    """Projects over one connection."""

    def __init__(self, connection: StoreConnection, tenant_id: int, reader: TolerantReader) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._reader = reader

    def project_due(self, limit_spans: int) -> Projected:
        """As Store.project_due. Raises psycopg.Error."""
        connection = self._connection.open()
        used_staging = finished = False
        with connection.transaction(), connection.cursor() as cursor:
            claimed = self._claim(cursor)
            seen, left = self._within(cursor, claimed, limit_spans)
            if not seen:
                return Projected(0, 0, more=bool(left))
            spans = self._load(cursor, list(seen))
            traces: list[ProjectedTrace] = []
            failures: dict[bytes, str] = {}
            # In order of the key, as writers do it: both may write rows of the same traces.
            for trace_id, facts in sorted(spans.items()):
                outcome = self._reader.assemble(trace_id, facts)
                if isinstance(outcome, ProjectedTrace):
                    traces.append(outcome)
                else:
                    failures[trace_id] = outcome
            if traces:
                used_staging = self._write(cursor, traces, failures)
            if not self._finish(cursor, seen, failures):
                raise psycopg.Rollback
            finished = True
        if not finished:
            return Projected(0, 0, more=True)
        if used_staging:
            self._connection.temporary_tables_kept(_STAGING)
        return Projected(
            len(seen) - len(failures),
            sum(len(facts) for trace_id, facts in spans.items() if trace_id not in failures),
            more=left or len(claimed) == _CLAIMED_TRACES,
        )

    def still_pending(self, trace_ids: Collection[bytes]) -> set[bytes]:
        """As Store.still_pending. Raises psycopg.Error."""
        cursor = self._connection.open().execute(_SQL["still_pending"], self._keys(list(trace_ids)), binary=True)
        return {trace_id for (trace_id,) in cursor}

    def _claim(self, cursor: psycopg.Cursor[Any]) -> list[bytes]:
        cursor.execute(
            _SQL["claim_due"],
            {"tenant_id": self._tenant_id, "candidates": _CANDIDATES, "traces": _CLAIMED_TRACES},
            binary=True,
        )
        return [trace_id for (trace_id,) in cursor]

    def _within(
        self, cursor: psycopg.Cursor[Any], claimed: Sequence[bytes], limit_spans: int
    ) -> tuple[dict[bytes, int], bool]:
        """(trace id -> batches, of as many as `limit_spans` allows but at least one; whether any is left)."""
        seen: dict[bytes, int] = {}
        if not claimed:
            return seen, False
        cursor.execute(_SQL["claimed_pending"], self._keys(claimed), binary=True)
        total = 0
        for trace_id, batches, spans in cursor.fetchall():
            if seen and total + spans > limit_spans:
                return seen, True
            total += spans
            seen[trace_id] = batches
        return seen, False

    def _load(self, cursor: psycopg.Cursor[Any], trace_ids: Sequence[bytes]) -> dict[bytes, list[SpanFacts]]:
        loaded: dict[bytes, list[SpanFacts]] = {}
        cursor.execute(_SQL["span_facts"], self._keys(trace_ids), binary=True)
        while rows := cursor.fetchmany(_FETCHED_ROWS):
            for (
                trace_id, span_id, parent_span_id, fingerprint, name, kind, status_code, status_message,
                start_ns, end_ns, received_ns, service, links, facts, anomalies,
            ) in rows:  # fmt: skip
                if (of_trace := loaded.get(trace_id)) is None:
                    of_trace = loaded[trace_id] = []
                of_trace.append(
                    SpanFacts(
                        span_id, parent_span_id, fingerprint, name, kind, status_code, status_message or "",
                        start_ns, end_ns, received_ns, service,
                        [(linked_trace, linked_span) for linked_trace, linked_span in links] if links else [],
                        facts or Facts(), anomalies or [],
                    )
                )  # fmt: skip
        return loaded

    def _write(self, cursor: psycopg.Cursor[Any], traces: list[ProjectedTrace], failures: dict[bytes, str]) -> bool:
        """Write what changed; whether staging tables were used. Traces that are refused go to `failures`."""
        # Nearly always they exist, for an execution starts when one of its spans does. Not in a transaction of its
        # own as elsewhere, because the claims would end with it; the locks last until the commit, which is near.
        if missing := self._connection.unknown_days(days_of(traces)):
            cursor.execute(_SQL["ensure_partitions"], {"days": [date_of(day) for day in sorted(missing)]})
        cursor.execute(_SQL["projected_traces"], self._keys([trace.trace_id for trace in traces]), binary=True)
        projected_before = {trace_id for (trace_id,) in cursor}
        new = [trace for trace in traces if trace.trace_id not in projected_before]
        again = [trace for trace in traces if trace.trace_id in projected_before]
        self._tolerantly(cursor, new, self._insert, failures)
        if again:
            for name in _STAGING:
                self._connection.temporary_table(name, _SQL[f"create_{name}"])
            self._tolerantly(cursor, again, self._replace, failures)
        return bool(again)

    def _tolerantly(
        self,
        cursor: psycopg.Cursor[Any],
        traces: Sequence[ProjectedTrace],
        write: Callable[[psycopg.Cursor[Any], Sequence[ProjectedTrace]], None],
        failures: dict[bytes, str],
    ) -> None:
        """`write` all `traces` at once or, where that is refused for what they hold, one at a time."""
        if not traces:
            return
        try:
            with cursor.connection.transaction():
                write(cursor, traces)
        except (RowUnencodable, psycopg.Error) as error:
            if isinstance(error, psycopg.Error) and not isinstance(classify(error), BatchRejected):
                raise
            if len(traces) == 1:
                trace_id = traces[0].trace_id
                if not _is_overtaken(error):
                    self._reader.complain("the rows of trace %s are refused; its spans are stored", trace_id.hex())
                failures[trace_id] = first_line(error)
                return
            for trace in traces:
                self._tolerantly(cursor, [trace], write, failures)

    def _insert(self, cursor: psycopg.Cursor[Any], traces: Sequence[ProjectedTrace]) -> None:
        rows = copy_rows(self._tenant_id, traces)
        copy_files(cursor, _SQL["copy_executions"], _SQL["copy_nodes"], _SQL["copy_edges"], rows)

    def _replace(self, cursor: psycopg.Cursor[Any], traces: Sequence[ProjectedTrace]) -> None:
        rows = copy_rows(self._tenant_id, traces)
        staging = (_SQL["copy_execution_staging"], _SQL["copy_node_staging"], _SQL["copy_edge_staging"])
        copy_files(cursor, *staging, rows)
        keys = self._keys([trace.trace_id for trace in traces])
        for kind in ("executions", "nodes", "edges"):
            # Never prepared: a generic plan would be made for an empty staging table, and be a nested loop.
            cursor.execute(_SQL[f"delete_stale_{kind}"], keys, prepare=False)
            cursor.execute(_SQL[f"insert_staged_{kind}"], prepare=False)

    def _finish(self, cursor: psycopg.Cursor[Any], seen: dict[bytes, int], failures: dict[bytes, str]) -> bool:
        """Settle the pending rows; False where a writer has projected one of the traces meanwhile, on another day."""
        cursor.execute(_SQL["lock_pending"], self._keys(list(seen)), binary=True)
        batches_now: dict[bytes, int] = dict(cursor.fetchall())
        if cursor.execute(_SQL["doubled_executions"], self._keys(list(seen))).fetchone():
            return False
        done = [
            trace_id
            for trace_id, batches in seen.items()
            if trace_id not in failures and batches_now.get(trace_id) == batches
        ]
        changed = [
            trace_id for trace_id in batches_now if trace_id not in failures and batches_now[trace_id] != seen[trace_id]
        ]
        if done:
            cursor.execute(_SQL["delete_pending"], self._keys(done))
        if changed:
            cursor.execute(_SQL["restart_pending"], self._keys(changed))
        if failures:
            cursor.execute(_SQL["note_failures"], self._keys(list(failures)) | {"errors": list(failures.values())})
        return True

    def _keys(self, trace_ids: Sequence[bytes]) -> dict[str, Any]:
        return {"tenant_id": self._tenant_id, "trace_ids": [trace_id.hex() for trace_id in trace_ids]}


def _is_overtaken(error: Exception) -> bool:
    """Whether a writer that had the trace whole put the execution there first; the next attempt replaces its rows."""
    return isinstance(error, psycopg.errors.UniqueViolation) and (error.diag.table_name or "").startswith("execution_")
