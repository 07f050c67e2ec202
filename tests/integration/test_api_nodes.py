"""The nodes of an execution, one whole node, the failure report: over spans that came in over OTLP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest
from tests.api_rows import T0_NS, S, insert, node, trace, trace_id
from tests.api_server import api_over, ok, refused
from tests.postgres import new_database

from spantree_exporter.otlp.decode import JSON, decode_request
from spantree_exporter.postgres.store import Store

LONG = "word " * 400
TRACEBACK = 'Traceback (most recent call last):\n  File "pay.py", line 7, in charge\nCardError: declined'


def attribute(key: str, value: Any) -> dict[str, Any]:
    kind = "intValue" if isinstance(value, int) else "stringValue"
    return {"key": key, "value": {kind: value}}


def sent_span(number: int, parent: int | None, name: str, **more: Any) -> dict[str, Any]:
    span = {
        "traceId": trace_id(0xAB),
        "spanId": f"{number:016x}",
        "name": name,
        "kind": 1,
        "startTimeUnixNano": str(T0_NS + number * S),
        "endTimeUnixNano": str(T0_NS + number * S + S // 2),
        **more,
    }
    if parent is not None:
        span["parentSpanId"] = f"{parent:016x}"
    return span


SPANS = [
    sent_span(1, None, "order", endTimeUnixNano=str(T0_NS + 60 * S), status={"code": 2, "message": "declined"}),
    sent_span(
        2,
        1,
        "charge",
        attributes=[attribute("spantree.node.name", "charge"), attribute("spantree.input", LONG), attribute("n", 7)],
        events=[
            {"timeUnixNano": str(T0_NS + 2 * S + 5), "name": "note", "attributes": [attribute("k", "v")]},
            {
                "timeUnixNano": str(T0_NS + 2 * S + 6),
                "name": "exception",
                "attributes": [
                    attribute("exception.type", "CardError"),
                    attribute("exception.message", "declined"),
                    attribute("exception.stacktrace", TRACEBACK),
                ],
            },
        ],
        links=[{"traceId": trace_id(0xCD), "spanId": f"{9:016x}", "attributes": [attribute("why", "resume")]}],
        status={"code": 2, "message": "declined"},
        traceState="a=b",
        flags=1,
    ),
    sent_span(3, 1, "notify", attributes=[attribute("spantree.node.name", "notify")]),
]


@pytest.fixture(scope="module")
def api(postgres_url: str, _migrated_template: str) -> Iterator[httpx.Client]:
    request = {
        "resourceSpans": [
            {
                "resource": {"attributes": [attribute("service.name", "shop"), attribute("host.name", "h1")]},
                "scopeSpans": [{"scope": {"name": "lib", "version": "1.2"}, "spans": SPANS}],
            }
        ]
    }
    with new_database(postgres_url, template=_migrated_template) as url:
        decoded = decode_request(orjson.dumps(request), JSON, T0_NS + 70 * S)
        store = Store(url)
        assert store.write(decoded.spans, decoded.dead).spans == 3
        while store.project_due().more:
            pass
        store.close()
        insert(url, trace(1, [node(n, f"node {n}", n - 1 or None) for n in range(1, 121)]))
        with api_over(url) as client:
            yield client


def test_nodes_come_in_pages_in_sequence_order(api: httpx.Client) -> None:
    path = f"/api/v1/executions/{trace_id(1)}/nodes"
    first = ok(api.get(path))
    second = ok(api.get(f"{path}?limit=200&cursor={first['next_cursor']}"))
    assert [one["sequence"] for one in first["nodes"]] == list(range(1, 51))
    assert [one["sequence"] for one in second["nodes"]] == list(range(51, 121))
    assert second["next_cursor"] is None
    assert first["nodes"] == ok(api.get(f"/api/v1/executions/{trace_id(1)}/tree"))["tree"]["nodes"][:50]


def test_one_node_is_told_with_all_that_its_span_holds(api: httpx.Client) -> None:
    detail = ok(api.get(f"/api/v1/executions/{trace_id(0xAB)}/nodes/{2:016X}"))
    in_tree = ok(api.get(f"/api/v1/executions/{trace_id(0xAB)}/tree"))["tree"]["nodes"]
    [shown] = [one for one in in_tree if one["id"] == f"{2:016x}"]
    assert shown["input"] == LONG[:500]
    assert {key: detail[key] for key in shown} == {**shown, "input": LONG}
    assert {key: value for key, value in detail.items() if key not in shown} == {
        "execution_id": trace_id(0xAB),
        "attributes": {"spantree.node.name": "charge", "spantree.input": LONG, "n": 7},
        "events": [
            {
                "name": "note",
                "time_ns": T0_NS + 2 * S + 5,
                "at": "2026-11-20T10:00:02.000000005Z",
                "attributes": {"k": "v"},
                "dropped_attributes_count": 0,
            },
            {
                "name": "exception",
                "time_ns": T0_NS + 2 * S + 6,
                "at": "2026-11-20T10:00:02.000000006Z",
                "attributes": {
                    "exception.type": "CardError",
                    "exception.message": "declined",
                    "exception.stacktrace": TRACEBACK,
                },
                "dropped_attributes_count": 0,
            },
        ],
        "links": [
            {
                "trace_id": trace_id(0xCD),
                "span_id": f"{9:016x}",
                "trace_state": "",
                "attributes": {"why": "resume"},
                "flags": 0,
                "dropped_attributes_count": 0,
            }
        ],
        "resource": {"attributes": {"service.name": "shop", "host.name": "h1"}, "schema_url": ""},
        "scope": {"name": "lib", "version": "1.2"},
        "traceback": TRACEBACK,
        "span": {
            "name": "charge",
            "kind": "INTERNAL",
            "status_code": "ERROR",
            "status_message": "declined",
            "started_ns": T0_NS + 2 * S,
            "ended_ns": T0_NS + 2 * S + S // 2,
            "trace_state": "a=b",
            "flags": 1,
            "received_at": "2026-11-20T10:01:10.000000000Z",
            "parent_span_id": f"{1:016x}",
        },
        "input_complete": True,
        "output_complete": True,
        "raw_available": False,
    }


def test_a_node_whose_span_has_not_come_is_told_without_it(api: httpx.Client) -> None:
    detail = ok(api.get(f"/api/v1/executions/{trace_id(1)}/nodes/{5:016x}"))
    assert (detail["span"], detail["attributes"], detail["events"], detail["resource"]) == (None, {}, [], None)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{trace_id(0xAB)}/nodes/{99:016x}", 404),
        (f"{trace_id(0xAB)}/nodes/{2:016x}.1", 404),
        (f"{trace_id(0xEE)}/nodes/{2:016x}", 404),
        (f"{trace_id(0xEE)}/nodes", 404),
        (f"{trace_id(0xEE)}/failure", 404),
        (f"{trace_id(0xEE)}/tree", 404),
        (f"{trace_id(0xAB)}/nodes/xyz", 422),
        ("xyz/nodes", 422),
        ("xyz/failure", 422),
        (f"{trace_id(0xAB)}/nodes?limit=201", 422),
        (f"{trace_id(0xAB)}/nodes?cursor=1", 422),
    ],
)
def test_unknown_and_malformed_are_told_apart(api: httpx.Client, path: str, status: int) -> None:
    told, code, _ = refused(api.get(f"/api/v1/executions/{path}"))
    assert (told, code) == (status, {404: "not_found", 422: "invalid_parameter"}[status])


def test_the_failure_report_names_the_cause_and_the_way_up(api: httpx.Client) -> None:
    report = ok(api.get(f"/api/v1/executions/{trace_id(0xAB)}/failure"))
    charge, order = f"{2:016x}", f"{1:016x}"
    fingerprint = report["error"].pop("fingerprint")
    category = report["error"].pop("category")
    assert len(fingerprint) == 16
    assert report.pop("suggestion")
    assert isinstance(category, str)
    assert report == {
        "failed_by": "a step below",
        "handled": [],
        "execution_id": trace_id(0xAB),
        "name": report["name"],
        "status": "failed",
        "first_failed_node": {
            "id": charge,
            "name": "charge",
            "error_type": "CardError",
            "error_message": "declined",
        },
        "cascade": [charge, order],
        "cascade_nodes": [
            {
                "id": charge,
                "name": "charge",
                "kind": "step",
                "status": "failed",
                "error_type": "CardError",
                "error_message": "declined",
            },
            {**report["cascade_nodes"][1], "id": order, "status": "failed"},
        ],
        "error": {"type": "CardError", "message": "declined", "traceback": TRACEBACK},
        "same_cause_count": 0,
        "same_cause": [],
        "retries": [],
        "skipped_nodes": [],
        "analysis_model": None,
    }


def test_an_execution_that_did_not_fail_has_an_empty_report(api: httpx.Client) -> None:
    report = ok(api.get(f"/api/v1/executions/{trace_id(1)}/failure"))
    assert report == {
        "execution_id": trace_id(1),
        "name": "report",
        "status": "completed",
        "first_failed_node": None,
        "cascade": [],
        "cascade_nodes": [],
        "error": None,
        "same_cause_count": 0,
        "same_cause": [],
        "retries": [],
        "skipped_nodes": [],
        "suggestion": None,
        "failed_by": None,
        "handled": [],
        "analysis_model": None,
    }


def test_attributes_are_found_by_key_and_value(api: httpx.Client) -> None:
    for q, found in (("n:7", True), ("host.name:h1", False), ("n:8", False), ("spantree.node.name:notify", True)):
        page = ok(api.get("/api/v1/executions", params={"q": q, "hidden": "true"}))
        assert ([one["trace_id"] for one in page["executions"]] == [trace_id(0xAB)]) is found, q
