"""All reads of executions, nodes and edges: typed rows out of one snapshot.

Partitions: an execution is found by its trace id alone; its own day and times then say which few days its nodes and
edges are on, and only those partitions are looked at. Lists look at the last days first.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from uuid import UUID

from spantree_api.config import ApiConfig
from spantree_api.cursor import ExecutionCursor
from spantree_api.database import Snapshot
from spantree_api.errors import NotFound
from spantree_api.filters import ExecutionFilter, around, moment_of
from spantree_api.intervals import interval_parameters, intervals
from spantree_api.never_run import FollowRow, NearRow, named_by_definitions, never_run, within_budget
from spantree_api.stored_logs import LogDay, LogRow, with_log_events
from spantree_api.stored_rows import (
    CountRow,
    EdgeRow,
    ExecutionRow,
    IntervalRow,
    NodeRow,
    OutlineRow,
    SpanRow,
    edge_rows,
    execution_rows,
    node_rows,
    records,
)
from spantree_exporter.ids import node_id

_DAY_NS = 86_400_000_000_000
# A list without `since` is mostly asked for its newest page: planning over the partitions of a year costs 80 ms,
# over those of two days less than one.
_WINDOWS_DAYS = (2, 16)
# How far around an execution, and among how many before and after it, others of its workflow are asked for order.
_NEAR_DAYS = timedelta(days=7)
_NEAR_EXECUTIONS = 25
# Nodes that they may have together: some 30 ms of PostgreSQL; with all of them, large ones took six seconds.
_NEAR_NODES = 5_000
# Statuses that leave nothing still to come.
_ENDED = frozenset({"completed", "failed", "partial", "timed_out", "cancelled"})


@dataclass(frozen=True, slots=True)
class TraceKey:
    """A trace and the days that its nodes are on; None for any day."""

    tenant_id: int
    trace_id: UUID
    first_day: date | None
    last_day: date | None

    def parameters(self) -> dict[str, object]:
        """For every statement `..._of_trace`."""
        return {
            "tenant_id": self.tenant_id,
            "trace_id": self.trace_id,
            "first_day": self.first_day,
            "last_day": self.last_day,
        }


@dataclass(frozen=True, slots=True)
class NodeRange:
    """A part of a trace's nodes: sequence numbers from and up to but not including, and the deepest depth."""

    from_sequence: int | None = None
    to_sequence: int | None = None
    max_depth: int | None = None

    def parameters(self) -> dict[str, object]:
        """For the statements `nodes_of_trace` and `outline_of_trace`."""
        return {
            "from_sequence": self.from_sequence,
            "to_sequence": self.to_sequence,
            "max_depth": self.max_depth,
        }


WHOLE = NodeRange()


class Reader:
    """Reads of one tenant in one snapshot, by one reading of the clock."""

    def __init__(self, snapshot: Snapshot, config: ApiConfig, now_ns: int) -> None:
        self.snapshot = snapshot
        self.config = config
        self.now_ns = now_ns

    async def execution(self, trace_id: UUID) -> ExecutionRow:
        """The execution of a trace. Raises NotFound."""
        row = await self.snapshot.first(
            "execution_of_trace",
            {"tenant_id": self.config.tenant_id, "trace_id": trace_id},
            execution_rows,
            prepare=True,
        )
        if row is None:
            raise NotFound(
                f"no execution {trace_id.hex}: its spans have not come or have not been projected yet, "
                "or retention has dropped it",
                {"execution_id": trace_id.hex},
            )
        return row

    async def executions(
        self, wanted: ExecutionFilter, limit: int, after: ExecutionCursor | None
    ) -> tuple[list[ExecutionRow], ExecutionCursor | None]:
        """A page, newest first, and where the next one starts."""
        parameters: dict[str, object] = {
            "after_ns": None if after is None else after.started_ns,
            "after_trace_id": None if after is None else after.trace_id,
            "now_ns": self.now_ns,
            "lost_after_s": self.config.lost_after_s,
            "tenant_id": self.config.tenant_id,
            "limit": limit + 1,
        }
        bounds = (self.now_ns, wanted.until_ns, None if after is None else after.started_ns)
        newest_ns = min(bound for bound in bounds if bound is not None)
        rows: list[ExecutionRow] = []
        for days in (*_WINDOWS_DAYS, None):
            since_ns = wanted.since_ns
            if days is not None:
                window_ns = newest_ns - days * _DAY_NS
                if since_ns is not None and since_ns >= window_ns:
                    continue
                since_ns = window_ns
            narrowed = wanted if since_ns is None else wanted.since(since_ns)
            rows = await self.snapshot.all("list_executions", {**narrowed.parameters(), **parameters}, execution_rows)
            if len(rows) > limit:
                break
        return page_of(rows, limit)

    async def key_of(self, row: ExecutionRow) -> TraceKey:
        """The days that the nodes of an execution are on, verified by their number."""
        execution = row.execution
        last_ns = max(execution.started_ns, execution.ended_ns or 0, execution.last_seen_ns)
        first_day, last_day = around(row.day, last_ns)
        key = TraceKey(row.tenant_id, row.trace_id, first_day, last_day)
        found = await self.snapshot.first("count_nodes", key.parameters(), records(CountRow))
        if found is not None and found.count == execution.total_count:
            return key
        return TraceKey(row.tenant_id, row.trace_id, None, None)

    async def nodes(self, key: TraceKey, part: NodeRange = WHOLE, limit: int | None = None) -> list[NodeRow]:
        """Nodes in sequence order; for parts of a known, small size."""
        return await self.snapshot.all(
            "nodes_of_trace", {**key.parameters(), **part.parameters(), "limit": limit}, node_rows
        )

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

    async def never_run(self, key: TraceKey, row: ExecutionRow) -> list[str]:
        """Names of steps that did not run: those the execution declares, and those that other executions teach."""
        execution = row.execution
        declared = execution.skipped_nodes
        if execution.status not in _ENDED or execution.workflow_name is None or execution.hidden:
            return declared
        near = within_budget(
            await self.snapshot.all(
                "executions_near",
                {
                    "tenant_id": row.tenant_id,
                    "trace_id": row.trace_id,
                    "workflow": execution.workflow_name,
                    "service": execution.service,
                    "started_ns": execution.started_ns,
                    "first_day": row.day - _NEAR_DAYS,
                    "last_day": row.day + _NEAR_DAYS,
                    "limit": _NEAR_EXECUTIONS,
                },
                records(NearRow),
            ),
            _NEAR_NODES,
        )
        if not near:
            return declared
        follows = await self.snapshot.all(
            "steps_that_follow",
            {
                "tenant_id": row.tenant_id,
                "trace_ids": [one.trace_id for one in near],
                "first_day": min(one.day for one in near),
                "last_day": max(one.day for one in near) + timedelta(days=1),
            },
            records(FollowRow),
        )
        follows += named_by_definitions(near)
        if not follows:
            return declared
        ran = await self.snapshot.all("names_that_ran", key.parameters(), records(FollowRow))
        return never_run(declared, [one.name for one in ran if one.name is not None], follows)

    async def interval_parameters(self, days: int) -> dict[str, object]:
        """For the statements of stats.sql: the rollups from the hour `days` ago on."""
        since_ns = self.now_ns - days * _DAY_NS
        tenant = {"tenant_id": self.config.tenant_id}
        outdated = await self.snapshot.all(
            "outdated_intervals", {**tenant, "since": moment_of(since_ns)}, records(IntervalRow)
        )
        parts = intervals(since_ns, self.now_ns, {(row.grain_h, row.hour) for row in outdated})
        return {**tenant, **interval_parameters(parts)}

    async def outline(self, key: TraceKey, part: NodeRange = WHOLE) -> list[OutlineRow]:
        """Roots, failed and skipped nodes in sequence order; depth bounds nothing here."""
        return await self.snapshot.all(
            "outline_of_trace", {**key.parameters(), **part.parameters()}, records(OutlineRow)
        )

    def edge_chunks(self, key: TraceKey) -> AsyncIterator[list[EdgeRow]]:
        """All stored edges, some thousands at once."""
        return self.snapshot.chunks("edges_of_trace", key.parameters(), edge_rows)

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


def page_of(rows: list[ExecutionRow], limit: int) -> tuple[list[ExecutionRow], ExecutionCursor | None]:
    """At most `limit` of `rows`, and the cursor after the last of them where there are more."""
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    return rows[:limit], ExecutionCursor(last.execution.started_ns, last.trace_id)
