"""Where the time, the tokens and the failures of one execution are; what it called again and again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.api_rows import T0_NS, insert, node, trace, trace_id
from tests.api_server import api_over, ok, refused
from tests.postgres import new_database

from spantree_exporter.rows import Edge

MS = 1_000_000


def at(start_ms: int, ms: int | None, **changes: Any) -> dict[str, Any]:
    """A node that began so many milliseconds after T0 and took so many; none below it."""
    start = T0_NS + start_ms * MS
    end = None if ms is None else start + ms * MS
    return {"started_ns": start, "ended_ns": end, "self_ns": None if ms is None else ms * MS} | changes


def query(span_id: int, parent: int, start_ms: int, text: str, ms: int = 10, **changes: Any) -> Any:
    return node(span_id, "SELECT shop", parent, kind="db", input=text, **at(start_ms, ms), **changes)


@pytest.fixture(scope="module")
def api(postgres_url: str, _migrated_template: str) -> Iterator[httpx.Client]:
    with new_database(postgres_url, template=_migrated_template) as url:
        steps = [
            node(1, "report", **at(0, 2000, self_ns=0)),
            node(2, "fetch", 1, status="retried", **at(0, 100)),
            node(3, "fetch", 1, attempt=2, **at(200, 300)),
            node(4, "fetch", 1, status="failed", service="other", **at(500, 200)),
            node(5, "wrap", 1, status="skipped", **at(700, 0)),
            node(6, "ask", 1, kind="llm", model="m", input_tokens=10, output_tokens=2, cost_usd=0.5, **at(700, 400)),
            node(7, "ask", 1, kind="llm", model="m", input_tokens=5, status="running", **at(1100, None)),
            node(8, "helper", 1, kind="agent", model="m", input_tokens=15, output_tokens=2, **at(700, 400)),
        ]
        edges = [Edge(3, 0, 6, 0, "sequential", None, "declared"), Edge(4, 0, 6, 0, "sequential", None, "declared")]
        insert(url, trace(1, steps, edges))
        insert(url, trace(2))
        twice = [node(1, "ask", kind="llm", model="m"), node(2, "post", 1, kind="llm", model="m")]
        twice[1].anomalies = ["model_told_elsewhere"]
        insert(url, trace(4, twice))
        loop = [node(1, "report", **at(0, 2000)), node(2, "load", 1, **at(0, 1000)), node(3, "load", 1, **at(0, 1000))]
        # One after the other under one step, and not: side by side, of other texts, or tried again.
        loop += [query(10 + i, 2, 20 * i, f"SELECT * FROM item WHERE id = {i} AND name = 'n{i}'") for i in range(6)]
        loop += [query(20 + i, 2, 200, f"SELECT aside FROM item WHERE id = {i}") for i in range(6)]
        loop += [query(30 + i, 2, 300 + 20 * i, f"SELECT {'abcdef'[i]} FROM item") for i in range(6)]
        loop += [query(40 + i, 3, 500 + 20 * i, "SELECT again", attempt=i + 1) for i in range(6)]
        loop += [query(50 + i, 3, 700 + 20 * i, "SELECT few") for i in range(4)]
        loop += [query(60 + i, 3, 800 + 2 * i, "SELECT brief", ms=1) for i in range(9)]
        loop += [_search(70 + i, 20 * i, '{"q": "tea"}', "none") for i in range(3)]
        loop += [_search(80 + i, 20 * i, '{"job": "77"}', f"{i} %") for i in range(5)]
        loop += [_search(90 + i, 20 * i, "{}", "none") for i in range(5)]
        loop += [_search(100 + i, 20 * i, "x" * 500, "none") for i in range(5)]
        insert(url, trace(3, loop))
        with api_over(url) as client:
            yield client


def _search(span_id: int, start_ms: int, asked: str, answer: str) -> Any:
    return node(span_id, "search", 1, kind="tool", input=asked, output=answer, **at(start_ms, 10))


def test_steps_are_summed_by_name_kind_and_service(api: httpx.Client) -> None:
    stats = ok(api.get(f"/api/v1/executions/{trace_id(1)}/stats"))
    assert (stats["execution_id"], stats["status"], stats["duration_ms"]) == (trace_id(1), "completed", 2000.0)
    assert (stats["nodes"], stats["names"], stats["self_ms"]) == (8, 6, 1400.0)
    assert [(one["name"], one["service"], one["self_ms"]) for one in stats["steps"]] == [
        ("fetch", "agent", 400.0),
        ("ask", "agent", 400.0),
        ("helper", "agent", 400.0),
        ("fetch", "other", 200.0),
        ("report", "agent", 0.0),
        ("wrap", "agent", 0.0),
    ]
    assert stats["steps"][0] == {
        "name": "fetch",
        "kind": "step",
        "service": "agent",
        "count": 2,
        "completed": 1,
        "failed": 0,
        "retried": 1,
        "skipped": 0,
        "open": 0,
        "total_ms": 400.0,
        "self_ms": 400.0,
        "self_share": pytest.approx(400 / 1400),
        "avg_ms": 200.0,
        "p50_ms": 100.0,
        "p95_ms": 300.0,
        "max_ms": 300.0,
        "slowest": f"{3:016x}",
        "input_tokens": None,
        "output_tokens": None,
        "cost_usd": None,
    }
    asked, skipped = stats["steps"][1], stats["steps"][5]
    assert (asked["count"], asked["open"], asked["avg_ms"], asked["input_tokens"]) == (2, 1, 400.0, 15)
    # What was skipped took no time, and says nothing of how long it takes.
    assert (skipped["skipped"], skipped["avg_ms"], skipped["p50_ms"]) == (1, None, None)


def test_what_sums_up_calls_of_a_model_is_not_counted_beside_them(api: httpx.Client) -> None:
    stats = ok(api.get(f"/api/v1/executions/{trace_id(1)}/stats"))
    assert stats["models"] == [
        {
            "model": "m",
            "calls": 2,
            "failed": 0,
            "retried": 0,
            "total_ms": 400.0,
            "p95_ms": 400.0,
            "input_tokens": 15,
            "output_tokens": 2,
            "cost_usd": 0.5,
        }
    ]


def test_a_call_of_a_model_that_two_steps_tell_is_one(api: httpx.Client) -> None:
    models = ok(api.get(f"/api/v1/executions/{trace_id(4)}/stats"))["models"]
    assert [(one["model"], one["calls"]) for one in models] == [("m", 1)]


def test_ways_lead_from_name_to_name(api: httpx.Client) -> None:
    ways = ok(api.get(f"/api/v1/executions/{trace_id(1)}/stats"))["ways"]
    assert ways[:3] == [
        {"from": "report", "to": "fetch", "type": "child", "count": 3},
        {"from": "fetch", "to": "ask", "type": "sequential", "count": 2},
        {"from": "report", "to": "ask", "type": "child", "count": 2},
    ]


@pytest.mark.parametrize(
    ("sort", "first"),
    [
        ("count", "fetch"),
        ("total", "report"),
        ("failed", "fetch"),
        ("max", "report"),
        ("tokens", "ask"),
        ("cost", "ask"),
    ],
)
def test_names_come_first_of_which_there_is_most(api: httpx.Client, sort: str, first: str) -> None:
    stats = ok(api.get(f"/api/v1/executions/{trace_id(1)}/stats?sort={sort}&limit=1"))
    assert ([one["name"] for one in stats["steps"]], stats["names"], stats["self_ms"]) == ([first], 6, 1400.0)


def test_calls_that_were_made_again_and_again_are_found(api: httpx.Client) -> None:
    findings = ok(api.get(f"/api/v1/executions/{trace_id(3)}/stats"))["findings"]
    told = [(one["finding"], one["name"], one["count"], one["first"], one["parent_name"]) for one in findings]
    assert told == [
        ("agent_loop", "search", 3, f"{70:016x}", None),
        ("repeated_calls", "SELECT shop", 6, f"{10:016x}", "load"),
    ]
    assert findings[0]["text"] == '{"q": "tea"}'
    assert findings[0]["message"].startswith("search was asked the same 3 times, and answered the same: ")
    assert findings[1]["total_ms"] == 60.0
    assert findings[1]["parent_id"] == f"{2:016x}"
    assert findings[1]["message"].startswith(
        "SELECT shop was called 6 times, one after the other in load: the same query"
    )


def test_an_execution_without_nodes_has_none_and_an_unknown_one_is_refused(api: httpx.Client) -> None:
    empty = ok(api.get(f"/api/v1/executions/{trace_id(2)}/stats"))
    assert (empty["steps"], empty["models"], empty["findings"], empty["ways"], empty["names"]) == ([], [], [], [], 0)
    assert refused(api.get(f"/api/v1/executions/{trace_id(9)}/stats"))[:2] == (404, "not_found")
    assert refused(api.get(f"/api/v1/executions/{trace_id(1)}/stats?sort=name"))[:2] == (422, "invalid_parameter")
