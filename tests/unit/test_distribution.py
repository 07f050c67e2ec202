"""Where each table lies on Citus."""

from __future__ import annotations

import re

from spantree_deploy.settings import Settings
from spantree_exporter.postgres.distribution import DEFAULT_SHARDS, DISTRIBUTED, LOCAL, REFERENCE, Cluster, Node
from spantree_exporter.sql import scripts, statements


def test_each_table_has_one_place() -> None:
    placed = [*DISTRIBUTED, *REFERENCE, *LOCAL]
    text = "\n".join([*(script.text for script in scripts("migrations")), statements("migrate")["create_migration"]])
    tables = re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?spantree\.(\w+)", text)
    assert set(tables) <= set(placed), "say in spantree_exporter/postgres/distribution.py where a table lies on Citus"
    assert len(placed) == len(set(placed))


def test_the_setting_has_the_default_of_the_exporter() -> None:
    assert Settings().citus_shards == DEFAULT_SHARDS


def test_skew_is_the_fullest_node_against_the_mean_of_those_that_have_shards() -> None:
    nodes = (
        Node("c", 1, is_active=True, is_coordinator=True, shards=0, bytes=0),
        Node("w", 2, is_active=True, is_coordinator=False, shards=2, bytes=300),
        Node("w", 3, is_active=True, is_coordinator=False, shards=2, bytes=100),
    )
    assert Cluster("13.2-1", 4, nodes, ()).skew == 1.5
    assert Cluster("13.2-1", 4, nodes[:1], ()).skew is None
