"""Bring the schema `spantree` to the version of this build: numbered migrations once, views and functions when changed.

A migration file runs in one transaction together with the row that records it; one that starts with the line
`-- no-transaction` (CREATE INDEX CONCURRENTLY and the like) runs statement by statement, each ending with a semicolon
at the end of a line, and must bear repetition.

Migrations run while the release before writes and reads, and it goes on doing so afterwards: a rolling upgrade. So
they only add, and a build works on a schema that is newer than itself. What takes something away comes a release later
than the last build that needs it, in a file named `NNNN_contract_...sql`, and builds that do not know that file refuse
the schema from then on (docs/scale.md).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import psycopg

from spantree_exporter.errors import BatchRejected, OperatorError, SchemaVersionError, StoreUnavailable, classify
from spantree_exporter.postgres.connection import connect
from spantree_exporter.postgres.distribution import DEFAULT_SHARDS, check_coordinator, distribute, guard, is_distributed
from spantree_exporter.postgres.partitions import days_to_keep_ready, ensure_partitions
from spantree_exporter.postgres.row_security import guard_tables
from spantree_exporter.postgres.short_locks import in_transaction, outside_transaction
from spantree_exporter.sql import Script, scripts, statements

_SQL: Final = statements("migrate")
_VERSIONS: Final = [script.version for script in scripts("migrations")]
LATEST: Final[int] = _VERSIONS[-1]

# libpq's server_version form of PostgreSQL 15.0, the oldest that the schema is tested on.
_OLDEST_SERVER: Final = 150000
_NO_TRANSACTION: Final = "-- no-transaction"
_LOCK_POLL_S: Final = 0.05
# Longer than any migration of ours should take; whoever meets it is told what is going on instead of hanging.
_LOCK_WAIT_S: Final = 600.0


def migrate(database_url: str, *, shards: int | None = None) -> list[int]:
    """Apply what is missing and answer the versions applied, in order; an empty list where nothing was missing.

    `shards` distributes the tables over the workers of a Citus cluster, where they are not yet; without it new tables
    are distributed only where others are already. Safe when several processes start at once: one works, the others
    wait for it. Connect to PostgreSQL itself, not through a pooler in transaction mode, which cannot hold the lock. A
    database that is newer keeps its views. Raises SchemaVersionError if it is so much newer that this build cannot work
    with it, or an applied file was edited; OperatorError, StoreUnavailable.
    """
    return apply(database_url, scripts("migrations"), scripts("idempotent"), shards=shards)


def apply(
    database_url: str, migrations: Sequence[Script], definitions: Sequence[Script], *, shards: int | None = None
) -> list[int]:
    """As `migrate`, with the files given; `migrations` in order of their versions."""
    try:
        with connect(database_url, "spantree migrate") as connection:
            if connection.info.server_version < _OLDEST_SERVER:
                raise OperatorError(
                    f"PostgreSQL is version {connection.info.server_version // 10000}, "
                    f"wanted {_OLDEST_SERVER // 10000} or newer: use a newer server"
                )
            encoding = connection.info.parameter_status("server_encoding")
            if encoding != "UTF8":
                raise OperatorError(
                    f"the database is encoded in {encoding}, wanted UTF8, for spans hold any character: create one "
                    "with ENCODING 'UTF8' TEMPLATE template0"
                )
            check_coordinator(connection)
            connection.execute(_SQL["settings"])
            with _migration_lock(connection):
                applied = _apply_migrations(connection, migrations)
                if _scalar(connection, "latest_version") <= migrations[-1].version:
                    _apply_definitions(connection, definitions)
                    if shards is not None or is_distributed(connection):
                        moved = distribute(connection, shards or DEFAULT_SHARDS)
                        if moved:
                            # Once more: only now are functions and views made on the workers, too.
                            _apply_definitions(connection, definitions, again=True)
                        guard(connection, moved)
                ensure_partitions(connection, days_to_keep_ready(datetime.now(UTC)))
                guard_tables(connection)
            return applied
    except psycopg.Error as error:
        ours = classify(error)
        if isinstance(ours, BatchRejected):  # there is no batch: a statement of a file does not suit this database
            raise OperatorError(f"the schema cannot be brought to version {migrations[-1].version}: {ours}") from error
        raise ours from error


def schema_version(database_url: str) -> int | None:
    """The version that the schema is at, None where there is none. Raises StoreUnavailable, OperatorError."""
    try:
        with connect(database_url, "spantree migrate") as connection:
            return version_of(connection)
    except psycopg.Error as error:
        raise classify(error) from error


def version_of(connection: psycopg.Connection[Any]) -> int | None:
    """As `schema_version`, on an open connection. Raises psycopg.Error."""
    if not _scalar(connection, "migration_exists"):
        return None
    return int(_scalar(connection, "latest_version"))


def missing_versions(connection: psycopg.Connection[Any]) -> list[int]:
    """The migrations of this build that the schema, which must be there, has not had; in order. Raises psycopg.Error.

    Not only the latest: of two that were written side by side the one with the lower number may be released later.
    """
    return [version for (version,) in connection.execute(_SQL["missing_versions"], {"versions": _VERSIONS})]


def check_version(connection: psycopg.Connection[Any]) -> None:
    """Raise SchemaVersionError unless this build can work with the schema; its text says what to do.

    Raises OperatorError where it is a worker of a Citus cluster, for the coordinator has it.
    """
    version = version_of(connection)
    if version is None:
        check_coordinator(connection)
        raise SchemaVersionError(
            f'the schema spantree does not exist, this build needs version {LATEST}: run "spantree migrate"'
        )
    if missing := missing_versions(connection):
        raise SchemaVersionError(f'{what_is_missing(version, missing)}: run "spantree migrate"')
    if version > LATEST:
        _check_newer(connection, version, LATEST)


def what_is_missing(version: int, missing: Sequence[int]) -> str:
    """Says which migrations a schema at `version` has not had."""
    if version < missing[0]:
        return f"the schema spantree is at version {version}, this build needs version {LATEST}"
    return (
        f"the schema spantree is at version {version}, without migration {', '.join(map(str, missing))} of this build"
    )


def _check_newer(connection: psycopg.Connection[Any], in_database: int, in_build: int) -> None:
    """Raise SchemaVersionError where a migration that this build does not know took away what it needs."""
    if name := _scalar(connection, "contracted_by", {"version": in_build}):
        raise SchemaVersionError(
            f"the schema spantree is at version {in_database}, this build knows versions up to {in_build}, and {name} "
            "took away what it needs: use a build that is as new as the database"
        )


def _apply_migrations(connection: psycopg.Connection[Any], migrations: Sequence[Script]) -> list[int]:
    if not _scalar(connection, "schema_exists"):
        connection.execute(_SQL["create_schema"])
        connection.execute(_SQL["comment_schema"])
    if not _scalar(connection, "migration_exists"):
        with connection.transaction():
            connection.execute(_SQL["create_migration"])
    in_database = {
        version: (name, digest) for version, name, digest in connection.execute(_SQL["applied_migrations"]).fetchall()
    }
    newest = max(in_database, default=0)
    if newest > migrations[-1].version:
        _check_newer(connection, newest, migrations[-1].version)
    applied = []
    for script in migrations:
        if script.version in in_database:
            name, digest = in_database[script.version]
            if digest != script.sha256:
                raise SchemaVersionError(
                    f"migration {name} was applied with SHA-256 {digest[:12]}..., the file {script.name} of this build "
                    f"has {script.sha256[:12]}...: applied migrations are never edited; restore the file, "
                    "put the change in a new one"
                )
            continue
        _apply_one(connection, script)
        applied.append(script.version)
    return applied


def _apply_one(connection: psycopg.Connection[Any], script: Script) -> None:
    record = {"version": script.version, "name": script.name, "sha256": script.sha256}
    if script.text.startswith(_NO_TRANSACTION):
        for statement in script.text.split(";\n"):
            if statement.strip():
                outside_transaction(connection, partial(connection.execute, statement))
        connection.execute(_SQL["insert_migration"], record)
        return

    def run() -> None:
        connection.execute(script.text)
        connection.execute(_SQL["insert_migration"], record)

    in_transaction(connection, run)


def _apply_definitions(
    connection: psycopg.Connection[Any], definitions: Sequence[Script], *, again: bool = False
) -> None:
    in_database = dict(connection.execute(_SQL["applied_definitions"]).fetchall())
    if not again and all(in_database.get(script.name) == script.sha256 for script in definitions):
        if _scalar(connection, "has_roles_without_rights"):
            in_transaction(connection, lambda: connection.execute(_SQL["grant_roles"]))
        return

    # All of them, in order, in one transaction: a view may stand on one of another file.
    def run() -> None:
        for script in definitions:
            connection.execute(script.text)
            connection.execute(_SQL["upsert_definition"], {"name": script.name, "sha256": script.sha256})

    in_transaction(connection, run)


@contextmanager
def _migration_lock(connection: psycopg.Connection[Any]) -> Iterator[None]:
    deadline = time.monotonic() + _LOCK_WAIT_S
    while not _scalar(connection, "try_lock"):
        if time.monotonic() > deadline:
            raise StoreUnavailable(f"another process has been migrating the database for {_LOCK_WAIT_S:.0f} s")
        time.sleep(_LOCK_POLL_S)
    try:
        yield
    finally:
        if not connection.broken:
            connection.execute(_SQL["unlock"])


def _scalar(connection: psycopg.Connection[Any], name: str, values: dict[str, object] | None = None) -> Any:
    row = connection.execute(_SQL[name], values).fetchone()
    return row[0] if row else None
