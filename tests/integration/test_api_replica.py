"""The API reads from a standby: the same answers, their age told, changes by the primary, conflicts with recovery."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from tests.api_rows import fold_all
from tests.api_server import api_over, ok, refused
from tests.chaos.cutting_proxy import cutting_proxy
from tests.collectors import AWAY_URL
from tests.factories import NOON_NS, SECOND_NS, trace_id, workflow
from tests.spantree_process import spantree
from tests.standby import Replicated, replicated
from tests.tables import project_all, query
from tests.waiting import wait_until

from spantree_api.app import create_app
from spantree_api.config import ApiConfig
from spantree_api.database import Database, Query
from spantree_api.errors import Unavailable
from spantree_api.reads import health
from spantree_api.replica import HEADER
from spantree_api.stored_rows import ReplicationRow, records
from spantree_exporter.postgres.connection import connect
from spantree_exporter.postgres.migrate import migrate
from spantree_exporter.postgres.store import Store

_NOW_NS = NOON_NS + 600 * SECOND_NS
_FAILED = trace_id(2).hex()
# What takes the place of a parameter of a path, and queries that some paths want.
_PLACES = {
    "trace_id": _FAILED, "execution_id": _FAILED, "span_id": f"{4:016x}", "node_id": f"{4:016x}", "left": _FAILED,
    "right": trace_id(1).hex(), "other": trace_id(1).hex(), "name": "order-flow", "workflow": "order-flow",
    "service": "shop", "kind": "spans", "run_id": "none", "tag": "service.name",
}  # fmt: skip


@pytest.fixture(scope="module")
def pair() -> Iterator[Replicated]:
    with replicated() as servers:
        migrate(servers.primary)
        store = Store(servers.primary)
        for number in range(4):
            store.write(workflow(number, failing=number == 2))
        project_all(servers.primary, store)
        store.close()
        fold_all(servers.primary)
        servers.caught_up()
        yield servers


def _paths() -> list[str]:
    found = []
    for path, operations in create_app(ApiConfig()).openapi()["paths"].items():
        if "get" in operations and not path.endswith("/stream"):
            found.append(path.format_map(_Places()))
    return sorted(found)


class _Places(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return _PLACES.get(name.partition(":")[0], "none")


def test_every_read_is_answered_by_a_standby_as_by_its_primary(pair: Replicated) -> None:
    others = ["/api/services", f"/api/traces/{_FAILED}", "/api/traces?service=shop", f"/tempo/api/traces/{_FAILED}"]
    with (
        api_over(pair.primary, _NOW_NS) as primary,
        api_over(pair.primary, _NOW_NS, read_database_url=pair.standby) as standby,
    ):
        wait_until(lambda: HEADER in standby.get("/healthz").headers, 30, "the standby has been looked at")
        answered = 0
        for path in [*_paths(), *others]:
            by_primary, by_standby = primary.get(path), standby.get(path)
            assert by_standby.status_code == by_primary.status_code < 500, (path, by_standby.text)
            assert HEADER in by_standby.headers, path
            assert HEADER not in by_primary.headers, path
            if "/health" not in path:
                assert by_standby.content == by_primary.content, path
            answered += by_standby.status_code == 200
        assert answered > 25


def test_how_far_the_standby_is_behind_is_told_with_every_answer(pair: Replicated) -> None:
    with api_over(pair.primary, _NOW_NS, read_database_url=pair.standby) as client:
        store = Store(pair.primary)

        def lag_ms() -> int:
            return int(client.get("/api/v1/executions").headers.get(HEADER, "-1"))

        wait_until(lambda: lag_ms() == 0, 30, "it is not behind")
        told = ok(client.get("/api/v1/health"))
        assert (told["replica"]["status"], told["replication_lag_ms"]) == ("ok", 0)
        pair.replay(go_on=False)
        try:
            store.write(workflow(9))
            wait_until(lambda: lag_ms() >= 1000, 60, "it is behind, and says so")
            assert client.get(f"/api/v1/executions/{trace_id(9).hex()}").status_code == 404
        finally:
            pair.replay(go_on=True)
            store.close()
        pair.caught_up()
        ok(client.get(f"/api/v1/executions/{trace_id(9).hex()}"))
        wait_until(lambda: lag_ms() == 0, 30, "it has caught up")


def _group(client: Any) -> str:
    group: str = ok(client.get("/api/v1/failures/groups"))["groups"][0]["fingerprint"]
    return group


def test_what_changes_something_goes_to_the_primary_or_says_where_it_has_to_go(pair: Replicated) -> None:
    change = {"state": "ignored", "note": "known"}
    with api_over(pair.primary, _NOW_NS, read_database_url=pair.standby) as client:
        path = f"/api/v1/failures/groups/{_group(client)}"
        assert ok(client.patch(path, json=change))["state"] == "ignored"
        pair.caught_up()
        assert ok(client.get(path))["state"] == "ignored"
    with api_over(pair.standby, _NOW_NS) as client:
        status, code, message = refused(client.patch(path, json=change))
        assert (status, code) == (503, "database_read_only")
        assert "SPANTREE_DATABASE_URL takes no changes now" in message
        assert ok(client.get(path))["state"] == "ignored"


def test_reads_go_on_while_the_primary_is_away_and_changes_say_so(pair: Replicated) -> None:
    with api_over(AWAY_URL, _NOW_NS, read_database_url=pair.standby, pool_wait_s=0.5, host="127.0.0.1") as client:
        path = f"/api/v1/failures/groups/{_group(client)}"
        assert refused(client.patch(path, json={"state": "open"}))[:2] == (503, "database_unavailable")


def _either(first: str, second: str) -> str:
    of_both = [conninfo_to_dict(url) for url in (first, second)]
    hosts, ports = (",".join(str(given[key]) for given in of_both) for key in ("host", "port"))
    return make_conninfo(first, host=hosts, port=ports)


def test_of_several_servers_it_is_the_one_that_takes_writes(pair: Replicated) -> None:
    either = _either(pair.standby, pair.primary)
    with api_over(either, _NOW_NS) as api:
        assert ok(api.get("/api/v1/health"))["replica"]["message"].startswith("none: ")
        path = f"/api/v1/failures/groups/{_group(api)}"
        assert ok(api.patch(path, json={"state": "open"}))["state"] == "open"
    with connect(either, "test") as connection:
        assert connection.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)


def test_doctor_says_that_it_is_a_standby(pair: Replicated, tmp_path: Path) -> None:
    told = {
        url: [
            line
            for line in spantree("doctor", "--database-url", url, directory=tmp_path).stdout.splitlines()
            if line.startswith("ok      database: ")
        ]
        for url in (pair.primary, pair.standby, _either(pair.standby, pair.primary))
    }
    (primary,) = told[pair.primary]
    assert told == {
        pair.primary: [primary],
        pair.standby: [
            f"{primary}: a standby, or read-only; collectors, alerts and changes need the one that takes writes"
        ],
        _either(pair.standby, pair.primary): [primary],
    }


def test_without_a_server_that_takes_writes_one_is_read_until_it_is_back(
    pair: Replicated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spantree_api.pooled_connection._SECOND_CHOICE_S", 0.0)

    async def read(database: Database) -> bool:
        async with database.snapshot(opening=Query("replication", {}, records(ReplicationRow))) as snapshot:
            return bool(snapshot.opened[0].in_recovery)

    async def look() -> None:
        with cutting_proxy(pair.primary, []) as proxy:
            proxy.refuse(True)
            database = Database(ApiConfig(database_url=_either(pair.standby, proxy.url)))
            await database.open()
            try:
                assert await read(database)
                proxy.refuse(False)
                async with asyncio.timeout(20):
                    while await read(database):
                        pass
            finally:
                await database.close()

    asyncio.run(look())


def test_a_read_that_stands_in_the_way_of_replay_is_answered_503_to_be_tried_again(pair: Replicated) -> None:
    async def read_long() -> None:
        database = Database(ApiConfig(), pair.standby)
        await database.open()
        try:
            async with database.snapshot(wait_s=30) as snapshot:
                await health.ping(snapshot)
                await asyncio.to_thread(_vacuum_what_it_sees, pair)
                await health.ping(snapshot)
        finally:
            await database.close()

    with pytest.raises(Unavailable) as caught:
        asyncio.run(read_long())
    assert (caught.value.code, caught.value.passes) == ("replica_conflict", True)


def _vacuum_what_it_sees(pair: Replicated) -> None:
    with psycopg.connect(pair.primary, autocommit=True) as connection:
        connection.execute("CREATE TABLE gone AS SELECT generate_series(1, 1000) AS number")
        connection.execute("DELETE FROM gone")
        connection.execute("VACUUM gone")
        connection.execute("DROP TABLE gone")
    # Nothing else waits here: with max_standby_streaming_delay = 0 replay gets past it by ending the reader.
    pair.caught_up()


def test_a_table_that_gains_a_column_is_read_on(migrated_url: str) -> None:
    store = Store(migrated_url)
    store.write(workflow(1))
    store.close()
    path = f"/api/v1/executions/{trace_id(1).hex()}/tree"
    with api_over(migrated_url, _NOW_NS, pool_max=1) as client:
        before = [ok(client.get(path)) for _ in range(12)][-1]
        for table in ("execution", "node", "edge"):
            query(migrated_url, f"ALTER TABLE spantree.{table} ADD COLUMN colour text NOT NULL DEFAULT 'grey'")
        assert ok(client.get(path)) == before
