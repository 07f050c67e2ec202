"""Which number in the rows stands for a tenant."""

from __future__ import annotations

from typing import Any, Final

import psycopg

from spantree_deploy.sql import statements
from spantree_exporter.errors import SpantreeError, classify
from spantree_exporter.postgres.connection import connect
from spantree_exporter.postgres.migrate import check_version

_SQL: Final = statements("tenants")


def tenant_id_of(connection: psycopg.Connection[Any], name: str) -> int:
    """Raises psycopg.Error; SpantreeError where there is no such tenant."""
    found = connection.execute(_SQL["tenant"], {"name": name}).fetchone()
    if found is None:
        raise SpantreeError(f'there is no tenant "{name}"; spantree tenant list shows them')
    return int(found[0])


def tenant_id_in(database_url: str, name: str, application_name: str) -> int:
    """The same of a database of this build's schema. Raises StoreUnavailable, OperatorError, SpantreeError."""
    try:
        with connect(database_url, application_name) as connection:
            check_version(connection)
            return tenant_id_of(connection, name)
    except psycopg.Error as error:
        raise classify(error) from error
