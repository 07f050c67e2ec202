"""The named statements of `sql/*.sql`, and the parts that lists are composed of.

    -- name: nodes_of_trace
    -- one line that says what it is for
    SELECT ... WHERE trace_id = %(trace_id)s

A statement ends where the next name begins. Nothing is ever put into a statement but parameters. A list with filters
is several named parts one below the other, so that it says nothing of filters that it does not have: what PostgreSQL
plans is then a plain condition that meets an index, and no `parameter IS NULL OR ...`.
"""

from __future__ import annotations

from importlib import resources
from typing import LiteralString, TypeAlias

_MARK = "-- name:"

# A statement, or the parts of one in their order, by name.
Name: TypeAlias = str | tuple[str, ...]


class Statements:
    """Every statement and part by its name; `named` has their texts."""

    def __init__(self, named: dict[str, LiteralString]) -> None:
        self.named = named
        self._composed: dict[Name, LiteralString] = {}
        self._composed.update(named)

    def __getitem__(self, name: Name) -> LiteralString:
        """The text of a statement, or of the parts put together. Raises KeyError for a name that is not there."""
        text = self._composed.get(name)
        if text is None:
            text = self._composed[name] = "\n".join([self.named[part] for part in name])
        return text


def load_statements() -> dict[str, LiteralString]:
    """Every statement and part by its name. Raises ValueError when two share one."""
    statements: dict[str, LiteralString] = {}
    folder = resources.files("spantree_api") / "sql"
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if not file.name.endswith(".sql"):
            continue
        for part in file.read_text(encoding="utf-8").split(_MARK)[1:]:
            name, _, text = part.partition("\n")
            name = name.strip()
            if name in statements:
                raise ValueError(f"two statements are named {name!r}, the second in {file.name}: rename one")
            statements[name] = text.strip()
    return statements
