"""Row-level security: what people of one tenant see in SQL of their own, by every road that PostgreSQL has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier
from tests import adversary
from tests.api_rows import insert, node, trace, trace_id
from tests.citus_cluster import nodes_of
from tests.postgres import new_database

from spantree_deploy.doctor.checks import row_security_findings
from spantree_deploy.doctor.finding import Finding
from spantree_exporter.errors import OperatorError
from spantree_exporter.postgres.migrate import migrate
from spantree_exporter.postgres.row_security import guard_tables, holes, unguarded
from spantree_exporter.rows import Edge
from spantree_exporter.tokens import TokenBook

WITH_TENANT = """
    SELECT c.relname
    FROM pg_class AS c
    WHERE c.relnamespace = 'spantree'::regnamespace
        AND c.relkind = ANY (%s)
        AND c.relispartition = %s
        AND EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND a.attnum > 0)
    ORDER BY 1
"""
NOBODYS = {"token", "tenant_role"}


@dataclass(frozen=True)
class Shared:
    """A database of two tenants, and a login of each."""

    url: str
    red: psycopg.Connection[tuple[object, ...]]
    blue: psycopg.Connection[tuple[object, ...]]
    red_login_url: str
    red_role: str
    blue_role: str


@pytest.fixture(scope="module")
def shared(postgres_url: str, _migrated_template: str) -> Iterator[Shared]:
    with new_database(postgres_url, template=_migrated_template) as url:
        # Roles are of the server, which other tests may use at the same time.
        suffix = uuid4().hex[:12]
        failed: dict[str, Any] = {
            "status": "failed",
            "error_category": "timeout",
            "error_fingerprint": "f",
            "project": "p",
            "user_id": "u",
        }
        with TokenBook(url) as book:
            roles = []
            for number, name in ((1, "red"), (2, "blue")):
                assert book.add_tenant(f"{name}-{suffix}") == number
                roles.append(book.make_role(f"{name}-{suffix}"))
                assert book.make_role(f"{name}-{suffix}") == roles[-1]
            with pytest.raises(OperatorError, match='there is no tenant "black"'):
                book.make_role("black")
            book.create_token(f"blue-{suffix}", "read")
        for tenant_id, name in ((0, "default"), (1, "red"), (2, "blue")):
            steps = [node(1, f"{name}'s secret"), node(2, "step", 1, status="failed", kind="llm", model=f"{name}-m")]
            edges = [Edge(1, 0, 2, 0, "sequential", None, "declared")]
            insert(url, trace(1, steps, edges, name=f"{name}'s secret", **failed), tenant_id=tenant_id)
        with psycopg.connect(url, autocommit=True) as owner:
            fill(owner)
            logins = [f"login_{name}_{suffix}" for name in ("red", "blue")]
            for login, role in zip(logins, roles, strict=True):
                owner.execute(SQL("CREATE ROLE {} LOGIN PASSWORD 'x'").format(Identifier(login)))
                owner.execute(SQL("GRANT {} TO {}").format(Identifier(role), Identifier(login)))
        urls = [make_conninfo(url, user=login, password="x") for login in logins]
        connections = [psycopg.connect(login_url, autocommit=True) for login_url in urls]
        yield Shared(url, connections[0], connections[1], urls[0], roles[0], roles[1])
        for connection in connections:
            connection.close()
        with psycopg.connect(url, autocommit=True) as owner:
            for role in (*logins, *roles):
                owner.execute(SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(Identifier(role)))


def fill(owner: psycopg.Connection[tuple[object, ...]]) -> None:
    """Rows of all three tenants in every table that lacks them: what is in them matters to nobody here."""
    for (table,) in owner.execute(WITH_TENANT, (["r", "p"], False)).fetchall():
        name = Identifier("spantree", str(table))
        if owner.execute(SQL("SELECT count(DISTINCT tenant_id) FROM {}").format(name)).fetchone() == (3,):
            continue
        if table in NOBODYS:
            continue
        wanted = owner.execute(
            """
            SELECT attname, CASE WHEN attname = 'day' THEN 'a day' ELSE format_type(atttypid, NULL) END
            FROM pg_attribute
            WHERE attrelid = to_regclass('spantree.' || %s) AND attnum > 0 AND NOT attisdropped
                AND attnotnull AND NOT atthasdef AND attidentity = '' AND attname <> 'tenant_id'
            """,
            (table,),
        ).fetchall()
        checks = owner.execute(
            "SELECT conname FROM pg_constraint WHERE conrelid = to_regclass('spantree.' || %s) AND contype = 'c'",
            (table,),
        )
        for (check,) in checks.fetchall():
            owner.execute(SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(name, Identifier(str(check))))
        owner.execute(
            SQL(
                "INSERT INTO {} ({}) SELECT {} FROM generate_series(0, 2) AS of (tenant) ON CONFLICT DO NOTHING"
            ).format(
                name,
                SQL(", ").join([Identifier("tenant_id"), *(Identifier(str(column)) for column, _ in wanted)]),
                SQL(", ").join([SQL("tenant"), *(VALUES[str(kind)] for _, kind in wanted)]),
            )
        )


VALUES = {
    "a day": SQL("'2026-11-20'"),
    "bigint": SQL("2"),
    "boolean": SQL("false"),
    "bytea": SQL("'x'"),
    "date": SQL("'2026-11-20'"),
    "double precision": SQL("1"),
    "integer": SQL("2"),
    "jsonb": SQL("""'{"db.statement": "blue''s secret"}'"""),
    "text": SQL("'x'"),
    "timestamp with time zone": SQL("now()"),
    "uuid": SQL("md5(tenant::text)::uuid"),
}


def relations(connection: psycopg.Connection[tuple[object, ...]], kinds: list[str], *, partitions: bool) -> list[str]:
    return [str(name) for (name,) in connection.execute(WITH_TENANT, (kinds, partitions)).fetchall()]


def tenants_in(connection: psycopg.Connection[tuple[object, ...]], relation: str) -> list[object]:
    query = SQL("SELECT DISTINCT tenant_id FROM {} ORDER BY 1").format(Identifier("spantree", relation))
    return [tenant for (tenant,) in connection.execute(query).fetchall()]


def test_each_tenant_sees_its_own_rows_of_every_table_and_view(shared: Shared) -> None:
    tables = [name for name in relations(shared.red, ["r", "p"], partitions=False) if name not in NOBODYS]
    views = relations(shared.red, ["v"], partitions=False)
    assert len(tables) > 20
    assert len(views) > 15
    seen = {
        name: (tenants_in(shared.red, name), tenants_in(shared.blue, name))
        for name in [*tables, *views]
        if name != "alert_rule"
    }
    # Everybody's thresholds are tenant 0's, unless they have some of their own; no row of the others is theirs to see.
    assert seen.pop("threshold") == ([0, 1], [0, 2])
    empty = {name for name, found in seen.items() if found == ([], [])}
    assert empty <= EMPTY
    assert {name: found for name, found in seen.items() if name not in empty} == dict.fromkeys(
        seen.keys() - empty, ([1], [2])
    )
    assert shared.red.execute("SELECT DISTINCT tenant_id, name FROM spantree.alert_rule").fetchall() == [(1, "x")]


EMPTY = {"stuck_executions", "runs", "conversations", "retries", "service_calls"}
"""Views of which the fixture has no rows: they read the tables that are tested."""


def test_an_adversary_is_refused_whatever_holds_rows_or_lends_rights(shared: Shared) -> None:
    assert adversary.not_refused(shared.red, adversary.REFUSED) == []
    assert adversary.readable_without_a_tenant(shared.red) == []
    held = [
        SQL("SELECT FROM {}").format(one.identifier)
        for one in adversary.relations(shared.red)
        if one.is_partition or one.kind == "S" or one.name in NOBODYS
    ]
    with psycopg.connect(shared.url) as owner:
        held += [
            SQL("SELECT FROM {}").format(Identifier("pg_toast", name))
            for (name,) in owner.execute(
                "SELECT t.relname FROM pg_class AS c JOIN pg_class AS t ON t.oid = c.reltoastrelid"
                " WHERE c.relnamespace = 'spantree'::regnamespace"
            ).fetchall()
        ]
    assert len(held) > 40
    for statement in held:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            shared.red.execute(statement)


def test_an_adversary_sees_no_foreign_row_by_any_plan_copy_operator_or_function(shared: Shared) -> None:
    with psycopg.connect(shared.red_login_url, autocommit=True) as red:
        assert adversary.foreign_rows(red, 1) == []
        told = adversary.told_by_leaky_operators(red, 1)
        assert len({relation for relation, _ in told}) > 30
        assert {one for one in told if not one[1].startswith("tenant=1 ")} == set()
        theirs: dict[str, object] = {
            "uuid": trace_id(1),
            "integer": 2,
            "text": "x",
            "regclass": "spantree.execution",
            "name": shared.blue_role,
            "date": "2026-11-20",
            "date[]": "{2026-11-20}",
            "jsonb": "[]",
            "text[]": "{}",
            "bigint": 1,
            "double precision": 0.5,
            "numeric": 0.5,
            "timestamp with time zone": "2026-11-20T00:00:00Z",
            "spantree.histogram": "({1},{1})",
        }
        answers = adversary.answers_of_functions(red, theirs)
        assert {signature for signature, answer in answers.items() if "blue's" in answer or "blue-m" in answer} == set()
        assert "red's secret" in "".join(adversary.answers_of_functions(red, theirs | {"integer": 1}).values())


def test_an_adversary_learns_no_text_from_what_explain_estimates(shared: Shared) -> None:
    """The estimate of "smaller than a guess" jumps where the guess passes a frequent text, whosesoever that is."""
    with psycopg.connect(shared.url, autocommit=True) as owner:
        owner.execute(
            "INSERT INTO spantree.operation (tenant_id, service, name, kind, last_day)"
            " SELECT 2, CASE WHEN n < 100 THEN 'ann@blue' ELSE 'x' || n END, n::text, 1, '2026-11-20'"
            " FROM generate_series(1, 300) AS of (n)"
        )
        # As it was before statistics of texts were given up.
        owner.execute("ALTER TABLE spantree.operation ALTER COLUMN service SET STATISTICS 100")
        owner.execute("ANALYZE spantree.operation")
        assert adversary.texts_found_by_estimates(shared.red, "operation", "service", "a") == "ann@blue"
        assert unguarded(owner) == ["spantree.operation"]
        migrate(shared.url)
        assert (unguarded(owner), holes(owner)) == ([], [])
        owner.execute("ANALYZE spantree.operation")
        assert adversary.texts_found_by_estimates(shared.red, "operation", "service", "a") == "a"
        # Statistics from earlier, which only a superuser or PostgreSQL 18 takes away.
        owner.execute("ALTER TABLE spantree.operation ALTER COLUMN service SET STATISTICS 100")
        owner.execute("ANALYZE spantree.operation")
        owner.execute("ALTER TABLE spantree.operation ALTER COLUMN service SET STATISTICS 0")
        assert holes(owner) == ["the statistics of operation.service from earlier have texts of every tenant"]
        owner.execute("SELECT spantree.forget_texts('spantree.operation')")
        assert holes(owner) == []


def test_an_adversary_sees_no_others_queries_and_keeps_no_others_rows_over_a_change_of_role(shared: Shared) -> None:
    shared.blue.execute("SELECT 'blue''s secret question'")
    seen = shared.red.execute("SELECT query FROM pg_stat_activity WHERE query LIKE '%question%'").fetchall()
    assert [one for one in seen if "blue" in str(one)] == []
    with psycopg.connect(shared.url) as both:
        for name, role in (("red", shared.red_role), ("blue", shared.blue_role)):
            both.execute(SQL("SET ROLE {}").format(Identifier(role)))
            if name == "red":
                both.execute("PREPARE mine AS SELECT name FROM spantree.executions")
                both.execute("DECLARE kept CURSOR WITH HOLD FOR SELECT name FROM spantree.executions")
            assert both.execute("EXECUTE mine").fetchall() == [(f"{name}'s secret",)]
        both.commit()
        # Rows are of the role that reads them, at the commit for a cursor that outlives its transaction.
        assert both.execute("FETCH ALL FROM kept").fetchall() == [("blue's secret",)]
    # What is named like spantree's own in a schema of one's own moves no policy.
    shared.red.execute("CREATE TEMP TABLE tenant_role AS SELECT current_user::name AS role_name, 2 AS tenant_id")
    shared.red.execute(
        "CREATE FUNCTION pg_temp.pg_has_role(name, oid, text) RETURNS boolean LANGUAGE sql AS 'SELECT true'"
    )
    shared.red.execute("SET search_path = pg_temp, spantree, pg_catalog")
    assert shared.red.execute("SELECT tenant_of(), name FROM executions").fetchall() == [(1, "red's secret")]
    shared.red.execute("RESET search_path")


def test_neither_settings_nor_functions_nor_roles_lead_to_another_tenant(shared: Shared) -> None:
    red = shared.red
    everything = "SELECT tenant_id, name FROM spantree.executions"
    assert red.execute(everything).fetchall() == [(1, "red's secret")]
    red.execute("SET spantree.tenant = '2'")
    assert red.execute(everything).fetchall() == [(1, "red's secret")]
    red.execute("SET row_security = off")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
        red.execute(everything)
    red.execute("RESET row_security")
    for tenant, names in ((0, []), (1, ["red's secret", "step"]), (2, [])):
        tree = red.execute("SELECT * FROM spantree.execution_tree(%s, %s)", (trace_id(1), tenant)).fetchall()
        assert [name for name in names if name not in str(tree)] == []
        assert bool(tree) == bool(names)
        path = red.execute("SELECT count(*) FROM spantree.critical_path(%s, %s)", (trace_id(1), tenant)).fetchone()
        assert path == (0,) or tenant == 1
    assert red.execute("SELECT spantree.tenant_of()").fetchone() == (1,)
    assert red.execute("SELECT name FROM spantree.executions WHERE tenant_id = 2").fetchall() == []
    (blue_role,) = red.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'spantree_tenant_blue%'").fetchall()[0]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        red.execute(SQL("SET ROLE {}").format(Identifier(str(blue_role))))


def test_search_meets_own_rows_only(shared: Shared) -> None:
    found = shared.red.execute("SELECT tenant_id FROM spantree.execution WHERE search @@ 'secret'").fetchall()
    assert found == [(1,)]
    # An error that says the value does so of own rows only.
    with pytest.raises(psycopg.errors.InvalidTextRepresentation, match="red's secret"):
        shared.red.execute("SELECT FROM spantree.execution WHERE name::integer = 1")


def test_statistics_of_columns_are_hidden(shared: Shared) -> None:
    """On a Citus cluster on each node: those of a distributed table are its shards', which Citus shows to who asks."""
    with psycopg.connect(shared.url, autocommit=True) as owner:
        owner.execute("ANALYZE spantree.execution, spantree.rollup, spantree.resource")
    counted = 0
    for node_url in nodes_of(shared.url) or [shared.url]:
        red_url = make_conninfo(node_url, user=shared.red.info.user, password="x")
        with psycopg.connect(node_url) as owner, psycopg.connect(red_url) as red:
            counted += _count_statistics(owner)
            assert _count_statistics(red) == 0
    assert counted > 10


def _count_statistics(connection: psycopg.Connection[tuple[Any, ...]]) -> int:
    connection.execute("SET citus.override_table_visibility = off")
    row = connection.execute("SELECT count(*) FROM pg_stats WHERE schemaname = 'spantree'").fetchone()
    assert row is not None
    return int(row[0])


def test_a_policy_is_asked_once_a_statement_and_meets_the_index(shared: Shared) -> None:
    """`(SELECT ...)` is an InitPlan: the function runs once, and its value is what the index is searched for."""
    shared.red.execute("SET enable_seqscan = off")
    plan = "\n".join(
        str(line)
        for (line,) in shared.red.execute(
            "EXPLAIN (ANALYZE, COSTS off, TIMING off, BUFFERS off)"
            " SELECT name FROM spantree.execution WHERE day = '2026-11-20' AND NOT hidden"
            " ORDER BY started_ns DESC, trace_id DESC LIMIT 50"
        ).fetchall()
    )
    shared.red.execute("RESET enable_seqscan")
    assert "Index Cond: (tenant_id = (InitPlan" in plan or "Index Cond: (tenant_id = $" in plan, plan
    assert "Sort" not in plan, plan
    assert "InitPlan" in plan, plan


def test_a_dropped_tenants_role_sees_nothing_and_a_role_of_two_must_choose(shared: Shared) -> None:
    with psycopg.connect(shared.url, autocommit=True) as owner:
        roles = [
            name
            for (name,) in owner.execute("SELECT role_name FROM spantree.tenant_role ORDER BY tenant_id").fetchall()
        ]
        both = f"login_both_{uuid4().hex[:12]}"
        owner.execute(
            SQL("CREATE ROLE {}; GRANT {}, {} TO {}").format(
                Identifier(both), *map(Identifier, roles), Identifier(both)
            )
        )
        try:
            owner.execute(SQL("SET ROLE {}").format(Identifier(both)))
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="belongs to 2 tenants: SET ROLE"):
                owner.execute("SELECT FROM spantree.executions")
            owner.execute(SQL("SET ROLE {}").format(Identifier(roles[1])))
            assert tenants_in(owner, "executions") == [2]
            owner.execute("RESET ROLE")
            owner.execute("UPDATE spantree.tenant SET dropped_at = now() WHERE tenant_id = 2")
            assert tenants_in(shared.blue, "executions") == []
        finally:
            owner.execute("RESET ROLE")
            owner.execute("UPDATE spantree.tenant SET dropped_at = NULL WHERE tenant_id = 2")
            owner.execute(SQL("DROP ROLE {}").format(Identifier(both)))


def test_a_role_admitted_to_all_tenants_sees_them_through_the_tables_and_not_the_partitions(shared: Shared) -> None:
    reader = f"reader_{uuid4().hex[:12]}"
    with psycopg.connect(shared.url, autocommit=True) as owner:
        owner.execute(SQL("CREATE ROLE {}").format(Identifier(reader)))
        try:
            # The rights alone show no row.
            owner.execute(
                SQL(
                    "GRANT USAGE ON SCHEMA spantree TO {0}; GRANT SELECT ON ALL TABLES IN SCHEMA spantree TO {0};"
                    " SET ROLE {0}"
                ).format(Identifier(reader))
            )
            assert tenants_in(owner, "executions") == []
            owner.execute("RESET ROLE")
            owner.execute("SELECT spantree.admit_role(%s)", (reader,))
            owner.execute(SQL("SET ROLE {}").format(Identifier(reader)))
            assert tenants_in(owner, "executions") == tenants_in(owner, "trends") == [0, 1, 2]
            assert tenants_in(owner, "execution_20261120") == []
        finally:
            owner.execute("RESET ROLE")
            owner.execute(SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(Identifier(reader)))


def test_what_is_open_is_told_and_shut_by_migrating_and_old_rights_stay(migrated_url: str) -> None:
    reader = f"reader_{uuid4().hex[:12]}"
    insert(migrated_url, trace(1))
    with psycopg.connect(migrated_url, autocommit=True) as owner:
        assert (unguarded(owner), holes(owner), guard_tables(owner)) == ([], [], 0)
        owner.execute("ALTER TABLE spantree.span DISABLE ROW LEVEL SECURITY")
        owner.execute("ALTER TABLE spantree.node_20261120 DISABLE ROW LEVEL SECURITY")
        owner.execute("CREATE POLICY open ON spantree.edge USING (true)")
        owner.execute("ALTER VIEW spantree.runs RESET (security_invoker)")
        assert unguarded(owner) == ["spantree.node_20261120", "spantree.span"]
        assert holes(owner) == [
            'spantree.edge has the policy "open", which is none of spantree\'s',
            "the view spantree.runs runs with the rights of its owner",
        ]
        # As before 0021: no table of roles, nothing guarded, somebody who may read.
        owner.execute(SQL("CREATE ROLE {0}; GRANT USAGE ON SCHEMA spantree TO {0}").format(Identifier(reader)))
        try:
            owner.execute(SQL("GRANT SELECT ON spantree.execution TO {}").format(Identifier(reader)))
            owner.execute("DROP TABLE spantree.tenant_role; DELETE FROM spantree.migration WHERE version = 21")
            assert migrate(migrated_url) == [21]
            assert unguarded(owner) == []
            owner.execute("ALTER TABLE spantree.execution DISABLE ROW LEVEL SECURITY")
            assert guard_tables(owner) == 1
            owner.execute(SQL("SET ROLE {}").format(Identifier(reader)))
            assert tenants_in(owner, "execution") == [0]
            owner.execute("RESET ROLE")
        finally:
            owner.execute(SQL("RESET ROLE; DROP OWNED BY {0}; DROP ROLE {0}").format(Identifier(reader)))


def test_an_owner_who_is_no_superuser_reads_and_writes_as_without_policies(shared: Shared) -> None:
    owning = f"owner_{uuid4().hex[:12]}"
    with psycopg.connect(shared.url, autocommit=True) as connection, connection.transaction(force_rollback=True):
        connection.execute(
            SQL(
                "CREATE ROLE {0}; GRANT USAGE ON SCHEMA spantree TO {0}; ALTER TABLE spantree.trace OWNER TO {0};"
                " SET LOCAL ROLE {0}"
            ).format(Identifier(owning))
        )
        assert tenants_in(connection, "trace") == [0, 1, 2]
        plans = [
            connection.execute(SQL("EXPLAIN (COSTS off) {}").format(statement)).fetchall()
            for statement in (
                SQL("SELECT FROM spantree.trace"),
                SQL("INSERT INTO spantree.trace (tenant_id, trace_id, days) VALUES (2, gen_random_uuid(), '{}')"),
            )
        ]
        assert plans == [[("Seq Scan on trace",)], [("Insert on trace",), ("  ->  Result",)]]


def test_who_cannot_make_roles_is_told_which_to_ask_for(shared: Shared) -> None:
    limited = f"limited_{uuid4().hex[:12]}"
    with psycopg.connect(shared.url, autocommit=True) as owner:
        owner.execute(
            SQL(
                "CREATE ROLE {0} LOGIN PASSWORD 'x'; GRANT USAGE ON SCHEMA spantree TO {0};"
                " GRANT SELECT, INSERT, UPDATE, DELETE ON spantree.tenant, spantree.tenant_role TO {0};"
                " SELECT spantree.admit_role({1})"
            ).format(Identifier(limited), limited)
        )
        name = limited.replace("limited", "green")
        owner.execute("INSERT INTO spantree.tenant (tenant_id, name) VALUES (3, %s)", (name,))
        try:
            mine = make_conninfo(shared.url, user=limited, password="x")
            with TokenBook(mine) as book, pytest.raises(OperatorError) as refused:
                book.make_role(name)
            assert str(refused.value) == (
                f'the role "{limited}" cannot make roles: let one that can run CREATE ROLE "spantree_tenant_{name}" '
                "NOLOGIN, then repeat this"
            )
        finally:
            owner.execute("DELETE FROM spantree.tenant WHERE tenant_id = 3")
            owner.execute("DELETE FROM spantree.tenant_role WHERE tenant_id IS NULL")
            owner.execute(SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(Identifier(limited)))


def test_doctor_tells_what_is_open(shared: Shared) -> None:
    with psycopg.connect(shared.url, autocommit=True) as owner:
        well = Finding("row-level security", "on for every table; 2 roles of tenants")
        assert list(row_security_findings(owner)) == [well]
        owner.execute("ALTER TABLE spantree.change DISABLE ROW LEVEL SECURITY")
        finding, *tried = row_security_findings(owner)
        assert [one.found.partition(" sees ")[2] for one in tried] == ["rows of other tenants by spantree.change"] * 2
        assert finding == Finding(
            "row-level security", "off for spantree.change", "run `spantree migrate`, which switches it on"
        )
        migrate(shared.url)
        assert list(row_security_findings(owner)) == [well]
