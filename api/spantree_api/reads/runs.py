"""The executions and nodes that are one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from spantree_api.database import Query
from spantree_api.reader import Reader
from spantree_api.stored_rows import CountRow, ExecutionRow, TraceRow, edge_rows, execution_rows, node_rows, records
from spantree_exporter.rows import Edge, Node


@dataclass(frozen=True, slots=True)
class RunRows:
    """Nodes, in sequence order, and edges by trace; `statuses`: what engines said of the run and when, oldest first."""

    nodes: dict[UUID, list[Node]]
    edges: dict[UUID, list[Edge]]
    statuses: list[tuple[str, int]]


async def run_executions(reader: Reader, run_id: str, limit: int) -> tuple[list[ExecutionRow], list[ExecutionRow]]:
    """The executions of the run, and those of other runs with nodes of it; oldest first, `limit` of each at most."""
    parameters: dict[str, object] = {"tenant_id": reader.config.tenant_id, "run_id": run_id, "limit": limit}
    own = await reader.oldest_first("executions_of_run", parameters, limit)
    named: list[TraceRow] = []
    async for days in reader.all_days():
        named += await reader.snapshot.all("traces_with_nodes_of_run", parameters | days, records(TraceRow))
    own_ids = {row.trace_id for row in own}
    others = [row.trace_id for row in named if row.trace_id not in own_ids]
    if not others:
        return own, []
    of_others = {**parameters, "trace_ids": others, "days": await reader.days_of(others)}
    return own, await reader.snapshot.all("executions_of_other_runs", of_others, execution_rows)


async def run_rows(reader: Reader, run_id: str, trace_ids: Sequence[UUID]) -> RunRows:
    """All nodes and edges of some traces, for one round trip after their days."""
    parameters: dict[str, object] = {
        "tenant_id": reader.config.tenant_id,
        "run_id": run_id,
        "trace_ids": list(trace_ids),
        "days": await reader.days_of(trace_ids),
    }
    nodes, edges, statuses = await reader.snapshot.together(
        Query("nodes_of_traces", parameters, node_rows),
        Query("edges_of_traces", parameters, edge_rows),
        Query("run_statuses", parameters, records(CountRow)),
    )
    nodes_of: dict[UUID, list[Node]] = {}
    for one in nodes:
        nodes_of.setdefault(one.trace_id, []).append(one.node)
    edges_of: dict[UUID, list[Edge]] = {}
    for edge in edges:
        edges_of.setdefault(edge.trace_id, []).append(edge.edge)
    return RunRows(nodes_of, edges_of, [(one.name, one.count) for one in statuses if one.name])
