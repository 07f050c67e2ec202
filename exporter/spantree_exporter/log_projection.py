"""Before a trace is assembled: the facts of spans that have log records, read from the two together."""

from __future__ import annotations

from collections import Counter, defaultdict
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
# And so many bytes of them as text, of one trace as of all that are read together: as objects they are several times
# that, and a request of 60 kB can bring as much again.
_BYTES: Final = 16 * 2**20
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
    found: FactsOfSpans = {}
    parts = [{"days": list(days[first : first + _DAYS])} for first in range(0, len(days), _DAYS)]
    with cursor.connection.cursor(binary=True, row_factory=dict_row) as rows:
        for some in _read_together(rows, traces, parts):
            found |= _facts_of(rows, _logs_of(rows, some, parts), parts, reader)
    return found


def _read_together(
    rows: psycopg.Cursor[dict[str, Any]], traces: Collection[TraceKey], parts: Sequence[dict[str, Any]]
) -> list[list[TraceKey]]:
    """Those of `traces` that have records which tell something, in groups that are not too large for the memory."""
    sizes: Counter[TraceKey] = Counter()
    limits = {"records": _RECORDS_OF_TRACE, "bytes": _BYTES}
    for of_days in parts:
        rows.execute(_SQL["telling_bytes"], key_arrays(traces) | of_days | limits)
        for row in rows:
            sizes[row["tenant_id"], row["trace_id"]] += row["bytes"]
    groups: list[list[TraceKey]] = []
    left_bytes = 0
    for key, size_bytes in sorted(sizes.items()):
        if not groups or size_bytes > left_bytes:
            groups.append([])
            left_bytes = _BYTES
        groups[-1].append(key)
        left_bytes -= size_bytes
    return groups


def _logs_of(
    rows: psycopg.Cursor[dict[str, Any]], traces: Sequence[TraceKey], parts: Sequence[dict[str, Any]]
) -> dict[tuple[TraceKey, int], list[SpanLog]]:
    logs: dict[tuple[TraceKey, int], list[SpanLog]] = {}
    left_bytes: dict[TraceKey, int] = dict.fromkeys(traces, _BYTES)
    limits = {"records": _RECORDS_OF_TRACE, "bytes": _BYTES}
    for of_days in parts:
        read_bytes: Counter[TraceKey] = Counter()
        rows.execute(_SQL["telling_logs"], key_arrays(traces) | of_days | limits)
        for row in rows:
            key = row["tenant_id"], row["trace_id"]
            # Counted anew for each of a trace's parts.
            if row["bytes"] <= left_bytes[key]:
                read_bytes[key] = max(read_bytes[key], row["bytes"])
                logs.setdefault((key, row["span_id"]), []).append(_span_log(row))
        for key, size_bytes in read_bytes.items():
            left_bytes[key] -= size_bytes
    return logs


def _facts_of(
    rows: psycopg.Cursor[dict[str, Any]],
    logs: dict[tuple[TraceKey, int], list[SpanLog]],
    parts: Sequence[dict[str, Any]],
    reader: TolerantReader,
) -> FactsOfSpans:
    found: FactsOfSpans = {}
    # Each tenant's apart: what was redacted of a resource keeps its id.
    spans: defaultdict[int, SpanRows] = defaultdict(SpanRows)
    wanted = list(logs)
    for first in range(0, len(wanted), _SPANS):
        some = wanted[first : first + _SPANS]
        ids = key_arrays(key for key, _ in some)
        of_spans = {"span_ids": [span_id for _, span_id in some], "versions": _VERSIONS}
        for of_days in parts:
            # One at a time: a span may be as large as a request.
            for row in rows.stream(_SQL["spans_with_logs"], ids | of_spans | of_days, binary=True):
                key = row["tenant_id"], row["trace_id"]
                span = spans[row["tenant_id"]].span(row)
                [facts] = reader.facts([with_logs(span, logs[key, span.span_id])])
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
