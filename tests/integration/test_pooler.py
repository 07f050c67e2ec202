"""A connection pooler before PostgreSQL: as good as none where it lends whole sessions, else refused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg
import pytest
from tests import factories
from tests.api_server import api_over, ok, refused
from tests.pooler import pooler
from tests.postgres import new_database
from tests.spantree_process import spantree
from tests.tables import project_all, tables
from tests.waiting import wait_until

from spantree_api.config import ApiConfig
from spantree_api.database import Database
from spantree_api.errors import Unavailable
from spantree_exporter.errors import OperatorError, StoreUnavailable
from spantree_exporter.postgres.connection import connect
from spantree_exporter.postgres.migrate import migrate
from spantree_exporter.postgres.store import Store

ROWS = ("span", "execution", "node", "edge", "trace")
SHARED = (
    "a connection pooler lends one session of PostgreSQL to several clients, wanted sessions of spantree's own, for it "
    "has settings, temporary tables and locks in them"
)
REMEDY = (
    "let the pooler have pool_mode = session and server_reset_query = DISCARD ALL for this user or database, or name "
    "PostgreSQL itself"
)


def write(url: str, rows_of: str) -> None:
    store = Store(url)
    store.write([*factories.workflow(1), *factories.workflow(2, failing=True)])
    project_all(rows_of, store)
    store.close()


def why_refused(url: str) -> str | None:
    try:
        connect(url, "test").close()
    except OperatorError as error:
        return str(error)
    return None


def test_by_session_rows_and_answers_are_as_without_one(
    postgres_url: str, _migrated_template: str, migrated_url: str, tmp_path: Path
) -> None:
    write(migrated_url, migrated_url)
    with new_database(postgres_url, template=_migrated_template) as database_url, pooler(database_url) as lent:
        assert migrate(lent.url) == []
        write(lent.url, database_url)
        assert tables(database_url, *ROWS) == tables(migrated_url, *ROWS)
        with api_over(lent.url) as there, api_over(migrated_url) as elsewhere:
            for path in ("executions", "failures", f"executions/{factories.trace_id(2).hex()}/tree"):
                assert ok(there.get(f"/api/v1/{path}")) == ok(elsewhere.get(f"/api/v1/{path}"))
        done = spantree("retention", "--days", "20000", "--database-url", lent.url, directory=tmp_path)
        assert done.returncode == 0, done.stderr


def test_by_transaction_every_part_says_what_is_wanted(migrated_url: str, tmp_path: Path) -> None:
    with pooler(migrated_url, by_transaction=True) as lent:
        with pytest.raises(OperatorError) as told:
            Store(lent.url).check()
        assert str(told.value) == f"{SHARED}: {REMEDY}"
        with pytest.raises(OperatorError) as told:
            connect(lent.url, "test")
        assert str(told.value) == f"{SHARED}: {REMEDY}"
        with pytest.raises(OperatorError) as told:
            migrate(lent.url)
        assert str(told.value) == f"{SHARED}: {REMEDY}"
        with api_over(lent.url) as api:
            first = refused(api.get("/api/v1/executions"))
            assert first == (
                503,
                "database_unavailable",
                f"no connection to PostgreSQL yet, which knows the tokens: {SHARED}: {REMEDY}; try again",
            )
        found = spantree("doctor", "--database-url", lent.url, directory=tmp_path)
        assert f"problem database: {SHARED} -> {REMEDY}\n" in found.stdout


@pytest.mark.parametrize(("by_transaction", "resets"), [(True, True), (False, False)], ids=["Odyssey", "never reset"])
def test_what_else_does_not_keep_a_session_is_refused_too(
    migrated_url: str, by_transaction: bool, resets: bool
) -> None:
    with pooler(migrated_url, by_transaction=by_transaction, resets=resets) as lent:
        # What was given back just now may not be lent again yet.
        wait_until(lambda: why_refused(lent.url) == f"{SHARED}: {REMEDY}", 20, "it is refused")
        with api_over(lent.url) as api:
            why = f"no connection to PostgreSQL within 0.8 s: {SHARED}: {REMEDY}; try again"
            wait_until(lambda: refused(api.get("/api/v1/health"))[2] == why, 20, "it is said why")


def test_a_pooler_that_has_no_session_to_lend_is_waited_for(migrated_url: str, tmp_path: Path) -> None:
    with pooler(migrated_url, sessions_max=1) as lent, psycopg.connect(lent.url, autocommit=True) as busy:
        busy.execute("SELECT")
        with pytest.raises(StoreUnavailable) as told:
            Store(lent.url).check()
        assert str(told.value) == (
            "the connection pooler before PostgreSQL gives no connection (08P01): query_wait_timeout"
        )
        found = spantree("doctor", "--database-url", lent.url, directory=tmp_path)
    assert (
        "problem database: the connection pooler before PostgreSQL gives no connection (08P01): query_wait_timeout -> "
        "give it as many connections to PostgreSQL as spantree has to it (default_pool_size)\n"
    ) in found.stdout


async def _answered(url: str) -> str:
    database = Database(ApiConfig(database_url=url, pool_wait_s=1.0))
    await database.open()
    try:
        async with database.snapshot():
            return "answered"
    except Unavailable as error:
        return str(error)
    finally:
        await database.close()


def test_an_api_that_waits_for_a_session_in_vain_says_so(migrated_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spantree_api.pooled_connection.BEGIN_WITHIN_S", 0.2)
    with pooler(migrated_url, sessions_max=1) as lent, psycopg.connect(lent.url, autocommit=True) as busy:
        lent.full_after_s = 60.0
        busy.execute("SELECT")
        told = asyncio.run(_answered(lent.url))
    assert told == (
        "no connection to PostgreSQL within 1 s: no answer for 0.2 s on a connection that is open: the server, or a "
        "pooler or balancer before it, is stuck; try again"
    )
