"""Answers are compressed for clients that say they take it, but for files that are streamed out and event streams."""

from __future__ import annotations

import re

from starlette.datastructures import Headers
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

# Smaller ones fit a packet as they are.
_MINIMUM_BYTES = 1_000
# 6 and more cost twice the time for a few per cent.
_LEVEL = 5
_NONE_OF_IT = re.compile(r"q\s*=\s*0(\.0*)?")
# Exports run for minutes and are written to files; static files are stored compressed.
_AS_THEY_ARE = ("/api/v1/export/", "/static/", "/metrics")


class Compression:
    """ASGI middleware: gzip where the client takes it."""

    def __init__(self, app: ASGIApp) -> None:
        self._plain = app
        self._compressed = GZipMiddleware(app, minimum_size=_MINIMUM_BYTES, compresslevel=_LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope.get("path", "")
        if scope["type"] != "http" or path.startswith(_AS_THEY_ARE) or path.endswith("/stream"):
            await self._plain(scope, receive, send)
        elif not takes_gzip(Headers(scope=scope).get("accept-encoding", "")):
            # The middleware looks for the word alone, and `gzip;q=0` has it, too.
            scope = {**scope, "headers": [one for one in scope["headers"] if one[0] != b"accept-encoding"]}
            await self._compressed(scope, receive, send)
        else:
            await self._compressed(scope, receive, send)


def takes_gzip(accepted: str) -> bool:
    """Whether a client whose Accept-Encoding this is takes gzip (RFC 9110, 12.5.3)."""
    for one in accepted.lower().split(","):
        coding, *parameters = (part.strip() for part in one.split(";"))
        if coding == "gzip":
            return not any(_NONE_OF_IT.fullmatch(parameter) for parameter in parameters)
    return False
