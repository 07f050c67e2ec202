"""Types of path and query parameters: what is refused before any look at the database."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Path, Query
from pydantic import AfterValidator, AwareDatetime

from spantree_exporter.ids import span_id_from_hex

_TRACE_ID = r"^([0-9a-fA-F]{32}|[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12})$"
_NODE_ID = r"^[0-9a-fA-F]{16}(\.[0-9]{1,9})?$"
LIMIT_MAX = 200


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("holds a NUL character, which no stored text does")
    return text


Text = Annotated[str, AfterValidator(_without_nul)]

TraceIdPath = Annotated[
    str, Path(pattern=_TRACE_ID, description="trace id: 32 hex digits in either case, or a UUID with dashes")
]
NodeIdPath = Annotated[
    str, Path(pattern=_NODE_ID, description="span id: 16 hex digits; `.N` names a further node of that span id")
]
RootQuery = Annotated[
    str | None, Query(pattern=_NODE_ID, description="only this node and those below it: a node's `id`")
]
LimitQuery = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="how many at most")]
CursorQuery = Annotated[str | None, Query(max_length=200, description="`next_cursor` of the previous page")]
MomentQuery = Annotated[AwareDatetime | None, Query(description="RFC 3339, with a time zone")]
HiddenQuery = Annotated[bool, Query(description="also plain requests that belong to no workflow")]
StatusFilter = Literal[
    "pending", "running", "waiting", "completed", "failed", "partial", "skipped", "cancelled", "timed_out", "lost"
]


def trace_id_of(text: str) -> UUID:
    """The trace id of a text that matches the path's pattern."""
    return UUID(text)


def node_key_of(text: str) -> tuple[int, int]:
    """(span id, ordinal) of a text that matches the path's pattern."""
    span_id, _, ordinal = text.partition(".")
    return span_id_from_hex(span_id), int(ordinal or 0)
