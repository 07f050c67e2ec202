"""Settings out of the environment or elsewhere, for every part alike: each field has the reader of its annotation.

    port: Annotated[int, setting_values.whole(0, 65_535)] = 4318        # SPANTREE_PORT

A field that is left out of the repr holds a secret: what was given for it is in no message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import Any, Final, get_type_hints

from spantree_exporter.errors import without_passwords
from spantree_exporter.setting_values import Read

PREFIX: Final = "SPANTREE_"
SPANTREE_DATABASE_URL: Final = "SPANTREE_DATABASE_URL"
# A sentence stays one, whatever was pasted into a setting.
_SHOWN: Final = 80
# What libpq itself reads when it is given an empty connection string, for those who set it this way.
_LIBPQ: Final = ("PGHOST", "PGHOSTADDR", "PGDATABASE", "PGSERVICE", "PGUSER", "PGPORT")


def variable(field: str) -> str:
    """The environment variable of a field."""
    return PREFIX + field.upper()


# Types: mypy takes no class for a key of a cache, so `config` is Any; it is such a dataclass throughout.
@cache
def readers_of(config: Any) -> Mapping[str, Read]:
    """The reader of each field of a dataclass (a class), by the field's name, in their order."""
    hints = get_type_hints(config, include_extras=True)
    return {one.name: hints[one.name].__metadata__[0] for one in fields(config)}


def from_environment(config: Any, environ: Mapping[str, str]) -> dict[str, tuple[str, object]]:
    """(variable, text) of each field that `environ` sets.

    An empty one is as one that is not set: that is how a compose file passes on what it was not given.
    """
    names = {field: variable(field) for field in readers_of(config)}
    return {field: (name, text) for field, name in names.items() if (text := environ.get(name, "").strip())}


def read(config: Any, given: Mapping[str, tuple[str, object]]) -> tuple[dict[str, Any], list[str]]:
    """(the values by field, a sentence for each that is wrong), of (where it stands, what stands there) by field."""
    found: dict[str, Any] = {}
    faults: list[str] = []
    readers = readers_of(config)
    for one in fields(config):
        if one.name not in given:
            continue
        place, value = given[one.name]
        try:
            found[one.name] = readers[one.name](value)
        except ValueError as error:
            shown = f' "{without_passwords(str(value))[:_SHOWN]}"' if one.repr else " wrong"
            faults.append(f"{place} is{shown}: {error}")
    return found, faults


def faults_of(config: Any) -> list[str]:
    """A sentence for each value that the field's reader would not take, of settings that code has made.

    Secrets are left to whoever uses them: to libpq an empty string is a good one.
    """
    shown = {one.name: getattr(config, one.name) for one in fields(config) if one.repr}
    given = {name: (variable(name), value) for name, value in shown.items() if value is not None}
    return read(type(config), given)[1]


def database_fault(environ: Mapping[str, str]) -> str | None:
    """The sentence for whoever named no PostgreSQL, neither to us nor to libpq; None where one is named."""
    if environ.get(SPANTREE_DATABASE_URL, "").strip() or any(environ.get(name) for name in _LIBPQ):
        return None
    return (
        f"{SPANTREE_DATABASE_URL} is not set, and none of libpq's PG* variables is; "
        'give a PostgreSQL 15 or newer such as "postgresql://user@localhost/spantree"'
    )
