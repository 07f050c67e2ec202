"""A connection that stays open and on which no answer comes, as through a balancer whose server is gone."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator
from typing import NoReturn

import psycopg
import pytest
from tests import factories
from tests.chaos.cutting_proxy import CuttingProxy, cutting_proxy
from tests.tables import query
from tests.waiting import wait_until

from spantree_api.config import ApiConfig
from spantree_api.database import Database, Query
from spantree_api.errors import Unavailable
from spantree_api.stored_rows import ReplicationRow, records
from spantree_exporter import token_watch
from spantree_exporter.errors import StoreUnavailable
from spantree_exporter.postgres import connection
from spantree_exporter.postgres.patience import HAS_LIMIT, any_time
from spantree_exporter.postgres.store import Store
from spantree_exporter.token_watch import TokenWatch

NO_ANSWER = "no answer for {:g} s on a connection that is open: the server, or a pooler or balancer before it, is stuck"

pytestmark = pytest.mark.skipif(not HAS_LIMIT, reason="this psycopg waits without a limit")


@pytest.fixture
def proxy(migrated_url: str) -> Iterator[CuttingProxy]:
    with cutting_proxy(migrated_url, []) as passing:
        yield passing
        passing.hold(False)


def test_a_writer_gives_the_connection_up_and_goes_on_by_another(
    proxy: CuttingProxy, migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_ANSWER_WITHIN_S", 1.0)
    store = Store(proxy.url)
    try:
        store.check()
        proxy.hold(True)
        with pytest.raises(StoreUnavailable) as told:
            store.write(factories.workflow(1))
        assert str(told.value) == f"PostgreSQL cannot be reached: {NO_ANSWER.format(1)}"
        proxy.hold(False)
        store.write(factories.workflow(1))
    finally:
        store.close()
    assert query(migrated_url, "SELECT count(DISTINCT trace_id) FROM spantree.span") == [(1,)]


def test_what_may_take_any_time_does(migrated_url: str) -> None:
    with connection.connect(migrated_url, "test", answer_within_s=0.2) as opened:
        with any_time(opened):
            assert opened.execute("SELECT pg_sleep(0.4) IS NULL").fetchone() == (False,)
        with pytest.raises(psycopg.OperationalError, match=r"no answer for 0\.2 s"):
            opened.execute("SELECT pg_sleep(5)")
        assert opened.broken


def test_tokens_are_looked_at_again(proxy: CuttingProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_watch, "_ANSWER_WITHIN_S", 0.2)
    watch = TokenWatch(proxy.url, interval_s=0.02)
    watch.start()
    try:
        wait_until(lambda: watch.known is not None, 20, "the tokens are known")
        proxy.hold(True)
        wait_until(lambda: watch.failure != "", 20, "the silence is noticed")
        proxy.hold(False)
        watch.known = None
        wait_until(lambda: watch.known is not None, 20, "the tokens are known again")
    finally:
        watch.stop()


def test_tokens_are_looked_at_again_once_there_are_files_to_open(
    migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.EMFILE, "Too many open files")

    watch = TokenWatch(migrated_url, interval_s=0.02)
    with monkeypatch.context() as patched:
        patched.setattr(psycopg.Connection, "connect", none_left)
        watch.start()
        wait_until(lambda: watch.failure != "", 20, "the look fails")
    try:
        wait_until(lambda: watch.known is not None, 20, "the tokens are known")
    finally:
        watch.stop()


def test_a_read_that_has_begun_ends(proxy: CuttingProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spantree_api.database._SILENT_S", 0.5)
    # Ten statements of this limit, and half a second: more than any answer of them may take.
    config = ApiConfig(database_url=proxy.url, statement_timeout_ms=100)
    looked = Query("replication", {}, records(ReplicationRow))

    async def read() -> None:
        database = Database(config)
        await database.open()
        try:
            async with database.snapshot() as snapshot:
                proxy.hold(True)
                await snapshot.together(looked)
        finally:
            proxy.hold(False)
            await database.close()

    with pytest.raises(Unavailable) as told:
        asyncio.run(read())
    assert str(told.value) == f"PostgreSQL is away or overloaded: {NO_ANSWER.format(1.5)}; try again"
