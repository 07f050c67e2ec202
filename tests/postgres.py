"""Databases for tests: one server for the session, a database of its own for each test."""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from tests.citus_cluster import copy_databases, create_databases, drop_databases, nodes_of

from spantree_deploy.postgres.embedded import EmbeddedPostgres
from spantree_exporter.postgres.distribution import allow_functions

# A name of ours, so that what a killed test run leaves on a shared server can be told from other people's databases.
_PREFIX = "spantree_test"


@contextlib.contextmanager
def throw_away_server() -> Iterator[str]:
    """A server without fsync in a temporary folder; yields the URL of its database `spantree`."""
    with (
        tempfile.TemporaryDirectory(prefix="spantree-tests-") as folder,
        EmbeddedPostgres(Path(folder) / "server", durable=False) as server,
    ):
        yield server.url


@contextlib.contextmanager
def new_database(server_url: str, template: str | None = None) -> Iterator[str]:
    """A database that nobody else uses, empty or a copy of `template`; dropped afterwards, even if it is in use.

    On the coordinator of a Citus cluster it is one of every node, and nothing in it is distributed yet.
    """
    name = f"{_PREFIX}_{secrets.token_hex(6)}"
    if nodes := nodes_of(server_url):
        try:
            if template is None:
                create_databases(nodes, name)
            else:
                copy_databases(nodes, name, template)
                with psycopg.connect(url_of(server_url, name), autocommit=True) as connection:
                    allow_functions(connection)
            yield url_of(server_url, name)
        finally:
            drop_databases(nodes, name)
        return
    # template0: what somebody put into a shared server's template1 is not in an empty database.
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
        sql.Identifier(name), sql.Identifier(template or "template0")
    )
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(statement)
    try:
        yield url_of(server_url, name)
    finally:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def url_of(server_url: str, database: str) -> str:
    """`server_url` with another database: a URI again if it was one, because SQLAlchemy reads nothing else."""
    if not server_url.startswith(("postgresql://", "postgres://")):
        return make_conninfo(server_url, dbname=database)
    before, mark, query = server_url.partition("?")
    scheme, _, rest = before.partition("://")
    authority = rest.partition("/")[0]
    return f"{scheme}://{authority}/{database}{mark}{query}"


def shards_of(server_url: str) -> int | None:
    """Over how many shards tests distribute, one on each worker: making them is what takes time. None without Citus."""
    nodes = nodes_of(server_url)
    return max(2, len(nodes) - 1) if nodes else None


def name_of(database_url: str) -> str:
    """The database that a URL names."""
    return str(conninfo_to_dict(database_url)["dbname"])
