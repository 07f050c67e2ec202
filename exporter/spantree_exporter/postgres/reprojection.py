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

_SQL: Final = statements("rebuild")
_PROJECT_SPANS: Final = 20_000
# How long traces that other projectors work on are waited for, how often they are looked at, and how many at once.
_OTHERS_S: Final = 60.0
_POLL_S: Final = 0.1
_LOOKED_AT: Final = 5_000


class Reprojection:
    """Of one tenant, over one connection. Every method raises psycopg.Error."""

    def __init__(self, connection: StoreConnection, reader: TolerantReader, tenant_id: int) -> None:
        self._connection = connection
        self._projector = Projector(connection, reader)
        self._tenant_id = tenant_id
        self._marked: set[str] = set()
        self._left: set[str] = set()  # somebody else was at them when they were marked

    def mark(self, trace_ids: Sequence[bytes]) -> None:
        """Have rows of traces, given once for each span, computed anew; in the transaction that changed the spans."""
        counts = Counter(trace_id.hex() for trace_id in trace_ids)
        marked = {"tenant_id": self._tenant_id, "trace_ids": list(counts), "spans": list(counts.values())}
        self._connection.open().execute(_SQL["mark_pending"], marked)
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
        deadline_s = time.monotonic() + _OTHERS_S
        row = self._connection.open().execute(_SQL["now"]).fetchone()
        self.project()
        while time.monotonic() < deadline_s:
            if not any(self._unprojected(self._left)) and not (row and self._is_any_pending_since(row[0])):
                return
            time.sleep(_POLL_S)
            self.project()

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
