"""Writing a tree as JSON while its nodes come in gives the tree, whatever its shape and the chunks."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.api_rows import NOW_NS, execution, node, trace

from spantree_api.rendering import counts_of, execution_answer
from spantree_api.stored_rows import ExecutionRow
from spantree_api.tree import node_answer, outline_of, outline_row_of
from spantree_api.tree_json import TreeWriter
from spantree_exporter.ids import node_id
from spantree_exporter.postgres.partitions import date_of
from spantree_exporter.rows import Node


def forest(choices: list[int]) -> list[Node]:
    """A forest in sequence order: each node is a root or a child of one that is still open."""
    nodes: list[Node] = []
    open_ids: list[int] = []
    for span_id, choice in enumerate(choices, start=1):
        keep = choice % (len(open_ids) + 1)
        del open_ids[keep:]
        nodes.append(node(span_id, f"n{span_id}", open_ids[-1] if open_ids else None))
        open_ids.append(span_id)
    return trace(1, nodes).nodes


def written(nodes: list[Node], chunk: int, *, nested: bool, without_parent: str | None = None) -> dict[str, Any]:
    writer = TreeWriter(nested=nested, without_parent=without_parent)
    for start in range(0, len(nodes), chunk):
        writer.add_nodes(node_answer(one, NOW_NS) for one in nodes[start : start + chunk])
    row = ExecutionRow(0, date_of(20_000), __import__("uuid").UUID(int=1), execution())
    outline = outline_of([outline_row_of(one) for one in nodes if one.parent_span_id is None], [])
    parts = writer.finish(execution_answer(row, NOW_NS, 3600), counts_of(row.execution), outline, None)
    answer: dict[str, Any] = json.loads(b"".join(parts))["tree"]
    return answer


def flattened(nodes: list[dict[str, Any]], parent: str | None = None) -> list[tuple[str, str | None]]:
    return [pair for one in nodes for pair in [(one["id"], parent), *flattened(one["children"], one["id"])]]


@given(st.lists(st.integers(0, 30), max_size=60), st.integers(1, 7))
def test_flat_and_nested_hold_each_node_once_below_its_parent(choices: list[int], chunk: int) -> None:
    nodes = forest(choices)
    expected = [
        (node_id(one.span_id, 0), None if one.parent_span_id is None else node_id(one.parent_span_id, 0))
        for one in nodes
    ]
    flat = written(nodes, chunk, nested=False)
    nested = written(nodes, chunk, nested=True)
    assert [(one["id"], one["parent_id"]) for one in flat["nodes"]] == expected
    assert flattened(nested["nodes"]) == expected
    edges = [(one["from"], one["to"]) for one in flat["edges"]]
    assert edges == [(parent, child) for child, parent in expected if parent is not None]
    assert nested["edges"] == flat["edges"]
    assert flat["roots"] == [child for child, parent in expected if parent is None]


def test_the_root_of_a_subtree_has_no_edge_from_its_parent() -> None:
    nodes = trace(1, [node(1, "a"), node(2, "b", 1), node(3, "c", 2)]).nodes[1:]
    tree = written(nodes, 10, nested=False, without_parent=node_id(2, 0))
    assert [(one["from"], one["to"]) for one in tree["edges"]] == [(node_id(2, 0), node_id(3, 0))]
