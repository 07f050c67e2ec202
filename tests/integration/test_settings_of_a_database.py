"""A database whose owner has set what spantree does not: the same rows, and every command answers."""

from __future__ import annotations

import select
import threading
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg.sql import SQL, Identifier
from tests import factories
from tests.api_server import api_over, ok
from tests.postgres import name_of
from tests.spantree_process import spantree
from tests.tables import project_all, tables

from spantree_exporter.postgres.connection import StoreConnection, connect
from spantree_exporter.postgres.migrate import migrate
from spantree_exporter.postgres.store import Store
from spantree_exporter.retention.policy import Policy
from spantree_exporter.retention.run import run

FORMS = {
    "DateStyle": "German, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Kathmandu",
    "bytea_output": "escape",
    "standard_conforming_strings": "off",
    "extra_float_digits": "-15",
    "client_encoding": "LATIN1",
    "search_path": "",
}
LIMITS = {
    # Migrating has statements that take longer.
    "statement_timeout": "30ms",
    "lock_timeout": "5ms",
}
ROWS = ("span", "execution", "node", "edge", "trace")


def set_up(url: str, settings: dict[str, str]) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for name, value in settings.items():
            connection.execute(
                SQL("ALTER DATABASE {} SET {} = {}").format(Identifier(name_of(url)), Identifier(name), value)
            )


def unlimited(url: str) -> str:
    """As whoever looks at the rows connects."""
    mark = "&" if "?" in url else "?"
    return f"{url}{mark}options={quote('-c statement_timeout=0 -c TimeZone=UTC -c DateStyle=ISO')}&client_encoding=UTF8"


def write(url: str) -> None:
    store = Store(url)
    store.write([*factories.workflow(1), *factories.workflow(2, failing=True)])
    store.write([factories.span(1, trace=3, name="nul \x00 and \\ and '")])
    project_all(unlimited(url), store)
    store.close()


@pytest.mark.parametrize("settings", [FORMS, LIMITS], ids=["forms", "limits"])
def test_everything_is_as_in_any_other(
    database_url: str, migrated_url: str, settings: dict[str, str], tmp_path: Path
) -> None:
    set_up(database_url, settings)
    migrate(database_url)
    write(database_url)
    write(migrated_url)
    assert tables(unlimited(database_url), *ROWS) == tables(migrated_url, *ROWS)
    paths = ("executions", "failures", f"executions/{factories.trace_id(2).hex()}/tree")
    with api_over(database_url) as there, api_over(migrated_url) as elsewhere:
        for path in paths:
            assert ok(there.get(f"/api/v1/{path}")) == ok(elsewhere.get(f"/api/v1/{path}"))
    for words in (
        ("rebuild",),
        ("token", "create", "--scope", "read"),
        ("token", "list"),
        ("tenant", "list"),
        ("audit", "own"),
        ("dead-letter", "list"),
        ("redact", "--dry-run"),
        ("retention", "--days", "20000", "--dry-run"),
    ):
        done = spantree(*words, "--database-url", database_url, directory=tmp_path)
        assert (words, done.returncode) == (words, 0), done.stderr
    run(database_url, Policy(20_000), today=datetime.now(UTC).date())


def test_writers_that_meet_do_not_fail_each_other_by_a_stricter_isolation(migrated_url: str) -> None:
    set_up(migrated_url, {"default_transaction_isolation": "serializable"})
    failed: list[Exception] = []

    def write_all() -> None:
        store = Store(migrated_url)
        try:
            for number in range(20):
                store.write(factories.workflow(number))
        except Exception as error:
            failed.append(error)
        finally:
            store.close()

    writers = [threading.Thread(target=write_all) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failed == []


def test_no_limit_of_a_whole_transaction_is_a_span_s_fault(migrated_url: str) -> None:
    with psycopg.connect(migrated_url) as connection:
        if connection.info.server_version < 170_000:
            pytest.skip("there is none before PostgreSQL 17")
    set_up(migrated_url, {"transaction_timeout": "20ms"})
    with connect(migrated_url, "test") as connection, connection.transaction():
        connection.execute("SELECT pg_sleep(0.1)")


def test_no_session_ends_for_having_nothing_to_do(migrated_url: str) -> None:
    set_up(migrated_url, {"idle_session_timeout": "1s"})
    with connect(migrated_url, "test") as connection, psycopg.connect(migrated_url, autocommit=True) as ended:
        # The server ends this one as it would have ended the other.
        with pytest.raises(psycopg.errors.IdleSessionTimeout):
            while True:
                select.select([ended.fileno()], [], [], 10)
                ended.execute("SELECT")
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_writer_waits_for_what_a_database_has_its_standbys_replay(migrated_url: str) -> None:
    kept = {}
    for wanted in ("remote_apply", "remote_write", "off"):
        set_up(migrated_url, {"synchronous_commit": wanted})
        store = StoreConnection(migrated_url, "test")
        row = store.open().execute("SELECT current_setting('synchronous_commit')").fetchone()
        store.close()
        kept[wanted] = row and row[0]
    assert kept == {"remote_apply": "remote_apply", "remote_write": "on", "off": "on"}


@pytest.mark.parametrize("where", ["url", "environment"])
def test_options_of_the_url_or_the_environment_hold_beside_ours(
    migrated_url: str, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    mark = "&" if "?" in migrated_url else "?"
    url = f"{migrated_url}{mark}options=-c%20spantree.mark%3Dgiven" if where == "url" else migrated_url
    if where == "environment":
        monkeypatch.setenv("PGOPTIONS", "-c spantree.mark=given")
    with connect(url, "test") as connection:
        row = connection.execute("SELECT current_setting('spantree.mark'), current_setting('DateStyle')").fetchone()
    assert row == ("given", "ISO, MDY")
