"""Whatever goes wrong is told in the one shape, and the API outlives its database."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from uuid import UUID

import httpx
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from tests.api_rows import insert, trace, trace_id
from tests.api_server import api_over, ok, refused
from tests.chaos.cutting_proxy import CuttingProxy
from tests.waiting import free_port, wait_until

from spantree_api.config import ApiConfig
from spantree_api.database import Database
from spantree_api.stored_rows import OtlpSpan, otlp_spans

_ABSENT = "postgresql://nobody@127.0.0.1:{port}/none"


@pytest.fixture
def api(migrated_url: str) -> Iterator[httpx.Client]:
    with api_over(migrated_url) as client:
        yield client


def test_an_unknown_path_is_not_found(api: httpx.Client) -> None:
    assert refused(api.get("/api/v1/nothing")) == (
        404,
        "not_found",
        "no page /api/v1/nothing: /api/v1/docs lists what there is",
    )


def test_a_wrong_method_is_named(api: httpx.Client) -> None:
    answer = api.delete("/api/v1/executions")
    assert refused(answer)[:2] == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET"


def test_head_is_answered_as_get_is_without_the_body(migrated_url: str, api: httpx.Client) -> None:
    insert(migrated_url, *(trace(number) for number in range(1, 30)))
    paths = ("/healthz", "/readyz", "/", "/executions", "/api/v1/executions", "/api/v1/export/spans", "/nothing")
    for path in paths:
        got, head = api.get(path), api.head(path)
        assert (head.status_code, head.text) == (got.status_code, ""), path
        changing = {"date", "transfer-encoding", *(["content-length"] if path == "/" else [])}
        of_got, of_head = (
            {name: value for name, value in answer.headers.items() if name not in changing} for answer in (got, head)
        )
        assert of_head == of_got, path


def test_head_of_what_never_ends_is_an_answer_and_leaves_no_listener(migrated_url: str) -> None:
    with api_over(migrated_url, streams_max=1) as api:
        for _ in range(3):
            wait_until(lambda: api.head("/api/v1/stream").is_success, 10, "the one before has given its place back")
        assert ok(api.get("/healthz")) == {"status": "ok"}


def test_a_defect_is_told_without_its_inner_life(
    migrated_url: str, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a secret")

    insert(migrated_url, trace(1))
    monkeypatch.setattr("spantree_api.routes.executions.execution_answer", broken)
    assert refused(api.get(f"/api/v1/executions/{trace_id(1)}")) == (
        500,
        "internal_error",
        "a defect of spantree: ZeroDivisionError; the server's log has the traceback",
    )


def test_a_database_that_is_away_is_told_and_does_not_stop_the_api() -> None:
    with api_over(_ABSENT.format(port=free_port()), pool_wait_s=0.2) as api:
        assert ok(api.get("/healthz")) == {"status": "ok"}
        for path in ("/api/v1/executions", f"/api/v1/executions/{trace_id(1)}/tree", "/readyz"):
            answer = api.get(path)
            assert refused(answer)[:2] == (503, "database_unavailable"), path
            assert answer.headers["retry-after"] == "2"
        health = api.get("/api/v1/health")
        assert refused(health)[:2] == (503, "database_unavailable")
        details = health.json()["error"]["details"]
        assert (details["status"], details["api"]["status"], details["database"]["status"]) == ("down", "ok", "down")


def test_a_database_without_the_schema_says_what_to_do(database_url: str) -> None:
    with api_over(database_url) as api:
        status, code, message = refused(api.get("/api/v1/executions"))
        assert (status, code) == (503, "database_not_ready")
        assert 'run "spantree migrate"' in message


def test_a_query_that_takes_too_long_is_given_up(migrated_url: str) -> None:
    insert(migrated_url, trace(1))
    with api_over(migrated_url, statement_timeout_ms=150) as api, psycopg.connect(migrated_url) as other:
        other.execute("LOCK TABLE spantree.execution IN ACCESS EXCLUSIVE MODE")
        status, code, message = refused(api.get("/api/v1/executions"))
        assert (status, code) == (503, "query_timeout")
        assert message.startswith("the query took longer than 150 ms")
        other.rollback()
        assert len(ok(api.get("/api/v1/executions"))["executions"]) == 1


def test_it_recovers_by_itself_when_the_database_comes_back(migrated_url: str, postgres_url: str) -> None:
    insert(migrated_url, trace(1))
    name = sql.Identifier(str(conninfo_to_dict(migrated_url)["dbname"]))
    with api_over(migrated_url, pool_wait_s=0.3) as api, psycopg.connect(postgres_url, autocommit=True) as server:
        assert ok(api.get("/readyz")) == {"status": "ready"}
        # As near to a stopped server as a shared one allows: no connections, and the present ones cut.
        server.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            [conninfo_to_dict(migrated_url)["dbname"]],
        )
        assert refused(api.get("/api/v1/executions"))[0] == 503
        server.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))
        wait_until(lambda: api.get("/readyz").status_code == 200, 10, "the API is ready again")
        assert len(ok(api.get("/api/v1/executions"))["executions"]) == 1


def test_a_database_that_does_not_answer_is_told_and_does_not_hold_requests(
    migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(migrated_url, trace(1))
    monkeypatch.setattr("spantree_api.database._SILENT_S", 0.2)
    proxy = CuttingProxy(migrated_url, [])
    try:
        with api_over(proxy.url, statement_timeout_ms=300, pool_wait_s=0.3) as api:
            assert len(ok(api.get("/api/v1/executions"))["executions"]) == 1
            proxy.hold(True)
            status, code, message = refused(api.get("/api/v1/executions"))
            assert (status, code) == (503, "database_unavailable")
            assert message.startswith("PostgreSQL has taken a connection and does not answer on it, for 0.5 s")
            # A connection anew does not come about.
            assert refused(api.get("/readyz"))[:2] == (503, "database_unavailable")
            proxy.hold(False)
            wait_until(lambda: api.get("/readyz").status_code == 200, 20, "the API is ready again")
            assert len(ok(api.get("/api/v1/executions"))["executions"]) == 1
    finally:
        proxy.hold(False)
        proxy.close()


def test_a_request_that_is_cancelled_in_a_pipeline_spoils_no_connection(migrated_url: str) -> None:
    async def ask() -> list[list[OtlpSpan]]:
        database = Database(ApiConfig(database_url=migrated_url, pool_max=1))
        await database.open()
        try:
            with pytest.raises(asyncio.CancelledError):
                async with database.snapshot() as snapshot:
                    # What psycopg leaves behind where it is cancelled as it enters one.
                    await snapshot._connection.pipeline().__aenter__()
                    raise asyncio.CancelledError
            wanted = {"tenant_id": 0, "trace_id": UUID(int=1), "days": []}
            async with database.snapshot() as snapshot:
                return [some async for some in snapshot.chunks("spans_of_trace_without_marks", wanted, otlp_spans)]
        finally:
            await database.close()

    assert asyncio.run(ask()) == []


class TestUnknownParameters:
    def test_a_misspelt_filter_is_refused_with_the_nearest_name(self, api: httpx.Client) -> None:
        answer = api.get("/api/v1/executions?statsu=failed")
        message = "statsu is no parameter of this path: did you mean status?"
        assert refused(answer) == (422, "invalid_parameter", message)
        assert answer.json()["error"]["details"]["errors"] == [
            {"parameter": "statsu", "in": "query", "found": "failed", "message": "did you mean status?"}
        ]

    def test_every_path_refuses_what_it_does_not_have(self, api: httpx.Client) -> None:
        paths = ok(api.get("/api/v1/openapi.json"))["paths"]
        methods = [(path, method) for path in paths if path.startswith("/api/v1/") for method in paths[path]]
        assert len(methods) > 10
        for path, method in methods:
            filled = (
                path.replace("{trace_id}", trace_id(1)).replace("{node_id}", "1" * 16).replace("{", "").replace("}", "")
            )
            status, code, message = refused(api.request(method, filled, params={"no_such_parameter": "1"}))
            assert (status, code) == (422, "invalid_parameter"), path
            assert message.startswith("no_such_parameter is no parameter of this path: it takes "), path

    def test_all_of_them_are_named_at_once(self, api: httpx.Client) -> None:
        message = refused(api.get("/api/v1/executions?Limit=3&wrkflow=x"))[2]
        assert message == (
            "Limit is no parameter of this path: did you mean limit?; "
            "wrkflow is no parameter of this path: did you mean workflow?"
        )

    def test_what_counts_once_is_given_once(self, api: httpx.Client) -> None:
        answer = api.get("/api/v1/executions?workflow=a&status=failed&workflow=b&limit=3&limit=4&status=partial")
        message = "workflow is given 2 times: wanted once; limit is given 2 times: wanted once"
        assert refused(answer) == (422, "invalid_parameter", message)
        assert ok(api.get("/api/v1/executions?status=failed&status=partial"))["executions"] == []
        assert refused(api.get(f"/api/v1/executions/{trace_id(1)}/tree?depth=1&depth=2"))[0] == 422

    def test_a_number_is_no_moment(self, api: httpx.Client) -> None:
        paths = ("executions", "export/executions", "stats/trend", "failures/groups", "audit", "workflows/x/map")
        for path in paths:
            for number in ("1", "-1", "24.5", "1700000000", "1700000000000", " 7 "):
                status, code, message = refused(api.get(f"/api/v1/{path}", params={"since": number}))
                assert (status, code) == (422, "invalid_parameter"), path
                assert (
                    "wanted a moment as RFC 3339 writes it, with its time zone, such as 2026-11-28T06:00:00Z" in message
                )
        rule = {"name": "x", "kind": "failure", "webhook_url": "https://hooks.example.com/x", "silenced_until": 24}
        assert "wanted a moment" in refused(api.post("/api/v1/alerts/rules", json=rule))[2]


class TestDocsPage:
    def test_needs_no_script_and_no_other_server(self, api: httpx.Client) -> None:
        answer = api.get("/api/v1/docs")
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        for loading in ("<script", "src=", "//", "@import", "url("):
            assert loading not in answer.text.replace("<!doctype", ""), loading

    def test_tells_every_path_parameter_and_field(self, api: httpx.Client) -> None:
        page, document = api.get("/api/v1/docs").text, ok(api.get("/api/v1/openapi.json"))
        for path, methods in document["paths"].items():
            assert f"<code>{path}</code>" in page
            for operation in methods.values():
                for parameter in operation.get("parameters", ()):
                    assert f"<code>{parameter['name']}</code>" in page, (path, parameter["name"])
        for name, schema in document["components"]["schemas"].items():
            assert f'id="{name}"' in page
            for field in schema.get("properties", {}):
                assert f"<code>{field}</code>" in page, (name, field)


def test_a_malformed_id_is_told_what_an_id_is(api: httpx.Client) -> None:
    for path in ("executions/12", "executions/12/tree", "executions/12/failure"):
        assert refused(api.get(f"/api/v1/{path}"))[2] == (
            "trace_id is '12': wanted a trace id: 32 hex digits in either case, or a UUID with dashes"
        )
    wrong_root = refused(api.get(f"/api/v1/executions/{trace_id(1)}/tree?root=x"))[2]
    assert wrong_root == "root is 'x': wanted a span id: 16 hex digits; .N names a further node of that span id"
