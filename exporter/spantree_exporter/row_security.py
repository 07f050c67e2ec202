"""Row-level security: every table with tenants' rows has it, so that people's own SQL sees one tenant's.

What holds is said in sql/idempotent/008_row_security.sql; here it is switched on by one short lock at a time, and told.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

import psycopg
from psycopg.sql import SQL, Composed, Identifier

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


def leaks(connection: psycopg.Connection[Any]) -> list[str]:
    """What some roles of tenants see of others, found by trying: each a clause for people to read; changes nothing.

    By every table and view, the newest partitions, the functions and the search index. What takes longer than two
    seconds is passed over. Raises psycopg.Error.
    """
    found: list[str] = []
    relations = [name for (name,) in connection.execute(_SQL["relations_to_try"]).fetchall()]
    for role, tenant_id in connection.execute(_SQL["roles_to_try"]).fetchall():
        other = connection.execute(_SQL["foreign_trace"], {"tenant_id": tenant_id}).fetchone()
        with connection.transaction(force_rollback=True):
            connection.execute(SQL(_SQL["set_role"]).format(role=Identifier(role)))
            connection.execute(_SQL["limit_try"])
            tries: list[tuple[str, Composed, dict[str, Any]]] = [
                (".".join(name), SQL(_SQL["foreign_row"]).format(relation=Identifier(*name)), {"tenant_id": tenant_id})
                for name in (("spantree", relation) for relation in relations)
            ]
            if other is not None:
                tree = {"foreign_id": other[0], "trace_id": other[1]}
                tries.append(("a function or the search", SQL(_SQL["foreign_tree"]).format(), tree))
            for name, statement, parameters in tries:
                with suppress(psycopg.errors.InsufficientPrivilege, psycopg.errors.QueryCanceled):
                    with connection.transaction():
                        row = connection.execute(statement, parameters).fetchone()
                    if row == (True,):
                        found.append(f'the role "{role}" sees rows of other tenants by {name}')
    return found


def make_roles(connection: psycopg.Connection[Any]) -> list[str]:
    """Make what is missing of the roles that collector and API connect as, and grant both what they need; idempotent.

    Answers those that were made. Raises psycopg.Error; InsufficientPrivilege, with what to ask for, where it may not.
    """
    with connection.transaction():
        return [name for (name,) in connection.execute(_SQL["make_roles"]).fetchall()]


def _guard(connection: psycopg.Connection[Any], table: str) -> None:
    # Retention may have dropped it meanwhile.
    with suppress(psycopg.errors.UndefinedTable):
        in_transaction(connection, lambda: connection.execute(_SQL["guard_table"], {"table": table}))
