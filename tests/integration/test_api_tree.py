"""Trees: flat, nested, in part, page by page, and huge."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.api_rows import T0_NS, S, Trace, insert, node, trace, trace_id
from tests.api_server import api_over, ok, refused
from tests.postgres import new_database

from spantree_exporter.rows import Edge

A, B, C, D, E_, F = (f"{n:016x}" for n in range(1, 7))
DAY_NS = 86_400 * S


def order_trace() -> Trace:
    """order(1) -> [plan(2), charge(3) -> [attempt(4), attempt(4.1)], report(5), ship(6, the next day)]."""
    nodes = [
        node(1, "order"),
        node(2, "plan", 1, input="in", output="out", folded_span_ids=[-1]),
        node(3, "charge", 1, status="failed", ended_ns=None, self_ns=None),
        node(4, "attempt", 3, status="retried", attempt=1, task_key="k", max_attempts=3, retry_expected=True),
        node(4, "attempt", 3, ordinal=1, status="failed", attempt=2, task_key="k", error_type="E", error_message="m"),
        node(5, "report", 1, status="skipped"),
        node(6, "ship", 1, started_ns=T0_NS + DAY_NS, ended_ns=T0_NS + DAY_NS + S),
    ]
    nodes[1].model, nodes[1].input_tokens, nodes[1].on_critical_path = "m1", 7, True
    edges = [
        Edge(2, 0, 3, 0, "conditional", "card", "declared"),
        Edge(4, 0, 4, 1, "retry", None, "inferred"),
        Edge(9, 0, 6, 0, "resume", None, "link", from_trace_id=trace_id(0xFF)),
    ]
    return trace(1, nodes, edges, status="partial", skipped_nodes=["refund"])


@pytest.fixture(scope="module")
def api(postgres_url: str, _migrated_template: str) -> Iterator[httpx.Client]:
    deep = [node(n, f"level {n}", n - 1 or None) for n in range(1, 1_001)]
    forest = [node(1, "a"), node(2, "a1", 1), node(3, "b"), node(4, "c"), node(5, "c1", 4), node(6, "c2", 4)]
    with new_database(postgres_url, template=_migrated_template) as url:
        insert(url, order_trace(), trace(2, deep), trace(3, forest), trace(4))
        with api_over(url) as client:
            yield client


def tree_of(api: httpx.Client, number: int, query: str = "") -> dict[str, Any]:
    tree: dict[str, Any] = ok(api.get(f"/api/v1/executions/{trace_id(number)}/tree?{query}"))["tree"]
    return tree


def child(parent: str, to: str) -> dict[str, Any]:
    return {
        "from": parent,
        "to": to,
        "type": "child",
        "condition": None,
        "provenance": "declared",
        "from_trace_id": None,
    }


def test_a_tree_is_its_execution_with_nodes_and_edges(api: httpx.Client) -> None:
    answer = ok(api.get(f"/api/v1/executions/{trace_id(1)}/tree"))
    tree = answer.pop("tree")
    alone = ok(api.get(f"/api/v1/executions/{trace_id(1)}"))
    assert alone.pop("last_good") is None  # looked for where one execution is asked for
    assert answer == alone
    nodes, edges = tree.pop("nodes"), tree.pop("edges")
    assert tree == {
        "roots": [A],
        "summary": answer["counts"],
        "failed_nodes": ["charge", "attempt"],
        "skipped_nodes": ["refund", "report"],
        "next_cursor": None,
    }
    ids = [(one["id"], one["parent_id"], one["sequence"], one["depth"]) for one in nodes]
    assert ids == [
        (A, None, 1, 0),
        (B, A, 2, 1),
        (C, A, 3, 1),
        (D, C, 4, 2),
        (f"{D}.1", C, 5, 2),
        (E_, A, 6, 1),
        (F, A, 7, 1),
    ]
    assert sorted(edges, key=json.dumps) == sorted(
        [
            *(child(parent, to) for to, parent, *_ in ids if parent is not None),
            {**child(B, C), "type": "conditional", "condition": "card"},
            {**child(D, f"{D}.1"), "type": "retry", "provenance": "inferred"},
            {**child("0000000000000009", F), "type": "resume", "provenance": "link", "from_trace_id": trace_id(0xFF)},
        ],
        key=json.dumps,
    )


def test_a_node_is_told_whole(api: httpx.Client) -> None:
    assert tree_of(api, 1)["nodes"][1] == {
        "id": B,
        "span_id": B,
        "parent_id": A,
        "name": "plan",
        "kind": "step",
        "status": "completed",
        "status_reason": None,
        "sequence": 2,
        "depth": 1,
        "started_ns": T0_NS + 2_000_000,
        "ended_ns": T0_NS + 2_000_000 + S,
        "duration_ms": 1000.0,
        "self_ms": 1000.0,
        "attempt": 1,
        "task_key": None,
        "retry": {"expected": None, "max_attempts": None},
        "iteration": None,
        "error_type": None,
        "error_message": None,
        "error_category": None,
        "error_fingerprint": None,
        "input": "in",
        "output": "out",
        "model": "m1",
        "input_tokens": 7,
        "output_tokens": None,
        "cost_usd": None,
        "service": "agent",
        "workflow_name": "report",
        "run_id": None,
        "on_critical_path": True,
        "folded_span_ids": ["ffffffffffffffff"],
        "anomalies": [],
        "declared": None,
    }


def test_a_node_without_an_end_lasts_until_now(api: httpx.Client) -> None:
    charge = tree_of(api, 1)["nodes"][2]
    assert (charge["ended_ns"], charge["self_ms"], charge["duration_ms"]) == (None, None, 3_600_000.0 - 3)


def test_nested_is_the_flat_tree_put_together(api: httpx.Client) -> None:
    for number in (1, 3, 4):
        flat, nested = tree_of(api, number), tree_of(api, number, "shape=nested")
        by_parent: dict[str | None, list[Any]] = {}
        for one in flat["nodes"]:
            by_parent.setdefault(one["parent_id"], []).append(one)

        def together(parent: str | None, by_parent: dict[str | None, list[Any]]) -> list[Any]:
            return [{**one, "children": together(one["id"], by_parent)} for one in by_parent.get(parent, [])]

        assert nested.pop("nodes") == together(None, by_parent)
        flat.pop("nodes")
        assert nested == flat


def test_a_subtree_starts_at_its_root(api: httpx.Client) -> None:
    tree = tree_of(api, 1, f"root={C}")
    assert [one["id"] for one in tree["nodes"]] == [C, D, f"{D}.1"]
    assert (tree["roots"], tree["failed_nodes"], tree["skipped_nodes"]) == ([C], ["charge", "attempt"], [])
    assert [(one["from"], one["to"], one["type"]) for one in tree["edges"]] == [
        (C, D, "child"),
        (C, f"{D}.1", "child"),
        (B, C, "conditional"),
        (D, f"{D}.1", "retry"),
    ]
    assert [one["id"] for one in tree_of(api, 1, f"root={D}.1&shape=nested")["nodes"]] == [f"{D}.1"]
    assert [one["id"] for one in tree_of(api, 1, f"root={F}")["nodes"]] == [F]


def test_depth_tells_the_upper_levels(api: httpx.Client) -> None:
    assert [one["id"] for one in tree_of(api, 1, "depth=0")["nodes"]] == [A]
    assert [one["id"] for one in tree_of(api, 1, "depth=1")["nodes"]] == [A, B, C, E_, F]
    assert {one["to"] for one in tree_of(api, 1, "depth=1")["edges"]} == {B, C, E_, F}
    assert [one["id"] for one in tree_of(api, 3, "depth=0")["nodes"]] == [A, C, D]
    assert [one["depth"] for one in tree_of(api, 2, f"root={900:016x}&depth=2")["nodes"]] == [899, 900, 901]


@pytest.mark.parametrize("limit", [1, 2, 6, 7, 10_000])
@pytest.mark.parametrize("part", ["", f"root={C}", "depth=1"])
def test_pages_together_are_the_tree(api: httpx.Client, limit: int, part: str) -> None:
    whole = tree_of(api, 1, part)
    nodes: list[Any] = []
    edges: list[Any] = []
    cursor = ""
    while True:
        page = tree_of(api, 1, f"{part}&limit={limit}{cursor}")
        nodes += page["nodes"]
        edges += page["edges"]
        for key in ("roots", "summary", "failed_nodes", "skipped_nodes"):
            assert page[key] == whole[key]
        if page["next_cursor"] is None:
            break
        assert len(page["nodes"]) == limit
        cursor = f"&cursor={page['next_cursor']}"
    assert nodes == whole["nodes"]
    assert sorted(edges, key=json.dumps) == sorted(whole["edges"], key=json.dumps)


def test_a_thousand_levels_nest(api: httpx.Client) -> None:
    text = api.get(f"/api/v1/executions/{trace_id(2)}/tree?shape=nested").text
    nodes = text[text.index('"nodes":[') : text.index('],"edges":')]
    assert nodes.count('"children":[') == 1_000
    assert nodes.endswith("]}" * 1_000)
    assert len(tree_of(api, 2)["nodes"]) == 1_000


def test_an_execution_without_nodes_has_an_empty_tree(api: httpx.Client) -> None:
    tree = tree_of(api, 4)
    assert (tree["roots"], tree["nodes"], tree["edges"], tree["next_cursor"]) == ([], [], [], None)


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("root=zz", 422, "invalid_parameter"),
        (f"root={99:016x}", 404, "not_found"),
        (f"root={D}.2", 404, "not_found"),
        (f"root={D}.9999999999", 422, "invalid_parameter"),
        ("depth=-1", 422, "invalid_parameter"),
        ("limit=0", 422, "invalid_parameter"),
        ("shape=round", 422, "invalid_parameter"),
        ("shape=nested&limit=5", 422, "invalid_parameter"),
        ("cursor=abc", 422, "invalid_parameter"),
    ],
)
def test_a_wrong_part_is_refused(api: httpx.Client, query: str, status: int, code: str) -> None:
    assert refused(api.get(f"/api/v1/executions/{trace_id(1)}/tree?{query}"))[:2] == (status, code)


def test_a_list_cursor_is_no_node_cursor(api: httpx.Client) -> None:
    cursor = ok(api.get("/api/v1/executions?limit=1"))["next_cursor"]
    assert refused(api.get(f"/api/v1/executions/{trace_id(1)}/tree?cursor={cursor}"))[0] == 422


def test_nodes_far_from_their_execution_are_found(migrated_url: str) -> None:
    # Clocks that are wrong by weeks, and starts that are no time at all: the days around the execution miss them.
    nodes = [node(1, "root"), node(2, "early", 1, started_ns=T0_NS - 40 * DAY_NS), node(3, "no clock", 1, started_ns=0)]
    insert(migrated_url, trace(1, nodes, [Edge(1, 0, 2, 0, "sequential", None, "declared")]))
    with api_over(migrated_url) as api:
        assert [one["name"] for one in tree_of(api, 1)["nodes"]] == ["root", "early", "no clock"]
        assert [one["type"] for one in tree_of(api, 1)["edges"]] == ["child", "child", "sequential"]
