"""OpenAPI is complete, and answers are what it says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from tests.api_rows import insert, node, trace, trace_id
from tests.api_server import api_over, ok
from tests.postgres import new_database

from spantree_api.app import ROUTERS
from spantree_api.routes.api_router import BASE
from spantree_exporter.rows import Edge


@pytest.fixture(scope="module")
def api(postgres_url: str, _migrated_template: str) -> Iterator[httpx.Client]:
    with new_database(postgres_url, template=_migrated_template) as url:
        nodes = [node(1, "root", status="failed", task_key="t", attempt=2), node(2, "leaf", 1, input="x")]
        insert(
            url,
            trace(
                1,
                nodes,
                [Edge(1, 0, 2, 0, "conditional", "yes", "declared")],
                status="failed",
                run_id="r",
                conversation_id="c",
                project="p",
                user_id="u",
                first_failed_span_id=1,
                first_failed_ordinal=0,
                error_fingerprint="f",
                input_tokens=1,
                cost_usd=1.0,
            ),
            trace(2, status="waiting", ended_ns=None, error_fingerprint="f", last_seen_ns=0, started_ns=0),
        )
        with api_over(url) as client:
            ok(client.post(f"/api/v1/executions/{trace_id(1)}/analyze"))
            yield client


@pytest.fixture(scope="module")
def document(api: httpx.Client) -> dict[str, Any]:
    answer: dict[str, Any] = ok(api.get("/api/v1/openapi.json"))
    return answer


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            yield path, operation


def test_every_route_has_a_model_a_text_and_the_one_error_shape(document: dict[str, Any]) -> None:
    for path, operation in operations(document):
        assert operation["summary"], path
        assert operation["description"], path
        if "/export/" in path:  # files: lines of what lists answer
            assert operation["responses"]["200"]["content"].keys() >= {"application/x-ndjson", "text/csv"}, path
            continue
        if path.endswith("/stream"):  # Server-Sent Events
            assert list(operation["responses"]["200"]["content"]) == ["text/event-stream"], path
            continue
        content = operation["responses"]["200"]["content"]["application/json"]["schema"]
        # OTLP's own messages are described by their .proto.
        assert path.endswith(("/otlp", "/otlp/logs")) or content.get("$ref", "").startswith("#/components/schemas/"), (
            path
        )
        for status, response in operation["responses"].items():
            if status.startswith(("4", "5")):
                assert response["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorAnswer"), (
                    path,
                    status,
                )
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_every_route_of_the_application_is_in_the_document(document: dict[str, Any]) -> None:
    assert {f"/api/v1{path}" for path in ROUTES} | {"/healthz", "/readyz"} == set(document["paths"])
    assert set(ROUTES) == {path for path, _ in ANSWERED} | {
        "/alerts/rules/{rule_id}",
        "/alerts/rules/{rule_id}/test",
        "/stream",
        "/executions/{trace_id}/stream",
        "/export/audit",
        "/export/audit/own",
        "/export/executions",
        "/export/nodes",
        "/export/spans",
        "/executions/{trace_id}/analyze",
        "/executions/{trace_id}/otlp",
        "/executions/{trace_id}/otlp/logs",
    }


def test_fields_are_described(document: dict[str, Any]) -> None:
    fields = document["components"]["schemas"]["NodeAnswer"]["properties"]
    assert fields["sequence"]["description"] == "1-based position in the execution: depth first, siblings by start"
    assert document["components"]["schemas"]["EdgeAnswer"]["required"] == [
        "from",
        "to",
        "type",
        "condition",
        "provenance",
        "from_trace_id",
    ]


ROUTES = {
    route.path.removeprefix(BASE).replace(":path", ""): route
    for router in ROUTERS
    for route in reversed(router.routes)  # of a path the first, GET, wins
    if isinstance(route, APIRoute)
}
ANSWERED = [
    ("/executions", "/executions?hidden=true"),
    ("/executions/{trace_id}", f"/executions/{trace_id(1)}"),
    ("/executions/{trace_id}/tree", f"/executions/{trace_id(1)}/tree"),
    ("/executions/{trace_id}/tree", f"/executions/{trace_id(1)}/tree?shape=nested"),
    ("/executions/{a}/diff/{b}", f"/executions/{trace_id(1)}/diff/{trace_id(2)}"),
    ("/executions/{trace_id}/stats", f"/executions/{trace_id(1)}/stats"),
    ("/executions/{trace_id}/timeline", f"/executions/{trace_id(1)}/timeline"),
    ("/executions/{trace_id}/timeline/overview", f"/executions/{trace_id(1)}/timeline/overview"),
    ("/executions/{trace_id}/flame", f"/executions/{trace_id(1)}/flame"),
    ("/executions/{trace_id}/timeline/matches", f"/executions/{trace_id(1)}/timeline/matches?q=a"),
    ("/executions/{trace_id}/timeline/folded", f"/executions/{trace_id(1)}/timeline/folded"),
    ("/executions/{trace_id}/nodes", f"/executions/{trace_id(1)}/nodes"),
    ("/executions/{trace_id}/nodes/{node_id}", f"/executions/{trace_id(1)}/nodes/{2:016x}"),
    ("/executions/{trace_id}/failure", f"/executions/{trace_id(1)}/failure"),
    ("/executions/{trace_id}/analysis", f"/executions/{trace_id(1)}/analysis"),
    ("/conversations", "/conversations"),
    ("/conversations/{conversation_id}/executions", "/conversations/c/executions"),
    ("/conversations/{conversation_id}/turns", "/conversations/c/turns"),
    ("/failures", "/failures?hours=168"),
    ("/failures/groups", "/failures/groups?since=2026-11-01T00:00:00Z"),
    ("/failures/groups/{fingerprint}", "/failures/groups/f"),
    ("/stuck", "/stuck"),
    ("/runs/{run_id}", "/runs/r"),
    ("/stats/nodes", "/stats/nodes"),
    ("/stats/workflows", "/stats/workflows"),
    ("/stats/workflows/{name}", "/stats/workflows/report"),
    ("/stats/trend", "/stats/trend?by=node&metric=p95_ms"),
    ("/stats/projects", "/stats/projects"),
    ("/stats/projects/{name}", "/stats/projects/p"),
    ("/stats/users", "/stats/users"),
    ("/stats/users/{user_id}", "/stats/users/u"),
    ("/stats/models", "/stats/models"),
    ("/audit", "/audit?since=1970-01-01T00:00:00Z"),
    ("/audit/own", "/audit/own"),
    ("/workflows", "/workflows"),
    ("/workflows/{name}/map", "/workflows/report/map"),
    ("/stream/position", "/stream/position"),
    ("/alerts/rules", "/alerts/rules"),
    ("/alerts/deliveries", "/alerts/deliveries"),
    ("/health", "/health"),
    ("/health/storage", "/health/storage"),
]


@pytest.mark.parametrize(("path", "request_path"), ANSWERED, ids=[request for _, request in ANSWERED])
def test_an_answer_is_what_the_document_says(api: httpx.Client, path: str, request_path: str) -> None:
    model: TypeAdapter[Any] = TypeAdapter(ROUTES[path].response_model)
    answer = ok(api.get(f"/api/v1{request_path}"))
    # Validation drops what the model does not name: equal means that nothing is missing, extra or of another type.
    assert model.dump_python(model.validate_python(answer, strict=True)) == answer
