"""What the settings of every part have in common: a text that means yes or no, and where PostgreSQL is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SPANTREE_DATABASE_URL: Final = "SPANTREE_DATABASE_URL"

_MEANINGS: Final = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}
# What libpq itself reads when it is given an empty connection string, for those who set it this way.
_LIBPQ: Final = ("PGHOST", "PGHOSTADDR", "PGDATABASE", "PGSERVICE", "PGUSER", "PGPORT")


def yes_or_no(text: str) -> bool:
    """What "true" or "false" and their like mean. Raises ValueError, whose text says what is wanted."""
    if (found := _MEANINGS.get(text.strip().lower())) is None:
        raise ValueError("wanted true or false")
    return found


def database_fault(environ: Mapping[str, str]) -> str | None:
    """The sentence for whoever named no PostgreSQL, neither to us nor to libpq; None where one is named."""
    if environ.get(SPANTREE_DATABASE_URL, "").strip() or any(environ.get(name) for name in _LIBPQ):
        return None
    return (
        f"{SPANTREE_DATABASE_URL} is not set, and none of libpq's PG* variables is; "
        'give a PostgreSQL 15 or newer such as "postgresql://user@localhost/spantree"'
    )
