"""Figures of nodes and workflows, and the health of the whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest
from tests.api_rows import NOW_NS, T0_NS, S, insert, node, trace, trace_id
from tests.api_server import api_over, ok, refused
from tests.postgres import new_database

DAY_NS = 86_400 * S


@pytest.fixture(scope="module")
def api(postgres_url: str, _migrated_template: str) -> Iterator[httpx.Client]:
    def lasting(ms: int, span_id: int) -> dict[str, int]:
        start = T0_NS + span_id
        return {"started_ns": start, "ended_ns": start + ms * 1_000_000}

    with new_database(postgres_url, template=_migrated_template) as url:
        insert(
            url,
            trace(
                1,
                [
                    node(1, "report"),
                    node(2, "fetch", 1, **lasting(100, 2)),
                    node(3, "fetch", 1, **lasting(300, 3)),
                    node(4, "fetch", 1, status="failed", **lasting(200, 4)),
                    node(5, "fetch", 1, status="retried", **lasting(200, 5)),
                    node(6, "render", 1, status="timed_out", **lasting(1, 6)),
                    node(7, "ask", 1, status="running", kind="llm", ended_ns=None),
                ],
                status="partial",
                error_category="timeout",
            ),
            trace(2, [node(1, "report")], status="failed", started_ns=T0_NS + S, ended_ns=T0_NS + 5 * S),
            trace(3, [node(1, "report")], started_ns=T0_NS - 6 * DAY_NS, ended_ns=T0_NS - 6 * DAY_NS + 6 * S),
            trace(4, [node(1, "old", started_ns=T0_NS - 8 * DAY_NS)], started_ns=T0_NS - 8 * DAY_NS),
            trace(5, [node(1, "main", workflow_name="a/b")], workflow_name="a/b", status="running", ended_ns=None),
            trace(6, workflow_name="ping", hidden=True),
        )
        with api_over(url) as client:
            yield client


def test_node_figures_come_worst_first(api: httpx.Client) -> None:
    stats = ok(api.get("/api/v1/stats/nodes?workflow=report"))
    assert stats["days"] == 7
    assert [(one["name"], one["total"], one["failed"], one["success_rate"]) for one in stats["nodes"]] == [
        ("render", 1, 1, 0.0),
        ("fetch", 4, 1, pytest.approx(2 / 3)),
        ("report", 3, 0, 1.0),
        ("ask", 1, 0, None),
    ]
    assert stats["nodes"][1] == {
        "workflow": "report",
        "name": "fetch",
        "kind": "step",
        "total": 4,
        "completed": 2,
        "failed": 1,
        "retried": 1,
        "skipped": 0,
        "cancelled": 0,
        "timed_out": 0,
        "success_rate": pytest.approx(2 / 3),
        "avg_ms": 200.0,
        "p50_ms": pytest.approx(200.0, rel=0.02),
        "p95_ms": pytest.approx(300.0, rel=0.02),
        "p99_ms": pytest.approx(300.0, rel=0.02),
        "last_failed_at": "2026-11-20T10:00:00.000000004Z",
    }


def test_node_figures_follow_their_filters(api: httpx.Client) -> None:
    def names(query: str) -> list[str]:
        return [one["name"] for one in ok(api.get(f"/api/v1/stats/nodes?{query}"))["nodes"]]

    assert names("kind=llm") == ["ask"]
    assert names("workflow=a/b") == ["main"]
    assert "old" in names("days=9")
    assert "old" not in names("days=8")
    assert names("limit=1") == ["render"]
    assert refused(api.get("/api/v1/stats/nodes?days=31"))[:2] == (422, "invalid_parameter")


def test_figures_are_of_the_hours_that_were_asked_for(api: httpx.Client) -> None:
    def runs(query: str, of: str = "workflows") -> dict[str, int]:
        answer = ok(api.get(f"/api/v1/stats/{of}?{query}"))
        return {one["name"]: one.get("runs", one.get("total")) for one in answer[of]}

    assert runs("since=2026-11-20T10:00:00Z") == {"report": 2, "a/b": 1}
    # The hour that a bound is within counts as a whole; one that begins with it does not.
    assert runs("since=2026-11-20T10:59:00Z") == {"report": 2, "a/b": 1}
    assert runs("until=2026-11-20T10:00:01Z") == {"report": 3, "a/b": 1}
    assert runs("until=2026-11-20T10:00:00Z") == {"report": 1}
    assert runs("since=2026-11-14T11:00:00%2B01:00&until=2026-11-15T00:00:00Z") == {"report": 1}
    assert runs("since=2026-11-14T11:00:00Z&until=2026-11-15T00:00:00Z") == {}
    assert runs("since=2026-11-12T00:00:00Z&until=2026-11-14T00:00:00Z", "nodes") == {"old": 1}
    answer = ok(api.get("/api/v1/stats/nodes?since=2026-11-12T10:20:00%2B02:00&until=2026-11-14T00:30:00Z"))
    assert (answer["days"], answer["since"], answer["until"]) == (
        2,
        "2026-11-12T08:00:00.000000000Z",
        "2026-11-14T01:00:00.000000000Z",
    )
    answer = ok(api.get("/api/v1/stats/workflows/report?until=2026-11-20T10:00:00Z"))
    assert (answer["runs"], [int(one["trace_id"], 16) for one in answer["recent"]]) == (1, [3])
    assert ok(api.get("/api/v1/stats/workflows"))["until"] is None
    for query in ("since=2026-10-01T00:00:00Z", "until=2026-10-01T00:00:00Z", "since=2026-11-21T00:00:00Z"):
        assert refused(api.get(f"/api/v1/stats/nodes?{query}"))[:2] == (422, "invalid_parameter"), query
    later = "since=2026-11-20T10:00:00Z&until=2026-11-20T10:00:00Z"
    assert refused(api.get(f"/api/v1/stats/models?{later}"))[:2] == (422, "invalid_parameter")


def test_the_view_counts_the_same(postgres_url: str, _migrated_template: str) -> None:
    with new_database(postgres_url, template=_migrated_template) as url:
        nodes = [node(1, "w"), node(2, "x", 1, status="timed_out"), node(3, "x", 1), node(4, "x", 1, status="skipped")]
        nodes[3].ended_ns = nodes[3].started_ns
        insert(url, trace(1, nodes))
        columns = ("name", "total", "completed", "failed", "success_rate", "avg_ms", "p50_ms", "p99_ms")
        with psycopg.connect(url) as connection, api_over(url) as api:
            rows = connection.execute(
                "SELECT name, total, completed, failed, success_rate, avg_ms, p50_ms, p99_ms"
                " FROM spantree.node_stats ORDER BY success_rate"
            ).fetchall()
            stats = ok(api.get("/api/v1/stats/nodes"))["nodes"]
        assert [tuple(one[column] for column in columns) for one in stats] == rows
        # What was skipped took no time, and says nothing of how long it takes.
        assert rows[0][:2] == ("x", 3)
        assert rows[0][5:] == (1000.0, pytest.approx(1000, rel=0.02), pytest.approx(1000, rel=0.02))


def test_workflow_figures(api: httpx.Client) -> None:
    stats = ok(api.get("/api/v1/stats/workflows"))
    assert [(one["name"], one["runs"]) for one in stats["workflows"]] == [("report", 3), ("a/b", 1)]
    assert stats["workflows"][0] == {
        "name": "report",
        "runs": 3,
        "completed": 1,
        "failed": 1,
        "partial": 1,
        "timed_out": 0,
        "cancelled": 0,
        "open": 0,
        "waited": 0,
        "success_rate": pytest.approx(1 / 3),
        "avg_ms": pytest.approx(4000.0),
        "p50_ms": pytest.approx(4000.0, rel=0.02),
        "p95_ms": pytest.approx(6000.0, rel=0.02),
        "p99_ms": pytest.approx(6000.0, rel=0.02),
        "last_started_at": "2026-11-20T10:00:01.000000000Z",
    }
    assert len(ok(api.get("/api/v1/stats/workflows?hidden=true"))["workflows"]) == 3


def test_quantiles_of_one_run_are_its_duration(migrated_url: str) -> None:
    lasted: dict[str, Any] = {"started_ns": T0_NS, "ended_ns": T0_NS + 1_234_567_000}
    steps = [node(1, "once", workflow_name="once", **lasted)]
    insert(migrated_url, trace(1, steps, workflow_name="once", user_id="ann", **lasted))
    with api_over(migrated_url) as api:
        for path in ("/stats/workflows/once", "/stats/users/ann"):
            told = ok(api.get(f"/api/v1{path}"))
            assert {told[key] for key in ("avg_ms", "p50_ms", "p95_ms", "p99_ms")} == {1234.567}, path
        [one] = ok(api.get("/api/v1/stats/nodes?workflow=once"))["nodes"]
        assert {one[key] for key in ("avg_ms", "p50_ms", "p95_ms", "p99_ms")} == {1234.567}
        for bucket in ("1m", "1h", "1d"):
            trend = ok(api.get(f"/api/v1/stats/trend?metric=p50_ms&by=workflow&name=once&bucket={bucket}"))
            [series] = trend["series"]
            assert [point["value"] for point in series["points"] if point["value"] is not None] == [1234.567], bucket
    with psycopg.connect(migrated_url) as connection:
        for view in ("workflow_stats", "node_stats", "users"):
            query = f"SELECT p50_ms, p95_ms, p99_ms FROM spantree.{view}".encode()
            assert connection.execute(query).fetchall() == [(1234.567,) * 3], view


def test_what_figures_call_by_the_beginning_of_its_name_is_listed(migrated_url: str) -> None:
    names = {1: "é" * 100, 2: "é" * 100 + "a", 3: "é" * 100 + " b", 4: "é" * 99 + "f", 5: "é" * 99, 6: "z" * 300}
    rows = [
        trace(number, [node(1, "n", workflow_name=name)], workflow_name=name, status="failed")
        for number, name in names.items()
    ]
    insert(migrated_url, *rows)
    with api_over(migrated_url) as api:
        told = {one["name"]: one["runs"] for one in ok(api.get("/api/v1/stats/workflows"))["workflows"]}
        assert told == {"é" * 100: 3, "é" * 99 + "f": 1, "é" * 99: 1, "z" * 100: 1}
        for name, runs in told.items():
            for path, key in (("/executions", "executions"), ("/failures", "failures")):
                listed = ok(api.get(f"/api/v1{path}", params={"workflow": name}))[key]
                assert len(listed) == runs, (path, name)
                assert all(one["workflow_name"].startswith(name) for one in listed)
            assert len(ok(api.get(f"/api/v1/stats/workflows/{name}"))["recent"]) == runs
        assert len(ok(api.get("/api/v1/executions", params={"workflow": "z" * 300}))["executions"]) == 1
        lines = api.get("/api/v1/export/executions", params={"workflow": "é" * 100}).text.splitlines()
        assert len(lines) == 3
        pages = [ok(api.get("/api/v1/executions", params={"workflow": "é" * 100, "limit": 1}))]
        while (cursor := pages[-1]["next_cursor"]) is not None:
            pages.append(
                ok(api.get("/api/v1/executions", params={"workflow": "é" * 100, "limit": 1, "cursor": cursor}))
            )
        assert [len(page["executions"]) for page in pages] == [1, 1, 1]


def test_one_workflow_has_its_errors_most_used_node_and_newest_executions(api: httpx.Client) -> None:
    told = ok(api.get("/api/v1/stats/workflows/report"))
    recent = told.pop("recent")
    assert [one["trace_id"] for one in recent] == [trace_id(n) for n in (2, 1, 3)]
    assert told == {
        **ok(api.get("/api/v1/stats/workflows"))["workflows"][0],
        "days": 7,
        "since": "2026-11-13T11:00:00.000000000Z",
        "until": None,
        "errors": [{"category": "timeout", "count": 1}, {"category": "unknown", "count": 1}],
        "most_used_node": "fetch",
    }
    assert ok(api.get("/api/v1/stats/workflows/a%2Fb"))["open"] == 1
    assert refused(api.get("/api/v1/stats/workflows/none"))[:2] == (404, "not_found")


def test_health_of_an_empty_database(migrated_url: str) -> None:
    with api_over(migrated_url) as api:
        assert ok(api.get("/api/v1/health")) == {
            "status": "ok",
            "checked_at": "2026-11-20T11:00:00.000000000Z",
            "api": {"status": "ok", "message": "answers"},
            "database": {"status": "ok", "message": "answers"},
            "collector": {"status": "unknown", "message": "no span came since yesterday"},
            "projection": {"status": "ok", "message": "0 traces wait for projection"},
            "collector_last_seen_at": None,
            "projection_lag_ms": 0.0,
            "pending_traces": 0,
            "dead_letters": 0,
            "dead_letters_by_reason": [],
            "executions_last_hour": 0,
            "error_rate": None,
            "tls": None,
            "certificate_days_left": None,
            "replica": {"status": "ok", "message": "none: reads come from the database that is written"},
            "replication_lag_ms": None,
            "collectors": None,
        }


def test_health_of_a_database_that_keeps_it_waiting_advises_nothing_about_lists(migrated_url: str) -> None:
    with psycopg.connect(migrated_url) as other, api_over(migrated_url, statement_timeout_ms=300) as api:
        other.execute("LOCK TABLE spantree.pending_projection")
        answer = api.get("/api/v1/health")
        status, code, message = refused(answer)
        assert (status, code) == (503, "query_timeout")
        assert "a lock keeps its tables" in message and "since" not in message
        assert answer.json()["error"]["details"]["database"] == {"status": "down", "message": message}


def test_health_tells_lag_dead_letters_and_error_rate(migrated_url: str) -> None:
    recent: dict[str, Any] = {"started_ns": NOW_NS - 10 * S, "last_seen_ns": NOW_NS - 4 * S}
    insert(
        migrated_url,
        trace(1, **recent),
        trace(2, **recent, status="failed"),
        trace(3, **recent, status="partial"),
        trace(4, **recent, status="completed"),
        trace(5, **recent, status="failed", hidden=True),
        trace(6, status="failed", started_ns=T0_NS - S, last_seen_ns=T0_NS),
    )
    with psycopg.connect(migrated_url) as connection:
        connection.execute(
            "INSERT INTO spantree.pending_projection (tenant_id, trace_id, first_pending_at, due_at, batches, spans,"
            " root_ended) VALUES (0, gen_random_uuid(), '2026-11-20 10:58:30+00', now(), 1, 5, false)"
        )
        connection.execute(
            "INSERT INTO spantree.dead_letter (tenant_id, digest, received_ns, cause, count, reason, encoding, raw)"
            " VALUES (0, 'x', 0, 'refused', 7, 'bad', 'json', '{}')"
        )
    with api_over(migrated_url) as api:
        health = ok(api.get("/api/v1/health"))
        assert health["status"] == "degraded"
        assert health["projection"]["status"] == "degraded"
        assert health["collector"] == {"status": "ok", "message": "took in a span 4 s ago"}
        assert health["collector_last_seen_at"] == "2026-11-20T10:59:56.000000000Z"
        assert (health["projection_lag_ms"], health["pending_traces"], health["dead_letters"]) == (90_000.0, 1, 1)
        assert health["dead_letters_by_reason"] == [{"reason": "refused", "letters": 1, "count": 7}]
        assert (health["executions_last_hour"], health["error_rate"]) == (4, 0.5)
