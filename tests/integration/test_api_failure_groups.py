"""Failures of the same cause: counted by the figures, resolved and ignored by people, reopened by what comes back."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import Any

import httpx
import psycopg
import pytest
from tests.api_rows import NOW_NS, T0_NS, S, Trace, fold_all, insert, node, trace, trace_id
from tests.api_server import api_over, ok, refused
from tests.factories import span
from tests.postgres import new_database
from tests.tables import project_all, query

from spantree_exporter.postgres.rollup_store import insert_delta
from spantree_exporter.postgres.store import Store
from spantree_exporter.rollup import EXECUTION_COLUMNS, Rollup
from spantree_exporter.span import Attributes

HOUR_NS = 3600 * S
DAY_NS = 24 * HOUR_NS
_GROUPS = "/api/v1/failures/groups"


def failed(number: int, fingerprint: str, **changes: Any) -> Trace:
    values: dict[str, Any] = {
        "status": "failed",
        "error_category": "query",
        "error_fingerprint": fingerprint,
        "error_summary": f"query: no such table of {number}",
        "first_failed_span_id": 1,
        "first_failed_ordinal": 0,
    }
    return trace(number, [node(1, "root", status="failed")], **(values | changes))


@pytest.fixture(scope="module")
def api(postgres_url: str, _migrated_template: str) -> Iterator[httpx.Client]:
    with new_database(postgres_url, template=_migrated_template) as url:
        insert(
            url,
            failed(1, "feed"),
            failed(2, "feed", started_ns=T0_NS + S, status="partial", workflow_name="billing"),
            failed(3, "feed", started_ns=T0_NS - 2 * DAY_NS),
            failed(4, "feed", started_ns=T0_NS - 20 * DAY_NS, workflow_name="old"),
            failed(5, "beef", started_ns=T0_NS - 3 * HOUR_NS, error_category="timeout", status="timed_out"),
            failed(6, "cafe", hidden=True),
            failed(7, "dead", started_ns=T0_NS - 30 * DAY_NS),
        )
        with api_over(url) as client:
            yield client


def test_groups_are_counted_since_a_moment_last_seen_first(api: httpx.Client) -> None:
    page = ok(api.get(_GROUPS))
    assert page["since"] == "2026-11-13T11:00:00.000000000Z"
    assert page["next_cursor"] is None
    feed, beef = page["groups"]
    assert feed == {
        "fingerprint": "feed",
        "state": "open",
        "category": "query",
        "example": {
            "execution_id": trace_id(2),
            "name": "report",
            "error_summary": "query: no such table of 2",
            "started_at": "2026-11-20T10:00:01.000000000Z",
        },
        "count": 3,
        "first_seen_at": "2026-10-31T10:00:00.000000000Z",
        "last_seen_at": "2026-11-20T10:00:01.000000000Z",
        "trend": [
            {"at": f"2026-11-{day}T00:00:00.000000000Z", "count": {18: 1, 20: 2}.get(day, 0)} for day in range(13, 21)
        ],
        "workflows": ["report", "billing"],
        "versions": [],
        "reopened_at": None,
        "reopened_version": None,
        "note": None,
        "changed_by": None,
        "changed_at": None,
    }
    assert (beef["fingerprint"], beef["count"], beef["category"]) == ("beef", 1, "timeout")


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({"hidden": "true"}, [("feed", 3), ("cafe", 1), ("beef", 1)]),
        ({"since": "2026-11-20T09:30:00Z"}, [("feed", 2)]),
        ({"since": "2026-10-01T00:00:00Z"}, [("feed", 4), ("beef", 1), ("dead", 1)]),
        ({"since": "2025-11-01T00:00:00Z"}, [("feed", 4), ("beef", 1), ("dead", 1)]),
        ({"workflow": "billing"}, [("feed", 1)]),
        ({"workflow": "nobody"}, []),
        ({"category": "timeout"}, [("beef", 1)]),
        ({"state": "resolved"}, []),
    ],
    ids=str,
)
def test_filters_choose_groups_and_what_of_them_is_counted(
    api: httpx.Client, filters: dict[str, str], wanted: list[tuple[str, int]]
) -> None:
    groups = ok(api.get(_GROUPS, params=filters))["groups"]
    assert [(one["fingerprint"], one["count"]) for one in groups] == wanted
    assert all(sum(point["count"] for point in one["trend"]) == one["count"] for one in groups)


def test_pages_hold_each_group_once(api: httpx.Client) -> None:
    found, cursor = [], None
    while True:
        page = ok(api.get(_GROUPS, params={"limit": 1, "hidden": True} | ({"cursor": cursor} if cursor else {})))
        found += [one["fingerprint"] for one in page["groups"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == ["feed", "cafe", "beef"]


def test_a_day_is_told_by_hours(api: httpx.Client) -> None:
    [feed, _] = ok(api.get(_GROUPS, params={"since": "2026-11-20T06:30:00Z"}))["groups"]
    assert feed["trend"] == [
        {"at": f"2026-11-20T{hour:02}:00:00.000000000Z", "count": 2 if hour == 10 else 0} for hour in range(6, 12)
    ]


@pytest.mark.parametrize(
    "query",
    ["state=closed", "since=2024-01-01T00:00:00Z", "since=2027-01-01T00:00:00Z", "since=x", "limit=0", "cursor=AA"],
)
def test_what_is_wrong_is_refused(api: httpx.Client, query: str) -> None:
    assert refused(api.get(f"{_GROUPS}?{query}"))[:2] == (422, "invalid_parameter")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"state": "done"}, 422),
        ({"state": "open", "why": "x"}, 422),
        ({"note": "x" * 2_001}, 422),
        ({"state": "open", "by": "a\x00b"}, 422),
        ([], 422),
        (None, 422),
    ],
    ids=str,
)
def test_a_change_that_says_nothing_or_too_much_is_refused(api: httpx.Client, body: object, status: int) -> None:
    assert refused(api.patch(f"{_GROUPS}/beef", json=body))[0] == status


def test_hostile_bodies_are_refused_in_the_one_shape(api: httpx.Client) -> None:
    assert refused(api.patch(f"{_GROUPS}/beef", content=b"x" * 70_000))[:2] == (413, "too_large")
    assert refused(api.patch(f"{_GROUPS}/beef", content=iter([b"x" * 40_000] * 3)))[:2] == (413, "too_large")
    for content in (b"{", b'{"state": "open", "note": "\\ud800"}', b"\xff", b"[" * 60_000):
        answer = api.patch(f"{_GROUPS}/beef", content=content, headers={"content-type": "application/json"})
        assert refused(answer)[0] in {400, 422}, content[:20]
    assert refused(api.patch(f"{_GROUPS}/nothing", json={"state": "open"}))[:2] == (404, "not_found")
    assert refused(api.get(f"{_GROUPS}/nothing"))[:2] == (404, "not_found")


def test_a_resolved_group_is_opened_by_what_starts_later(migrated_url: str) -> None:
    insert(migrated_url, failed(1, "feed"))
    with api_over(migrated_url) as api:
        answer = ok(api.patch(f"{_GROUPS}/feed", json={"state": "resolved", "note": "fixed in 2", "by": "ada"}))
        assert (answer["state"], answer["note"], answer["changed_by"]) == ("resolved", "fixed in 2", "ada")
        assert answer["changed_at"] == "2026-11-20T11:00:00.000000000Z"
        # One that comes late and started before is no return.
        insert(migrated_url, failed(2, "feed", started_ns=NOW_NS - 1))
        assert ok(api.get(f"{_GROUPS}/feed"))["state"] == "resolved"
        insert(migrated_url, failed(3, "feed", started_ns=NOW_NS + 5 * S))
        again = ok(api.get(f"{_GROUPS}/feed"))
        assert (again["state"], again["reopened_at"], again["count"]) == ("open", "2026-11-20T11:00:05.000000000Z", 3)
        assert again["history"] == [
            {"at": "2026-11-20T11:00:05.000000000Z", "state": "open", "note": None, "by": None, "version": None},
            {
                "at": "2026-11-20T11:00:00.000000000Z",
                "state": "resolved",
                "note": "fixed in 2",
                "by": "ada",
                "version": None,
            },
        ]
        ok(api.patch(f"{_GROUPS}/feed", json={"state": "ignored"}))
        insert(migrated_url, failed(4, "feed", started_ns=NOW_NS + 9 * S))
        assert ok(api.get(f"{_GROUPS}/feed"))["state"] == "ignored"
        assert [one["fingerprint"] for one in ok(api.get(f"{_GROUPS}?state=ignored"))["groups"]] == ["feed"]


def test_a_failure_counts_as_a_return_although_another_one_is_taken_away_at_once(migrated_url: str) -> None:
    insert(migrated_url, failed(1, "feed"))
    taken_away = Rollup()
    taken_away.add_executions([attrgetter(*EXECUTION_COLUMNS)(failed(1, "feed").execution)], -1)
    with api_over(migrated_url) as api, psycopg.connect(migrated_url) as connection:
        ok(api.patch(f"{_GROUPS}/feed", json={"state": "resolved"}))
        with connection.transaction(), connection.cursor() as cursor:
            insert_delta(cursor, {0: taken_away})
        # Folded together: in sum nothing more failed.
        insert(migrated_url, failed(2, "feed", started_ns=NOW_NS + S))
        assert ok(api.get(f"{_GROUPS}/feed"))["state"] == "open"


def test_versions_come_from_the_resource_of_what_failed(migrated_url: str) -> None:
    store = Store(migrated_url)

    def fail(number: int, version: str, at_ns: int) -> None:
        resource: Attributes = {"service.version": version}
        store.write([span(1, trace=number, name="run", start_ns=at_ns, error="no such table", resource=resource)])
        project_all(migrated_url, store)
        fold_all(migrated_url)

    fail(1, "1.0", T0_NS)
    fail(2, "1.1", T0_NS + S)
    fail(3, "1.1", T0_NS + 2 * S)
    [fingerprint] = [row[0] for row in query(migrated_url, "SELECT fingerprint FROM spantree.failure_group")]
    with api_over(migrated_url) as api:
        ok(api.patch(f"{_GROUPS}/{fingerprint}", json={"state": "resolved"}))
        fail(4, "2.0", NOW_NS + S)
        answer = ok(api.get(f"{_GROUPS}/{fingerprint}"))
    store.close()
    assert answer["versions"] == ["1.0", "1.1", "2.0"]
    assert (answer["state"], answer["reopened_version"], answer["history"][0]["version"]) == ("open", "2.0", "2.0")


def test_the_view_counts_as_the_api_does(migrated_url: str) -> None:
    insert(migrated_url, failed(1, "feed"), failed(2, "feed", workflow_name=None), failed(3, "beef"))
    with psycopg.connect(migrated_url) as connection:
        rows = connection.execute(
            "SELECT fingerprint, state, category, failures, workflows FROM spantree.failure_groups ORDER BY 1"
        ).fetchall()
    assert rows == [("beef", "open", "query", 1, ["report"]), ("feed", "open", "query", 2, ["report"])]


def test_a_migration_makes_groups_of_what_is_stored(migrated_url: str) -> None:
    insert(migrated_url, failed(1, "feed", started_ns=T0_NS + 7), failed(2, "feed", started_ns=T0_NS + 9))
    before = query(migrated_url, "SELECT * FROM spantree.failure_group")
    query(
        migrated_url,
        """
        DROP VIEW spantree.failure_groups;
        DROP TABLE spantree.failure_group, spantree.failure_group_change;
        DROP INDEX spantree.rollup_error_idx;
        DELETE FROM spantree.migration WHERE version = 8;
        DELETE FROM spantree.definition
        """,
    )
    from spantree_exporter.postgres.migrate import migrate

    assert migrate(migrated_url) == [8]
    assert query(migrated_url, "SELECT * FROM spantree.failure_group") == before
