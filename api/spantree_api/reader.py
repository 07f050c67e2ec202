"""A snapshot for one tenant, and what is read of one trace: typed rows. All other reads are in `reads/`.

Partitions: the days of a trace come with the transaction (service.py), from the table that has one row a trace; every
statement about it names them, and no other partition is planned for, locked or looked at.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from uuid import UUID

from spantree_api.config import ApiConfig
from spantree_api.database import Query, Snapshot
from spantree_api.errors import NotFound
from spantree_api.never_run import FollowRow, never_run
from spantree_api.stored_logs import LogDay, LogRow, with_log_events
from spantree_api.stored_rows import (
    CountRow,
    DayRow,
    DaysRow,
    EdgeRow,
    ExecutionRow,
    NodeRow,
    OutlineRow,
    SpanRow,
    edge_rows,
    execution_rows,
    node_rows,
    records,
)
from spantree_exporter.ids import node_id

# Days that one statement names where all are asked: some 800 locks.
_DAYS_AT_ONCE = 48
# How far around an execution definitions of its workflow are asked for.
_NEAR_DAYS = timedelta(days=7)
# An execution of more nodes has not the names of all its steps read, and so is told no steps that others teach.
_NAMED_NODES = 5_000
# Nodes and edges that are read together with the rest of a tree; a larger one is read on in chunks.
_FIRST_NODES = 1_000
# Roots, failed and skipped nodes that the head of a tree may name, where not the whole tree is answered.
_OUTLINE_ROWS = 1_000
# Statuses that leave nothing still to come.
_ENDED = frozenset({"completed", "failed", "partial", "timed_out", "cancelled"})


@dataclass(frozen=True, slots=True)
class TraceKey:
    """A trace and the days that its rows are on."""

    tenant_id: int
    trace_id: UUID
    days: tuple[date, ...]

    def parameters(self) -> dict[str, object]:
        """For every statement about one trace."""
        return {"tenant_id": self.tenant_id, "trace_id": self.trace_id, "days": list(self.days)}


def days_query(tenant_id: int, trace_id: UUID) -> Query[DaysRow]:
    """What a snapshot of one trace is opened with."""
    return Query("days_of_trace", {"tenant_id": tenant_id, "trace_id": trace_id}, records(DaysRow))


@dataclass(frozen=True, slots=True)
class NodeRange:
    """A part of a trace's nodes: sequence numbers from and up to but not including, and the deepest depth."""

    from_sequence: int | None = None
    to_sequence: int | None = None
    max_depth: int | None = None

    def parameters(self) -> dict[str, object]:
        """For the statements `nodes_of_trace` and `outline_of_trace`."""
        return {
            "from_sequence": self.from_sequence or 0,
            "to_sequence": _INT4_MAX if self.to_sequence is None else self.to_sequence,
            "max_depth": _INT4_MAX if self.max_depth is None else min(self.max_depth, _INT4_MAX),
        }


_INT4_MAX = (1 << 31) - 1
WHOLE = NodeRange()


@dataclass(frozen=True, slots=True)
class TreeRows:
    """An execution with the first of its nodes and edges; `complete`: these are all."""

    execution: ExecutionRow
    outline: list[OutlineRow]
    nodes: list[NodeRow]
    edges: list[EdgeRow]
    follows: list[FollowRow]
    complete: bool


class Reader:
    """Reads of one tenant in one snapshot, by one reading of the clock."""

    def __init__(self, snapshot: Snapshot, config: ApiConfig, now_ns: int) -> None:
        self.snapshot = snapshot
        self.config = config
        self.now_ns = now_ns

    def key(self, trace_id: UUID) -> TraceKey:
        """The trace that the snapshot was opened for. Raises NotFound where nothing of it is stored."""
        rows: list[DaysRow] = self.snapshot.opened
        if not rows:
            raise _no_execution(trace_id)
        return TraceKey(self.config.tenant_id, trace_id, tuple(rows[0].days))

    async def look_up(self, trace_id: UUID) -> TraceKey:
        """A trace that the snapshot was not opened for. Raises NotFound where nothing of it is stored."""
        query = days_query(self.config.tenant_id, trace_id)
        row = await self.snapshot.first(query.statement, query.parameters, query.make)
        if row is None:
            raise _no_execution(trace_id)
        return TraceKey(self.config.tenant_id, trace_id, tuple(row.days))

    async def execution(self, key: TraceKey) -> ExecutionRow:
        """The execution of a trace. Raises NotFound."""
        row = await self.snapshot.first("execution_of_trace", key.parameters(), execution_rows)
        if row is None:
            raise _no_execution(key.trace_id)
        return row

    async def tree(self, key: TraceKey, limit: int = _FIRST_NODES) -> TreeRows:
        """The execution, its outline and its first nodes and edges, for one round trip. Raises NotFound."""
        parameters = key.parameters() | WHOLE.parameters() | {"limit": limit + 1, "outline_limit": _OUTLINE_ROWS}
        executions, outline, nodes, edges, follows = await self.snapshot.together(
            Query("execution_of_trace", parameters, execution_rows),
            Query("outline_of_trace", parameters, records(OutlineRow)),
            Query("nodes_of_trace", parameters, node_rows),
            Query("edges_of_trace", parameters, edge_rows),
            Query("steps_that_follow", key.parameters(), records(FollowRow)),
        )
        if not executions:
            raise _no_execution(key.trace_id)
        complete = len(nodes) <= limit and len(edges) <= limit and len(outline) < _OUTLINE_ROWS
        return TreeRows(executions[0], outline, nodes, edges, follows, complete)

    async def all_days(self, from_day: date = date.min) -> AsyncIterator[dict[str, object]]:
        """The first and the last day of some partitions at a time, oldest first; the snapshot is renewed in between.

        For what may be on any day and is found by an index of each: so it holds few locks at once.
        """
        days = await self._partition_days(from_day)
        async for some in self._some_at_once(sorted(days)):
            yield {"first_day": some[0], "last_day": some[-1]}

    async def newest_days(self, from_day: date) -> AsyncIterator[dict[str, object]]:
        """The same from a day on, newest first: for what the newest days most often suffice for."""
        async for some in self._some_at_once(await self._partition_days(from_day)):
            yield {"first_day": some[-1], "last_day": some[0]}

    async def _partition_days(self, from_day: date) -> list[date]:
        bounds = {"first_day": from_day, "last_day": date.max}
        return [row.day for row in await self.snapshot.all("partition_days", bounds, records(DayRow))]

    async def _some_at_once(self, days: Sequence[date]) -> AsyncIterator[Sequence[date]]:
        for first in range(0, len(days), _DAYS_AT_ONCE):
            if first:
                self.snapshot.renew()
            yield days[first : first + _DAYS_AT_ONCE]

    async def oldest_first(self, statement: str, parameters: Mapping[str, object], limit: int) -> list[ExecutionRow]:
        """The first executions that the statement finds on any day, oldest first."""
        rows: list[ExecutionRow] = []
        async for days in self.all_days():
            rows += await self.snapshot.all(statement, {**parameters, **days, "limit": limit}, execution_rows)
        # All days are asked, for the sentinel's, which comes first, holds starts of any time.
        rows.sort(key=lambda row: (row.execution.started_ns, row.trace_id.bytes))
        return rows[:limit]

    async def nodes(self, key: TraceKey, part: NodeRange = WHOLE, limit: int | None = None) -> list[NodeRow]:
        """Nodes in sequence order; for parts of a known, small size."""
        return await self.snapshot.all(
            "nodes_of_trace", {**key.parameters(), **part.parameters(), "limit": limit}, node_rows
        )

    async def execution_and_page(
        self, key: TraceKey, shown: NodeRange, limit: int, part: NodeRange = WHOLE
    ) -> tuple[ExecutionRow, list[OutlineRow], list[NodeRow]]:
        """An execution, of `part` the first roots, failed and skipped nodes, of `shown` some nodes; one round trip."""
        parameters = key.parameters() | shown.parameters() | {"limit": limit, "outline_limit": _OUTLINE_ROWS}
        executions, outline, nodes = await self.snapshot.together(
            Query("execution_of_trace", parameters, execution_rows),
            Query("outline_of_trace", parameters | part.parameters(), records(OutlineRow)),
            Query("nodes_of_trace", parameters, node_rows),
        )
        if not executions:
            raise _no_execution(key.trace_id)
        return executions[0], outline, nodes

    def node_chunks(self, key: TraceKey, part: NodeRange = WHOLE) -> AsyncIterator[list[NodeRow]]:
        """Nodes in sequence order, some thousands at once."""
        return self.snapshot.chunks(
            "nodes_of_trace", {**key.parameters(), **part.parameters(), "limit": None}, node_rows
        )

    async def node(self, key: TraceKey, span_id: int, ordinal: int) -> NodeRow:
        """One node. Raises NotFound."""
        row = await self.snapshot.first(
            "node_of_trace", {**key.parameters(), "span_id": span_id, "ordinal": ordinal}, node_rows
        )
        if row is None:
            raise NotFound(
                f"no node {node_id(span_id, ordinal)} in execution {key.trace_id.hex}",
                {"execution_id": key.trace_id.hex, "node_id": node_id(span_id, ordinal)},
            )
        return row

    async def subtree(self, key: TraceKey, root: NodeRow) -> NodeRange:
        """The nodes from `root` on that are below it."""
        after = await self.snapshot.first(
            "sequence_after_subtree",
            {**key.parameters(), "sequence": root.node.sequence, "depth": root.node.depth},
            records(CountRow),
        )
        return NodeRange(from_sequence=root.node.sequence, to_sequence=None if after is None else after.count)

    async def never_run(
        self, key: TraceKey, row: ExecutionRow, follows: list[FollowRow] | None = None, ran: list[str] | None = None
    ) -> list[str]:
        """Names of steps that did not run: those the execution declares, and those that other executions teach.

        `follows` are the rows of steps_that_follow and `ran` the names of its nodes that were not skipped, where they
        have been read.
        """
        execution = row.execution
        declared = execution.skipped_nodes
        if execution.total_count > _NAMED_NODES or execution.status not in _ENDED:
            return declared
        if execution.workflow_name is None or execution.hidden:
            return declared
        if follows is None:
            follows = await self.snapshot.all("steps_that_follow", key.parameters(), records(FollowRow))
        if any(one.following is None for one in follows):
            parameters = {
                "tenant_id": row.tenant_id,
                "first_day": row.day - _NEAR_DAYS,
                "last_day": row.day + _NEAR_DAYS,
                "workflow": execution.workflow_name,
                "service": execution.service,
            }
            follows = follows + await self.snapshot.all("steps_of_definitions", parameters, records(FollowRow))
        if not follows:
            return declared
        if ran is None:
            names = await self.snapshot.all("names_that_ran", key.parameters(), records(FollowRow))
            ran = [one.name for one in names if one.name is not None]
        return never_run(declared, ran, follows)

    async def days_of(self, trace_ids: Sequence[UUID]) -> list[date]:
        """Every day that any of the traces has rows on."""
        parameters = {"tenant_id": self.config.tenant_id, "trace_ids": list(trace_ids)}
        return [row.day for row in await self.snapshot.all("days_of_traces", parameters, records(DayRow))]

    async def outline(self, key: TraceKey, part: NodeRange = WHOLE, limit: int | None = None) -> list[OutlineRow]:
        """Roots, failed and skipped nodes in sequence order; depth bounds nothing here."""
        return await self.snapshot.all(
            "outline_of_trace",
            {**key.parameters(), **part.parameters(), "outline_limit": limit},
            records(OutlineRow),
        )

    def edge_chunks(self, key: TraceKey) -> AsyncIterator[list[EdgeRow]]:
        """All stored edges, some thousands at once."""
        return self.snapshot.chunks("edges_of_trace", {**key.parameters(), "limit": None}, edge_rows)

    async def edges_to(self, key: TraceKey, nodes: Sequence[NodeRow]) -> list[EdgeRow]:
        """The stored edges that lead to `nodes`."""
        return await self.snapshot.all(
            "edges_to_nodes",
            {
                **key.parameters(),
                "span_ids": [row.node.span_id for row in nodes],
                "ordinals": [row.node.ordinal for row in nodes],
            },
            edge_rows,
        )

    async def spans_of(self, key: TraceKey, row: NodeRow) -> list[SpanRow]:
        """The span that a node stands for first, if it has come, then those folded into it, by start.

        Log records that belong to them are among their events.
        """
        parameters = {
            **key.parameters(),
            "span_id": row.node.span_id,
            "fingerprint": row.node.fingerprint,
            "folded_span_ids": row.node.folded_span_ids,
        }
        spans = await self.snapshot.all("spans_of_node", parameters, records(SpanRow))
        if not spans:
            return spans
        days = [one.day for one in await self.snapshot.all("days_with_logs", key.parameters(), records(LogDay))]
        wanted = {**key.parameters(), "days": days, "span_ids": [span.span_id for span in spans]}
        return with_log_events(spans, await self.snapshot.all("logs_of_spans", wanted, records(LogRow)))


def _no_execution(trace_id: UUID) -> NotFound:
    return NotFound(
        f"no execution {trace_id.hex}: its spans have not come or have not been projected yet, "
        "or retention has dropped it",
        {"execution_id": trace_id.hex},
    )
