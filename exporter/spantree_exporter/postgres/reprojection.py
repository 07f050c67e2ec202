"""Traces whose spans were written anew, by a rebuild or by redaction: their rows follow, beside other projectors."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from spantree_exporter.postgres.connection import StoreConnection
from spantree_exporter.postgres.projector import Projector
from spantree_exporter.projection import TolerantReader
from spantree_exporter.sql import statements

_SQL: Final = statements("rebuild") | statements("write")
_PROJECT_SPANS: Final = 20_000
# How long traces that other projectors work on are waited for, how often they are looked at, and how many at once.
_OTHERS_S: Final = 60.0
_POLL_S: Final = 0.1
_LOOKED_AT: Final = 5_000
# A trace of this size has spans in many chunks: it is projected once it is through, or when nobody has gone on for so
# long. After each chunk its cost would grow with the square of its size.
_LARGE_SPANS: Final = 10_000
_LARGE_DUE_IN_S: Final = 60.0
# Days that one statement names.
_DAYS: Final = 8


class Reprojection:
    """Of one tenant, over one connection. Every method raises psycopg.Error."""

    def __init__(self, connection: StoreConnection, reader: TolerantReader, tenant_id: int) -> None:
        self._connection = connection
        self._projector = Projector(connection, reader)
        self._tenant_id = tenant_id
        self._marked: set[str] = set()
        self._large: set[str] = set()  # of the last chunk, and not due yet
        self._left: set[str] = set()  # somebody else was at them when they were marked

    def mark(self, trace_ids: Sequence[bytes]) -> None:
        """Have rows of traces, given once for each span, computed anew; in the transaction that changed the spans."""
        counts = Counter(trace_id.hex() for trace_id in trace_ids)
        projected = self._projected_spans(set(trace_ids))
        large = {trace_id for trace_id, spans in projected.items() if spans >= _LARGE_SPANS}
        marked = {
            "tenant_id": self._tenant_id,
            "trace_ids": list(counts),
            "spans": list(counts.values()),
            "projected_spans": [projected.get(trace_id, 0) for trace_id in counts],
            "due_in_s": [_LARGE_DUE_IN_S if trace_id in large else 0.0 for trace_id in counts],
        }
        self._connection.open().execute(_SQL["mark_pending"], marked)
        self._make_due(self._large - counts.keys())
        self._large = large
        self._marked |= counts.keys()

    def project(self) -> int:
        """Project what is due; how many traces. Here as well as in collectors, of which none may be running."""
        traces = 0
        while projected := self._projector.project_due([self._tenant_id], _PROJECT_SPANS).traces:
            traces += projected
        self._left.update(*self._unprojected(self._marked))
        self._marked.clear()
        return traces

    def finish(self) -> None:
        """Project until all that were marked are projected as they are now, or a minute has passed.

        All others that are pending now are waited for as well: an earlier one may have been killed over them. Traces
        that failed are not.
        """
        self._make_due(self._large)
        self._large = set()
        deadline_s = time.monotonic() + _OTHERS_S
        row = self._connection.open().execute(_SQL["now"]).fetchone()
        self.project()
        while time.monotonic() < deadline_s:
            if not any(self._unprojected(self._left)) and not (row and self._is_any_pending_since(row[0])):
                return
            time.sleep(_POLL_S)
            self.project()

    def _projected_spans(self, trace_ids: set[bytes]) -> dict[str, int]:
        """From how many spans each of the traces is projected; not in it: those that are not."""
        cursor = self._connection.open().cursor(binary=True)
        keys = self._connection.trace_keys((self._tenant_id, trace_id) for trace_id in sorted(trace_ids))
        cursor.execute(_SQL["days_of_traces"], keys)
        days = sorted({day for _, _, of_trace in cursor for day in of_trace})
        found: dict[str, int] = {}
        for first in range(0, len(days), _DAYS):
            cursor.execute(_SQL["projected_spans"], keys | {"days": days[first : first + _DAYS]})
            found |= {trace_id.hex(): spans for _, trace_id, spans in cursor}
        return found

    def _make_due(self, trace_ids: set[str]) -> None:
        if trace_ids:
            due = {"tenant_id": self._tenant_id, "trace_ids": sorted(trace_ids)}
            self._connection.open().execute(_SQL["make_due"], due)

    def _unprojected(self, trace_ids: set[str]) -> Iterator[set[str]]:
        ordered = sorted(trace_ids)
        for first in range(0, len(ordered), _LOOKED_AT):
            some = {"tenant_id": self._tenant_id, "trace_ids": ordered[first : first + _LOOKED_AT]}
            rows = self._connection.open().execute(_SQL["unprojected"], some).fetchall()
            yield {trace_id.hex for (trace_id,) in rows}

    def _is_any_pending_since(self, then: datetime) -> bool:
        wanted = {"tenant_id": self._tenant_id, "then": then}
        row = self._connection.open().execute(_SQL["pending_since"], wanted).fetchone()
        return bool(row and row[0])
