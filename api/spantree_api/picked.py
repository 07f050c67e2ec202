"""Which attributes of spans are read, as a path of PostgreSQL's jsonpath: those of some fields, none large. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

import orjson

from spantree_api.span_search.traceql_fields import Field
from spantree_exporter.stored import stored_key

# Text that is longer is left out (PostgreSQL repeats up to 255 times), as are lists and objects.
_LONG: Final = "^(?:.{255}){16}."
_NOTHING: Final = "$.nothing.keyvalue()"


@dataclass(frozen=True, slots=True)
class Picked:
    """The path of attributes, and that of attributes of the items of a list; both tell key and value of each."""

    path: str
    path_of_lists: str

    @classmethod
    def of(cls, fields: Iterable[Field]) -> Self:
        """That of these fields."""
        told = [field for field in fields if field.place != "own"]
        return cls(
            _path("$", [field for field in told if field.place not in ("event", "link")]),
            _path("$[*].attributes", [field for field in told if field.place in ("event", "link", "any")]),
        )

    def parameters(self) -> dict[str, object]:
        """For the part `select_matching_told`."""
        return {"picked": self.path, "picked_of_lists": self.path_of_lists}


def _path(root: str, fields: Iterable[Field]) -> str:
    keys = dict.fromkeys(orjson.dumps(stored_key(field.key)).decode() for field in fields)
    if not keys:
        return _NOTHING
    named = " || ".join(f"@.key == {key}" for key in keys)
    short = f'@.value.type() != "string" || !(@.value like_regex "{_LONG}" flag "s")'
    return f'{root}.keyvalue() ? (({named}) && @.value.type() != "object" && @.value.type() != "array" && ({short}))'
