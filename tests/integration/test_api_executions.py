"""Executions: one, lists, filters, pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.api_rows import T0_NS, S, insert, node, trace, trace_id
from tests.api_server import api_over, ok, refused
from tests.postgres import new_database


@pytest.fixture
def api(migrated_url: str) -> Iterator[httpx.Client]:
    with api_over(migrated_url) as client:
        yield client


@pytest.fixture(scope="module")
def filled(postgres_url: str, _migrated_template: str) -> Iterator[httpx.Client]:
    """The API over six executions that differ in what can be filtered by; only read from."""

    def at(second: int, **changes: Any) -> dict[str, Any]:
        return {"started_ns": T0_NS + second * S, "ended_ns": T0_NS + (second + 2) * S, **changes}

    late = {
        "status": "failed",
        "conversation_id": "c9",
        "error_summary": "Deadline exceeded",
        "error_category": "timeout",
    }
    with new_database(postgres_url, template=_migrated_template) as url:
        insert(
            url,
            trace(1, **at(1)),
            trace(2, **at(2, **late)),
            trace(3, **at(3, status="partial", workflow_name="billing", conversation_id="c9")),
            trace(
                4, [node(9, "Fetch rates")], **at(4, services=["agent", "bank"], user_id="ada", ended_ns=T0_NS + 10 * S)
            ),
            trace(5, [node(9, "x", error_message="100% sure", status="failed")], **at(5, kind="agent", run_id="r1")),
            trace(6, **at(6, kind="request", hidden=True, workflow_name=None)),
        )
        with api_over(url) as client:
            yield client


def ids(page: dict[str, Any]) -> list[str]:
    return [one["execution_id"] for one in page["executions"]]


def test_one_execution_is_told_whole(migrated_url: str, api: httpx.Client) -> None:
    failed = node(2, "charge", 1, status="failed")
    insert(
        migrated_url,
        trace(
            0xA1,
            [node(1, "root"), failed],
            name="order",
            workflow_name="OrderWorkflow",
            entry="POST /orders",
            status="partial",
            started_ns=T0_NS + 7,
            services=["agent", "bank"],
            run_id="order-77",
            conversation_id="c1",
            user_id="u1",
            project="shop",
            input="buy",
            output="bought",
            error_summary="charge: declined",
            error_category="validation",
            error_fingerprint="f00d",
            first_failed_span_id=2,
            first_failed_ordinal=1,
            first_failed_name="charge",
            first_failed_error_type="CardError",
            first_failed_error_message="declined",
            input_tokens=10,
            output_tokens=20,
            cost_usd=0.5,
            resumes="cp-1",
            anomalies=["clock skew"],
        ),
    )
    assert ok(api.get(f"/api/v1/executions/{trace_id(0xA1)}")) == {
        "execution_id": "000000000000000000000000000000a1",
        "trace_id": "000000000000000000000000000000a1",
        "name": "order",
        "workflow_name": "OrderWorkflow",
        "entry": "POST /orders",
        "kind": "workflow",
        "status": "partial",
        "started_at": "2026-11-20T10:00:00.000000007Z",
        "started_ns": T0_NS + 7,
        "ended_at": "2026-11-20T10:00:02.000000000Z",
        "ended_ns": T0_NS + 2 * S,
        "duration_ms": 1999.999993,
        "last_seen_at": "2026-11-20T10:00:03.000000000Z",
        "service": "agent",
        "services": ["agent", "bank"],
        "run_id": "order-77",
        "conversation_id": "c1",
        "user_id": "u1",
        "project": "shop",
        "tenant": "0",
        "input": "buy",
        "output": "bought",
        "error_summary": "charge: declined",
        "error_category": "validation",
        "error_fingerprint": "f00d",
        "first_failed_node": {
            "id": "0000000000000002.1",
            "name": "charge",
            "error_type": "CardError",
            "error_message": "declined",
        },
        "counts": {
            "total": 2,
            "completed": 1,
            "failed": 1,
            "retried": 0,
            "skipped": 0,
            "waiting": 0,
            "running": 0,
            "cancelled": 0,
            "timed_out": 0,
        },
        "tokens": {"input": 10, "output": 20},
        "cost_usd": 0.5,
        "span_count": 2,
        "resumes": "cp-1",
        "resumed_by": None,
        "hidden": False,
        "anomalies": ["clock skew"],
        "analysis": None,
        "last_good": None,
    }


def test_an_id_may_be_upper_case_or_a_uuid(migrated_url: str, api: httpx.Client) -> None:
    insert(migrated_url, trace(0xABCDEF))
    for text in ("00000000000000000000000000ABCDEF", "00000000-0000-0000-0000-000000abcdef"):
        assert ok(api.get(f"/api/v1/executions/{text}"))["trace_id"] == trace_id(0xABCDEF)


def test_an_unknown_id_is_not_found(filled: httpx.Client) -> None:
    status, code, message = refused(filled.get(f"/api/v1/executions/{trace_id(50)}"))
    assert (status, code) == (404, "not_found")
    assert message.startswith(f"no execution {trace_id(50)}")


@pytest.mark.parametrize("text", ["abc", "g" * 32, "0" * 31, "0" * 33, "0" * 30 + "%00%00", "0-0" + "0" * 29])
def test_a_malformed_id_is_refused(filled: httpx.Client, text: str) -> None:
    status, code, _ = refused(filled.get(f"/api/v1/executions/{text}"))
    assert (status, code) == (422, "invalid_parameter")


def test_a_running_execution_lasts_until_now(migrated_url: str, api: httpx.Client) -> None:
    insert(migrated_url, trace(1, status="running", ended_ns=None, last_seen_ns=T0_NS + 3599 * S))
    told = ok(api.get(f"/api/v1/executions/{trace_id(1)}"))
    assert (told["status"], told["ended_at"], told["ended_ns"], told["duration_ms"]) == ("running", None, None, 3.6e6)


def test_silence_beyond_the_threshold_is_lost_and_lasts_until_the_last_sign_of_life(migrated_url: str) -> None:
    insert(
        migrated_url,
        trace(1, status="running", ended_ns=None, last_seen_ns=T0_NS + S),
        trace(2, status="running", ended_ns=None, last_seen_ns=T0_NS + S, lost_after_s=7200.0),
        trace(3, status="waiting", ended_ns=None, last_seen_ns=T0_NS + S),
        trace(4, status="pending", ended_ns=None, last_seen_ns=T0_NS + 3599 * S, lost_after_s=0.5),
    )
    with api_over(migrated_url, lost_after_s=1800.0) as api:
        page = ok(api.get("/api/v1/executions"))
        assert {one["trace_id"][-1]: (one["status"], one["duration_ms"]) for one in page["executions"]} == {
            "1": ("lost", 1000.0),
            "2": ("running", 3.6e6),
            "3": ("waiting", 3.6e6),
            "4": ("lost", 3599_000.0),
        }
        assert ids(ok(api.get("/api/v1/executions?status=lost"))) == [trace_id(4), trace_id(1)]
        assert ids(ok(api.get("/api/v1/executions?status=running&status=waiting"))) == [trace_id(3), trace_id(2)]


FILTERED: list[tuple[str, set[int]]] = [
    ("", {1, 2, 3, 4, 5}),
    ("status=failed", {2}),
    ("status=failed&status=partial", {2, 3}),
    ("workflow=billing", {3}),
    ("service=bank", {4}),
    ("conversation_id=c9", {2, 3}),
    ("user_id=ada", {4}),
    ("run_id=r1", {5}),
    ("kind=agent", {5}),
    ("kind=request", {6}),
    ("hidden=true", {1, 2, 3, 4, 5, 6}),
    ("since=2026-11-20T10:00:03Z", {3, 4, 5}),
    ("until=2026-11-20T10:00:03Z", {1, 2}),
    ("since=2026-11-20T11:00:02%2B01:00&until=2026-11-20T10:00:04Z", {2, 3}),
    ("min_duration_ms=2000", {1, 2, 3, 4, 5}),
    ("min_duration_ms=2000.001", {4}),
    ("max_duration_ms=2000", {1, 2, 3, 5}),
    ("error_category=timeout", {2}),
    ("q=BILL", {3}),
    ("q=deadline", {2}),
    ("q=fetch%20rates", {4}),
    ("q=100%25", {5}),
    ("q=nowhere", set()),
    ("status=completed&service=bank&user_id=ada&min_duration_ms=3000", {4}),
    ("status=failed&service=bank", set()),
]


@pytest.mark.parametrize(("query", "wanted"), FILTERED, ids=[query or "none" for query, _ in FILTERED])
def test_each_filter_leaves_in_what_it_says(filled: httpx.Client, query: str, wanted: set[int]) -> None:
    page = ok(filled.get(f"/api/v1/executions?{query}"))
    assert {int(one, 16) for one in ids(page)} == wanted
    assert ids(page) == sorted(ids(page), reverse=True)
    assert page["next_cursor"] is None


def walk(api: httpx.Client, path: str, key: str) -> list[list[Any]]:
    """Every page of a list."""
    pages, cursor = [], ""
    while True:
        page = ok(api.get(path + (f"&cursor={cursor}" if cursor else "")))
        pages.append(page[key])
        cursor = page["next_cursor"]
        if cursor is None:
            return pages


def test_pages_hold_each_execution_once_newest_first(migrated_url: str, api: httpx.Client) -> None:
    day = 86_400 * S
    # Equal starts, several days, a start before 2015 and one after 2099, which share the sentinel's partition.
    starts = {n: T0_NS - (n // 3) * 9 * day for n in range(1, 21)} | {30: 5 * S, 31: 4_200_000_000 * S}
    insert(migrated_url, *(trace(n, started_ns=start, ended_ns=start + S) for n, start in starts.items()))
    expected = [trace_id(n) for n in sorted(starts, key=lambda n: (starts[n], n), reverse=True)]
    for limit in (1, 4, 200):
        pages = walk(api, f"/api/v1/executions?limit={limit}", "executions")
        assert [one["trace_id"] for page in pages for one in page] == expected
        assert {len(page) for page in pages[:-1]} <= {limit}


def test_a_page_is_not_moved_by_what_comes_in_between(migrated_url: str, api: httpx.Client) -> None:
    insert(migrated_url, *(trace(n, started_ns=T0_NS + n * S) for n in range(1, 5)))
    first = ok(api.get("/api/v1/executions?limit=2"))
    insert(migrated_url, trace(9, started_ns=T0_NS + 9 * S))
    second = ok(api.get(f"/api/v1/executions?limit=2&cursor={first['next_cursor']}"))
    assert ids(first) + ids(second) == [trace_id(n) for n in (4, 3, 2, 1)]


def test_another_tenant_is_not_seen(migrated_url: str, api: httpx.Client) -> None:
    insert(migrated_url, trace(1), tenant_id=7)
    assert ids(ok(api.get("/api/v1/executions?hidden=true"))) == []
    assert refused(api.get(f"/api/v1/executions/{trace_id(1)}"))[0] == 404


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=x", "limit"),
        ("status=done", "status"),
        ("since=yesterday", "since"),
        ("since=2026-11-20T10:00:00", "since"),
        ("min_duration_ms=-1", "min_duration_ms"),
        ("max_duration_ms=nan", "max_duration_ms"),
        ("q=", "q"),
        ("q=a%00b", "q"),
        ("user_id=%00", "user_id"),
    ],
)
def test_a_wrong_parameter_is_named(filled: httpx.Client, query: str, parameter: str) -> None:
    answer = filled.get(f"/api/v1/executions?{query}")
    assert refused(answer)[:2] == (422, "invalid_parameter")
    assert [fault["parameter"].split(".")[0] for fault in answer.json()["error"]["details"]["errors"]] == [parameter]


@pytest.mark.parametrize(
    "moment", ["7d", "24", "yesterday", "2026-11-20", "2026-11-20T10:00:00", "2026-13-01T10:00:00Z"]
)
def test_what_is_no_moment_is_refused_by_what_is_wanted(filled: httpx.Client, moment: str) -> None:
    assert refused(filled.get(f"/api/v1/executions?until={moment}"))[2] == (
        f"until is '{moment}': wanted a moment as RFC 3339 writes it, with its time zone, such as 2026-11-28T06:00:00Z"
    )


@pytest.mark.parametrize("moment", ["2026-11-20T12:00:00+02:00", "2026-11-20T12:00:00%2B02:00", "2026-11-20T10:00:00Z"])
def test_a_plus_that_was_not_encoded_is_one(filled: httpx.Client, moment: str) -> None:
    assert ids(ok(filled.get(f"/api/v1/executions?until={moment}"))) == ids(
        ok(filled.get("/api/v1/executions?until=2026-11-20T10:00:00Z"))
    )


def test_an_empty_range_is_refused(filled: httpx.Client) -> None:
    query = "since=2026-11-20T10:00:00Z&until=2026-11-20T10:00:00Z"
    assert refused(filled.get(f"/api/v1/executions?{query}"))[:2] == (422, "invalid_parameter")


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "%C3%A4", "Z" * 40, "Z" * 201])
def test_an_invented_cursor_is_refused(filled: httpx.Client, cursor: str) -> None:
    assert refused(filled.get(f"/api/v1/executions?cursor={cursor}"))[:2] == (422, "invalid_parameter")


class TestHidden:
    def test_what_a_page_leaves_out_is_counted_in_its_time(self, migrated_url: str) -> None:
        for number in range(6):
            insert(migrated_url, trace(number + 1, started_ns=T0_NS + number * S, hidden=number % 2 == 0))
        with api_over(migrated_url) as api:
            first = ok(api.get("/api/v1/executions?limit=2"))
            second = ok(api.get(f"/api/v1/executions?limit=2&cursor={first['next_cursor']}"))
            assert [one["execution_id"] for one in first["executions"]] == [trace_id(6), trace_id(4)]
            assert [one["execution_id"] for one in second["executions"]] == [trace_id(2)]
            # Of 5, 3 and 1: 5 on the first page, 3 and 1 after it.
            assert (first["hidden_count"], second["hidden_count"]) == (1, 2)
            everything = ok(api.get("/api/v1/executions?hidden=true"))
            assert (len(everything["executions"]), everything["hidden_count"]) == (6, None)
            assert ok(api.get("/api/v1/executions?workflow=report"))["hidden_count"] is None


def test_a_search_tells_how_far_back_text_was_read_that_no_index_holds(migrated_url: str, api: httpx.Client) -> None:
    day = 86_400 * S
    insert(
        migrated_url,
        trace(1, name="nightly-import"),
        trace(2, name="nightly-import", started_ns=T0_NS - 20 * day, ended_ns=T0_NS - 20 * day + S),
        trace(3, name="other", started_ns=T0_NS - 1),
    )
    # A beginning of a word is found on any day; what stands inside of one only among the newest.
    words = ok(api.get("/api/v1/executions?q=night"))
    assert ids(words) == [trace_id(1), trace_id(2)]
    inside = ok(api.get("/api/v1/executions?q=ightl"))
    assert ids(inside) == [trace_id(1)]
    assert inside["searched"] == {"back_to": None, "text_back_to": "2026-11-20T09:59:59.999999999Z"}
    assert ok(api.get("/api/v1/executions?workflow=report"))["searched"] is None


@pytest.mark.timeout(360)  # a hundred and thirty days are made, on a Citus cluster on all nodes
def test_a_list_that_finds_too_little_in_time_goes_on_from_where_it_stopped(
    migrated_url: str, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = 86_400 * S
    starts = [T0_NS - back * day for back in (0, 30, 60, 90, 120)]
    insert(migrated_url, *(trace(n, started_ns=start, ended_ns=start + S) for n, start in enumerate(starts, start=1)))
    insert(migrated_url, *(trace(n, hidden=True, started_ns=T0_NS - n * day) for n in range(6, 130)))
    monkeypatch.setattr("spantree_api.reads.lists._LOOK_S", 0.0)
    pages = walk(api, "/api/v1/executions?workflow=report&limit=200", "executions")
    assert len(pages) > 1
    assert [one["trace_id"] for page in pages for one in page] == [trace_id(n) for n in range(1, 6)]
