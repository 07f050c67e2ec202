"""Read stored spans again by the rules of this build, so that a better rule improves yesterday's data too.

Spans are truth and do not change but for their facts; executions, nodes and edges are computed anew from them. Runs
beside ingest: each chunk is a short transaction, and what it touches is projected like anything that is due.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final

import orjson
from psycopg.rows import dict_row

from spantree_exporter.assemble import assemble as default_assemble
from spantree_exporter.facts import read_facts as default_read_facts
from spantree_exporter.postgres.connection import StoreConnection
from spantree_exporter.postgres.migrate import check_version
from spantree_exporter.postgres.partitions import LAST_DAY, SENTINEL_DAY, date_of, day_number
from spantree_exporter.postgres.readable_days import rewrite
from spantree_exporter.postgres.reprojection import Reprojection
from spantree_exporter.postgres.rollup_store import RollupFolder, differences, recount
from spantree_exporter.projection import Assemble, ReadFacts, TolerantReader
from spantree_exporter.sql import statements
from spantree_exporter.stored_span import SpanRows
from spantree_exporter.terms.store import close_gap, insert_terms, is_gap

_SQL: Final = statements("rebuild")
_CHUNK_SPANS: Final = 2000
_BEFORE_ALL: Final[tuple[bytes, int, int]] = (bytes(16), -(2**63), -(2**63))


@dataclass(frozen=True, slots=True)
class RebuildProgress:
    """How far a rebuild has come. `day` is the day that it is at."""

    day: date
    spans: int
    changed_facts: int
    projected_traces: int


def rebuild(
    database_url: str,
    since: date | None = None,
    until: date | None = None,
    progress: Callable[[RebuildProgress], None] = lambda _: None,
    *,
    read_facts: ReadFacts = default_read_facts,
    assemble: Assemble = default_assemble,
    own_rules: bytes = b"",
) -> RebuildProgress:
    """Recompute facts and rows of all spans whose UTC day is `since` to `until`, both included; None for no bound.

    Those of every tenant, one after the other, and of tenants that were dropped: their rows stay until retention.

    Calls `progress` after each chunk and answers the last one. One that was interrupted goes on where it stopped when
    it is started again for the same days by the same rules: those of this build, and `own_rules`, which is the text of
    what `read_facts` applies besides. Raises StoreUnavailable, OperatorError.
    """
    connection = StoreConnection(database_url, "spantree rebuild")
    reader = TolerantReader(read_facts, assemble)
    first_day = since or date_of(SENTINEL_DAY)
    range_ = {
        "first_day": first_day,
        "last_day": until or LAST_DAY,
        "rules": _rules_hash(own_rules),
    }
    try:
        with connection.errors():
            opened = connection.open()
            check_version(opened)
            state = RebuildProgress(first_day, 0, 0, 0)
            tenants = opened.execute(_SQL["tenants"]).fetchall()
            for (tenant_id,) in tenants:
                state = _Rebuild(connection, reader, range_ | {"tenant_id": tenant_id}).run(progress, state)
            # Not before all are through: one that is interrupted would begin anew with the first.
            connection.open().execute(_SQL["delete_positions"], range_)
            return state
    finally:
        connection.close()


class _Rebuild:
    def __init__(self, connection: StoreConnection, reader: TolerantReader, range_: dict[str, Any]) -> None:
        self._connection = connection
        self._reader = reader
        self._range = range_
        self._tenant_id: int = range_["tenant_id"]
        self._reprojection = Reprojection(connection, reader, self._tenant_id)

    def run(self, progress: Callable[[RebuildProgress], None], state: RebuildProgress) -> RebuildProgress:
        """`state` is what was done of the tenants before."""
        connection = self._connection.open()
        row = connection.cursor(binary=True).execute(_SQL["position"], self._range).fetchone()
        position_day, position = (row[0], (row[1], row[2], row[3])) if row else (None, _BEFORE_ALL)
        days = [day for (day,) in connection.execute(_SQL["days"], self._range)]
        for day in days:
            if position_day is not None and day < position_day:
                continue
            after = position if day == position_day else _BEFORE_ALL
            with connection.cursor() as cursor:
                has_gap = is_gap(cursor, self._tenant_id, day)
            while True:
                spans, changed, last = self._chunk(day, after, with_terms=has_gap)
                if last is None:
                    break
                after = last
                state = RebuildProgress(
                    day,
                    state.spans + spans,
                    state.changed_facts + changed,
                    state.projected_traces + self._reprojection.project(),
                )
                progress(state)
            if has_gap:
                self._close_gap(day)
        self._reprojection.finish()
        self._check_figures(days)
        return state

    def _close_gap(self, day: date) -> None:
        # A day on which collectors of an earlier version may still write stays one that is searched span by span.
        if day < datetime.now(UTC).date():
            with self._connection.open().cursor() as cursor:
                close_gap(cursor, self._tenant_id, day)

    def _check_figures(self, days: Sequence[date]) -> None:
        """Count anew where the figures of a day are not those of its rows, as after somebody emptied the tables."""
        connection = self._connection.open()
        folder = RollupFolder(self._connection)
        while folder.fold():
            pass
        for day in days:
            if day != date_of(SENTINEL_DAY) and differences(connection, self._tenant_id, [day], limit=1):
                recount(self._connection, self._tenant_id, day)

    def _chunk(
        self, day: date, after: tuple[bytes, int, int], *, with_terms: bool
    ) -> tuple[int, int, tuple[bytes, int, int] | None]:
        """(spans read, spans whose facts changed, the key of the last one) of the chunk that follows `after`."""
        return rewrite(
            self._connection, self._tenant_id, day, lambda: self._rewritten(day, after, with_terms=with_terms)
        )

    def _rewritten(
        self, day: date, after: tuple[bytes, int, int], *, with_terms: bool
    ) -> tuple[int, int, tuple[bytes, int, int] | None]:
        trace_id, span_id, fingerprint = after
        # Resources, too, are read with the chunk: redaction may have changed them since the last one.
        span_rows = SpanRows()
        with self._connection.open().cursor(binary=True, row_factory=dict_row) as cursor:
            cursor.execute(
                _SQL["spans_after"],
                {
                    "tenant_id": self._tenant_id,
                    "day": day,
                    "trace_id": trace_id.hex(),
                    "span_id": span_id,
                    "fingerprint": fingerprint,
                    "spans": _CHUNK_SPANS,
                },
            )
            rows = cursor.fetchall()
            if not rows:
                return 0, 0, None
            spans = [span_rows.span(row) for row in rows]
            changed: list[tuple[str, int, int, str | None]] = []
            for span, row, facts in zip(spans, rows, self._reader.facts(spans), strict=True):
                text = orjson.dumps(facts) if facts else None
                if (orjson.loads(text) if text else None) != row["facts"]:
                    changed.append(
                        (span.trace_id.hex(), span.span_id, span.fingerprint, text.decode() if text else None)
                    )
            if changed:
                trace_ids, span_ids, fingerprints, facts_texts = (list(column) for column in zip(*changed, strict=True))
                cursor.execute(
                    _SQL["update_facts"],
                    {
                        "tenant_id": self._tenant_id,
                        "day": day,
                        "trace_ids": trace_ids,
                        "span_ids": span_ids,
                        "fingerprints": fingerprints,
                        "facts": facts_texts,
                    },
                )
            if with_terms:
                insert_terms(cursor, {self._tenant_id: (spans, [day_number(day)] * len(spans))})
            self._reprojection.mark([span.trace_id for span in spans])
            last = spans[-1]
            cursor.execute(
                _SQL["upsert_position"],
                self._range
                | {
                    "day": day,
                    "trace_id": last.trace_id.hex(),
                    "span_id": last.span_id,
                    "fingerprint": last.fingerprint,
                },
            )
        return len(spans), len(changed), (last.trace_id, last.span_id, last.fingerprint)


def _rules_hash(own_rules: bytes) -> str:
    """Of all that decides what spans mean: a rebuild that another version or other rules began starts anew."""
    package = files("spantree_exporter")
    sources = [path for folder in ("facts", "assemble") for path in _sources(package / folder)]
    return sha256(b"".join([*(path.read_bytes() for path in sources), own_rules])).hexdigest()


def _sources(folder: Traversable) -> Iterator[Traversable]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _sources(entry)
        elif entry.name.endswith(".py"):
            yield entry
