"""Migrations: once each, never edited, safe when several start at once; a newer database is refused."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from tests.api_rows import fold_all
from tests.factories import DAY_NS, NOON_NS, SECOND_NS, span, workflow
from tests.tables import project_all, query, tables
from tests.waiting import wait_until

from spantree_exporter.errors import OperatorError, SchemaVersionError, StoreUnavailable
from spantree_exporter.postgres.copy_binary import EDGE_COLUMNS, EXECUTION_COLUMNS, NODE_COLUMNS
from spantree_exporter.postgres.migrate import LATEST, apply, migrate, schema_version
from spantree_exporter.postgres.store import Store
from spantree_exporter.sql import Script, scripts

_VERSIONS = [script.version for script in scripts("migrations")]


def _rows(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(query.encode()).fetchall()


def _migrate_in_process(url: str, results: multiprocessing.Queue[list[int]]) -> None:
    results.put(migrate(url))


def _script(name: str, text: str) -> Script:
    return Script(name, text, str(hash(text)))


def test_an_empty_database_is_brought_to_the_latest_version(database_url: str) -> None:
    assert schema_version(database_url) is None
    assert migrate(database_url) == _VERSIONS
    assert schema_version(database_url) == LATEST
    assert migrate(database_url) == []


def test_four_that_start_at_once_apply_each_migration_once(database_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[list[int]] = context.Queue()
    processes = [context.Process(target=_migrate_in_process, args=(database_url, results)) for _ in range(4)]
    for process in processes:
        process.start()
    applied = sorted(results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(timeout=60)
    assert applied == [[], [], [], _VERSIONS]


def _note_newer(url: str, name: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO spantree.migration (version, name, sha256) VALUES (%s, %s, '')", (LATEST + 1, name)
        )


def test_a_newer_database_that_took_away_what_this_code_needs_is_refused_and_left_alone(migrated_url: str) -> None:
    newer = LATEST + 1
    _note_newer(migrated_url, f"{newer:04d}_contract_node.sql")
    told = (
        f"is at version {newer}, this build knows versions up to {LATEST}, and {newer:04d}_contract_node.sql took away"
    )
    with pytest.raises(SchemaVersionError, match=told):
        migrate(migrated_url)
    with contextlib.closing(Store(migrated_url)) as store, pytest.raises(SchemaVersionError, match=told):
        store.check()


def test_a_migration_that_came_after_one_with_a_higher_number_is_missed(migrated_url: str) -> None:
    passed_over = scripts("migrations")[-2].version
    query(migrated_url, "DELETE FROM spantree.migration WHERE version = %(version)s", version=passed_over)
    told = f'is at version {LATEST}, without migration {passed_over} of this build: run "spantree migrate"'
    with contextlib.closing(Store(migrated_url)) as store, pytest.raises(SchemaVersionError, match=told):
        store.check()


def test_a_newer_database_that_only_gained_is_worked_with_and_keeps_its_views(migrated_url: str) -> None:
    with contextlib.closing(Store(migrated_url)) as store:
        # By the staging tables, which this connection then has without the column.
        for trace in (1, 2):
            store.write(workflow(trace)[:2])
            store.write(workflow(trace)[2:])
        project_all(migrated_url, store)
        _note_newer(migrated_url, f"{LATEST + 1:04d}_add_node_colour.sql")
        for table in ("span", "execution", "node", "edge", "resource", "trace", "pending_projection"):
            query(migrated_url, f"ALTER TABLE spantree.{table} ADD COLUMN colour text NOT NULL DEFAULT 'grey'")
        view = _script("950_extra.sql", "CREATE OR REPLACE VIEW spantree.extra AS SELECT 1 AS one")
        assert apply(migrated_url, scripts("migrations"), [*scripts("idempotent"), view]) == []
        assert _rows(migrated_url, "SELECT to_regclass('spantree.extra')") == [(None,)]
        assert schema_version(migrated_url) == LATEST + 1
        store.write(workflow(3))
        store.write(workflow(4)[:2])
        store.write(workflow(4))
        with contextlib.suppress(OperatorError):
            project_all(migrated_url, store)
        # What a collector does after any error: a new connection, which is checked.
        store.close()
        store.check()
        store.write(workflow(4))
        project_all(migrated_url, store)
    assert _rows(migrated_url, "SELECT colour, count(*) FROM spantree.node GROUP BY 1") == [("grey", 20)]
    assert _rows(migrated_url, "SELECT status, count(*) FROM spantree.execution GROUP BY 1") == [("completed", 4)]


def test_a_migration_waits_briefly_for_a_lock_again_and_again(migrated_url: str) -> None:
    """Whoever comes after it goes on, although a reader holds the table for long."""
    column = _script(f"{LATEST + 1:04d}_colour.sql", "ALTER TABLE spantree.node ADD COLUMN colour text")
    with ThreadPoolExecutor(1) as pool:
        with psycopg.connect(migrated_url) as reader:
            reader.execute("SELECT count(*) FROM spantree.node").fetchone()
            applying = pool.submit(apply, migrated_url, [*scripts("migrations"), column], scripts("idempotent"))
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'spantree migrate' AND {}"
            blocked = waiting.format("wait_event_type = 'Lock' AND datname = current_database()")
            wait_until(lambda: query(migrated_url, blocked) == [(1,)], 30, "it waits for the reader")
            # Queued behind it, and served as soon as it gives up.
            assert query(migrated_url, "SELECT count(*) FROM spantree.node") == [(0,)]
            assert not applying.done()
        assert applying.result(60) == [LATEST + 1]


def test_an_edited_migration_is_refused(migrated_url: str) -> None:
    edited = dataclasses.replace(scripts("migrations")[0], sha256="f" * 64)
    with pytest.raises(SchemaVersionError, match="applied migrations are never edited"):
        apply(migrated_url, [edited, *scripts("migrations")[1:]], scripts("idempotent"))


def test_a_migration_that_fails_leaves_nothing_behind(migrated_url: str) -> None:
    broken = _script(f"{LATEST + 1:04d}_break.sql", "CREATE TABLE spantree.half (); SELECT 1 / 0")
    with pytest.raises(OperatorError, match=r"cannot be brought to version .*division by zero"):
        apply(migrated_url, [*scripts("migrations"), broken], scripts("idempotent"))
    assert schema_version(migrated_url) == LATEST
    assert _rows(migrated_url, "SELECT to_regclass('spantree.half')") == [(None,)]


def test_an_index_is_built_concurrently_while_others_wait_to_migrate(migrated_url: str) -> None:
    concurrent = _script(
        f"{LATEST + 1:04d}_index.sql",
        "-- no-transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS dead_at_idx ON spantree.dead_letter (dead_at);\n",
    )
    with ThreadPoolExecutor(4) as pool:
        results = list(
            pool.map(
                lambda _: apply(migrated_url, [*scripts("migrations"), concurrent], scripts("idempotent")), range(4)
            )
        )
    assert sorted(results) == [[], [], [], [LATEST + 1]]
    assert _rows(
        migrated_url, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'spantree.dead_at_idx'::regclass"
    ) == [(True,)]


def test_views_are_applied_again_only_when_their_files_change(migrated_url: str) -> None:
    before = _rows(migrated_url, "SELECT name, applied_at FROM spantree.definition ORDER BY name")
    migrate(migrated_url)
    assert _rows(migrated_url, "SELECT name, applied_at FROM spantree.definition ORDER BY name") == before
    view = _script("950_extra.sql", "CREATE OR REPLACE VIEW spantree.extra AS SELECT 1 AS one")
    apply(migrated_url, scripts("migrations"), [*scripts("idempotent"), view])
    assert _rows(migrated_url, "SELECT one FROM spantree.extra") == [(1,)]


def test_no_database_there_is_told_as_unavailable() -> None:
    with pytest.raises(StoreUnavailable, match="PostgreSQL cannot be reached"):
        migrate("postgresql://nobody@127.0.0.1:1/none?connect_timeout=2")


def test_every_table_view_column_and_function_has_a_comment(migrated_url: str) -> None:
    without = """
        SELECT c.relname || coalesce('.' || a.attname, '')
        FROM pg_class AS c
        JOIN (SELECT attrelid, attnum, attname FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped
              UNION ALL SELECT oid, 0, NULL FROM pg_class) AS a ON a.attrelid = c.oid
        WHERE c.relnamespace = 'spantree'::regnamespace AND NOT c.relispartition
            AND (c.relkind IN ('r', 'p', 'v') OR c.relkind IN ('i', 'I') AND a.attnum = 0
                 AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = c.oid))
            AND NOT EXISTS (SELECT FROM pg_description AS d
                            WHERE d.objoid = c.oid AND d.objsubid = a.attnum AND d.classoid = 'pg_class'::regclass)
        UNION ALL
        SELECT p.proname FROM pg_proc AS p WHERE p.pronamespace = 'spantree'::regnamespace
            AND obj_description(p.oid, 'pg_proc') IS NULL
    """
    assert _rows(migrated_url, without) == []


@pytest.mark.parametrize(
    ("table", "columns"), [("execution", EXECUTION_COLUMNS), ("node", NODE_COLUMNS), ("edge", EDGE_COLUMNS)]
)
def test_the_columns_are_those_that_copy_writes(migrated_url: str, table: str, columns: dict[str, object]) -> None:
    names = _rows(
        migrated_url,
        f"""
        SELECT attname FROM pg_attribute WHERE attrelid = 'spantree.{table}'::regclass AND attnum > 0 ORDER BY attnum
        """,
    )
    written = ["tenant_id", "day", "trace_id", *columns]
    if table == "execution":
        # The last of what COPY writes, and older in the table than `calls`.
        written.insert(written.index("calls"), "search")
    assert [name for (name,) in names] == written


def test_nothing_in_the_schema_stands_in_the_way_of_distribution(migrated_url: str) -> None:
    """No foreign keys, triggers (but of the own audit), sequences, DEFAULT partitions or SQL-language functions."""
    assert (
        _rows(
            migrated_url,
            """
        SELECT conname FROM pg_constraint WHERE connamespace = 'spantree'::regnamespace AND contype IN ('f', 't')
        UNION ALL SELECT tgname FROM pg_trigger WHERE tgrelid IN (
            SELECT oid FROM pg_class WHERE relnamespace = 'spantree'::regnamespace
                AND relname NOT LIKE 'own!_audit!_event%' ESCAPE '!')
        UNION ALL SELECT relname FROM pg_class WHERE relnamespace = 'spantree'::regnamespace AND relkind = 'S'
        UNION ALL SELECT relname FROM pg_class WHERE relnamespace = 'spantree'::regnamespace
            AND pg_get_expr(relpartbound, oid) = 'DEFAULT'
        UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'spantree'::regnamespace
            AND prolang = (SELECT oid FROM pg_language WHERE lanname = 'sql')
        """,
        )
        == []
    )
    keys = _rows(
        migrated_url,
        """
        SELECT c.relname FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid
        WHERE c.relnamespace = 'spantree'::regnamespace AND c.relkind = 'p' AND i.indisunique
            AND (SELECT count(*) FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
                 AND a.attname IN ('tenant_id', 'trace_id', 'day')) = 3
        ORDER BY 1
        """,
    )
    assert keys == [("edge",), ("execution",), ("log_record",), ("node",), ("span",)]


def test_a_database_that_cannot_hold_every_character_is_refused(database_url: str) -> None:
    name = "spantree_test_ascii"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name}")
        connection.execute(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
        try:
            with pytest.raises(OperatorError, match="encoded in SQL_ASCII, wanted UTF8"):
                migrate(make_conninfo(database_url, dbname=name))
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_database_of_version_1_is_migrated_with_its_rows(migrated_url: str, database_url: str) -> None:
    """Days of traces and figures are filled in as writing the same spans today makes them."""
    store = Store(migrated_url)
    for trace in range(6):
        start_ns = NOON_NS + DAY_NS // 2 - 3 * SECOND_NS if trace == 3 else NOON_NS + trace % 2 * DAY_NS
        store.write(workflow(trace, failing=trace == 2, start_ns=start_ns))
    store.write([span(9, trace=1, parent=2, name="chat m", attributes={"gen_ai.request.model": "m"})])
    project_all(migrated_url, store)
    store.close()
    fold_all(migrated_url)
    with pytest.raises(
        OperatorError, match="ensure_partitions"
    ):  # whose file is of this build: partitions are made here
        apply(database_url, scripts("migrations")[:1], [])
    with psycopg.connect(migrated_url) as source, psycopg.connect(database_url) as target:
        for table in ("resource", "span", "execution", "node", "edge"):
            for day in ("20261120", "20261121") if table != "resource" else ():
                target.execute(
                    f"CREATE TABLE spantree.{table}_{day} PARTITION OF spantree.{table} "
                    f"FOR VALUES FROM ('{day}') TO ('{int(day) + 1}')".encode()
                )
            columns = ", ".join(
                name
                for (name,) in target.execute(
                    "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum",
                    (f"spantree.{table}",),
                )
            )
            with (
                source.cursor().copy(f"COPY (SELECT {columns} FROM spantree.{table}) TO STDOUT".encode()) as rows,
                target.cursor().copy(f"COPY spantree.{table} ({columns}) FROM STDIN".encode()) as copy,
            ):
                for row in rows:
                    copy.write(row)
    assert migrate(database_url) == _VERSIONS[1:]
    assert tables(database_url, "trace") == tables(migrated_url, "trace")
    # How often a way failed is counted since version 12 only.
    key = "tenant_id, subject, grain_h, started_at, workflow_name, service, name, kind, target, role, hidden"
    hours = "FROM spantree.rollup WHERE grain_h = 1 AND total <> 0 AND subject"
    for asked in (f"SELECT * {hours} <> 'edge' ORDER BY {key}", f"SELECT {key}, total {hours} = 'edge' ORDER BY {key}"):
        assert query(database_url, asked) == query(migrated_url, asked)
    outdated = "SELECT tenant_id, grain_h, started_at FROM spantree.rollup_outdated ORDER BY 1, 2, 3"
    assert query(database_url, outdated) == query(migrated_url, outdated)


def test_views_whose_ids_were_texts_are_made_anew_with_the_rights_on_them(migrated_url: str) -> None:
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        connection.execute("CREATE ROLE spantree_test_reader")
        try:
            connection.execute("DROP VIEW spantree.executions")
            connection.execute(
                "CREATE VIEW spantree.executions AS SELECT replace(trace_id::text, '-', '') AS execution_id "
                "FROM spantree.execution"
            )
            connection.execute("GRANT SELECT ON spantree.executions TO spantree_test_reader")
            connection.execute("GRANT SELECT ON spantree.edges TO PUBLIC")
            connection.execute("DELETE FROM spantree.definition")
            migrate(migrated_url)
            rights = connection.execute(
                """
                SELECT
                    has_table_privilege('spantree_test_reader', 'spantree.executions', 'SELECT'),
                    has_table_privilege('spantree_test_reader', 'spantree.edges', 'SELECT'),
                    has_table_privilege('spantree_test_reader', 'spantree.nodes', 'SELECT'),
                    (
                        SELECT atttypid::regtype::text FROM pg_attribute
                        WHERE attrelid = 'spantree.executions'::regclass AND attname = 'execution_id'
                    )
                """
            ).fetchone()
            assert rights == (True, True, False, "uuid")
        finally:
            connection.execute("DROP OWNED BY spantree_test_reader")
            connection.execute("DROP ROLE spantree_test_reader")
