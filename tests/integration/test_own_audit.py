"""The own audit: what is asked of spantree itself is told, by whom, and nobody can take it back."""

from __future__ import annotations

import asyncio
import csv
import getpass
import io
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import grpc
import httpx
import psycopg
import pytest
from psycopg.sql import SQL, Identifier
from tests.api_rows import NOW_NS, insert, trace, trace_id
from tests.api_server import api_over, ok, refused
from tests.collectors import AWAY_URL
from tests.jaeger_storage import JaegerClient, jaeger_over
from tests.postgres import new_database
from tests.tables import query
from tests.waiting import wait_until

from spantree_api.config import ApiConfig
from spantree_api.database import Database
from spantree_api.own_audit import OwnAudit
from spantree_exporter.errors import BatchRejected, OperatorError
from spantree_exporter.own_audit import newest, write
from spantree_exporter.own_audit_event import Actor, Event
from spantree_exporter.retention.run import drop_own_audit
from spantree_exporter.tokens import TokenBook

EXECUTION = trace_id(1)
TOLD = (
    "SELECT actor_kind, actor, action, object_type, object_id, method, route, status, times, tenant_id"
    " FROM spantree.own_audit WHERE channel = 'http' ORDER BY at, id"
)


@pytest.fixture
def api(migrated_url: str) -> Iterator[tuple[httpx.Client, str, dict[str, str]]]:
    """An API of one tenant `blue`, and a token of it of each kind that may ask."""
    with TokenBook(migrated_url) as book:
        blue = book.add_tenant("blue")
        tokens = {"read": book.create_token("blue", "read"), "admin": book.create_token("blue", "admin")}
        tokens["ingest"] = book.create_token("blue", "ingest")
    insert(migrated_url, trace(1, status="failed", error_fingerprint="f", error_category="timeout"), tenant_id=blue)
    with api_over(migrated_url, audit_flush_s=0.05, token_interval_s=0.05) as client:
        yield client, migrated_url, tokens


def by(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def told(url: str, events: int) -> list[Any]:
    """What of HTTP is told, once there are so many lines."""
    wait_until(lambda: len(query(url, TOLD)) >= events, 20, f"{events} events are written")
    return query(url, TOLD)


def test_reads_of_content_exports_changes_and_refusals_are_told_and_lists_are_not(
    api: tuple[httpx.Client, str, dict[str, str]],
) -> None:
    client, url, tokens = api
    read, admin, ingest = (tokens[scope] for scope in ("read", "admin", "ingest"))
    ok(client.get("/api/v1/executions?q=a-secret", headers=by(read)))
    ok(client.get(f"/api/v1/executions/{EXECUTION}", headers=by(read)))
    assert client.get("/api/v1/executions/" + "f" * 32, headers=by(read)).status_code == 404
    assert client.get("/api/v1/export/executions?q=secret", headers=by(read)).status_code == 200
    assert client.patch("/api/v1/failures/groups/f", json={"state": "ignored"}, headers=by(read)).status_code == 403
    ok(client.patch("/api/v1/failures/groups/f", json={"state": "resolved", "by": "Ann"}, headers=by(admin)))
    assert client.get("/api/v1/runs/run password=hunter2", headers=by(read)).status_code == 404
    assert client.get("/api/v1/executions", headers=by(ingest)).status_code == 403
    assert client.get("/api/v1/executions", headers=by("spt_" + "x" * 43)).status_code == 401
    assert client.get("/invented/spt_secret", headers=by("spt_" + "x" * 43)).status_code == 401
    group = "/api/v1/failures/groups/{fingerprint}"
    one = "/api/v1/executions/{trace_id}"
    named = {scope: token[:12] for scope, token in tokens.items()}
    run = "/api/v1/runs/{run_id:path}"
    lines = told(url, 8)
    assert sorted(lines, key=str) == sorted(
        [
            ("token", named["read"], "read", "execution", EXECUTION, "GET", one, 200, 1, 1),
            ("token", named["read"], "read", "execution", "f" * 32, "GET", one, 404, 1, 1),
            ("token", named["read"], "export", None, None, "GET", "/api/v1/export/executions", 200, 1, 1),
            ("token", named["read"], "read", "run", "run password=<redacted>", "GET", run, 404, 1, 1),
            ("token", named["read"], "refused", None, None, "PATCH", group, 403, 1, 1),
            ("token", named["admin"], "update", "failure_group", "f", "PATCH", group, 200, 1, 1),
            ("token", named["ingest"], "refused", None, None, "GET", "/api/v1/executions", 403, 1, 1),
            ("nobody", "", "refused", None, None, "GET", "/api/v1/executions", 401, 1, 0),
        ],
        key=str,
    )
    # No token, no text that was searched for, no path that somebody invented.
    whole = str(query(url, "SELECT event::text FROM spantree.own_audit_event AS event"))
    assert [word for word in (*tokens.values(), "secret", "invented") if word in whole] == []
    assert query(url, "SELECT DISTINCT address FROM spantree.own_audit WHERE channel = 'http'") == [("127.0.0.1",)]


def test_who_was_not_logged_in_tells_nothing_by_logging_out(api: tuple[httpx.Client, str, dict[str, str]]) -> None:
    client, url, tokens = api
    own = {"sec-fetch-site": "same-origin"}
    for path in ("/logout", "/login/tenant"):
        assert client.post(path, data={"tenant": "blue"}, headers=own).status_code == 303
    assert client.post("/login", data={"token": tokens["read"]}, headers=own).status_code == 303
    client.cookies.set("spantree_token", tokens["read"])
    assert client.post("/logout", headers=own).status_code == 303
    client.cookies.clear()
    assert client.post("/logout", headers=own).status_code == 303
    assert client.get("/api/v1/executions", headers=by("spt_" + "x" * 43)).status_code == 401
    lines = [(kind, action, route, status) for kind, _, action, _, _, _, route, status, *_ in told(url, 3)]
    assert sorted(lines) == [
        ("nobody", "refused", "/api/v1/executions", 401),
        ("token", "login", "/login", 303),
        ("token", "logout", "/logout", 303),
    ]


def test_calls_of_jaegers_storage_api_are_told_as_requests_are(migrated_url: str) -> None:
    with TokenBook(migrated_url) as book:
        blue = book.add_tenant("blue")
        read, ingest = book.create_token("blue", "read"), book.create_token("blue", "ingest")
    insert(migrated_url, trace(1), tenant_id=blue)

    def sending(token: str) -> JaegerClient:
        return jaeger.with_metadata(("authorization", f"Bearer {token}"))

    with jaeger_over(migrated_url, NOW_NS, audit_flush_s=0.05) as jaeger:
        reader = sending(read)
        reader.traces(EXECUTION, "f" * 32)
        reader.find(service_name="s")
        reader.services()
        for refused_client in (jaeger, sending(ingest), sending("spt_" + "x" * 43)):
            with pytest.raises(grpc.RpcError):
                refused_client.traces(EXECUTION)
        with pytest.raises(grpc.RpcError):
            sending(ingest).services()
    path = "/jaeger.storage.v2.TraceReader/"
    told_ = query(
        migrated_url,
        # Equal ones that fell into two batches are two lines.
        "SELECT actor_kind, actor, action, object_type, object_id, route, status, sum(times)::integer, tenant_id,"
        " address FROM spantree.own_audit WHERE channel = 'grpc' GROUP BY 1, 2, 3, 4, 5, 6, 7, 9, 10",
    )
    assert sorted(told_, key=str) == sorted(
        [
            ("token", read[:12], "read", "execution", EXECUTION, path + "GetTraces", 200, 1, 1, "127.0.0.1"),
            ("token", read[:12], "read", "execution", "f" * 32, path + "GetTraces", 200, 1, 1, "127.0.0.1"),
            ("token", read[:12], "read", None, None, path + "FindTraces", 200, 1, 1, "127.0.0.1"),
            ("token", ingest[:12], "refused", None, None, path + "GetTraces", 403, 1, 1, "127.0.0.1"),
            ("token", ingest[:12], "refused", None, None, path + "GetServices", 403, 1, 1, "127.0.0.1"),
            ("nobody", "", "refused", None, None, path + "GetTraces", 401, 2, 0, "127.0.0.1"),
        ],
        key=str,
    )


def test_whose_a_change_is_follows_from_the_token_and_not_from_the_callers_word(
    api: tuple[httpx.Client, str, dict[str, str]],
) -> None:
    client, url, tokens = api
    admin = tokens["admin"]
    answer = ok(client.patch("/api/v1/failures/groups/f", json={"note": "known", "by": "the boss"}, headers=by(admin)))
    assert (answer["changed_by"], answer["history"][0]["by"]) == (admin[:12], admin[:12])
    rule = {"name": "r", "kind": "failure", "webhook_url": "https://example.com/secret-path"}
    made = ok(client.post("/api/v1/alerts/rules", json=rule, headers=by(admin)))
    path = f"/api/v1/alerts/rules/{made['id']}"
    silence = {"silenced_until": "2027-01-01T00:00:00Z", "secret": "s" * 40}
    assert ok(client.patch(path, json=silence, headers=by(admin)))["changed_by"] == admin[:12]
    ok(client.delete(path, headers=by(admin)))
    told(url, 4)
    details = query(url, "SELECT action, object_id, details FROM spantree.own_audit WHERE channel = 'http' ORDER BY at")
    assert details == [
        ("update", "f", {"by": "the boss"}),
        ("create", made["id"], {"name": "r", "kind": "failure"}),
        (
            "update",
            made["id"],
            {"changed": ["secret", "silenced_until"], "silenced_until": "2027-01-01T00:00:00Z"},
        ),
        ("delete", made["id"], {"name": "r"}),
    ]


def test_without_tokens_the_callers_word_counts(migrated_url: str) -> None:
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO spantree.failure_group (tenant_id, fingerprint, category, hidden, first_seen_ns, last_seen_ns)"
            " VALUES (0, 'f', 'timeout', false, 1, 1)"
        )
    with api_over(migrated_url, audit_flush_s=0.05) as client:
        answer = ok(client.patch("/api/v1/failures/groups/f", json={"state": "ignored", "by": "Ann"}))
        assert answer["changed_by"] == "Ann"
        (line,) = told(migrated_url, 1)
        assert line[:3] == ("anyone", "", "update")


def test_admins_read_it_filtered_paged_and_as_a_file_and_of_their_tenant_only(
    api: tuple[httpx.Client, str, dict[str, str]],
) -> None:
    client, url, tokens = api
    admin, read = tokens["admin"], tokens["read"]
    with psycopg.connect(url, autocommit=True) as connection:
        began = datetime(2026, 11, 20, tzinfo=UTC)
        write(
            connection,
            *(
                Event(
                    Actor("token", "spt_other"),
                    "http",
                    "read",
                    tenant_id,
                    "execution",
                    str(number),
                    at=datetime.now(UTC) - timedelta(minutes=number),
                    id=UUID(int=100 * tenant_id + number),
                )
                for tenant_id in (1, 2)
                for number in range(1, 6)
            ),
        )
    query_: dict[str, str | int] = {"actor": "spt_other", "limit": 2}
    seen: list[str] = []
    while True:
        page = ok(client.get("/api/v1/audit/own", params=query_, headers=by(admin)))
        seen += [entry["object_id"] for entry in page["entries"]]
        if page["next_cursor"] is None:
            break
        query_["cursor"] = page["next_cursor"]
    assert seen == ["1", "2", "3", "4", "5"]
    one = ok(client.get("/api/v1/audit/own?object=execution/3", headers=by(admin)))["entries"]
    assert [(entry["actor"], entry["action"], entry["object_id"]) for entry in one] == [("spt_other", "read", "3")]
    assert ok(client.get(f"/api/v1/audit/own?until={began.date()}T00:00:00Z", headers=by(admin)))["entries"] == []
    lines = client.get("/api/v1/export/audit/own?actor=spt_other", headers=by(admin)).text.splitlines()
    assert [json.loads(line)["object_id"] for line in lines] == seen
    after = json.loads(lines[2])["cursor"]
    rest = client.get(f"/api/v1/export/audit/own?actor=spt_other&format=csv&cursor={after}", headers=by(admin))
    assert [row[7] for row in csv.reader(io.StringIO(rest.text))] == ["4", "5"]
    for path in ("/api/v1/audit/own", "/api/v1/export/audit/own"):
        assert refused(client.get(path, headers=by(read)))[:2] == (403, "forbidden")
    backwards = "since=2026-11-21T00:00:00Z&until=2026-11-20T00:00:00Z"
    assert client.get(f"/api/v1/audit/own?{backwards}", headers=by(admin)).status_code == 422


def test_equal_requests_are_one_line_with_a_count_and_at_level_all_lists_are_told(migrated_url: str) -> None:
    with api_over(migrated_url, audit_flush_s=3600.0, audit="all") as client:
        for _ in range(5):
            ok(client.get("/api/v1/executions"))
        assert client.get("/executions").status_code == 200
        assert query(migrated_url, TOLD) == []
    # Stopping writes what waits; the page's own questions to the API are not told besides.
    assert [(line[6], line[8]) for line in query(migrated_url, TOLD)] == [("/api/v1/executions", 5), ("/executions", 1)]


def test_a_flood_of_nobodys_is_no_flood_of_lines(
    api: tuple[httpx.Client, str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spantree_api.own_audit._MINUTE_S", 2.0)
    monkeypatch.setattr("spantree_api.own_audit._OF_NOBODY_MAX", 20)
    client, url, tokens = api
    refusals = [
        (method, path)
        for path in ("executions", "failures", "stuck", "workflows", "stats/nodes", "stats/models", "audit", "runs/a")
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "PROPFIND")
    ]
    for method, path in refusals:
        assert client.request(method, f"/api/v1/{path}").status_code == 401
    # Whoever is somebody is told by name all the same.
    ok(client.get(f"/api/v1/executions/{EXECUTION}", headers=by(tokens["read"])))
    rest = "SELECT method, route, address, status, times FROM spantree.own_audit WHERE details ->> 'senders' = 'many'"
    wait_until(lambda: query(url, rest), 20, "the rest of a minute is told")
    assert query(url, rest) == [(None, None, None, 401, len(refusals) - 20)]
    lines = told(url, 22)
    assert len(lines) == 22
    assert sum(line[8] for line in lines if line[0] == "nobody") == len(refusals)


def test_what_commands_change_is_told_with_the_account_and_not_without_the_change(migrated_url: str) -> None:
    with TokenBook(migrated_url) as book:
        book.add_tenant("blue", spans_per_s_max=5)
        token = book.create_token("blue", "read", note="Grafana")
        book.revoke_token(token)
        book.limit_tenant("blue", None, 10)
        book.rename_tenant("blue", "green")
        book.drop_tenant("green")
        with pytest.raises(OperatorError):
            book.drop_tenant("green")
        with pytest.raises(OperatorError):
            book.revoke_token("spt_nothing")
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        lines = newest(connection)
    assert [(line.action, line.object_type, line.object_id, line.details) for line in reversed(lines)] == [
        ("create", "tenant", "blue", {"spans_per_s_max": 5, "spool_bytes_max": None}),
        ("create", "token", token[:12], {"scope": "read", "note": "Grafana", "expires_at": None}),
        ("revoke", "token", token[:12], {}),
        ("limit", "tenant", "blue", {"spans_per_s_max": None, "spool_bytes_max": 10}),
        ("rename", "tenant", "blue", {"name": "green"}),
        ("drop", "tenant", "green", {}),
    ]
    assert {(line.actor_kind, line.actor, line.channel) for line in lines} == {("local", getpass.getuser(), "command")}
    assert token not in str(lines)


def test_nobody_changes_it_and_only_whole_months_go(migrated_url: str) -> None:
    with psycopg.connect(migrated_url, autocommit=True) as owner:
        write(owner, Event(Actor("service", "x"), "service", "read"))
        partition = f"own_audit_event_{datetime.now(UTC):%Y%m}"
        for statement in (
            "UPDATE spantree.own_audit_event SET actor = 'y'",
            "DELETE FROM spantree.own_audit_event",
            "TRUNCATE spantree.own_audit_event",
        ):
            for table in ("own_audit_event", partition):
                with pytest.raises(psycopg.errors.InsufficientPrivilege, match="only ever appended to"):
                    owner.execute(statement.replace("own_audit_event", str(table)).encode())
        first, last = date(2024, 1, 1), datetime.now(UTC).date()
        month = first
        while month <= last:
            owner.execute("SELECT spantree.ensure_own_audit(%s)", (month,))
            month = (month + timedelta(days=32)).replace(day=1)
    kept = drop_own_audit(migrated_url, 400)
    assert kept > 0
    oldest = query(
        migrated_url,
        "SELECT min(to_date(right(inhrelid::regclass::text, 6), 'YYYYMM')) FROM pg_inherits"
        " WHERE inhparent = 'spantree.own_audit_event'::regclass",
    )[0][0]
    assert oldest == (last - timedelta(days=400)).replace(day=1)
    assert query(migrated_url, "SELECT count(*) FROM spantree.own_audit") == [(1,)]
    with pytest.raises(BatchRejected, match="wanted 30 or more"):
        drop_own_audit(migrated_url, 0)


def test_an_event_comes_once_its_texts_are_bounded_and_no_clock_makes_odd_months(migrated_url: str) -> None:
    with psycopg.connect(migrated_url, autocommit=True) as owner:
        event = Event(Actor("token", "a\x00b\ud800" + "c" * 500), "http", "read", details={"x": "y" * 5000})
        write(owner, event, event)
        write(owner, event)
        write(owner, Event(Actor("nobody"), "http", "read", at=datetime(1901, 1, 1, tzinfo=UTC)))
        write(owner, Event(Actor("nobody"), "http", "read", at=datetime(2999, 1, 1, tzinfo=UTC)))
        rows = owner.execute(
            "SELECT actor, details, abs(extract(epoch FROM at - now())) < 32 * 86400 FROM spantree.own_audit"
            " ORDER BY actor DESC"
        ).fetchall()
    assert rows == [(("a␀b?" + "c" * 500)[:200], {"cut": True}, True), ("", {}, True), ("", {}, True)]


def test_rights_on_writing_are_no_rights_on_reading(migrated_url: str) -> None:
    role = f"writer_{uuid4().hex[:12]}"
    with psycopg.connect(migrated_url, autocommit=True) as owner:
        owner.execute(
            SQL(
                "CREATE ROLE {0}; GRANT USAGE ON SCHEMA spantree TO {0};"
                " GRANT EXECUTE ON FUNCTION spantree.write_own_audit(jsonb) TO {0}"
            ).format(Identifier(role))
        )
        try:
            owner.execute(SQL("SET ROLE {}").format(Identifier(role)))
            write(owner, Event(Actor("nobody"), "http", "read"))
            for statement in ("SELECT FROM spantree.own_audit_event", "SELECT spantree.drop_own_audit(1)"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    owner.execute(statement.encode())
        finally:
            owner.execute(SQL("RESET ROLE; DROP OWNED BY {0}; DROP ROLE {0}").format(Identifier(role)))


def test_while_postgresql_is_away_what_has_no_room_is_lost_and_counted() -> None:
    lost: list[int] = []

    async def run() -> None:
        database = Database(ApiConfig(database_url=AWAY_URL, pool_wait_s=0.1))
        await database.open()
        audit = OwnAudit("content", 0.05, lost.append)
        audit.start(database)
        for number in range(10_050):
            audit.add(Event(Actor("nobody"), "http", "read", object_id=str(number)), is_change=False)
        assert (audit.waiting, sum(lost)) == (10_000, 50)
        await asyncio.sleep(0)
        await audit.stop()
        await database.close()
        assert sum(lost) == 10_050

    asyncio.run(run())


def test_it_is_of_its_own_tenant_for_people_with_sql(postgres_url: str, _migrated_template: str) -> None:
    with new_database(postgres_url, template=_migrated_template) as url:
        name = f"blue-{uuid4().hex[:10]}"
        with TokenBook(url) as book:
            book.add_tenant(name)
            role = book.make_role(name)
        with psycopg.connect(url, autocommit=True) as owner:
            try:
                write(owner, Event(Actor("nobody"), "http", "read", 0), Event(Actor("nobody"), "http", "list", 1))
                owner.execute(SQL("SET ROLE {}").format(Identifier(role)))
                seen = owner.execute("SELECT DISTINCT tenant_id FROM spantree.own_audit").fetchall()
                assert seen == [(1,)]
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    owner.execute("SELECT spantree.write_own_audit('[]')")
            finally:
                owner.execute(SQL("RESET ROLE; DROP OWNED BY {0}; DROP ROLE {0}").format(Identifier(role)))
