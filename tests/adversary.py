"""What somebody with SQL tries in order to see rows of other tenants: for every role that reads one tenant's.

Relations, columns and functions are those of the catalog: a new one is tried without being named here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, LiteralString

import psycopg
from psycopg.sql import SQL, Composed, Identifier

Connection = psycopg.Connection[Any]

_RELATIONS: Final = """
    SELECT c.relname, c.relkind::text, c.relispartition, (
        SELECT array_agg(a.attname ORDER BY a.attnum)
        FROM pg_attribute AS a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            AND has_column_privilege(c.oid, a.attnum, 'SELECT')
    )
    FROM pg_class AS c
    WHERE c.relnamespace = 'spantree'::regnamespace AND c.relkind NOT IN ('i', 'I', 't', 'c')
    ORDER BY c.relname
"""
_FUNCTIONS: Final = """
    SELECT f.oid::regprocedure::text, f.proname, ARRAY(
        SELECT format_type(argument, NULL) FROM unnest(f.proargtypes::oid[]) WITH ORDINALITY AS of (argument, n)
        ORDER BY n
    )
    FROM pg_proc AS f
    WHERE f.pronamespace = 'spantree'::regnamespace AND f.prokind = 'f' AND f.prorettype <> 'trigger'::regtype
    ORDER BY 1
"""
_SPY: Final = """
    CREATE OR REPLACE FUNCTION pg_temp.spy(what text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
    $$ BEGIN RAISE NOTICE '%', what; RETURN true; END $$;
    CREATE OR REPLACE FUNCTION pg_temp.spy(what text, other text) RETURNS boolean LANGUAGE sql COST 0.0000001 AS
    'SELECT pg_temp.spy(what)';
    CREATE OPERATOR pg_temp.<<<< (FUNCTION = pg_temp.spy, LEFTARG = text, RIGHTARG = text)
"""
# Plans that meet policies elsewhere: in workers, by indexes, without them, compiled.
_PLANS: Final[tuple[LiteralString, ...]] = (
    "SELECT",
    "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0",
    "SET enable_seqscan = off",
    "SET enable_indexscan = off; SET enable_bitmapscan = off",
    "SET plan_cache_mode = force_generic_plan",
    "SET constraint_exclusion = off; SET enable_partition_pruning = off",
)

REFUSED: Final[tuple[LiteralString, ...]] = (
    # whose rights one has
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION postgres",
    "SET session_replication_role = replica",
    "CREATE ROLE spantree_adversary",
    "ALTER ROLE CURRENT_USER BYPASSRLS",
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "GRANT SELECT ON spantree.token TO PUBLIC",
    "SELECT spantree.admit_role(current_user)",
    "SELECT spantree.guard_table('spantree.execution')",
    "SELECT spantree.drop_policies('spantree.execution')",
    "SELECT spantree.grant_roles()",
    "INSERT INTO spantree.tenant_role VALUES (current_user, 2)",
    "UPDATE spantree.tenant SET name = 'mine'",
    # what holds the rows
    "SELECT FROM spantree.tenant_role",
    "SELECT secret FROM spantree.alert_rule",
    "SELECT FROM pg_statistic",
    "SELECT FROM pg_statistic_ext_data",
    "SELECT FROM pg_authid",
    "SELECT subconninfo FROM pg_subscription",
    "SELECT data FROM pg_largeobject",
    "ALTER TABLE spantree.execution DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE spantree.execution DETACH PARTITION spantree.execution_20261120",
    "CREATE POLICY mine ON spantree.execution USING (true)",
    "CREATE TRIGGER mine AFTER INSERT ON spantree.execution EXECUTE FUNCTION spantree.refuse_change()",
    "CREATE STATISTICS mine ON name, kind FROM spantree.execution",
    "CREATE INDEX ON spantree.execution (name)",
    "CREATE TABLE spantree.mine ()",
    "CREATE VIEW spantree.mine AS SELECT 1",
    "CREATE SCHEMA mine",
    "CREATE OR REPLACE FUNCTION spantree.tenant_of(member name) RETURNS integer LANGUAGE sql AS 'SELECT 2'",
    "ALTER FUNCTION spantree.tenant_of(name) RESET ALL",
    "CREATE EVENT TRIGGER mine ON ddl_command_end EXECUTE FUNCTION spantree.refuse_change()",
    "UPDATE spantree.execution SET tenant_id = 1",
    "INSERT INTO spantree.span SELECT * FROM spantree.span",
    "DELETE FROM spantree.node",
    "TRUNCATE spantree.edge",
    "SELECT FROM spantree.execution FOR UPDATE",
    "LOCK TABLE spantree.execution IN ACCESS EXCLUSIVE MODE",
    "COPY spantree.token TO STDOUT",
    # what is beside PostgreSQL's tables
    "SELECT pg_read_file('PG_VERSION')",
    "SELECT pg_read_binary_file('PG_VERSION')",
    "SELECT pg_ls_dir('.')",
    "SELECT pg_ls_waldir()",
    "SELECT pg_ls_logdir()",
    "SELECT pg_stat_file('PG_VERSION')",
    "SELECT lo_import('/etc/hostname')",
    "COPY (SELECT 1) TO '/tmp/spantree-adversary'",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "SELECT FROM pg_hba_file_rules",
    "SELECT FROM pg_file_settings",
    "SHOW data_directory",
    "SELECT pg_create_logical_replication_slot('mine', 'pgoutput')",
    "SELECT pg_stat_reset()",
    "CREATE FUNCTION pg_temp.low(text) RETURNS boolean LANGUAGE sql LEAKPROOF AS 'SELECT true'",
    "CREATE FUNCTION pg_temp.low(text) RETURNS boolean LANGUAGE c AS 'libc', 'system'",
    "DO $$ BEGIN EXECUTE 'SELECT FROM spantree.token_secrets'; EXCEPTION WHEN undefined_table THEN"
    " PERFORM FROM spantree.tenant_role; END $$",
)
"""Statements that nobody may but the owner or a superuser."""


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation of the schema and the columns that the one who asks may read."""

    name: str
    kind: str
    is_partition: bool
    columns: tuple[str, ...]

    @property
    def identifier(self) -> Identifier:
        return Identifier("spantree", self.name)


def relations(connection: Connection) -> list[Relation]:
    """Every table, partition, view and sequence of the schema, as who asks sees it."""
    return [
        Relation(name, kind, is_partition, tuple(columns or ()))
        for name, kind, is_partition, columns in connection.execute(_RELATIONS).fetchall()
    ]


def not_refused(connection: Connection, statements: tuple[LiteralString, ...]) -> list[str]:
    """Those of `statements` that were not refused for want of a right."""
    found = []
    for statement in statements:
        try:
            with connection.transaction(force_rollback=True):
                connection.execute(statement)
        except psycopg.errors.InsufficientPrivilege:
            continue
        except psycopg.Error as error:
            found.append(f"{statement}: {type(error).__name__}: {error}")
        else:
            found.append(statement)
    return found


def readable_without_a_tenant(connection: Connection) -> list[str]:
    """Relations whose rows are read although they have no tenant that a policy could ask for; partitions; sequences."""
    return [
        one.name
        for one in relations(connection)
        if one.columns and (one.is_partition or one.kind not in "rpv" or "tenant_id" not in one.columns)
    ]


def foreign_rows(connection: Connection, own: int) -> list[str]:
    """Relations that show a row of another tenant, by any plan, in COPY, from a prepared statement or a cursor."""
    found = []
    for plan in _PLANS:
        connection.execute(plan)
        found += [f"{one.name} after {plan}" for one in _guarded(connection) if _count(connection, one, own)]
        connection.execute("RESET ALL")
        _again(connection, own)
    for one in _guarded(connection):
        columns = SQL(", ").join([Identifier("tenant_id"), *map(Identifier, one.columns)])
        statement = SQL("COPY (SELECT {} FROM {}) TO STDOUT").format(columns, one.identifier)
        with connection.cursor().copy(statement) as lines:
            if {bytes(line).split(b"\t")[0] for line in lines} - {str(own).encode()}:
                found.append(f"COPY of {one.name}")
    return found


def _again(connection: Connection, own: int) -> None:
    """RESET ALL forgets whom the API's role reads for."""
    connection.execute("SELECT set_config('spantree.tenant', %s, false)", (str(own),))


def _guarded(connection: Connection) -> Iterator[Relation]:
    # Everybody's thresholds are tenant 0's; names of tenants are the API's to know.
    return (
        one
        for one in relations(connection)
        if "tenant_id" in one.columns and not one.is_partition and one.name not in ("threshold", "tenant", "token")
    )


def _count(connection: Connection, relation: Relation, own: int) -> int:
    query = SQL("SELECT count(*) FROM {} WHERE tenant_id <> {}").format(relation.identifier, own)
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


def told_by_leaky_operators(connection: Connection, own: int) -> set[tuple[str, str]]:
    """Rows that functions and operators of one's own, cheaper than any policy, were given: (relation, row as text).

    And the relation with an error, where one that says what it was given did so of a row of another tenant.
    """
    connection.execute(_SPY)
    told: list[str] = []
    connection.add_notice_handler(lambda notice: told.append(str(notice.message_primary)))
    found: set[tuple[str, str]] = set()
    for one in _guarded(connection):
        row = SQL("concat_ws(' ', {})").format(
            SQL(", ").join(
                [SQL("format('tenant=%s', tenant_id)"), *(SQL("{}::text").format(Identifier(c)) for c in one.columns)]
            )
        )
        for statement in (
            SQL("SELECT FROM {} WHERE pg_temp.spy({})").format(one.identifier, row),
            SQL("SELECT FROM {} WHERE {} OPERATOR(pg_temp.<<<<) ''").format(one.identifier, row),
            SQL("SELECT FROM {} AS one WHERE EXISTS (SELECT FROM {} AS other WHERE pg_temp.spy({}))").format(
                one.identifier, one.identifier, row
            ),
        ):
            told.clear()
            connection.execute(statement)
            found.update((one.name, line) for line in told)
        try:
            connection.execute(
                SQL("SELECT FROM {} WHERE 1 / (tenant_id = {})::integer = 2").format(one.identifier, own)
            )
        except psycopg.errors.DivisionByZero as error:
            found.add((one.name, str(error)))
    return found


def answers_of_functions(connection: Connection, arguments: dict[str, object]) -> dict[str, str]:
    """What each function of the schema answers, or says in its error, to `arguments` by their types."""
    answers = {}
    for signature, name, types in connection.execute(_FUNCTIONS).fetchall():
        statement: Composed = SQL("SELECT * FROM {}({})").format(
            Identifier("spantree", name), SQL(", ").join(SQL("%s::" + kind) for kind in types)
        )
        try:
            with connection.transaction(force_rollback=True):
                answers[signature] = str(connection.execute(statement, [arguments[kind] for kind in types]).fetchall())
        except psycopg.Error as error:
            answers[signature] = f"{type(error).__name__}: {error}"
    return answers


def texts_found_by_estimates(connection: Connection, relation: str, column: str, beginning: str) -> str:
    """The text that begins so and is found letter by letter in what EXPLAIN estimates; `beginning` where none is.

    Where a text is frequent, the estimate of "smaller than a guess" jumps as the guess passes it.
    """

    def estimated(guess: str) -> float:
        query = SQL("EXPLAIN (FORMAT json) SELECT FROM {} WHERE {} < {}").format(
            Identifier("spantree", relation), Identifier(column), guess
        )
        row = connection.execute(query).fetchone()
        assert row is not None
        return float(row[0][0]["Plan"]["Plan Rows"])

    letters = sorted("@.abcdefghijklmnopqrstuvwxyz{")
    found = beginning
    while len(found) < 20:
        estimates = [estimated(found + letter) for letter in letters]
        steps = [after - before for before, after in pairwise(estimates)]
        if max(steps) < 5:
            return found
        found += letters[steps.index(max(steps))]
    return found
