"""The SQL of the commands, as named statements: `-- name: some_name`, what it is for, the statement."""

from __future__ import annotations

from importlib.resources import files
from typing import LiteralString

_MARK = "-- name: "


def statements(file_name: str) -> dict[str, LiteralString]:
    """The statements of `<file_name>.sql` by name."""
    text = files(__package__).joinpath(f"{file_name}.sql").read_text(encoding="utf-8")
    parts = (part.partition("\n") for part in text.split(_MARK)[1:])
    return {name.strip(): body.strip() for name, _, body in parts}
