"""On a Citus cluster, where SPANTREE_TEST_DATABASE_URL is a coordinator's (`make test-citus`)."""

from __future__ import annotations

from datetime import UTC, datetime
from unittest.mock import ANY

import psycopg
import pytest
from tests.api_server import api_over, ok, refused
from tests.citus_cluster import nodes_of
from tests.factories import workflow
from tests.postgres import name_of, shards_of, url_of

from spantree_deploy.doctor.checks import cluster_findings
from spantree_exporter.errors import OperatorError
from spantree_exporter.postgres.connection import StoreConnection
from spantree_exporter.postgres.distribution import DISTRIBUTED, LOCAL, REFERENCE, by_worker, cluster, distribute
from spantree_exporter.postgres.migrate import migrate
from spantree_exporter.postgres.store import Store
from spantree_exporter.sql import statements


@pytest.fixture(autouse=True)
def _on_citus(postgres_url: str) -> None:
    if not nodes_of(postgres_url):
        pytest.skip("no Citus: `make test-citus`")


def test_each_table_is_where_it_belongs(migrated_url: str) -> None:
    with psycopg.connect(migrated_url) as connection:
        found: dict[str, str] = dict(
            connection.execute(
                "SELECT relname, citus_table_type FROM citus_tables JOIN pg_class ON oid = table_name"
                " WHERE NOT relispartition"
            ).fetchall()
        )
    assert found == dict.fromkeys(DISTRIBUTED, "distributed") | dict.fromkeys(REFERENCE, "reference")
    assert not found.keys() & set(LOCAL)


def test_what_is_distributed_stays_so_and_nothing_is_without_being_asked_for(
    migrated_url: str, database_url: str
) -> None:
    assert migrate(migrated_url) == []
    migrate(database_url)
    with psycopg.connect(migrated_url, autocommit=True) as one, psycopg.connect(database_url, autocommit=True) as other:
        assert distribute(one, 64) == []
        undistributed = cluster(other)
        assert undistributed is not None
        assert undistributed.shard_count is None


def test_rows_that_were_there_move_along(database_url: str, postgres_url: str) -> None:
    migrate(database_url)
    store = Store(database_url)
    store.write(list(workflow(3)))
    store.close()
    migrate(database_url, shards=shards_of(postgres_url))
    store = Store(database_url)
    assert store.write(list(workflow(3))).spans == 0
    store.close()
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM spantree.span").fetchone() == (5,)
        assert connection.execute("SELECT count(*) FROM ONLY spantree.resource").fetchone() == (1,)


def test_a_worker_is_told_from_the_coordinator(migrated_url: str, postgres_url: str) -> None:
    worker = url_of(nodes_of(postgres_url)[1], name_of(migrated_url))
    said = "this is a worker of a Citus cluster, wanted the coordinator"
    with pytest.raises(OperatorError, match=said):
        migrate(worker)
    # It knows the distributed tables, and the queues, whose locks hold on the coordinator only, it does not.
    store = Store(worker)
    with pytest.raises(OperatorError, match=said):
        store.check()
    with pytest.raises(OperatorError, match=said):
        store.write(list(workflow(3)))
    with pytest.raises(OperatorError, match=said):
        store.project_due()
    store.close()
    with psycopg.connect(migrated_url) as connection:
        assert connection.execute("SELECT count(*) FROM spantree.span").fetchone() == (0,)
    with api_over(worker) as api:
        assert refused(api.get("/api/v1/executions")) == (503, "database_not_ready", ANY)
        assert said in api.get("/readyz").text


def test_traces_are_told_apart_by_worker_and_the_cluster_is_told(migrated_url: str, postgres_url: str) -> None:
    workers = len(nodes_of(postgres_url)) - 1
    trace_ids = [number.to_bytes(16, "big") for number in range(200)]
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        sets = by_worker(connection, trace_ids)
        findings = list(cluster_findings(connection))
    assert len(sets) == workers
    assert set().union(*sets) == set(trace_ids)
    assert sum(map(len, sets)) == len(trace_ids)
    assert [finding.remedy for finding in findings] == [None]
    assert f"{shards_of(postgres_url)} shards on {workers} nodes" in findings[0].found


def test_what_lies_on_the_workers_counts_as_stored(migrated_url: str) -> None:
    store = Store(migrated_url)
    store.write([one for number in range(40) for one in workflow(number)])
    store.close()
    with psycopg.connect(migrated_url) as connection:
        on_coordinator: dict[str, int] = dict(
            connection.execute(
                "SELECT relation.relname, sum(pg_total_relation_size(inhrelid))::bigint FROM pg_inherits"
                " JOIN pg_class AS relation ON relation.oid = inhparent WHERE relation.relkind = 'p' GROUP BY 1"
            ).fetchall()
        )
    with api_over(migrated_url) as api:
        told = ok(api.get("/api/v1/health/storage"))
    by_table = {one["table"]: one["bytes"] for one in told["tables"]}
    assert by_table["span"] > on_coordinator["span"]
    assert by_table["node"] > on_coordinator["node"]
    assert told["database_bytes"] > sum(by_table.values())


@pytest.mark.parametrize("name", ["days_of_traces", "projected_spans"])
def test_a_look_up_of_traces_asks_their_shards_alone(migrated_url: str, name: str) -> None:
    connection = StoreConnection(migrated_url, "test")
    explain = b"EXPLAIN " + statements("write")[name].encode()
    today = {"days": [datetime.now(UTC).date()]}
    one = connection.open().execute(explain, connection.trace_keys([(0, b"\x01" * 16)]) | today).fetchall()
    connection.close()
    assert [line.strip() for (line,) in one if "Task Count" in line] == ["Task Count: 1"]
