"""Whatever goes wrong is told in the one shape, and the API outlives its database."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from tests.api_rows import insert, trace, trace_id
from tests.api_server import api_over, ok, refused
from tests.waiting import free_port, wait_until

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
