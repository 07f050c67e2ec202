"""Row-level security: every table with tenants' rows has it, so that people's own SQL sees one tenant's.

What holds is said in sql/idempotent/008_row_security.sql; here it is switched on by one short lock at a time, and told.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

import psycopg

from spantree_exporter.short_locks import in_transaction
from spantree_exporter.sql import statements

_SQL: Final = statements("row_security")


def guard_tables(connection: psycopg.Connection[Any]) -> int:
    """Switch it on where it is off, each table in a transaction of its own; how many tables that were.

    Idempotent; the connection is in autocommit. Raises psycopg.Error; LockNotAvailable where readers hold a table for
    a minute and more: to be repeated then.
    """
    tables = unguarded(connection)
    for table in tables:
        _guard(connection, table)
    return len(tables)


def unguarded(connection: psycopg.Connection[Any]) -> list[str]:
    """Tables and partitions with tenants' rows and without it, in order of their names. Raises psycopg.Error."""
    return [name for (name,) in connection.execute(_SQL["unguarded_tables"]).fetchall()]


def holes(connection: psycopg.Connection[Any]) -> list[str]:
    """What lets a role past it, each as a clause for people to read. Raises psycopg.Error."""
    return [found for (found,) in connection.execute(_SQL["holes"]).fetchall()]


def count_tenant_roles(connection: psycopg.Connection[Any]) -> int:
    """How many roles for tenants' own SQL there are. Raises psycopg.Error."""
    row = connection.execute(_SQL["tenant_roles"]).fetchone()
    return int(row[0]) if row else 0


def _guard(connection: psycopg.Connection[Any], table: str) -> None:
    # Retention may have dropped it meanwhile.
    with suppress(psycopg.errors.UndefinedTable):
        in_transaction(connection, lambda: connection.execute(_SQL["guard_table"], {"table": table}))
