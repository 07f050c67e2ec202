"""Figures over time, of projects, users and models, and the map of a workflow."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import httpx
import psycopg
import pytest
from tests.api_rows import NOW_NS, T0_NS, S, insert, node, trace, trace_id
from tests.api_server import api_over, ok, refused
from tests.factories import NOON_NS, span
from tests.factories import trace_id as sent_trace_id
from tests.postgres import new_database
from tests.rollup_checks import sum_up, wrong_figures
from tests.tables import project_all

from spantree_exporter.postgres.store import Store
from spantree_exporter.rows import Edge
from spantree_exporter.span import Attributes

HOUR_NS = 3_600 * S
DAY_NS = 24 * HOUR_NS


def edge(start: int, end: int, kind: str = "sequential", condition: str | None = None) -> Edge:
    return Edge(start, 0, end, 0, kind, condition, "declared")


@pytest.fixture(scope="module")
def url(postgres_url: str, _migrated_template: str) -> Iterator[str]:
    def steps(**second: Any) -> list[Any]:
        return [
            node(1, "report"),
            node(2, "fetch", 1, kind="tool"),
            node(3, "ask", 1, kind="llm", model="m-1", input_tokens=10, output_tokens=5, cost_usd=0.5, **second),
        ]

    whose: dict[str, Any] = {"user_id": "ann", "project": "shop"}
    used: dict[str, Any] = {"input_tokens": 10, "output_tokens": 5, "cost_usd": 0.5}
    again = node(2, "send", 1, workflow_name="bill", status="retried")
    ways = [edge(2, 3, "conditional", "long")]
    with new_database(postgres_url, template=_migrated_template) as database_url:
        insert(
            database_url,
            trace(1, steps(), ways, **whose, **used),
            trace(2, steps(status="failed"), ways, status="failed", error_category="timeout", **whose, **used),
            trace(
                3,
                [node(1, "report"), node(2, "fetch", 1, kind="tool")],
                started_ns=T0_NS + 40 * 60 * S,
                ended_ns=T0_NS + 40 * 60 * S + 8 * S,
                user_id="bob",
            ),
            trace(4, [node(1, "bill", workflow_name="bill"), again], workflow_name="bill", service="bills",
                  project="shop", entry="queue invoices", started_ns=T0_NS - 3 * DAY_NS,
                  ended_ns=T0_NS - 3 * DAY_NS + 60 * S),
            trace(5, workflow_name="ping", hidden=True),
        )  # fmt: skip
        yield database_url


@pytest.fixture(scope="module")
def api(url: str) -> Iterator[httpx.Client]:
    with api_over(url) as client:
        yield client


def points(answer: Any) -> dict[str | None, list[Any]]:
    """The values of each series that are neither 0 nor null, with the hour or day they begin at."""
    return {
        series["name"]: [(point["at"][5:16], point["value"]) for point in series["points"] if point["value"]]
        for series in answer["series"]
    }


def test_runs_by_hour(api: httpx.Client) -> None:
    answer = ok(api.get("/api/v1/stats/trend"))
    assert {key: answer[key] for key in ("metric", "by", "bucket", "since", "until", "counted_back_to")} == {
        "metric": "runs",
        "by": "workflow",
        "bucket": "1h",
        "since": "2026-11-19T11:00:00.000000000Z",
        "until": "2026-11-20T11:00:00.000000000Z",
        "counted_back_to": None,
    }
    assert points(answer) == {"report": [("11-20T10:00", 3)]}
    assert [len(series["points"]) for series in answer["series"]] == [24]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("bucket=1d", {"report": [("11-20T00:00", 3)], "bill": [("11-17T00:00", 1)]}),
        # Midnight on Kiritimati, half past three in the afternoon in Calcutta.
        ("bucket=1d&tz=Pacific/Kiritimati", {"report": [("11-20T10:00", 3)], "bill": [("11-17T10:00", 1)]}),
        ("bucket=1d&tz=Asia/Kolkata", {"report": [("11-19T18:30", 3)], "bill": [("11-16T18:30", 1)]}),
        (
            "bucket=1d&tz=Asia/Kolkata&metric=p95_ms&name=report",
            {"report": [("11-19T18:30", pytest.approx(8000, rel=0.02))]},
        ),
        ("bucket=1d&by=all&hidden=true", {None: [("11-17T00:00", 1), ("11-20T00:00", 4)]}),
        ("bucket=1d&by=workflow&name=bill", {"bill": [("11-17T00:00", 1)]}),
        ("bucket=1d&by=service", {"agent": [("11-20T00:00", 3)], "bills": [("11-17T00:00", 1)]}),
        ("bucket=1d&by=project&metric=failures", {"shop": [("11-20T00:00", 1)]}),
        ("by=category&metric=failures", {"timeout": [("11-20T10:00", 1)]}),
        ("by=user&metric=success_rate", {"ann": [("11-20T10:00", 0.5)], "bob": [("11-20T10:00", 1.0)]}),
        ("by=node&metric=failures&workflow=report&name=ask", {"ask": [("11-20T10:00", 1)]}),
        ("bucket=1d&by=node&name=send&metric=retries", {"send": [("11-20T00:00", 1)]}),
        ("bucket=1d&name=bill&metric=retries", {"bill": [("11-17T00:00", 1)]}),
        ("by=model&metric=tokens", {"m-1": [("11-20T10:00", 30)]}),
        ("by=model&metric=cost_usd", {"m-1": [("11-20T10:00", 1.0)]}),
        ("metric=p95_ms", {"report": [("11-20T10:00", pytest.approx(8000, rel=0.02))]}),
        ("metric=p50_ms", {"report": [("11-20T10:00", pytest.approx(2000, rel=0.02))]}),
        ("limit=1&by=user", {"ann": [("11-20T10:00", 2)]}),
        ("bucket=5m", {"report": [("11-20T10:00", 2), ("11-20T10:40", 1)]}),
        ("bucket=1m&metric=p95_ms&by=user", {"bob": [("11-20T10:40", 8000.0)], "ann": [("11-20T10:00", 2000.0)]}),
        ("bucket=5m&by=node&name=ask&metric=failures", {"ask": [("11-20T10:00", 1)]}),
        ("bucket=1m&by=model&metric=tokens", {"m-1": [("11-20T10:00", 30)]}),
        ("bucket=5m&by=category", {"timeout": [("11-20T10:00", 1)]}),
    ],
)
def test_a_trend_by_anything(api: httpx.Client, query: str, expected: dict[str | None, list[Any]]) -> None:
    assert points(ok(api.get(f"/api/v1/stats/trend?{query}"))) == expected


def test_a_trend_by_days_of_a_time_zone_says_so_and_minutes_have_none(api: httpx.Client) -> None:
    answer = ok(api.get("/api/v1/stats/trend?bucket=1d&tz=Europe/Oslo&since=2026-11-19T00:00:00Z"))
    assert (answer["tz"], answer["since"], answer["until"]) == (
        "Europe/Oslo", "2026-11-18T23:00:00.000000000Z", "2026-11-20T23:00:00.000000000Z",
    )  # fmt: skip
    assert ok(api.get("/api/v1/stats/trend"))["tz"] is None
    assert refused(api.get("/api/v1/stats/trend?bucket=5m&tz=Europe/Oslo"))[:2] == (422, "invalid_parameter")


def test_steps_of_hidden_executions_and_long_names_are_the_same_by_minutes_and_by_hours(migrated_url: str) -> None:
    long = "n" * 100
    insert(
        migrated_url,
        trace(1, [node(1, "probe")], hidden=True),
        trace(2, [node(1, f"{long}-1"), node(2, f"{long}-2", 1)], workflow_name=f"{long}-3"),
    )
    with api_over(migrated_url) as api:
        for by, expected in (("node", {"probe": 1, long: 2}), ("workflow", {long: 1})):
            for bucket in ("1m", "5m", "1h", "1d"):
                told = points(ok(api.get(f"/api/v1/stats/trend?by={by}&bucket={bucket}")))
                assert {name: sum(value for _, value in values) for name, values in told.items()} == expected, bucket


def test_the_longest_run_of_a_project_is_of_the_first_hour_that_figures_have(migrated_url: str) -> None:
    # Figures begin with the whole hour, up to an hour before the range does.
    now_ns = NOW_NS + HOUR_NS // 2
    began_ns = now_ns - DAY_NS - HOUR_NS // 2
    insert(
        migrated_url,
        trace(1, started_ns=began_ns, ended_ns=began_ns + 60 * S, project="shop", entry="queue invoices"),
        trace(2, project="shop"),
    )
    with api_over(migrated_url, now_ns) as api:
        told = ok(api.get("/api/v1/stats/projects/shop?days=1"))
    assert (told["runs"], told["most_used"]["queue"]) == (2, "invoices")
    assert told["longest_run"] == {"execution_id": trace_id(1), "duration_ms": 60_000.0}


def test_minutes_tell_how_far_back_they_were_counted(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spantree_api.reads.trends._WALKED", 1)
    answer = ok(api.get("/api/v1/stats/trend?bucket=5m"))
    assert points(answer) == {"report": [("11-20T10:40", 1)]}
    assert answer["counted_back_to"] == "2026-11-20T10:40:00.000000000Z"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("bucket=1m&since=2026-11-19T10:00:00Z", "wanted 6 at most"),
        ("bucket=1h&since=2025-11-19T10:00:00Z", "or a longer bucket"),
        ("since=2026-11-21T10:00:00Z", "until is not after since"),
        ("until=0001-01-01T00:00:00Z", "before 1970"),
        ("until=1970-01-01T01:00:00Z&since=0001-01-01T00:00:00Z", "too many"),
        ("metric=speed", "metric"),
    ],
)
def test_a_trend_that_cannot_be_told(api: httpx.Client, query: str, said: str) -> None:
    status, code, message = refused(api.get(f"/api/v1/stats/trend?{query}"))
    assert (status, code) == (422, "invalid_parameter")
    assert said in message


def test_a_trend_ends_where_the_present_does(api: httpx.Client) -> None:
    answer = ok(api.get("/api/v1/stats/trend?since=2026-11-20T10:30:00Z&until=9999-12-31T23:59:59Z"))
    assert (answer["since"][:16], answer["until"][:16]) == ("2026-11-20T10:00", "2026-11-20T12:00")


def test_a_project(api: httpx.Client) -> None:
    answer = ok(api.get("/api/v1/stats/projects/shop"))
    assert answer == {
        "project": "shop",
        "runs": 3,
        "completed": 2,
        "failed": 1,
        "partial": 0,
        "timed_out": 0,
        "cancelled": 0,
        "open": 0,
        "waited": 0,
        "success_rate": pytest.approx(2 / 3),
        "avg_ms": pytest.approx(64_000 / 3),
        "p50_ms": pytest.approx(2000, rel=0.02),
        "p95_ms": pytest.approx(60_000, rel=0.02),
        "p99_ms": pytest.approx(60_000, rel=0.02),
        "input_tokens": 20,
        "output_tokens": 10,
        "cost_usd": 1.0,
        "last_started_at": "2026-11-20T10:00:00.000000000Z",
        "days": 7,
        "since": "2026-11-13T11:00:00.000000000Z",
        "until": None,
        "workflows": 2,
        "executions": 3,
        "errors": 1,
        "by_workflow": [{"name": "report", "runs": 2}, {"name": "bill", "runs": 1}],
        "most_used": {"queue": "invoices", "workflow": "report", "node": "fetch"},
        "longest_run": {"execution_id": trace_id(4), "duration_ms": 60_000.0},
    }
    listed = ok(api.get("/api/v1/stats/projects"))["projects"]
    assert listed == [{key: answer[key] for key in listed[0]}]
    assert refused(api.get("/api/v1/stats/projects/none"))[:2] == (404, "not_found")


def test_users(api: httpx.Client) -> None:
    listed = ok(api.get("/api/v1/stats/users"))["users"]
    assert [(one["user_id"], one["runs"], one["failed"], one["cost_usd"]) for one in listed] == [
        ("ann", 2, 1, 1.0),
        ("bob", 1, 0, 0.0),
    ]
    one = ok(api.get("/api/v1/stats/users/ann"))
    assert {key: one[key] for key in listed[0]} == listed[0]
    assert [row["trace_id"] for row in one["recent"]] == [trace_id(2), trace_id(1)]
    assert refused(api.get("/api/v1/stats/users/eve"))[:2] == (404, "not_found")


def test_models(api: httpx.Client) -> None:
    [model] = ok(api.get("/api/v1/stats/models"))["models"]
    assert (model["model"], model["runs"], model["failed"]) == ("m-1", 2, 1)
    assert (model["input_tokens"], model["output_tokens"], model["cost_usd"]) == (20, 10, 1.0)


@pytest.fixture(scope="module")
def agents(postgres_url: str, _migrated_template: str) -> Iterator[str]:
    """An agent that sums up its two calls (Strands, AI SDK), and one whose calls are not traced."""
    used: dict[str, Any] = {"model": "m-1", "input_tokens": 10, "output_tokens": 5, "cost_usd": 0.5}
    both: dict[str, Any] = {"model": "m-1", "input_tokens": 20, "output_tokens": 10, "cost_usd": 1.0}
    calls = [node(2, "ask", 1, kind="llm", **used), node(3, "ask", 1, kind="llm", **used)]
    with new_database(postgres_url, template=_migrated_template) as database_url:
        insert(
            database_url,
            trace(1, [node(1, "report", kind="agent", **both), *calls]),
            trace(2, [node(1, "lone", kind="agent", workflow_name="lone", **used)], workflow_name="lone"),
        )
        yield database_url


def test_a_model_s_figures_are_those_of_its_calls_and_not_once_more_those_of_agents(agents: str) -> None:
    """strands-agents/harness-sdk#3602: sums over all spans were twice what was used."""
    with api_over(agents) as api:
        [model] = ok(api.get("/api/v1/stats/models"))["models"]
        assert (model["runs"], model["input_tokens"], model["output_tokens"], model["cost_usd"]) == (3, 30, 15, 1.5)
        for bucket, at in (("1h", "11-20T10:00"), ("1d", "11-20T00:00"), ("1m", "11-20T10:00")):
            for metric, value in (("tokens", 45), ("cost_usd", 1.5), ("runs", 3)):
                told = points(ok(api.get(f"/api/v1/stats/trend?by=model&metric={metric}&bucket={bucket}")))
                assert told == {"m-1": [(at, value)]}, (metric, bucket)
    with psycopg.connect(agents) as connection:
        query = "SELECT runs, input_tokens, output_tokens, cost_usd FROM spantree.models"
        assert connection.execute(query).fetchall() == [(3, 30, 15, 1.5)]


def test_a_call_that_a_framework_and_the_provider_s_client_tell_is_one_of_its_model(migrated_url: str) -> None:
    said: Attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m-1",
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 5,
    }
    framework = span(2, parent=1, name="ChatModel", attributes=said)
    steps = [span(1, name="ask"), framework]
    client = span(3, parent=2, name="chat m-1", attributes=said)
    store = Store(migrated_url)
    for spans in (steps, [client]):  # of the second it is known later
        store.write(spans)
        project_all(migrated_url, store)
        sum_up(migrated_url)
        assert wrong_figures(migrated_url, [date(2026, 11, 20)]) == []
        with api_over(migrated_url, NOON_NS + 60 * S) as api:
            [model] = ok(api.get("/api/v1/stats/models"))["models"]
            assert (model["runs"], model["input_tokens"], model["output_tokens"]) == (1, 10, 5)
            told = points(ok(api.get("/api/v1/stats/trend?by=model&metric=runs&bucket=1m")))
            assert [value for _, value in told["m-1"]] == [1]
            nodes = ok(api.get(f"/api/v1/executions/{sent_trace_id(1).hex()}/nodes"))["nodes"]
            assert [node["model"] for node in nodes] == [None, *["m-1"] * (len(nodes) - 1)]
    store.close()


def test_workflows(api: httpx.Client) -> None:
    assert ok(api.get("/api/v1/workflows")) == {
        "days": 30,
        "workflows": [
            {"name": "report", "runs": 3, "failed": 1, "last_started_at": "2026-11-20T10:40:00.000000000Z"},
            {"name": "bill", "runs": 1, "failed": 0, "last_started_at": "2026-11-17T10:00:00.000000000Z"},
        ],
    }
    assert [one["name"] for one in ok(api.get("/api/v1/workflows?days=1"))["workflows"]] == ["report"]


def test_the_map_of_a_workflow(api: httpx.Client) -> None:
    answer = ok(api.get("/api/v1/workflows/report/map"))
    assert (answer["workflow"], answer["runs"], answer["since"]) == ("report", 3, "2026-11-13T11:00:00.000000000Z")
    assert [(one["name"], one["kind"], one["runs"], one["failed"]) for one in answer["nodes"]] == [
        ("fetch", "tool", 3, 0),
        ("report", "step", 3, 0),
        ("ask", "llm", 2, 1),
    ]
    assert answer["nodes"][2]["p95_ms"] == pytest.approx(1000, rel=0.02)
    assert answer["edges"] == [
        {
            "from": "fetch",
            "to": "ask",
            "type": "conditional",
            "condition": "long",
            "runs": 2,
            "share": pytest.approx(2 / 3),
            "failed": 1,
        }
    ]
    assert ok(api.get("/api/v1/workflows/report/map?since=2026-11-20T10:00:00Z"))["runs"] == 3
    assert refused(api.get("/api/v1/workflows/none/map"))[:2] == (404, "not_found")


def test_the_views_tell_the_same(url: str, api: httpx.Client) -> None:
    with psycopg.connect(url) as connection:

        def rows(query: str) -> list[tuple[Any, ...]]:
            return connection.execute(query.encode()).fetchall()

        assert rows(
            "SELECT name, runs, failed, success_rate, p95_ms, cost_usd FROM spantree.trends"
            " WHERE subject = 'user' AND hour = '2026-11-20T10:00Z' ORDER BY name"
        ) == [
            (one["user_id"], one["runs"], one["failed"], one["success_rate"], one["p95_ms"], one["cost_usd"])
            for one in ok(api.get("/api/v1/stats/users"))["users"]
        ]
        assert rows("SELECT project, sum(runs), sum(failed) FROM spantree.projects GROUP BY 1") == [("shop", 3, 1)]
        assert rows("SELECT day::text, user_id, runs FROM spantree.users ORDER BY 2") == [
            ("2026-11-20", "ann", 2),
            ("2026-11-20", "bob", 1),
        ]
        assert rows("SELECT model, runs, input_tokens, cost_usd FROM spantree.models") == [("m-1", 2, 20, 1.0)]
        assert rows("SELECT workflow_name, from_node, to_node, type, runs, failed FROM spantree.workflow_map") == [
            ("report", "fetch", "ask", "conditional", 2, 1)
        ]
