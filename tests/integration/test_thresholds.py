"""What time decides of an execution is one rule, in SQL and in Python, in views and in the API."""

from __future__ import annotations

import time
from itertools import product

import psycopg
from tests.api_rows import NOW_NS, S, execution, insert, trace, trace_id
from tests.api_server import api_over, ok
from tests.waiting import wait_until

from spantree_api.rendering import effective_status


def test_a_status_is_the_same_in_sql_and_in_python(migrated_url: str) -> None:
    statuses = ("pending", "running", "waiting", "completed", "failed")
    silences_ns = (0, 5 * S, 5 * S + 1, 3_600 * S, 3_600 * S + 1, NOW_NS)
    cases = list(product(statuses, ([], ["root_missing"]), silences_ns, (None, 5.0, 5.0000000005, 1e12)))
    told = [
        effective_status(
            execution(status=status, anomalies=list(anomalies), last_seen_ns=NOW_NS - silent, lost_after_s=own),
            NOW_NS,
            3_600.0,
        )
        for status, anomalies, silent, own in cases
    ]
    with psycopg.connect(migrated_url) as connection, connection.cursor() as cursor:
        rows = [
            cursor.execute(
                "SELECT spantree.effective_status(%s, %s::text[], %s, %s::double precision, %s)",
                [status, anomalies, NOW_NS - silent, 3_600.0 if own is None else own, NOW_NS],
            ).fetchone()
            for status, anomalies, silent, own in cases
        ]
    assert [row[0] for row in rows if row] == told


def test_views_decide_by_the_settings_of_the_api(migrated_url: str) -> None:
    now_ns = time.time_ns()
    insert(
        migrated_url,
        trace(1, status="running", ended_ns=None, started_ns=now_ns - 90 * S, last_seen_ns=now_ns - 90 * S),
        trace(2, status="running", ended_ns=None, started_ns=now_ns - 500 * S, last_seen_ns=now_ns),
        trace(3, status="waiting", ended_ns=None, started_ns=now_ns - 90 * S, last_seen_ns=now_ns, run_id="r"),
        trace(
            4, status="waiting", ended_ns=None, started_ns=now_ns - S, last_seen_ns=now_ns - 90 * S, lost_after_s=5.0
        ),
    )
    stuck = "SELECT replace(execution_id::text, '-', ''), status, threshold_s FROM spantree.stuck_executions ORDER BY 1"
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        assert connection.execute(stuck.encode()).fetchall() == [(trace_id(4), "waiting", 5.0)]
        with api_over(
            migrated_url, now_ns=now_ns, lost_after_s=60.0, stuck_running_s=400.0, stuck_waiting_s=80.0
        ) as api:
            kept = "SELECT count(*) FROM spantree.threshold"
            wait_until(lambda: connection.execute(kept.encode()).fetchone() == (4,), 20, "the thresholds are kept")
            expected = [
                (trace_id(1), "lost", 60.0),
                (trace_id(2), "running", 400.0),
                (trace_id(3), "waiting", 80.0),
                (trace_id(4), "waiting", 5.0),
            ]
            answers = ok(api.get("/api/v1/stuck"))["executions"]
            assert sorted((one["trace_id"], one["status"], one["threshold_s"]) for one in answers) == expected
            assert connection.execute(stuck.encode()).fetchall() == expected
            [run] = connection.execute(b"SELECT status FROM spantree.runs").fetchall()
            assert ok(api.get("/api/v1/runs/r"))["status"] == run[0] == "waiting"
            lost = connection.execute(b"SELECT count(*) FROM spantree.executions WHERE status = 'lost'").fetchone()
            assert lost == (len(ok(api.get("/api/v1/executions?status=lost"))["executions"]),) == (1,)
