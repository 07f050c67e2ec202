"""A run over several traces is told like one execution."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import psycopg
import pytest
from tests.api_rows import T0_NS, S, insert, node, trace, trace_id
from tests.api_server import api_over, ok, refused
from tests.postgres import new_database

from spantree_exporter.postgres.partitions import date_of, day_of
from spantree_exporter.rows import Edge


def at(second: int, seconds: int | None = 2, **changes: Any) -> dict[str, Any]:
    ended_ns = None if seconds is None else T0_NS + (second + seconds) * S
    return {"started_ns": T0_NS + second * S, "ended_ns": ended_ns, **changes}


@pytest.fixture(scope="module")
def api(postgres_url: str, _migrated_template: str) -> Iterator[httpx.Client]:
    with new_database(postgres_url, template=_migrated_template) as url:
        run: dict[str, Any] = {"run_id": "order-77", "name": "Order"}
        insert(
            url,
            trace(
                1,
                [
                    node(0x11, "order"),
                    node(0x12, "charge", 0x11),
                    node(0x13, "approve", 0x11, status="waiting", ended_ns=None),
                ],
                [Edge(0x12, 0, 0x13, 0, "sequential", None, "inferred")],
                **at(0, None, **run, status="waiting", user_id="ada", input="buy", input_tokens=1, cost_usd=0.5),
            ),
            # Somebody else's trace; two of its nodes are the run's. One span id is used in both traces.
            trace(
                2,
                [
                    node(0x21, "POST /signals"),
                    node(0x12, "HandleSignal", 0x21, run_id="order-77"),
                    node(0x23, "validate", 0x12),
                    node(0x24, "log", 0x21),
                ],
                [
                    Edge(0x12, 0, 0x24, 0, "sequential", None, "inferred"),
                    Edge(0x12, 0, 0x23, 0, "dependency", None, "link"),
                ],
                **at(10, name="signals"),
            ),
            trace(
                3,
                [node(0x31, "order"), node(0x32, "ship", 0x31)],
                **at(
                    20, **run, resumes="order-77", output="sent", conversation_id="c", input_tokens=2, services=["ship"]
                ),
                skipped_nodes=["refund"],
            ),
            # Nodes of two runs in one trace that declares neither.
            trace(
                4,
                [
                    node(0x41, "batch"),
                    node(0x42, "first", 0x41, run_id="r1", status="failed", error_message="boom", error_type="E"),
                    node(0x43, "second", 0x41, run_id="r2", input_tokens=3),
                    node(0x44, "llm", 0x43, input_tokens=3, output_tokens=4),
                ],
                **at(30, name="batch", status="partial"),
            ),
            # A poller: one trace a poll, and the engine's own word in the spans.
            *(trace(n, [node(n, "poll")], **at(n, run_id="job", name="job")) for n in range(0x51, 0x54)),
            trace(0x61, [node(0x61, "a")], **at(1, run_id="open")),
            trace(
                0x62,
                [node(0x62, "b", status="running", ended_ns=None)],
                **at(0, None, run_id="open", status="running", last_seen_ns=T0_NS + 3500 * S),
            ),
            trace(
                0x71,
                [node(0x71, "a", status="failed")],
                **at(1, run_id="again/é", status="failed", error_summary="first"),
            ),
            trace(0x72, [node(0x72, "a")], **at(5, run_id="again/é")),
        )
        with psycopg.connect(url) as connection:
            # What waits says so itself; what takes it up and ends well has nothing to say.
            words = (
                ("order-77", 1, "waiting"),
                ("job", 0x51, "running"),
                ("job", 0x52, "timed_out"),
                ("job", 0x53, None),
            )
            for run_id, n, said in words:
                facts = {"run_id": run_id} | ({"run_status": said} if said else {})
                connection.execute(
                    "INSERT INTO spantree.span (tenant_id, day, trace_id, span_id, fingerprint, kind, status_code,"
                    " start_ns, end_ns, flags, received_ns, name, resource_id, attributes, facts)"
                    " VALUES (0, %s, %s, %s, 0, 1, 0, %s, %s, 0, 0, 'poll', 0, '{}', %s)",
                    [
                        date_of(day_of(T0_NS)),
                        trace_id(n),
                        n,
                        T0_NS + n * S,
                        T0_NS + n * S,
                        orjson.dumps(facts).decode(),
                    ],
                )
        with api_over(url) as client:
            yield client


def run_of(api: httpx.Client, run_id: str) -> dict[str, Any]:
    answer: dict[str, Any] = ok(api.get(f"/api/v1/runs/{run_id}"))
    return answer


def test_a_run_is_named_and_started_by_its_first_execution_and_ended_by_its_last(api: httpx.Client) -> None:
    run = run_of(api, "order-77")
    tree = run.pop("tree")
    executions = run.pop("executions")
    assert [one["trace_id"] for one in executions] == [trace_id(1), trace_id(3)]
    assert executions[0] == ok(api.get(f"/api/v1/executions/{trace_id(1)}"))
    assert run.pop("trace_ids") == [trace_id(1), trace_id(2), trace_id(3)]
    assert run == executions[0] | {
        "status": "completed",
        "ended_at": "2026-11-20T10:00:22.000000000Z",
        "ended_ns": T0_NS + 22 * S,
        "duration_ms": 22_000.0,
        "services": ["agent", "ship"],
        "conversation_id": "c",
        "output": "sent",
        "resumed_by": None,
        "tokens": {"input": 3, "output": None},
        "counts": tree["summary"],
        "span_count": 5,
    }
    assert tree["summary"]["total"] == 7
    assert tree["summary"]["waiting"] == 1


def test_the_tree_of_a_run_joins_its_traces(api: httpx.Client) -> None:
    tree = run_of(api, "order-77")["tree"]
    clash = f"{trace_id(2)}:{0x12:016x}"
    told = [(one["id"], one["parent_id"], one["name"], one["sequence"], one["depth"]) for one in tree["nodes"]]
    assert told == [
        (f"{0x11:016x}", None, "order", 1, 0),
        (f"{0x12:016x}", f"{0x11:016x}", "charge", 2, 1),
        (f"{0x13:016x}", f"{0x11:016x}", "approve", 3, 1),
        (clash, None, "HandleSignal", 4, 0),
        (f"{0x23:016x}", clash, "validate", 5, 1),
        (f"{0x31:016x}", None, "order", 6, 0),
        (f"{0x32:016x}", f"{0x31:016x}", "ship", 7, 1),
    ]
    assert [one["trace_id"] for one in tree["nodes"]] == [trace_id(n) for n in (1, 1, 1, 2, 2, 3, 3)]
    assert tree["roots"] == [f"{0x11:016x}", clash, f"{0x31:016x}"]
    assert tree["skipped_nodes"] == ["refund"]
    assert [(one["from"], one["to"], one["type"], one["provenance"]) for one in tree["edges"]] == [
        (f"{0x11:016x}", f"{0x12:016x}", "child", "declared"),
        (f"{0x11:016x}", f"{0x13:016x}", "child", "declared"),
        (clash, f"{0x23:016x}", "child", "declared"),
        (f"{0x31:016x}", f"{0x32:016x}", "child", "declared"),
        (f"{0x12:016x}", f"{0x13:016x}", "sequential", "inferred"),
        (clash, f"{0x23:016x}", "dependency", "link"),
        (f"{0x13:016x}", f"{0x31:016x}", "resume", "declared"),
    ]


def test_several_runs_within_one_trace_are_told_apart(api: httpx.Client) -> None:
    first, second = run_of(api, "r1"), run_of(api, "r2")
    assert (first["name"], first["status"], first["error_summary"]) == ("first", "failed", "first: boom")
    assert [one["name"] for one in first["tree"]["nodes"]] == ["first"]
    assert (second["name"], second["status"], second["error_summary"]) == ("second", "completed", None)
    assert [one["name"] for one in second["tree"]["nodes"]] == ["second", "llm"]
    assert second["tokens"] == {"input": 3, "output": 4}
    assert first["executions"] == []


@pytest.mark.parametrize(
    ("run_id", "status", "summary"),
    [
        ("job", "timed_out", None),  # the engine's last word, although the last poll completed
        ("open", "running", None),  # an earlier part still runs
        ("again/é", "completed", None),  # a later execution made good what an earlier one failed at
    ],
)
def test_the_status_of_a_run(api: httpx.Client, run_id: str, status: str, summary: str | None) -> None:
    run = run_of(api, run_id)
    assert (run["status"], run["error_summary"]) == (status, summary)
    assert (run["ended_ns"] is None) == (status == "running")


def test_an_unknown_run_is_not_found(api: httpx.Client) -> None:
    assert refused(api.get("/api/v1/runs/nothing")) == (
        404,
        "not_found",
        "no execution and no node of a run 'nothing'",
    )
    assert refused(api.get("/api/v1/runs/a%00"))[:2] == (422, "invalid_parameter")
