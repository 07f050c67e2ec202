"""Collector and API as roles of their own: least rights, and the database itself filters what the API reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import httpx
import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier
from tests import adversary
from tests.api_rows import insert, node, trace, trace_id
from tests.api_server import api_over, ok
from tests.collectors import post, running, settings
from tests.otlp_requests import trace_request
from tests.postgres import new_database, throw_away_server
from tests.spantree_process import spantree
from tests.tables import query
from tests.waiting import wait_until

from spantree_api import database as api_database
from spantree_api.statements import load_statements
from spantree_deploy.doctor.checks import row_security_findings
from spantree_deploy.doctor.finding import Finding
from spantree_exporter.errors import OperatorError
from spantree_exporter.postgres.migrate import migrate
from spantree_exporter.postgres.rebuild import rebuild
from spantree_exporter.postgres.row_security import holes, leaks, make_roles
from spantree_exporter.redaction import redactor_of
from spantree_exporter.redaction.stored import Asked, redact_stored
from spantree_exporter.retention.policy import Policy
from spantree_exporter.retention.run import run as run_retention
from spantree_exporter.tokens import TokenBook

ONE = trace_id(1)
DAY_NS = 86_400_000_000_000
RULE = {"name": "r", "kind": "failure", "webhook_url": "https://example.com/x"}


@dataclass(frozen=True)
class Installation:
    """A server of its own, for roles are the server's; two tenants with the same ids, a token of an admin of each."""

    owner: str
    writer: str
    reader: str
    tokens: dict[str, str]
    roles: dict[str, str]


@pytest.fixture(scope="module")
def there() -> Iterator[Installation]:
    with throw_away_server() as url:
        migrate(url)
        with psycopg.connect(url, autocommit=True) as owner:
            assert make_roles(owner) == ["spantree_writer", "spantree_reader"]
            assert make_roles(owner) == []
            for role in ("spantree_writer", "spantree_reader"):
                owner.execute(SQL("ALTER ROLE {} LOGIN PASSWORD 'x'").format(Identifier(role)))
        with TokenBook(url) as book:
            tokens, roles = {}, {}
            for name in ("red", "blue"):
                book.add_tenant(name)
                tokens[name] = book.create_token(name, "admin")
                roles[name] = book.make_role(name)
        for tenant_id, name in ((0, "default"), (1, "red"), (2, "blue")):
            steps = [node(1, f"{name}'s secret"), node(2, "step", 1, status="failed", error_fingerprint="f")]
            one = trace(
                1, steps, name=f"{name}'s secret", status="failed", error_category="timeout", error_fingerprint="f"
            )
            insert(url, one, tenant_id=tenant_id)
        users = [make_conninfo(url, user=f"spantree_{one}", password="x") for one in ("writer", "reader")]
        yield Installation(url, users[0], users[1], tokens, roles)


def asks(client: httpx.Client, token: str) -> list[str]:
    """The names that every kind of read answers with."""
    headers = {"authorization": f"Bearer {token}"}
    texts = [
        client.get(path, headers=headers)
        for path in (
            "/api/v1/executions?since=2026-11-01T00:00:00Z",
            "/api/v1/executions?q=secret&since=2026-11-01T00:00:00Z",
            f"/api/v1/executions/{ONE}/tree",
            f"/api/v1/executions/{ONE}/nodes",
            f"/api/v1/executions/{ONE}/timeline",
            f"/api/v1/executions/{ONE}/stats",
            "/api/v1/failures",
            "/api/v1/failures/groups?since=2026-11-01T00:00:00Z",
            "/api/v1/stats/workflows",
            "/api/v1/export/executions?since=2026-11-01T00:00:00Z",
            "/jaeger/api/services",
            "/executions",
            "/api/v1/health",
        )
    ]
    assert [(answer.url.path, answer.status_code) for answer in texts if answer.status_code != 200] == []
    whole = "".join(answer.text for answer in texts).replace("&#39;", "'")
    return [name for name in ("default", "red", "blue") if f"{name}'s secret" in whole]


def test_doctor_says_what_it_cannot_see_as_collector_and_api(there: Installation, tmp_path: Path) -> None:
    told = {}
    for role, url in (("writer", there.writer), ("reader", there.reader)):
        found = spantree("doctor", "--database-url", url, directory=tmp_path).stdout
        told[role] = [line.partition("; ")[0] for line in found.splitlines() if "looked at" in line]
        assert "problem schema" not in found
    assert told == {
        "writer": ["ok      row-level security: not looked at: spantree_writer may not"],
        "reader": [
            "ok      rows: projection, figures and dead letters are not looked at: row-level security hides rows from "
            "spantree_reader"
        ],
    }


def test_migrating_gives_roles_their_rights_where_they_were_made_later(there: Installation) -> None:
    with new_database(there.owner) as url:
        migrate(url)
        with psycopg.connect(url, autocommit=True) as owner:
            had = rights_of_roles(owner)
            # As of a schema that was restored from a server without them.
            owner.execute("DROP OWNED BY spantree_writer, spantree_reader")
            assert rights_of_roles(owner) == []
            migrate(url)
            assert rights_of_roles(owner) == had


def rights_of_roles(connection: psycopg.Connection[Any]) -> list[tuple[str, str, str]]:
    """What each may do with which table, and policies; what is granted on columns is not told."""
    return connection.execute(
        """
        SELECT grantee, table_name, privilege_type
        FROM information_schema.role_table_grants
        WHERE table_schema = 'spantree' AND grantee IN ('spantree_writer', 'spantree_reader')
        UNION ALL
        SELECT role, tablename, policyname
        FROM pg_policies CROSS JOIN unnest(roles) AS named (role)
        WHERE schemaname = 'spantree' AND role IN ('spantree_writer', 'spantree_reader')
            -- Of no use without a right on the table, which none has.
            AND (tablename, policyname) NOT IN (('token', 'all_tenants'), ('tenant_role', 'all_tenants'))
        ORDER BY 1, 2, 3
        """
    ).fetchall()


def test_the_collector_writes_and_projects_as_the_writer_and_owns_nothing(there: Installation, tmp_path: Path) -> None:
    with TokenBook(there.owner) as book:
        book.create_token("red", "ingest")
        token = book.create_token("blue", "ingest")
    with running(settings(tmp_path / "data", there.writer)) as addresses:
        # Of today: a day that has its partitions only since this collector is there, or `migrate`.
        body = trace_request(77, 5).SerializeToString()
        assert post(addresses, body, authorization=f"Bearer {token}").status == 200
        wait_until(
            lambda: query(there.owner, "SELECT count(*) FROM spantree.node WHERE trace_id::text LIKE '%4d'") == [(5,)],
            60,
            "the trace is projected",
        )
    with psycopg.connect(there.writer, autocommit=True) as writer:
        assert writer.execute("SELECT spantree.ensure_partitions(ARRAY[DATE '2031-01-01'])").fetchone() == (5,)
        for statement in (
            "DROP TABLE spantree.span_20310101",
            "ALTER TABLE spantree.span DISABLE ROW LEVEL SECURITY",
            "UPDATE spantree.tenant SET name = 'x'",
            "UPDATE spantree.token SET scope = 'admin'",
            "SELECT FROM spantree.own_audit_event",
            "INSERT INTO spantree.tenant_role VALUES ('spantree_writer', 1)",
            "SELECT secret FROM spantree.alert_rule",
            "SELECT FROM spantree.span_20310101",
            "SELECT spantree.grant_roles()",
            "TRUNCATE spantree.span",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                writer.execute(statement.encode())


@pytest.fixture
def three(there: Installation) -> Iterator[Installation]:
    """A database of its own whose owner, writer and reader are three logins, none of them a superuser."""
    with psycopg.connect(there.owner, autocommit=True) as administrator:
        administrator.execute("CREATE ROLE spantree_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD 'x'")
        administrator.execute("CREATE DATABASE three OWNER spantree_owner")
        owner, writer, reader = (
            make_conninfo(there.owner, dbname="three", user=f"spantree_{one}", password="x")
            for one in ("owner", "writer", "reader")
        )
        migrate(owner)
        yield Installation(owner, writer, reader, {}, {})
        administrator.execute("DROP DATABASE three WITH (FORCE)")
        administrator.execute("DROP ROLE spantree_owner")


def test_owner_writer_and_reader_go_the_whole_road_and_none_is_a_superuser(three: Installation, tmp_path: Path) -> None:
    with TokenBook(three.owner) as book:
        token = book.create_token("default", "admin")
    headers = {"authorization": f"Bearer {token}"}
    old, new = trace_request(1, 3), trace_request(2, 3, payload="password=hunter2")
    for span in old.resource_spans[0].scope_spans[0].spans:
        span.start_time_unix_nano -= 40 * DAY_NS
        span.end_time_unix_nano -= 40 * DAY_NS
        span.status.code = span.status.STATUS_CODE_ERROR
    new.resource_spans[0].scope_spans[0].spans[0].status.code = span.status.STATUS_CODE_ERROR
    # The collector: makes the partitions of a late day, writes, projects, folds figures.
    with running(settings(tmp_path / "data", three.writer, redact="off")) as addresses:
        for body in (old, new):
            assert post(addresses, body.SerializeToString(), **headers).status == 200
        wait_until(
            lambda: (
                query(three.owner, "SELECT count(*) FROM spantree.node") == [(6,)]
                and query(three.owner, "SELECT count(*) FROM spantree.rollup_delta") == [(0,)]
            ),
            60,
            "both traces are projected and counted",
        )
    # Its owner: redacts, computes anew, drops days; the writer may do the first two as well.
    redactor = redactor_of("default")
    assert redactor is not None
    assert redact_stored(three.owner, redactor, Asked()).redacted["span"] == 3
    assert rebuild(three.writer).spans == rebuild(three.owner).spans == 6
    with pytest.raises(OperatorError, match='days are dropped by who owns the tables, "spantree_owner"'):
        run_retention(three.writer, Policy(30))
    assert len(run_retention(three.owner, Policy(30)).dropped) == 1
    assert query(three.owner, "SELECT DISTINCT trace_id::text LIKE '%2' FROM spantree.node") == [(True,)]
    # The API.
    with api_over(three.reader, None, alerts=True, token_interval_s=0.05, audit_flush_s=0.05) as client:
        (group,) = ok(client.get("/api/v1/failures/groups", headers=headers))["groups"]
        path = f"/api/v1/failures/groups/{group['fingerprint']}"
        assert ok(client.patch(path, json={"state": "resolved"}, headers=headers))["state"] == "resolved"
        assert ok(client.post("/api/v1/alerts/rules", json=RULE, headers=headers))["name"] == "r"
        (execution,) = ok(client.get("/api/v1/executions", headers=headers))["executions"]
        assert "hunter2" not in client.get(f"/api/v1/executions/{execution['execution_id']}/otlp", headers=headers).text
        assert ok(client.get("/api/v1/stats/workflows", headers=headers))["workflows"][0]["runs"] >= 1
        wait_until(
            lambda: len(ok(client.get("/api/v1/audit/own?action=update", headers=headers))["entries"]) == 1,
            20,
            "the own audit is written",
        )
    with psycopg.connect(three.owner, autocommit=True) as owner:
        assert list(row_security_findings(owner)) == [
            Finding("row-level security", "on for every table; 0 roles of tenants")
        ]


def test_the_api_reads_and_changes_as_the_reader_and_each_tenant_its_own(there: Installation) -> None:
    with api_over(there.reader, token_interval_s=0.05, audit_flush_s=0.05) as client:
        for name, token in there.tokens.items():
            headers = {"authorization": f"Bearer {token}"}
            assert asks(client, token) == [name]
            group = ok(client.patch("/api/v1/failures/groups/f", json={"state": "resolved"}, headers=headers))
            assert group["changed_by"] == token[:12]
            rule = ok(client.post("/api/v1/alerts/rules", json=RULE, headers=headers))
            ok(client.patch(f"/api/v1/alerts/rules/{rule['id']}", json={"enabled": False}, headers=headers))
            ok(client.post(f"/api/v1/executions/{ONE}/analyze", headers=headers))
            ok(client.delete(f"/api/v1/alerts/rules/{rule['id']}", headers=headers))
            wait_until(
                lambda: len(ok(client.get("/api/v1/audit/own?action=delete", headers=headers))["entries"]) == 1,  # noqa: B023
                20,
                "the own audit is written",
            )
    assert query(there.owner, "SELECT tenant_id, state FROM spantree.failure_group ORDER BY 1") == [
        (0, "open"),
        (1, "resolved"),
        (2, "resolved"),
    ]


def test_a_statement_that_forgets_the_tenant_shows_nobody_elses_rows_to_the_reader(
    there: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = load_statements

    def broken() -> dict[str, LiteralString]:
        return {name: text.replace("tenant_id = %(tenant_id)s", "true") for name, text in load().items()}

    monkeypatch.setattr(api_database, "load_statements", broken)
    names = {}
    for role, url in (("owner", there.owner), ("reader", there.reader)):
        with api_over(url, token_interval_s=0.05) as client:
            headers = {"authorization": f"Bearer {there.tokens['red']}"}
            answer = ok(client.get("/api/v1/executions?since=2026-11-01T00:00:00Z", headers=headers))
            names[role] = sorted(one["name"] for one in answer["executions"])
    assert names["reader"] == ["red's secret"]
    # The statements are broken indeed.
    assert {"blue's secret", "red's secret"} <= set(names["owner"])


def test_the_reader_sees_nothing_where_no_tenant_is_named_and_changes_no_others_rows(there: Installation) -> None:
    with psycopg.connect(there.reader, autocommit=True) as reader:
        assert reader.execute("SELECT count(*) FROM spantree.executions").fetchone() == (0,)
        assert reader.execute("SELECT spantree.tenant_of()").fetchone() == (None,)
        with reader.transaction():
            reader.execute("SELECT set_config('spantree.tenant', '1', true)")
            assert reader.execute("SELECT DISTINCT tenant_id FROM spantree.executions").fetchall() == [(1,)]
            assert reader.execute("UPDATE spantree.failure_group SET note = 'x' WHERE tenant_id = 2").rowcount == 0
        for statement in (
            "UPDATE spantree.execution SET name = 'x'",
            "DELETE FROM spantree.span",
            "INSERT INTO spantree.tenant_role VALUES ('spantree_reader', 2)",
            "UPDATE spantree.token SET scope = 'admin'",
            "SELECT spantree.ensure_partitions(ARRAY[DATE '2031-01-02'])",
            "SELECT spantree.drop_own_audit(30)",
            "SELECT FROM spantree.execution_20261120",
            "SET ROLE spantree_tenant_red",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(statement.encode())
        with reader.transaction(force_rollback=True):
            reader.execute("SELECT set_config('spantree.tenant', '1', true)")
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
                reader.execute(
                    "INSERT INTO spantree.failure_group_change (tenant_id, fingerprint, changed_at, state)"
                    " VALUES (2, 'f', now(), 'open')"
                )


def test_an_adversary_with_the_readers_password_sees_the_tenant_that_is_named_alone(there: Installation) -> None:
    """Who has it may name whom he likes; but a statement sees one tenant's rows, and no other road is open."""
    # It has to know tokens, and what messages are signed with.
    own = ("SELECT secret FROM spantree.alert_rule", "COPY spantree.token TO STDOUT", "GRANT SELECT ON spantree.token")
    tried = tuple(one for one in adversary.REFUSED if not one.startswith(own))
    with psycopg.connect(there.reader, autocommit=True) as reader:
        assert adversary.not_refused(reader, tried) == []
        assert adversary.readable_without_a_tenant(reader) == ["definition", "migration", "retention_day"]
        reader.execute("SET spantree.tenant = '1'")
        assert adversary.foreign_rows(reader, 1) == []
        assert {
            one for one in adversary.told_by_leaky_operators(reader, 1) if not one[1].startswith("tenant=1 ")
        } == set()
        reader.execute("PREPARE mine AS SELECT DISTINCT tenant_id FROM spantree.executions")
        assert reader.execute("EXECUTE mine").fetchall() == [(1,)]
        reader.execute("SET spantree.tenant = '2'")
        assert reader.execute("EXECUTE mine").fetchall() == [(2,)]
        reader.execute("RESET spantree.tenant")
        assert reader.execute("EXECUTE mine").fetchall() == []


def test_the_setting_moves_no_tenants_role(there: Installation) -> None:
    with psycopg.connect(there.owner, autocommit=True) as connection:
        connection.execute(SQL("SET ROLE {}").format(Identifier(there.roles["red"])))
        connection.execute("SELECT set_config('spantree.tenant', '2', false)")
        assert connection.execute("SELECT DISTINCT tenant_id FROM spantree.executions").fetchall() == [(1,)]


HOLES: dict[LiteralString, str] = {
    "GRANT TRUNCATE ON spantree.span TO spantree_tenant_red": (
        "spantree_tenant_red has the right TRUNCATE on spantree.span"
    ),
    "GRANT REFERENCES ON spantree.tenant TO PUBLIC": "PUBLIC has the right REFERENCES on spantree.tenant",
    "GRANT CREATE ON SCHEMA spantree TO PUBLIC": "PUBLIC may make things in the schema spantree",
    "CREATE MATERIALIZED VIEW spantree.copy AS SELECT 1": "spantree.copy holds rows that no policy is asked about",
    "GRANT EXECUTE ON FUNCTION spantree.alert_tenants() TO PUBLIC": (
        "the function spantree.alert_tenants() lends its owner's rights to everybody"
    ),
    "ALTER FUNCTION spantree.alert_tenants() RESET search_path": (
        "the function spantree.alert_tenants() lends its owner's rights and does not name where it looks for others"
    ),
    "CREATE FUNCTION public.low(text) RETURNS boolean LANGUAGE sql LEAKPROOF AS 'SELECT true'": (
        "the function low(text) is marked as leakproof"
    ),
    "CREATE INDEX by_user ON spantree.execution (user_id)": "the index spantree.by_user finds user_id of every tenant",
    "CREATE STATISTICS spantree.both ON name, kind FROM spantree.execution": (
        'there are statistics "both" of spantree.execution, which no policy is asked about'
    ),
    "CREATE ROLE ann IN ROLE spantree_tenant_red, pg_monitor": (
        "the role \"ann\" reads as a tenant's and also everybody's rows"
    ),
    "CREATE ROLE ann NOINHERIT IN ROLE spantree_tenant_red; GRANT spantree_reader TO spantree_tenant_red": (
        "the role \"spantree_tenant_red\" reads as a tenant's and also everybody's rows"
    ),
}


def test_doctor_tries_what_tenants_see_and_names_what_they_should_not(there: Installation) -> None:
    with psycopg.connect(there.owner, autocommit=True) as owner:
        assert (holes(owner), leaks(owner)) == ([], [])
        for statement, hole in HOLES.items():
            with owner.transaction(force_rollback=True):
                owner.execute(statement)
                assert holes(owner) == [hole]
        assert list(row_security_findings(owner)) == [
            Finding("row-level security", "on for every table; 2 roles of tenants")
        ]
        owner.execute("ALTER VIEW spantree.failures RESET (security_invoker)")
        owner.execute("ALTER POLICY tenant ON spantree.rollup USING (true)")
        try:
            # By rows, or by the error that they make; the views over the figures are by the policy of these.
            seen = ("failures", "node_stats", "rollup", "trends", "workflow_stats")
            assert leaks(owner) == [
                f'the role "{role}" sees rows of other tenants by spantree.{relation}'
                for role in (there.roles["blue"], there.roles["red"], "spantree_reader")
                for relation in seen
            ]
        finally:
            owner.execute("ALTER VIEW spantree.failures SET (security_invoker = true)")
            owner.execute(
                "ALTER POLICY tenant ON spantree.rollup USING (tenant_id = (SELECT spantree.tenant_of(current_user)))"
            )
