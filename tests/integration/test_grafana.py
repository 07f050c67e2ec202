"""Each query of the dashboards in deploy/grafana runs, over the views, and answers what its panel draws."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import psycopg
import pytest
import yaml
from tests.api_rows import T0_NS, S, insert, node, trace
from tests.postgres import new_database

from spantree_api.elsewhere import TEMPO_UID

GRAFANA = Path(__file__).parents[2] / "deploy" / "grafana"
DASHBOARDS = {path.stem: orjson.loads(path.read_bytes()) for path in sorted((GRAFANA / "dashboards").glob("*.json"))}
DATA_SOURCES = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "spantree.yaml").read_text())["datasources"]
PANELS = [
    pytest.param(panel, id=f"{name}: {panel['title']}")
    for name, board in DASHBOARDS.items()
    for panel in board["panels"]
]
BEGIN, END = "2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z"


def as_grafana_sends_it(text: str) -> str:
    """`text` with macros and variables written out, as pkg/tsdb/grafana-postgresql-datasource/macros.go does."""
    text = re.sub(r"\$__timeFilter\((\w+)\)", rf"\1 BETWEEN '{BEGIN}' AND '{END}'", text)
    text = text.replace("$__timeFrom()", f"'{BEGIN}'").replace("$__timeTo()", f"'{END}'")
    return text.replace("${workflow:sqlstring}", "'report','other'")


@pytest.fixture(scope="module")
def connection(postgres_url: str, _migrated_template: str) -> Iterator[psycopg.Connection[Any]]:
    usage: dict[str, Any] = {"kind": "llm", "model": "m-1", "input_tokens": 5, "output_tokens": 7, "cost_usd": 0.5}
    steps = [
        node(1, "POST /report", kind="http_server"),
        node(2, "ask", 1, **usage),
        node(3, "look up", 1, kind="tool"),
        node(4, "SELECT", 1, kind="db"),
    ]
    failed: dict[str, Any] = {
        "status": "failed", "error_category": "timeout", "error_fingerprint": "f", "error_summary": "ask: no answer",
        "first_failed_span_id": 2, "first_failed_name": "ask", "conversation_id": "c", "input_tokens": 5,
        "output_tokens": 7, "cost_usd": 0.5,
    }  # fmt: skip
    open_one: dict[str, Any] = {
        "status": "running",
        "ended_ns": None,
        "last_seen_ns": T0_NS - 90_000 * S,
        "started_ns": T0_NS - 90_000 * S,
    }
    with new_database(postgres_url, template=_migrated_template) as url:
        insert(url, trace(1, steps), trace(2, [node(2, "ask", **usage)], **failed), trace(3, **open_one))
        with psycopg.connect(url, autocommit=True) as connected:
            # Roles are of the server, which other tests may use at the same time.
            role = f"grafana_{uuid4().hex}"
            connected.execute(
                f"CREATE ROLE {role} LOGIN; SELECT spantree.admit_role('{role}'); SET ROLE {role}".encode()
            )
            yield connected
            connected.execute(f"RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}".encode())


@pytest.mark.parametrize("panel", PANELS)
def test_a_panels_query_answers_what_it_draws(connection: psycopg.Connection[Any], panel: dict[str, Any]) -> None:
    (target,) = panel["targets"]
    cursor = connection.execute(as_grafana_sends_it(target["rawSql"]).encode())
    columns = {column.name: column.type_code for column in cursor.description or ()}
    rows = cursor.fetchall()
    if target["format"] == "time_series":
        assert next(iter(columns)) == "time"
        assert columns["time"] == psycopg.adapters.types["timestamptz"].oid
        assert rows, "the fixture has something for every line"
    if panel["type"] == "stat":
        assert len(rows) == len(columns) == 1
    linked = {one["matcher"]["options"] for one in panel["fieldConfig"]["overrides"]}
    assert linked <= set(columns)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_asks_data_sources_that_are_provisioned(name: str) -> None:
    board = DASHBOARDS[name]
    known = {one["uid"] for one in DATA_SOURCES}
    text = orjson.dumps(board).decode()
    assert set(re.findall(r'"uid":"(spantree-[a-z]+)"', text)) - {board["uid"]} <= known
    assert board["uid"] == f"spantree-{name}"
    assert [panel["id"] for panel in board["panels"]] == list(range(1, len(board["panels"]) + 1))
    for variable in board["templating"]["list"]:
        assert variable["query"].endswith(" LIMIT 500")


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_draws_no_more_lines_than_can_be_read(panel: dict[str, Any]) -> None:
    (target,) = panel["targets"]
    # Kinds of errors are few; of names there may be as many as runs.
    if target["format"] == "time_series" and re.search(r"\bname\b.* AS metric", target["rawSql"]):
        assert "LIMIT 20\n" in target["rawSql"]
    elif target["format"] == "table" and panel["type"] == "table":
        assert re.search(r"LIMIT (20|50|100)\b|pg_inherits|AS code", target["rawSql"])


def test_variables_of_dashboards_can_be_asked(connection: psycopg.Connection[Any]) -> None:
    queries = [one["query"] for board in DASHBOARDS.values() for one in board["templating"]["list"]]
    assert queries
    for query in queries:
        connection.execute(query.encode())


def test_the_data_sources_are_the_database_and_the_two_apis_of_others() -> None:
    assert {one["uid"]: one["type"] for one in DATA_SOURCES} == {
        "spantree-postgres": "grafana-postgresql-datasource",
        TEMPO_UID: "tempo",
        "spantree-jaeger": "jaeger",
    }
    assert {
        one["uid"]: one["url"].partition("}")[2] for one in DATA_SOURCES if one["type"] != DATA_SOURCES[0]["type"]
    } == {
        TEMPO_UID: "/tempo",
        "spantree-jaeger": "/jaeger",
    }
