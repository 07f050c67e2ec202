"""Who asked what of which service: the view and the list."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest
from tests.api_server import api_over, ok, refused
from tests.factories import DAY_NS, NOON_NS, SECOND_NS, span, trace_id
from tests.postgres import new_database
from tests.tables import project_all

from spantree_exporter.postgres.store import Store
from spantree_exporter.span import KIND_CLIENT, KIND_SERVER

NOW_NS = NOON_NS + 3_600 * SECOND_NS
NEW = {
    "http.request.method": "PUT",
    "http.route": "/api/orders/{order_id}/lines/{line}",
    "url.path": "/api/orders/77/lines/3",
    "http.response.status_code": 403,
    "client.address": "10.0.0.9",
    "user_agent.original": "curl/8",
    "user.id": "ann",
}
OLD = {
    "http.method": "DELETE",
    "http.target": "/invoices/1234?token=secret",
    "http.status_code": 204,
    "net.peer.ip": "10.0.0.1",
    "http.user_agent": "old",
}


def request(trace: int, attributes: dict[str, Any], number: int = 1, **more: Any) -> Any:
    values: dict[str, Any] = {"start_ns": NOON_NS + trace * SECOND_NS, "kind": KIND_SERVER, "name": "request"}
    return span(number, trace=trace, attributes=attributes, **(values | more))


@pytest.fixture(scope="module")
def url(postgres_url: str, _migrated_template: str) -> Iterator[str]:
    with new_database(postgres_url, template=_migrated_template) as database_url:
        store = Store(database_url)
        store.write(
            [
                request(1, NEW),
                # The user is told by a step of the execution only.
                request(2, OLD, service="bills"),
                span(2, trace=2, parent=1, name="step", start_ns=NOON_NS, attributes={"enduser.id": "bob"}),
                request(3, {"http.request.method": "GET", "http.route": "/health", "url.path": "/health"}),
                request(4, {"rpc.service": "shop.Orders", "rpc.method": "Ship"}, error="no stock"),
                request(5, {"http.request.method": "GET", "url.path": "/x"}, kind=KIND_CLIENT),
                request(6, {"http.method": "POST", "http.route": "/users/<int:id>", "http.target": "/users/5",
                            "http.status_code": "many", "audit.action": "promote", "audit.resource.type": "account"}),
                request(7, NEW, start_ns=NOON_NS - 3 * DAY_NS),
            ]
        )  # fmt: skip
        project_all(database_url, store)
        store.close()
        yield database_url


@pytest.fixture(scope="module")
def api(url: str) -> Iterator[httpx.Client]:
    with api_over(url, now_ns=NOW_NS) as client:
        yield client


def told(answer: Any) -> list[tuple[Any, ...]]:
    return [
        (one["user"], one["action"], one["resource_type"], one["resource_id"], one["status"], one["success"])
        for one in answer["entries"]
    ]


def test_requests_newest_first(api: httpx.Client) -> None:
    answer = ok(api.get("/api/v1/audit"))
    assert told(answer) == [
        (None, "promote", "account", "5", None, True),
        (None, "Ship", "shop.Orders", None, None, False),
        ("bob", "delete", "invoices", "1234", 204, True),
        ("ann", "update", "lines", "3", 403, False),
    ]
    assert answer["entries"][-1] == {
        "at": "2026-11-20T12:00:01.000000000Z",
        "user": "ann",
        "action": "update",
        "resource_type": "lines",
        "resource_id": "3",
        "tenant": "0",
        "method": "PUT",
        "path": "/api/orders/77/lines/3",
        "status": 403,
        "success": False,
        "error": None,
        "address": "10.0.0.9",
        "user_agent": "curl/8",
        "execution_id": trace_id(1).hex(),
        "span_id": "0000000000000001",
        "service": "shop",
        "route": "/api/orders/{order_id}/lines/{line}",
        "duration_ms": 1000.0,
    }
    assert answer["entries"][2]["path"] == "/invoices/1234"
    assert answer["entries"][1]["error"] == "no stock"


@pytest.mark.parametrize(
    ("query", "actions"),
    [
        ("user=bob", ["delete"]),
        ("user=eve", []),
        ("action=DELETE", ["delete"]),
        ("action=post", ["promote"]),
        ("resource=lines", ["update"]),
        ("resource=account/5", ["promote"]),
        ("resource=/invoices/1234", ["delete"]),
        ("service=bills", ["delete"]),
        ("success=false", ["Ship", "update"]),
        ("since=2026-11-20T12:00:03Z&hidden=true", ["promote", "Ship", "read"]),
        ("until=2026-11-20T12:00:02Z", ["update"]),
        ("since=2026-11-01T00:00:00Z&user=ann", ["update", "update"]),
    ],
)
def test_requests_by_filter(api: httpx.Client, query: str, actions: list[str]) -> None:
    assert [one["action"] for one in ok(api.get(f"/api/v1/audit?{query}"))["entries"]] == actions


@pytest.mark.parametrize(("walked", "look_s"), [(2_000, 0.25), (1, 0.25), (1, -1.0)])
def test_pages_hold_each_request_once(
    api: httpx.Client, monkeypatch: pytest.MonkeyPatch, walked: int, look_s: float
) -> None:
    monkeypatch.setattr("spantree_api.reads.audit._WALKED", walked)
    monkeypatch.setattr("spantree_api.reads.audit._LOOK_S", look_s)
    found, cursor = [], ""
    while True:
        page = ok(api.get(f"/api/v1/audit?since=2026-11-01T00:00:00Z&limit=2{cursor}"))
        found += [one["action"] for one in page["entries"]]
        assert len(page["entries"]) <= 2
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert found == ["promote", "Ship", "delete", "update", "update"]


def test_what_cannot_be_asked(api: httpx.Client) -> None:
    for query in ("cursor=abc", "since=2026-11-20T12:00:00Z&until=2026-11-20T11:00:00Z", "success=perhaps", "who=ann"):
        assert refused(api.get(f"/api/v1/audit?{query}"))[:2] == (422, "invalid_parameter")


def test_the_view_tells_the_same(url: str, api: httpx.Client) -> None:
    entries = ok(api.get("/api/v1/audit?since=2026-11-01T00:00:00Z&hidden=true"))["entries"]
    columns = ("action", "resource_type", "resource_id", "tenant", "method", "path", "status", "success", "error")
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT user_id, action, resource_type, resource_id, tenant, method, path, status, success, error"
            " FROM spantree.audit WHERE tenant_id = 0 AND day BETWEEN '2026-11-01' AND '2026-11-20'"
            " ORDER BY started_ns DESC"
        ).fetchall()
    assert rows == [(one["user"], *(one[column] for column in columns)) for one in entries]


def test_an_export_has_every_entry_and_goes_on_after_any(api: httpx.Client) -> None:
    filters = {"since": "2026-11-01T00:00:00Z", "hidden": "true"}
    entries = ok(api.get("/api/v1/audit", params={**filters, "limit": 200}))["entries"]
    lines = [json.loads(line) for line in api.get("/api/v1/export/audit", params=filters).text.splitlines()]
    assert [{key: line[key] for key in line if key != "cursor"} for line in lines] == entries
    rest = api.get("/api/v1/export/audit", params={**filters, "cursor": lines[1]["cursor"]}).text.splitlines()
    assert [json.loads(line) for line in rest] == lines[2:]
    table = api.get("/api/v1/export/audit", params={**filters, "format": "csv"}).text
    assert [row["span_id"] for row in csv.DictReader(io.StringIO(table))] == [line["span_id"] for line in lines]
