"""Row-level security: every table with tenants' rows has it, so that people's own SQL sees one tenant's.

What holds is said in sql/idempotent/008_row_security.sql; here it is switched on by one short lock at a time, and told.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

import psycopg
from psycopg.sql import SQL, Composed, Identifier

from spantree_exporter.postgres.distribution import citus_version
from spantree_exporter.postgres.short_locks import in_transaction
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
    """What some roles of tenants, and the API's, see of others, found by trying: clauses for people; changes nothing.

    By the rows and the errors of every table and view, the newest partitions, the functions, the search index and
    PostgreSQL's statistics. What takes longer than two seconds is passed over. Raises psycopg.Error.
    """
    found: list[str] = []
    for role, tenant_id, is_told in connection.execute(_SQL["roles_to_try"]).fetchall():
        relations = [name for (name,) in connection.execute(_SQL["relations_to_try"], {"is_told": is_told}).fetchall()]
        other = connection.execute(_SQL["foreign_trace"], {"tenant_id": tenant_id}).fetchone()
        foreign_id, trace_id = other or (tenant_id, None)
        values = {"tenant_id": tenant_id, "foreign_id": foreign_id, "trace_id": trace_id}
        tries = [
            (f"spantree.{relation}", SQL(_SQL[attempt]).format(relation=Identifier("spantree", relation)))
            for relation in relations
            for attempt in ("attempt_by_rows", "attempt_by_error")
        ]
        tries.append(("a function or the search", SQL(_SQL["attempt_by_function"]).format()))
        if not is_told:
            tries.append(("statistics", SQL(_SQL["attempt_by_statistics"]).format()))
        with connection.transaction(force_rollback=True):
            connection.execute(SQL(_SQL["set_role"]).format(role=Identifier(role)))
            connection.execute(_SQL["limit_try"])
            connection.execute(_SQL["name_tenant"], {"tenant_id": tenant_id if is_told else foreign_id})
            seen = [name for name, statement in tries if _sees(connection, statement, values)]
        found += [f'the role "{role}" sees rows of other tenants by {name}' for name in dict.fromkeys(seen)]
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


def _sees(connection: psycopg.Connection[Any], statement: Composed, values: dict[str, Any]) -> bool:
    try:
        with connection.transaction():
            return connection.execute(statement, values).fetchone() == (True,)
    except psycopg.errors.DivisionByZero:
        return True
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.QueryCanceled):
        return False
    except (psycopg.errors.InternalError_, psycopg.errors.FeatureNotSupported, psycopg.errors.ConnectionFailure):
        # A role that may not log in gets nothing from workers; outer joins under policies Citus plans from 17 on.
        if citus_version(connection) is None:
            raise
        return False
