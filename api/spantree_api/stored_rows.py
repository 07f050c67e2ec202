"""The rows that the API reads: the model's own, with the id and the day of their trace, and a few of its own.

Columns are matched by name, so that a database which a newer release has widened can still be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import date
from operator import itemgetter
from typing import Any, TypeVar
from uuid import UUID

import orjson

from spantree_exporter.otlp.rows import OtlpSpan as OtlpSpan
from spantree_exporter.otlp.rows import SpanRow as SpanRow
from spantree_exporter.rows import Edge, Execution, Node

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class ExecutionRow:
    """An execution with its key."""

    tenant_id: int
    day: date
    trace_id: UUID
    execution: Execution


@dataclass(frozen=True, slots=True)
class StuckRow:
    """An open execution, and the threshold that it is beyond."""

    row: ExecutionRow
    after_s: float


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node with its key."""

    day: date
    trace_id: UUID
    node: Node


@dataclass(frozen=True, slots=True)
class EdgeRow:
    """An edge with its key."""

    trace_id: UUID
    edge: Edge


@dataclass(frozen=True, slots=True)
class OutlineRow:
    """What a tree's head needs of a node: a root, or one that failed or was skipped."""

    span_id: int
    ordinal: int
    parent_span_id: int | None
    name: str
    status: str


@dataclass(frozen=True, slots=True)
class FailedNodeRow:
    """A node that failed, for lists of failures."""

    trace_id: UUID
    span_id: int
    ordinal: int
    name: str
    status: str
    error_type: str | None
    error_message: str | None


@dataclass(frozen=True, slots=True)
class OpenStepRow:
    """An open node, for lists of what is stuck."""

    trace_id: UUID
    span_id: int
    ordinal: int
    name: str
    status: str
    started_ns: int


@dataclass(slots=True)
class StepRow:
    """What a comparison needs of a node. Not frozen: twenty thousand are made at once, which is half as fast then."""

    span_id: int
    ordinal: int
    parent_span_id: int | None
    parent_ordinal: int | None
    name: str
    status: str
    started_ns: int
    ended_ns: int | None
    task_key: str | None
    attempt: int
    error_type: str | None
    input_hash: int | None


@dataclass(frozen=True, slots=True)
class SameCauseRow:
    """An execution that failed for the same cause; `total` counts all of them."""

    trace_id: UUID
    name: str
    status: str
    started_ns: int
    total: int


@dataclass(frozen=True, slots=True)
class NodeStatRow:
    """Figures of all nodes of one workflow and name."""

    workflow_name: str | None
    name: str
    kind: str
    total: int
    completed: int
    failed: int
    retried: int
    skipped: int
    cancelled: int
    timed_out: int
    avg_ms: float | None
    last_failed_ns: int | None


@dataclass(frozen=True, slots=True)
class WorkflowStatRow:
    """Figures of all executions of one workflow."""

    name: str
    runs: int
    completed: int
    failed: int
    partial: int
    timed_out: int
    cancelled: int
    open: int
    waited: int
    avg_ms: float | None
    last_started_ns: int


@dataclass(frozen=True, slots=True)
class IntervalRow:
    """A day or eight days, by its first hour since 1970."""

    grain_h: int
    hour: int


@dataclass(frozen=True, slots=True)
class BucketRow:
    """One bucket of the durations of a node or a workflow."""

    workflow_name: str | None
    name: str
    bucket: int
    count: int


@dataclass(frozen=True, slots=True)
class DaysRow:
    """The days that the rows of a trace are on, ascending."""

    days: list[date]


@dataclass(frozen=True, slots=True)
class DayRow:
    """A day that has a partition, or rows."""

    day: date


@dataclass(frozen=True, slots=True)
class KeyRow:
    """An execution, by its day and its trace."""

    day: date
    trace_id: UUID


@dataclass(frozen=True, slots=True)
class TraceRow:
    """A trace, by its id."""

    trace_id: UUID


@dataclass(frozen=True, slots=True)
class CountRow:
    """How often something was seen."""

    name: str | None
    count: int


@dataclass(frozen=True, slots=True)
class HealthRow:
    """What PostgreSQL knows about the state of the whole."""

    last_received_ns: int | None
    pending_traces: int
    oldest_pending_ns: int | None
    failing_projections: int
    dead_letters: int
    dead_letters_by_reason: list[dict[str, Any]]
    executions: int
    failed_executions: int


@dataclass(frozen=True, slots=True)
class ReplicationRow:
    """What the server that is read from says of itself. `lag_s` is null where it has replayed nothing yet."""

    in_recovery: bool
    lag_s: float | None


@dataclass(frozen=True, slots=True)
class StorageRow:
    """A table that is partitioned by day. `days` leave out the partition of rows out of the range."""

    name: str
    partitions: int
    days: int
    first_day: date | None
    last_day: date | None
    bytes: int
    database_bytes: int


def records(record: Callable[..., Record]) -> Callable[[Sequence[str]], Callable[[Sequence[Any]], Record]]:
    """The row maker for a dataclass: its fields are taken from the columns of the same names."""
    names = [one.name for one in fields(record)]  # type: ignore[arg-type]

    def make(columns: Sequence[str]) -> Callable[[Sequence[Any]], Record]:
        places = [columns.index(name) for name in names]
        if len(places) == 1:  # of one place itemgetter makes no tuple
            return lambda values: record(values[places[0]])
        pick = itemgetter(*places)
        return lambda values: record(*pick(values))

    return make


def execution_rows(columns: Sequence[str]) -> Callable[[Sequence[Any]], ExecutionRow]:
    """The row maker of ExecutionRow."""
    tenant_id, day, trace_id = (columns.index(name) for name in ("tenant_id", "day", "trace_id"))
    execution = records(Execution)(columns)
    return lambda values: ExecutionRow(values[tenant_id], values[day], values[trace_id], execution(values))


def stuck_rows(columns: Sequence[str]) -> Callable[[Sequence[Any]], StuckRow]:
    """The row maker of StuckRow."""
    row, after_s = execution_rows(columns), columns.index("after_s")
    return lambda values: StuckRow(row(values), values[after_s])


def node_rows(columns: Sequence[str]) -> Callable[[Sequence[Any]], NodeRow]:
    """The row maker of NodeRow."""
    day, trace_id = columns.index("day"), columns.index("trace_id")
    node = records(Node)(columns)
    return lambda values: NodeRow(values[day], values[trace_id], node(values))


def otlp_spans(columns: Sequence[str]) -> Callable[[Sequence[Any]], OtlpSpan]:
    """The row maker of OtlpSpan."""
    raw, span = columns.index("raw"), records(SpanRow)(columns)
    return lambda values: OtlpSpan(span(values), values[raw])


def together(spans: Iterable[OtlpSpan]) -> list[OtlpSpan]:
    """Those of one resource and scope together, so that they share one message; each in order of start."""
    return sorted(spans, key=lambda one: (one.span.resource_id, orjson.dumps(one.span.scope), one.span.start_ns))


def edge_rows(columns: Sequence[str]) -> Callable[[Sequence[Any]], EdgeRow]:
    """The row maker of EdgeRow. `from_trace_id` becomes hex."""
    trace_id = columns.index("trace_id")
    of_edge = records(Edge)(columns)

    def make(values: Sequence[Any]) -> EdgeRow:
        edge = of_edge(values)
        if edge.from_trace_id is not None:
            edge.from_trace_id = UUID(str(edge.from_trace_id)).hex
        return EdgeRow(values[trace_id], edge)

    return make
