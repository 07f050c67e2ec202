"""Writes a tree as JSON while its nodes come in, so that an answer of any size holds no more than its own bytes.

Nodes come in sequence order, which is depth first: a node's children follow it before anything that is not below it.
Nested JSON therefore needs no tree in memory, only the depths of the nodes that are still open:

    depth 0  1  2     2      1      ->  {0,"children":[{1,"children":[{2,"children":[]},{2,"children":[]}]},{1, ...
                            closes both

orjson itself stops at 254 levels; written this way, 5,000 are no different from five.
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from spantree_api.answers.executions import Counts, EdgeAnswer, ExecutionAnswer, NodeAnswer, RunHead
from spantree_api.tree import Outline, child_edge


class TreeWriter:
    """Collects the parts of one tree answer. `without_parent` is a subtree's root, whose parent is not told."""

    def __init__(self, *, nested: bool, without_parent: str | None = None) -> None:
        self._nested = nested
        self._without_parent = without_parent
        self._open_depths: list[int] = []
        self._nodes: list[bytes] = []
        self._edges: list[bytes] = []

    def add_nodes(self, nodes: Iterable[NodeAnswer]) -> None:
        """Write the next nodes, in sequence order, and the edges from their parents."""
        parts: list[bytes] = []
        edges: list[bytes] = []
        for node in nodes:
            text = orjson.dumps(node)
            if self._nested:
                self._begin_nested(parts, node["depth"])
                parts.append(text[:-1] + b',"children":[')
            else:
                if self._nodes or parts:
                    parts.append(b",")
                parts.append(text)
            parent_id = node["parent_id"]
            if parent_id is not None and node["id"] != self._without_parent:
                edges.append(orjson.dumps(child_edge(parent_id, node["id"])))
        if parts:
            self._nodes.append(b"".join(parts))
        self._add_edge_texts(edges)

    def add_edges(self, edges: Iterable[EdgeAnswer]) -> None:
        """Write further edges."""
        self._add_edge_texts([orjson.dumps(edge) for edge in edges])

    def finish(
        self, execution: ExecutionAnswer | RunHead, summary: Counts, outline: Outline, next_cursor: str | None
    ) -> list[bytes]:
        """The whole answer, in parts to be sent one after the other. The writer is used up."""
        head = orjson.dumps(execution)[:-1]
        tree = orjson.dumps(
            {
                "roots": outline.roots,
                "summary": summary,
                "failed_nodes": outline.failed_nodes,
                "skipped_nodes": outline.skipped_nodes,
            }
        )[:-1]
        return [
            head + b',"tree":' + tree + b',"nodes":[',
            *self._nodes,
            b"]}" * len(self._open_depths) + b'],"edges":[',
            *self._edges,
            b'],"next_cursor":' + orjson.dumps(next_cursor) + b"}}",
        ]

    def _begin_nested(self, parts: list[bytes], depth: int) -> None:
        closed = 0
        while self._open_depths and self._open_depths[-1] >= depth:
            self._open_depths.pop()
            closed += 1
        if closed:
            parts.append(b"]}" * closed + b",")
        self._open_depths.append(depth)

    def _add_edge_texts(self, edges: list[bytes]) -> None:
        if edges:
            self._edges.append((b"," if self._edges else b"") + b",".join(edges))
