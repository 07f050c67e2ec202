"""Rows -> trees: nodes and edges as answers tell them. Pure; knows no database and no clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson

from spantree_api.answers.executions import EdgeAnswer, NodeAnswer
from spantree_api.rendering import duration_ms, unique
from spantree_api.stored_rows import OutlineRow
from spantree_exporter.ids import node_id, span_id_to_hex
from spantree_exporter.rows import Edge, Node
from spantree_exporter.statuses import FAILED_NODE


@dataclass(frozen=True, slots=True)
class Outline:
    """What a tree's head says of its nodes."""

    roots: list[str]
    failed_nodes: list[str]
    skipped_nodes: list[str]


def outline_of(rows: Iterable[OutlineRow], never_run: Sequence[str], root: str | None = None) -> Outline:
    """The head of a tree from its roots, failed and skipped nodes in sequence order; names come once.

    `never_run` are names of nodes without a span that the execution says were skipped. `root` is the one root of
    a subtree, instead of the nodes without a parent.
    """
    roots: list[str] = [] if root is None else [root]
    failed: list[str] = []
    skipped: list[str] = list(never_run)
    for row in rows:
        if row.parent_span_id is None and root is None:
            roots.append(node_id(row.span_id, row.ordinal))
        if row.status in FAILED_NODE:
            failed.append(row.name)
        elif row.status == "skipped":
            skipped.append(row.name)
    return Outline(roots, unique(failed), unique(skipped))


def outline_row_of(node: Node) -> OutlineRow:
    """What an outline needs of a node that is in memory already."""
    return OutlineRow(node.span_id, node.ordinal, node.parent_span_id, node.name, node.status)


def node_answer(node: Node, clock_ns: int) -> NodeAnswer:
    """A node as every answer tells it; `clock_ns` ends the duration of one that has not ended."""
    parent_id = None if node.parent_span_id is None else node_id(node.parent_span_id, node.parent_ordinal or 0)
    return {
        "id": node_id(node.span_id, node.ordinal),
        "span_id": span_id_to_hex(node.span_id),
        "parent_id": parent_id,
        "name": node.name,
        "kind": node.kind,
        "status": node.status,
        "status_reason": node.status_reason,
        "sequence": node.sequence,
        "depth": node.depth,
        "started_ns": node.started_ns,
        "ended_ns": node.ended_ns,
        "duration_ms": 0.0 if node.status == "pending" else duration_ms(node.started_ns, node.ended_ns, clock_ns),
        "self_ms": None if node.self_ns is None else node.self_ns / 1e6,
        "attempt": node.attempt,
        "task_key": node.task_key,
        "retry": {"expected": node.retry_expected, "max_attempts": node.max_attempts},
        "iteration": node.iteration,
        "error_type": node.error_type,
        "error_message": node.error_message,
        "error_category": node.error_category,
        "error_fingerprint": node.error_fingerprint,
        "input": node.input,
        "output": node.output,
        "model": node.model,
        "input_tokens": node.input_tokens,
        "output_tokens": node.output_tokens,
        "cost_usd": node.cost_usd,
        "service": node.service,
        "workflow_name": node.workflow_name,
        "run_id": node.run_id,
        "on_critical_path": node.on_critical_path,
        "folded_span_ids": [span_id_to_hex(span_id) for span_id in node.folded_span_ids],
        "anomalies": node.anomalies,
        "declared": None if node.declared is None else orjson.loads(node.declared),
    }


def edge_answer(edge: Edge) -> EdgeAnswer:
    """A stored edge as every answer tells it."""
    return {
        "from": node_id(edge.from_span_id, edge.from_ordinal),
        "to": node_id(edge.to_span_id, edge.to_ordinal),
        "type": edge.type,  # type: ignore[typeddict-item]  # edge_type_check holds it to the list
        "condition": edge.condition,
        "provenance": edge.provenance,  # type: ignore[typeddict-item]  # edge_provenance_check likewise
        "from_trace_id": edge.from_trace_id,
    }


def child_edge(parent_id: str, child_id: str) -> EdgeAnswer:
    """The edge of containment, which is not stored because the node's parent says it."""
    return {
        "from": parent_id,
        "to": child_id,
        "type": "child",
        "condition": None,
        "provenance": "declared",
        "from_trace_id": None,
    }
