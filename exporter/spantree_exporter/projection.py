"""From stored spans to the rows of executions, nodes and edges, one trace never taking others with it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString, TypeAlias

import psycopg

from spantree_exporter.facts.storable import cut_name
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.postgres.copy_binary import HEADER, TRAILER, edge_rows, execution_rows, node_rows
from spantree_exporter.postgres.partitions import SENTINEL_DAY, day_of
from spantree_exporter.rows import Assembled, SpanFacts
from spantree_exporter.search_text import search_terms
from spantree_exporter.span import Span
from spantree_exporter.stored import NUL_SIGN

log = logging.getLogger(__name__)

ReadFacts: TypeAlias = Callable[[Span], Facts]
# (spans of one trace, its id in hex) -> its rows
Assemble: TypeAlias = Callable[[Sequence[SpanFacts], str], Assembled]

# Shared by all spans whose attributes no execution is found by; never written to.
_NO_ATTRIBUTES: Final[dict[str, Any]] = {}
# pending_projection.error is for a person.
_ERROR_LENGTH: Final = 500
_LOG_INTERVAL_S: Final = 60.0


@dataclass(slots=True)
class ProjectedTrace:
    """One trace, the partition day of each of its spans, in their order, and what it came to."""

    trace_id: bytes
    spans: Sequence[SpanFacts]
    days: Sequence[int]
    assembled: Assembled
    execution_day: int

    @property
    def all_days(self) -> set[int]:
        """The days of all its rows."""
        return {self.execution_day, *self.days}


@dataclass(slots=True)
class CopyRows:
    """COPY BINARY tuples for the three tables, without header and trailer."""

    executions: bytes
    nodes: bytes
    edges: bytes


class TolerantReader:
    """`read_facts` and `assemble` with a fault in them costing one span's facts or one trace's rows, and a log line.

    The functions promise never to raise; this is for the day when one of them does.
    """

    def __init__(self, read_facts: ReadFacts, assemble: Assemble) -> None:
        self._read_facts = read_facts
        self._assemble = assemble
        self._logged_at_s = float("-inf")

    def facts(self, spans: Sequence[Span]) -> list[Facts]:
        """The facts of each span, in order."""
        read_facts = self._read_facts
        try:
            return [read_facts(span) for span in spans]
        except Exception:
            return [self._facts_or_none(span) for span in spans]

    def assemble(self, trace_id: bytes, spans: Sequence[SpanFacts], days: Sequence[int]) -> ProjectedTrace | str:
        """The projection of one trace, or why there is none. `days`: the partition day of each span.

        The execution's day is that of its start, or the sentinel where none of the spans' days is: the caller may
        know better.
        """
        try:
            assembled = self._assemble(spans, trace_id.hex())
            day = day_of(assembled.execution.started_ns)
            return ProjectedTrace(trace_id, spans, days, assembled, day if day in days else SENTINEL_DAY)
        except Exception as error:
            self.complain("trace %s cannot be assembled; its spans are stored", trace_id.hex())
            return first_line(error)

    def complain(self, template: str, *arguments: object) -> None:
        """Log the error being handled with its traceback, at most once a minute."""
        if time.monotonic() - self._logged_at_s >= _LOG_INTERVAL_S:
            self._logged_at_s = time.monotonic()
            log.exception(template, *arguments)

    def _facts_or_none(self, span: Span) -> Facts:
        try:
            return self._read_facts(span)
        except Exception:
            self.complain(
                "span %016x of trace %s cannot be read for facts", span.span_id & (2**64 - 1), span.trace_id.hex()
            )
            return {}


def first_line(error: Exception) -> str:
    """`error` for pending_projection.error: a line for a person, without the values that PostgreSQL quotes below it."""
    text = str(error).partition("\n")[0].replace("\x00", NUL_SIGN)
    return f"{type(error).__name__}: {text}"[:_ERROR_LENGTH]


def facts_of_span(span: Span, facts: Facts) -> SpanFacts:
    """What `assemble` may know of a span that was just decoded."""
    return SpanFacts(
        span.span_id,
        span.parent_span_id,
        span.fingerprint,
        span.name,
        span.kind,
        span.status_code,
        span.status_message,
        span.start_ns,
        span.end_ns,
        span.received_ns,
        cut_name(span.resource.service_name),
        [(link.trace_id, link.span_id) for link in span.links],
        facts,
        span.anomalies,
        span.attributes if span.parent_span_id is None else _NO_ATTRIBUTES,
    )


def copy_rows(tenant_id: int, traces: Sequence[ProjectedTrace]) -> CopyRows:
    """The rows of all `traces`. Raises copy_binary.RowUnencodable.

    A node has the day of the span row that it stands for, so that the join of the two stays in one partition, an edge
    the day of the node that it leads to; both the execution's day where there is none.
    """
    executions, execution_keys = [], []
    searches: list[list[str]] = []
    nodes, node_keys = [], []
    edges, edge_keys = [], []
    for trace in traces:
        assembled, trace_id = trace.assembled, trace.trace_id
        day = trace.execution_day
        key = (day, trace_id)
        executions.append(assembled.execution)
        execution_keys.append(key)
        searches.append(search_terms(assembled.execution, assembled.nodes, trace.spans))
        nodes += assembled.nodes
        edges += assembled.edges
        if trace.all_days == {day}:
            node_keys += [key] * len(assembled.nodes)
            edge_keys += [key] * len(assembled.edges)
            continue
        span_days = {
            (span.span_id, span.fingerprint): span_day for span, span_day in zip(trace.spans, trace.days, strict=True)
        }
        node_days = {
            (node.span_id, node.ordinal): day
            if node.fingerprint is None
            else span_days.get((node.span_id, node.fingerprint), day)
            for node in assembled.nodes
        }
        node_keys += [(node_day, trace_id) for node_day in node_days.values()]
        edge_keys += [(node_days.get((edge.to_span_id, edge.to_ordinal), day), trace_id) for edge in assembled.edges]
    return CopyRows(
        execution_rows(tenant_id, execution_keys, executions, searches),
        node_rows(tenant_id, node_keys, nodes),
        edge_rows(tenant_id, edge_keys, edges),
    )


def copy_files(
    cursor: psycopg.Cursor[Any],
    executions: LiteralString,
    nodes: LiteralString,
    edges: LiteralString,
    rows: Sequence[CopyRows],
) -> None:
    """COPY all `rows` by the three statements. Raises psycopg.Error."""
    for statement, parts in (
        (executions, [some.executions for some in rows]),
        (nodes, [some.nodes for some in rows]),
        (edges, [some.edges for some in rows]),
    ):
        if any(parts):
            with cursor.copy(statement) as copy:
                # One after the other: joined they would be in memory twice.
                for part in (HEADER, *parts, TRAILER):
                    copy.write(part)
