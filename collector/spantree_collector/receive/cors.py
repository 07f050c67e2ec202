"""Letting pages of other origins send OTLP/HTTP from a browser: those that the settings name. Pure.

Never with cookies; a token is shown as everywhere (Fetch Standard, "CORS protocol").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from spantree_exporter.origins import ANY_ORIGIN

_METHODS: Final = b"POST"
_HEADERS: Final = b"authorization, content-type, content-encoding, x-requested-with, traceparent, tracestate, baggage"
_KEPT_S: Final = b"600"

Headers = list[tuple[bytes, bytes]]


class Cors:
    """What is answered to whom."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._any = ANY_ORIGIN in origins
        self._origins = frozenset(origin.encode() for origin in origins)

    def headers(self, asked: Mapping[bytes, bytes]) -> Headers:
        """Of any answer: they let the page read it, where it may."""
        if self._any:
            return [(b"access-control-allow-origin", b"*")]
        if not self._origins:
            return []
        # Whatever stands between keeps no answer to one origin for another.
        vary = [(b"vary", b"origin")]
        origin = asked.get(b"origin")
        return (
            [(b"access-control-allow-origin", origin), *vary]
            if origin is not None and origin in self._origins
            else vary
        )

    def preflight(self, method: str, asked: Mapping[bytes, bytes]) -> Headers | None:
        """Of the answer to a browser that asks whether a page may send; None where nobody asks that."""
        if method != "OPTIONS" or b"access-control-request-method" not in asked or not (self._any or self._origins):
            return None
        allowed = [
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", _HEADERS),
            (b"access-control-max-age", _KEPT_S),
        ]
        answer = self.headers(asked)
        return answer + allowed if any(name == b"access-control-allow-origin" for name, _ in answer) else answer
