"""Health beyond the database: what collectors say of themselves, what is kept on disk, who is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.api_rows import T0_NS, S, insert, trace
from tests.api_server import api_over, ok, refused
from tests.collectors import AWAY_URL, PROTOBUF_TYPE, running, send, settings
from tests.otlp_requests import trace_request
from tests.tables import query
from tests.waiting import wait_until

from spantree_api.health import collector_state
from spantree_exporter.tokens import TokenBook

SPOOL = {"bodies": 0, "bytes": 0, "max_bytes": 1, "oldest_age_s": 0.0}
WORK = {"state": "ok", "message": "", "since_s": 1.0}
WRITER = {"store": WORK, "projector": WORK}


def test_spool_and_writers_of_a_collector_are_told_by_its_own_word(migrated_url: str, tmp_path: Path) -> None:
    body = trace_request(1, 2).SerializeToString()
    with running(settings(tmp_path, AWAY_URL, writers=1)) as addresses:
        assert send(addresses, "POST", "/v1/traces", body, {"content-type": PROTOBUF_TYPE}).status == 200
        urls = f"{addresses.http_url}, http://127.0.0.1:1"
        with api_over(migrated_url, collector_urls=urls) as api:

            def asked() -> bool:
                state = ok(api.get("/api/v1/health"))["collectors"][0]
                return bool(state["spool"]["bodies"] == 1 and state["writers"][0]["store"]["state"] == "unavailable")

            wait_until(asked, 30, "the collector tells that PostgreSQL is away")
            health = ok(api.get("/api/v1/health"))
            page = api.get("/system").text
    here, gone = health["collectors"]
    assert (health["status"], here["url"], here["status"]) == ("degraded", addresses.http_url, "degraded")
    assert here["message"] == here["writers"][0]["store"]["message"] != ""
    assert here["spool"]["bytes"] > 0 < here["spool"]["max_bytes"]
    assert (gone["status"], gone["spool"], gone["writers"]) == ("down", None, [])
    assert gone["message"].startswith("does not answer: ")
    assert addresses.http_url in page and "1 requests" in page and "does not answer" in page


def test_what_is_no_collector_is_not_believed(migrated_url: str) -> None:
    with api_over(migrated_url) as other, api_over(migrated_url, collector_urls=str(other.base_url)) as api:
        [state] = ok(api.get("/api/v1/health"))["collectors"]
    assert (state["status"], state["message"]) == ("down", "answers something else than a collector's /readyz")


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        ({"status": "ready", "spool": SPOOL, "writers": [WRITER]}, "ok", "takes in and writes"),
        ({"status": "full", "spool": SPOOL}, "degraded", "its spool is full: senders are asked to wait"),
        ({"status": "failed", "spool": {"message": "disk"}}, "down", "its spool failed: it takes in nothing"),
        ({"status": "ready", "writers": 5}, "down", "answers something else than a collector's /readyz"),
        ({"status": "ready", "spool": {"bodies": "x"}}, "down", "answers something else than a collector's /readyz"),
        ({"status": "ready"}, "down", "answers something else than a collector's /readyz"),
        ([], "down", "answers something else than a collector's /readyz"),
    ],
)
def test_a_collectors_word_is_read_with_care(answer: object, status: str, message: str) -> None:
    state = collector_state("http://c:4318", answer, "")
    assert (state["status"], state["message"]) == (status, message)


def test_what_is_kept_on_disk_is_told_by_table(migrated_url: str) -> None:
    insert(migrated_url, trace(1), trace(2, started_ns=T0_NS - 3 * 86_400 * S))
    with api_over(migrated_url) as api:
        storage = ok(api.get("/api/v1/health/storage"))
        page = api.get("/system").text
    assert {one["table"] for one in storage["tables"]} >= {"span", "execution", "node", "edge", "log_record"}
    counted = dict(
        query(
            migrated_url,
            "SELECT inhparent::regclass::text, count(*) FROM pg_inherits JOIN pg_class ON pg_class.oid = inhparent"
            " WHERE relkind = 'p' AND relnamespace = 'spantree'::regnamespace GROUP BY 1",
        )
    )
    assert {f"spantree.{one['table']}": one["partitions"] for one in storage["tables"]} == counted
    assert storage["first_day"] == "2026-11-17"
    assert storage["last_day"] >= "2026-11-20", "some are made in advance"
    assert storage["database_bytes"] > sum(one["bytes"] for one in storage["tables"]) > 0
    assert "2026-11-17 UTC" in page


def test_other_tenants_are_not_told_of_what_is_everybodys(migrated_url: str) -> None:
    with TokenBook(migrated_url) as book:
        book.add_tenant("blue")
        headers = {"authorization": f"Bearer {book.create_token('blue', 'read', None, '')}"}
    with api_over(migrated_url, collector_urls="http://127.0.0.1:1") as api:
        assert ok(api.get("/api/v1/health", headers=headers))["collectors"] is None
        assert refused(api.get("/api/v1/health/storage", headers=headers))[:2] == (403, "forbidden")
        page = api.get("/system", headers=headers)
    assert page.status_code == 200 and "On disk" not in page.text
