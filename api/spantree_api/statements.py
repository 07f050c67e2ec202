"""The named statements of `sql/*.sql`.

    -- name: nodes_of_trace
    -- one line that says what it is for
    SELECT ... WHERE trace_id = %(trace_id)s

A statement ends where the next name begins. Nothing is ever put into a statement but parameters.
"""

from __future__ import annotations

from importlib import resources
from typing import LiteralString

_MARK = "-- name:"


def load_statements() -> dict[str, LiteralString]:
    """Every statement by its name. Raises ValueError when two share one."""
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
