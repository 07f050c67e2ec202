"""Answers are compressed for clients that say they take it, but for files that are streamed out and event streams."""

from __future__ import annotations

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

# Smaller ones fit a packet as they are.
_MINIMUM_BYTES = 1_000
# 6 and more cost twice the time for a few per cent.
_LEVEL = 5
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
        else:
            await self._compressed(scope, receive, send)
