"""Letting pages of other origins ask the API: those that the settings name, and no others.

Never with cookies: a page of another origin shows a token of its own (Fetch Standard, 3.3 "CORS protocol").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

_PATHS: Final = ("/api/v1/", "/jaeger/", "/tempo/")
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_HEADERS: Final = ("authorization", "content-type", "last-event-id", "traceparent", "tracestate")
_KEPT_S: Final = 600


class Cors:
    """ASGI middleware; pages and what belongs to logging in are not for other origins at all."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self._app = app
        self._with_cors = CORSMiddleware(
            app,
            allow_origins=list(origins),
            allow_methods=_METHODS,
            allow_headers=_HEADERS,
            allow_credentials=False,
            max_age=_KEPT_S,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the application's start and stop."""
        is_open = scope["type"] == "http" and scope["path"].startswith(_PATHS)
        await (self._with_cors if is_open else self._app)(scope, receive, send)
