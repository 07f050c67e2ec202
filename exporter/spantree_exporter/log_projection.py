"""Before a trace is assembled: the facts of spans that have log records, read from the two together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import date
from typing import Any, Final

import psycopg
from psycopg.rows import dict_row

from spantree_exporter.facts.log_events import MAX_RECORDS, SpanLog, with_logs
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.projection import TolerantReader
from spantree_exporter.sql import statements
from spantree_exporter.stored_span import SpanRows
from spantree_exporter.trace_key import TraceKey, key_arrays

_SQL: Final = statements("logs")
# Of one trace: some dozens of spans' worth of the most that one span may have.
_RECORDS_OF_TRACE: Final = 20 * MAX_RECORDS
_SPANS: Final = 500
# Spans that share an id, and so its records: attempts of an engine that keeps the id, some more for broken clients.
_VERSIONS: Final = 20
# Days that one statement names, as for the projector's own: each is tables and indexes to lock.
_DAYS: Final = 8

FactsOfSpans = dict[tuple[TraceKey, int, int], Facts]
"""(trace, span id, fingerprint) -> facts."""


def facts_with_logs(
    cursor: psycopg.Cursor[Any],
    traces: Collection[TraceKey],
    days: Sequence[date],
    reader: TolerantReader,
) -> FactsOfSpans:
    """The facts of the spans of `traces` on `days` that have log records; the others are not in it.

    `days` should be all days of the traces, for a record and its span may be on two. Raises psycopg.Error.
    """
    logs: dict[tuple[TraceKey, int], list[SpanLog]] = {}
    ids = key_arrays(traces)
    found: FactsOfSpans = {}
    parts = [{"days": list(days[first : first + _DAYS])} for first in range(0, len(days), _DAYS)]
    with cursor.connection.cursor(binary=True, row_factory=dict_row) as rows:
        for of_days in parts:
            rows.execute(_SQL["telling_logs"], ids | of_days | {"records": _RECORDS_OF_TRACE})
            for row in rows:
                logs.setdefault(((row["tenant_id"], row["trace_id"]), row["span_id"]), []).append(_span_log(row))
        # Each tenant's apart: what was redacted of a resource keeps its id.
        spans: defaultdict[int, SpanRows] = defaultdict(SpanRows)
        wanted = list(logs)
        for first in range(0, len(wanted), _SPANS):
            some = wanted[first : first + _SPANS]
            ids = key_arrays(key for key, _ in some)
            of_spans = {"span_ids": [span_id for _, span_id in some], "versions": _VERSIONS}
            for of_days in parts:
                rows.execute(_SQL["spans_with_logs"], ids | of_spans | of_days)
                read = [((row["tenant_id"], row["trace_id"]), spans[row["tenant_id"]].span(row)) for row in rows]
                together = [with_logs(span, logs[key, span.span_id]) for key, span in read]
                for (key, span), facts in zip(read, reader.facts(together), strict=True):
                    found[key, span.span_id, span.fingerprint] = facts
    return found


def _span_log(row: dict[str, Any]) -> SpanLog:
    return SpanLog(
        row["time_ns"] or row["observed_ns"],
        row["event_name"] or "",
        row["body"],
        row["attributes"],
        row["dropped_attributes_count"] or 0,
    )
