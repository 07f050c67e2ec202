"""Which number in the rows stands for a tenant."""

from __future__ import annotations

from typing import Any, Final

import psycopg

from spantree_deploy.sql import statements
from spantree_exporter.errors import SpantreeError

_SQL: Final = statements("tenants")


def tenant_id_of(connection: psycopg.Connection[Any], name: str) -> int:
    """Raises psycopg.Error; SpantreeError where there is no such tenant."""
    found = connection.execute(_SQL["tenant"], {"name": name}).fetchone()
    if found is None:
        raise SpantreeError(f'there is no tenant "{name}"; spantree tenant list shows them')
    return int(found[0])
