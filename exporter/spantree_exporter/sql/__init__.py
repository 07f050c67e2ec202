"""All SQL of the exporter: migrations/ run once, idempotent/ re-applied when changed, *.sql named statements.

A statement file is a sequence of `-- name: some_name`, lines that say what it is for, and the statement. Texts are
LiteralString because they come from files of this package, never from a value.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import LiteralString

_NAME_MARK = "-- name: "


@dataclass(frozen=True, slots=True)
class Script:
    """A whole file of SQL. `sha256` is of its bytes, in hex."""

    name: str
    text: LiteralString
    sha256: str

    @property
    def version(self) -> int:
        """The number that the file's name starts with."""
        return int(self.name.split("_", 1)[0])


@cache
def statements(file_name: str) -> dict[str, LiteralString]:
    """The statements of `sql/<file_name>.sql` by name."""
    text = files(__package__).joinpath(f"{file_name}.sql").read_text(encoding="utf-8")
    found: dict[str, LiteralString] = {}
    for block in text.split(_NAME_MARK)[1:]:
        name, _, body = block.partition("\n")
        found[name.strip()] = body.strip()
    return found


@cache
def scripts(folder: str) -> tuple[Script, ...]:
    """The files of `sql/<folder>` in the order of their numbers."""
    found = [
        Script(entry.name, content.decode(), sha256(content).hexdigest())
        for entry in files(__package__).joinpath(folder).iterdir()
        if entry.name.endswith(".sql")
        for content in (entry.read_bytes(),)
    ]
    return tuple(sorted(found, key=lambda script: script.version))
