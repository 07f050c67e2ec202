"""GET /metrics of the API: requests by route, and what the database tells, within bounds."""

from __future__ import annotations

import re
from typing import Any

import psycopg
from tests.api_rows import NOW_NS, S, insert, trace
from tests.api_server import api_over
from tests.collectors import AWAY_URL

from spantree_api.metrics import MAX_TENANTS, MAX_WORKFLOWS, ApiMetrics, RunsRow, bounded
from spantree_exporter.tokens import Identity


def samples(text: str) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def test_requests_are_counted_by_their_routes_template_and_nothing_that_a_client_chose(migrated_url: str) -> None:
    with api_over(migrated_url) as api:
        for number in range(3):
            api.get(f"/api/v1/executions/{number:032x}")
        api.get("/nobody/home")
        api.request("PROPFIND", "/api/v1/health")
        answer = api.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    counted = {
        name.removeprefix("spantree_api_request_seconds_count"): value
        for name, value in samples(answer.text).items()
        if name.startswith("spantree_api_request_seconds_count")
    }
    assert counted == {
        '{method="GET",route="/api/v1/executions/{trace_id}",status="404"}': 3,
        '{method="GET",route="(none)",status="404"}': 1,
        '{method="OTHER",route="/api/v1/health",status="405"}': 1,
    }
    assert samples(answer.text)["spantree_api_requests_in_flight"] == 1


def test_what_waits_what_is_dead_and_how_workflows_went(migrated_url: str) -> None:
    recent: dict[str, Any] = {"started_ns": NOW_NS - 10 * S, "last_seen_ns": NOW_NS - 4 * S}
    insert(
        migrated_url,
        trace(1, **recent, workflow_name="nightly", status="failed"),
        trace(2, **recent, workflow_name="nightly", status="failed"),
        trace(3, **recent, workflow_name="nightly"),
        trace(4, **recent, workflow_name=None),
        trace(5, workflow_name="nightly", started_ns=NOW_NS - 4000 * S, last_seen_ns=NOW_NS),
    )
    with psycopg.connect(migrated_url) as connection:
        connection.execute(
            "INSERT INTO spantree.pending_projection (tenant_id, trace_id, first_pending_at, due_at, batches, spans,"
            " root_ended, failures) SELECT 0, gen_random_uuid(), now() - interval '1 minute', now(), 1, 5, false, n"
            " FROM generate_series(0, 2) AS n"
        )
        connection.execute(
            "INSERT INTO spantree.dead_letter (tenant_id, digest, received_ns, cause, count, reason, encoding, raw)"
            " VALUES (0, 'x', 0, 'refused', 7, 'bad', 'json', '{}'), (0, 'y', 0, 'refused', 1, 'bad', 'json', '{}')"
        )
    with api_over(migrated_url) as api:
        told = samples(api.get("/metrics").text)
    assert told["spantree_api_database_up"] == 1
    assert (told['spantree_pending_traces{state="waiting"}'], told['spantree_pending_traces{state="failing"}']) == (
        1,
        2,
    )
    assert told['spantree_projection_lag_seconds{state="oldest"}'] >= 60
    assert told['spantree_dead_letters{reason="refused"}'] == 2
    assert told['spantree_dead_letters_seen{reason="refused"}'] == 8
    runs = {name: value for name, value in told.items() if name.startswith("spantree_workflow_runs_last_hour")}
    assert runs == {
        'spantree_workflow_runs_last_hour{status="failed",workflow="nightly"}': 2,
        'spantree_workflow_runs_last_hour{status="completed",workflow="nightly"}': 1,
        'spantree_workflow_runs_last_hour{status="completed",workflow="(none)"}': 1,
    }


def test_a_database_that_is_away_is_told_and_its_figures_are_absent() -> None:
    with api_over(AWAY_URL) as api:
        answer = api.get("/metrics")
    assert answer.status_code == 200
    assert samples(answer.text)["spantree_api_database_up"] == 0
    assert "spantree_workflow_runs_last_hour{" not in answer.text


def test_requests_are_counted_by_tenant_under_its_name_of_now_and_so_many_tenants() -> None:
    metrics = ApiMetrics()
    for number in range(MAX_TENANTS + 10):
        metrics.observe_tenant(Identity(number, f"t{number}"), 200)
    metrics.observe_tenant(Identity(1, "t1"), 404)
    metrics.observe_tenant(Identity(2, "renamed"), 200)
    text = metrics.exposition().decode()
    found = dict(re.findall(r"^spantree_api_tenant_requests_total\{(.*)\} (\S+)$", text, re.MULTILINE))
    assert found == {
        **{f'status="2xx",tenant="t{number}"': "1.0" for number in range(MAX_TENANTS) if number != 2},
        'status="4xx",tenant="t1"': "1.0",
        'status="2xx",tenant="renamed"': "1.0",
        'status="2xx",tenant="(other)"': "10.0",
    }


def test_only_so_many_workflows_have_a_label_of_their_own() -> None:
    rows = [RunsRow(f"w{number}", "completed", 1000 - number) for number in range(MAX_WORKFLOWS)]
    rows += [RunsRow(f"small {number}", status, 1) for number in range(500) for status in ("failed", "completed")]
    counts = bounded(rows)
    assert len(counts) == MAX_WORKFLOWS + 2
    assert counts["(other)", "failed"] == 500
    assert sum(counts.values()) == sum(row.count for row in rows)
