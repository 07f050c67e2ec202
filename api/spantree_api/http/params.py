"""Types of path and query parameters: what is refused before any look at the database."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Path, Query
from pydantic import (
    AfterValidator,
    AwareDatetime,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from spantree_exporter.ids import span_id_from_hex

_TRACE_ID = r"^([0-9a-fA-F]{32}|[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12})$"
_NODE_ID = r"^[0-9a-fA-F]{16}(\.[0-9]{1,9})?$"
_NUMBER = re.compile(r"\s*[-+]?[0-9._]+\s*")
_PLUS_LOST = re.compile(r"(\d{4}-\d\d-\d\d[Tt ][0-9:.]{5,24}) (\d\d:?\d\d)")
LIMIT_MAX = 200


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("holds a NUL character, which no stored text does")
    # JSON may name half of a surrogate pair, which no encoding has.
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("holds half of a surrogate pair, which is no character")
    return text


def _moment(given: object, handler: ValidatorFunctionWrapHandler) -> object:
    """Refuses what is none by a sentence; numbers too, for `since=24` would be 24 seconds after 1970.

    A `+` that was not encoded comes as a space.
    """
    if isinstance(given, int | float) or (isinstance(given, str) and _NUMBER.fullmatch(given)):
        raise _no_moment()
    if isinstance(given, str) and (found := _PLUS_LOST.fullmatch(given)):
        given = f"{found[1]}+{found[2]}"
    try:
        return handler(given)
    except ValidationError as error:
        raise _no_moment() from error


def _no_moment() -> PydanticCustomError:
    return PydanticCustomError(
        "malformed_moment", "wanted a moment as RFC 3339 writes it, with its time zone, such as 2026-11-28T06:00:00Z"
    )


def _like(pattern: str, wanted: str) -> tuple[AfterValidator, dict[str, str]]:
    """(a check whose refusal is a sentence instead of the pattern, the pattern for OpenAPI)."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if compiled.match(text) is None or text.endswith("\n"):
            raise PydanticCustomError("malformed_id", "wanted {wanted}", {"wanted": wanted})
        return text

    return AfterValidator(check), {"pattern": pattern}


Text = Annotated[str, AfterValidator(_without_nul)]

_TRACE_ID_SAID = "a trace id: 32 hex digits in either case, or a UUID with dashes"
_NODE_ID_SAID = "a span id: 16 hex digits; .N names a further node of that span id"
_trace_id_check, _trace_id_schema = _like(_TRACE_ID, _TRACE_ID_SAID)
_node_id_check, _node_id_schema = _like(_NODE_ID, _NODE_ID_SAID)
_trace_or_good_check, _trace_or_good_schema = _like(f"{_TRACE_ID}|^last-good$", f"last-good, or {_TRACE_ID_SAID}")

TraceIdPath = Annotated[str, Path(description=_TRACE_ID_SAID, json_schema_extra=_trace_id_schema), _trace_id_check]
TraceIdQuery = Annotated[
    Annotated[str, _trace_id_check] | None, Query(description=_TRACE_ID_SAID, json_schema_extra=_trace_id_schema)
]
TraceIdOrLastGood = Annotated[
    str,
    Path(
        description="a trace id, or last-good: the newest completed execution of the workflow before the other one",
        json_schema_extra=_trace_or_good_schema,
    ),
    _trace_or_good_check,
]
NodeIdPath = Annotated[str, Path(description=_NODE_ID_SAID, json_schema_extra=_node_id_schema), _node_id_check]
RootQuery = Annotated[
    Annotated[str, _node_id_check] | None,
    Query(description="only this node and those below it: a node's `id`", json_schema_extra=_node_id_schema),
]
LimitQuery = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="how many at most")]
CursorQuery = Annotated[str | None, Query(max_length=200, description="`next_cursor` of the previous page")]
Moment = Annotated[AwareDatetime, WrapValidator(_moment)]
MomentQuery = Annotated[Moment | None, Query(description="RFC 3339, with a time zone")]
HiddenQuery = Annotated[bool, Query(description="also health checks, probes, scrapes and lone database calls")]
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
