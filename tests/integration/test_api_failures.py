"""What failed lately, failure reports over many executions, what is stuck, conversations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.api_rows import NOW_NS, T0_NS, S, Trace, insert, node, trace, trace_id
from tests.api_server import api_over, ok, refused
from tests.postgres import new_database

from spantree_api.reads import failure, lists
from spantree_api.reads import resumed as resumed_reads

HOUR_NS = 3600 * S


def failed(number: int, **changes: Any) -> Trace:
    """A failed execution: retry -> task (attempts 1 and 2) -> query, which is the cause."""
    nodes = [
        node(1, "root", status="failed"),
        node(2, "task", 1, status="retried", task_key="t", attempt=1, max_attempts=2, retry_expected=True),
        node(3, "task", 1, status="failed", task_key="t", attempt=2, max_attempts=2, retry_expected=True),
        node(4, "query", 3, status="failed", error_type="pg.Err", error_message="no such table: x" * 20),
        node(5, "late", 1, status="timed_out", ended_ns=T0_NS + 60 * S),
        node(6, "mail", 1, status="skipped"),
    ]
    values: dict[str, Any] = {
        "status": "failed",
        "error_category": "query",
        "error_fingerprint": "feed",
        "first_failed_span_id": 4,
        "first_failed_ordinal": 0,
        "first_failed_name": "query",
        "first_failed_error_type": "pg.Err",
        "first_failed_error_message": "no such table: x",
        "error_summary": "query: no such table",
        "skipped_nodes": ["refund"],
        "input": "i" * 150,
    }
    return trace(number, nodes, **(values | changes))


@pytest.fixture(scope="module")
def api(postgres_url: str, _migrated_template: str) -> Iterator[httpx.Client]:
    with new_database(postgres_url, template=_migrated_template) as url:
        insert(
            url,
            failed(1),
            failed(2, started_ns=T0_NS + S, status="partial", workflow_name="billing", user_id="ada"),
            failed(3, started_ns=T0_NS + 2 * S, status="timed_out", error_category="timeout", error_fingerprint="beef"),
            failed(4, started_ns=T0_NS - 30 * HOUR_NS, ended_ns=T0_NS - 29 * HOUR_NS),
            failed(5, started_ns=T0_NS - 40 * 24 * HOUR_NS, ended_ns=T0_NS - 40 * 24 * HOUR_NS),
            failed(6, hidden=True),
            trace(7, conversation_id="a/b c", started_ns=T0_NS + 7 * S),
            trace(8, conversation_id="a/b c", started_ns=T0_NS + 8 * S, hidden=True),
            trace(9, status="cancelled"),
        )
        with api_over(url) as client:
            yield client


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", [3, 2, 1]),
        ("hours=48", [3, 2, 1, 4]),
        ("hours=1", [3, 2, 1]),
        ("user_id=ada", [2]),
        ("workflow=billing", [2]),
        ("category=timeout", [3]),
        ("hidden=true", [3, 2, 6, 1]),
        ("limit=2", [3, 2]),
    ],
)
def test_failures_are_those_of_the_last_hours_newest_first(api: httpx.Client, query: str, wanted: list[int]) -> None:
    page = ok(api.get(f"/api/v1/failures?{query}"))
    assert [int(one["trace_id"], 16) for one in page["failures"]] == wanted


def test_a_failure_names_its_failed_nodes_in_the_order_they_failed(api: httpx.Client) -> None:
    page = ok(api.get("/api/v1/failures?limit=1"))
    [failure] = page["failures"]
    assert page["hours"] == 24
    assert failure["input"] == "i" * 100
    assert [(one["id"], one["name"], one["status"], one["error_type"]) for one in failure["failed_nodes"]] == [
        (f"{1:016x}", "root", "failed", None),
        (f"{3:016x}", "task", "failed", None),
        (f"{4:016x}", "query", "failed", "pg.Err"),
        (f"{5:016x}", "late", "timed_out", None),
    ]
    following = ok(api.get(f"/api/v1/failures?limit=1&cursor={page['next_cursor']}"))
    assert following["failures"][0]["trace_id"] == trace_id(2)


@pytest.mark.parametrize("query", ["hours=0", "hours=169", "hours=x", "limit=201", "cursor=1"])
def test_a_wrong_range_of_failures_is_refused(api: httpx.Client, query: str) -> None:
    assert refused(api.get(f"/api/v1/failures?{query}"))[:2] == (422, "invalid_parameter")


def test_the_report_has_cause_cascade_attempts_and_company(api: httpx.Client) -> None:
    report = ok(api.get(f"/api/v1/executions/{trace_id(1)}/failure"))
    assert report["cascade"] == [f"{n:016x}" for n in (4, 3, 1)]
    assert [one["name"] for one in report["cascade_nodes"]] == ["query", "task", "root"]
    assert report["error"] == {
        "type": "pg.Err",
        "message": "no such table: x" * 20,
        "category": "query",
        "fingerprint": "feed",
        "traceback": None,
    }
    [task] = report["retries"]
    assert (task["task_key"], task["expected"], task["max_attempts"], task["outcome"]) == ("t", True, 2, "failed")
    assert [(one["id"], one["attempt"], one["status"]) for one in task["attempts"]] == [
        (f"{2:016x}", 1, "retried"),
        (f"{3:016x}", 2, "failed"),
    ]
    assert report["skipped_nodes"] == ["refund", "mail"]
    assert report["suggestion"].startswith("The database has not the table or column")
    # Of the same fingerprint: 2, 4 and 6; 5 is forty days old, 3 has another cause.
    assert report["same_cause_count"] == 3
    assert [int(one["execution_id"], 16) for one in report["same_cause"]] == [2, 6, 4]
    few = ok(api.get(f"/api/v1/executions/{trace_id(1)}/failure?same_cause=1"))
    assert (few["same_cause_count"], len(few["same_cause"])) == (3, 1)
    none = ok(api.get(f"/api/v1/executions/{trace_id(1)}/failure?same_cause=0"))
    assert (none["same_cause_count"], none["same_cause"]) == (3, [])


def test_more_executions_of_one_cause_than_are_counted_one_by_one_are_counted_by_figures(
    api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failure, "_SAME_CAUSE_COUNTED", 2)
    report = ok(api.get(f"/api/v1/executions/{trace_id(1)}/failure"))
    assert report["same_cause_count"] == 3
    assert [int(one["execution_id"], 16) for one in report["same_cause"]] == [2, 6]


def test_a_conversation_lists_its_turns_newest_first(api: httpx.Client) -> None:
    page = ok(api.get("/api/v1/conversations/a%2Fb%20c/executions"))
    assert [int(one["trace_id"], 16) for one in page["executions"]] == [8, 7]
    first = ok(api.get("/api/v1/conversations/a/b c/executions?limit=1"))
    second = ok(api.get(f"/api/v1/conversations/a/b c/executions?limit=1&cursor={first['next_cursor']}"))
    assert [one["trace_id"] for one in first["executions"] + second["executions"]] == [trace_id(8), trace_id(7)]
    nobody = ok(api.get("/api/v1/conversations/nobody/executions"))
    assert nobody == {"executions": [], "hidden_count": None, "next_cursor": None, "searched": None}


def test_what_waited_and_was_taken_up_is_not_stuck(migrated_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def waits(number: int, **changes: Any) -> Any:
        return trace(number, started_ns=NOW_NS - (50 - number) * S, status="waiting", **changes)

    insert(
        migrated_url,
        waits(1, run_id="order-1"),
        trace(2, started_ns=NOW_NS - 48 * S, run_id="order-1", resumes="order-1"),
        waits(3, run_id="order-3"),
        waits(4, run_id="order-1"),  # waits again, for somebody else
        waits(5, conversation_id="thread-5"),
        trace(6, started_ns=NOW_NS - 40 * S, conversation_id="thread-5", resumes="thread-5"),
        waits(7, conversation_id="thread-7"),
        trace(8, started_ns=NOW_NS - 40 * S, conversation_id="thread-7"),
        waits(9),
    )
    with api_over(migrated_url, stuck_waiting_s=10.0) as api:
        told = ok(api.get("/api/v1/stuck"))["executions"]
        assert [int(one["trace_id"], 16) for one in told] == [3, 4, 7, 9]
        told = ok(api.get("/api/v1/stuck?limit=2"))["executions"]
        assert [int(one["trace_id"], 16) for one in told] == [3, 4]
        monkeypatch.setattr(lists, "_STUCK_AT_ONCE", 1)
        told = ok(api.get("/api/v1/stuck?limit=1"))["executions"]
        assert [int(one["trace_id"], 16) for one in told] == [3]
        assert stuck_in_pages(api, 1) == [[3], [4], [7], [9]]
        assert stuck_in_pages(api, 3) == [[3, 4, 7], [9]]
        # Of what was taken up much may stand between two that are stuck: it is looked on from where it was given up.
        monkeypatch.setattr(lists, "_STUCK_PAGES", 1)
        assert [one for page in stuck_in_pages(api, 1) for one in page] == [3, 4, 7, 9]


def test_what_is_stuck_tells_the_steps_that_it_is_at(migrated_url: str) -> None:
    opened: dict[str, Any] = {"ended_ns": None, "status": "running"}

    def at(second: int) -> dict[str, Any]:
        return {"started_ns": T0_NS + second * S}

    insert(
        migrated_url,
        trace(
            1,
            [
                node(1, "report", **opened, **at(0)),
                node(2, "gather", 1, **opened, **at(1)),
                node(3, "load", 2, **at(2)),
                node(4, "ask", 2, **opened, **at(4)),
                node(5, "approve", 1, ended_ns=None, status="waiting", **at(3)),
                node(6, "send", 1, ended_ns=None, status="pending", **at(5)),
            ],
            status="running",
            ended_ns=None,
            last_seen_ns=NOW_NS,
        ),
        trace(2, [node(1, "declared", status="pending", ended_ns=None)], status="pending", ended_ns=None,
              started_ns=T0_NS + S),
    )  # fmt: skip
    with api_over(migrated_url, stuck_running_s=10.0, stuck_pending_s=10.0) as api:
        told = ok(api.get("/api/v1/stuck"))["executions"]
        pages = [api.get(path).text for path in ("/stuck", "/")]
    assert [one["open_steps"] for one in told] == [
        [
            {"id": f"{5:016x}", "name": "approve", "status": "waiting", "started_at": "2026-11-20T10:00:03.000000000Z"},
            {"id": f"{4:016x}", "name": "ask", "status": "running", "started_at": "2026-11-20T10:00:04.000000000Z"},
        ],
        [],
    ]
    links = [f'<a href="/executions/{trace_id(1)}?node={step:016x}"><bdi>' for step in (5, 4)]
    assert [[link in page for link in links] for page in pages] == [[True, True]] * 2


def stuck_in_pages(api: httpx.Client, limit: int) -> list[list[int]]:
    pages: list[list[int]] = []
    cursor = ""
    while True:
        page = ok(api.get(f"/api/v1/stuck?limit={limit}{cursor}"))
        pages.append([int(one["trace_id"], 16) for one in page["executions"]])
        if page["next_cursor"] is None:
            return pages
        cursor = f"&cursor={page['next_cursor']}"


def test_cursors_of_other_lists_are_no_cursors_of_what_is_stuck(api: httpx.Client) -> None:
    cursor = ok(api.get("/api/v1/executions?limit=1"))["next_cursor"]
    assert refused(api.get(f"/api/v1/stuck?cursor={cursor}"))[:2] == (422, "invalid_parameter")


def test_what_waited_is_told_with_the_execution_that_went_on_with_it(
    migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def waits(number: int, **changes: Any) -> Any:
        return trace(number, started_ns=NOW_NS + number * S, status="waiting", **changes)

    insert(
        migrated_url,
        waits(1, run_id="order-1", conversation_id="thread-4"),
        waits(2, run_id="order-1", resumes="order-1"),
        trace(3, started_ns=NOW_NS + 3 * S, run_id="order-1", resumes="order-1"),
        waits(4, conversation_id="thread-4"),
        trace(5, started_ns=NOW_NS + 5 * S, conversation_id="thread-4"),  # another turn
        trace(6, started_ns=NOW_NS + 6 * S, conversation_id="thread-4", resumes="thread-4"),
        waits(7, conversation_id="thread-4"),
        waits(8),
    )
    resumed = {1: 2, 2: 3, 4: 6}
    told = {number: trace_id(resumed[number]) if number in resumed else None for number in range(1, 9)}
    for rows_at_once in (2_000, 1):
        monkeypatch.setattr(resumed_reads, "_ROWS", rows_at_once)
        with api_over(migrated_url) as api:
            executions = ok(api.get("/api/v1/executions"))["executions"]
            assert {int(one["trace_id"], 16): one["resumed_by"] for one in executions} == told
            assert {one["status"] for one in executions} == {"waiting", "completed"}
            for number, by in told.items():
                for path in ("", "/tree"):
                    assert ok(api.get(f"/api/v1/executions/{trace_id(number)}{path}"))["resumed_by"] == by
            run = ok(api.get("/api/v1/runs/order-1"))
            assert run["resumed_by"] is None
            assert [one["resumed_by"] for one in run["executions"]] == [told[1], told[2], None]
            lines = api.get("/api/v1/export/executions").text.splitlines()
            assert {int(one["trace_id"], 16): one["resumed_by"] for one in map(json.loads, lines)} == told


def test_who_asks_for_what_waits_is_not_told_what_was_taken_up(
    migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(
        migrated_url,
        *(
            trace(number, started_ns=NOW_NS + number * S, status="waiting", run_id=f"order-{number // 2}")
            for number in range(2, 14)  # the second of each run went on with the first, and waits
        ),
        trace(14, started_ns=NOW_NS + 14 * S, status="running", ended_ns=None, run_id="order-7"),
    )

    def numbers(api: httpx.Client, query: str) -> list[int]:
        found: list[int] = []
        cursor = ""
        while True:
            page = ok(api.get(f"/api/v1/executions?{query}{cursor}"))
            found += [int(one["trace_id"], 16) for one in page["executions"]]
            if page["next_cursor"] is None:
                return found
            cursor = f"&cursor={page['next_cursor']}"

    with api_over(migrated_url) as api:
        for look_s in (1.0, -1.0):
            monkeypatch.setattr(lists, "_LOOK_S", look_s)
            for limit in (1, 2, 3, 50):
                assert numbers(api, f"status=waiting&limit={limit}") == [13, 11, 9, 7, 5, 3]
        assert numbers(api, "status=waiting&status=running&limit=2") == [14, 13, 11, 9, 7, 5, 3]
        assert numbers(api, "status=waiting&run_id=order-3") == [7]
        assert len(numbers(api, "limit=50")) == 13
        lines = api.get("/api/v1/export/executions?status=waiting").text.splitlines()
        assert [int(json.loads(line)["trace_id"], 16) for line in lines] == [13, 11, 9, 7, 5, 3]


def test_stuck_lists_what_is_open_beyond_its_threshold(migrated_url: str) -> None:
    def open_since(seconds: int, **changes: Any) -> dict[str, Any]:
        return {"started_ns": NOW_NS - seconds * S, "ended_ns": None, "last_seen_ns": NOW_NS - 5 * S, **changes}

    insert(
        migrated_url,
        trace(1, **open_since(101, status="running")),
        trace(2, **open_since(99, status="running")),
        trace(3, **open_since(51, status="pending")),
        trace(4, **open_since(999, status="waiting")),
        trace(5, **open_since(1001, status="waiting")),
        trace(6, **open_since(20, status="running", last_seen_ns=NOW_NS - 11 * S)),
        trace(7, **open_since(20, status="running", last_seen_ns=NOW_NS - 11 * S, lost_after_s=12.0)),
        trace(8, **open_since(9000, status="running", hidden=True)),
        trace(9),
    )
    settings: dict[str, Any] = {
        "stuck_pending_s": 50.0,
        "stuck_running_s": 100.0,
        "stuck_waiting_s": 1000.0,
        "lost_after_s": 10.0,
    }
    with api_over(migrated_url, **settings) as api:
        told = ok(api.get("/api/v1/stuck"))["executions"]
        assert [(int(one["trace_id"], 16), one["status"], one["threshold_s"], one["stuck_for_s"]) for one in told] == [
            (5, "waiting", 1000.0, 1001.0),
            (1, "running", 100.0, 101.0),
            (3, "pending", 50.0, 51.0),
            (6, "lost", 10.0, 20.0),
        ]
