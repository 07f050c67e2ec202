"""How answers leave: JSON by orjson, large ones in parts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import orjson
from fastapi import Response
from fastapi.responses import StreamingResponse

from spantree_api.answers.executions import ErrorAnswer

_JSON = "application/json"
# Parts of this size wait in the socket's buffer, not more: a slow reader holds memory, never a connection.
_PART_BYTES = 256 * 1024

_CAUSES = {
    403: "whoever asks may not know",
    404: "unknown",
    413: "the body is too large",
    422: "a parameter or id is not what it should be",
    503: "the database is away, not set up, or the query took too long; Retry-After says when to try again",
}


def json_answer(
    answer: Mapping[str, Any], status_code: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """`answer` as JSON."""
    return Response(orjson.dumps(answer), status_code, headers=dict(headers or {}), media_type=_JSON)


def json_parts(parts: Sequence[bytes]) -> Response:
    """Parts of one JSON text, already whole in memory."""
    return sent_parts(parts, _JSON)


def sent_parts(parts: Sequence[bytes], media_type: str) -> Response:
    """Parts of one body, already whole in memory."""
    length = sum(map(len, parts))
    if length <= _PART_BYTES:
        return Response(b"".join(parts), media_type=media_type)
    return StreamingResponse(_sent(parts), media_type=media_type, headers={"content-length": str(length)})


def error_answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`: what it refuses, in the one shape."""
    return {status: {"model": ErrorAnswer, "description": _CAUSES[status]} for status in statuses}


async def _sent(parts: Sequence[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        for start in range(0, len(part), _PART_BYTES):
            yield part[start : start + _PART_BYTES]
