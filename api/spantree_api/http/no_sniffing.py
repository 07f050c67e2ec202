"""Answers are what their content type says: texts out of spans stand in all of them, and no browser is to guess."""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADER: Final = (b"x-content-type-options", b"nosniff")


class NoSniffing:
    """ASGI middleware around all others (https://fetch.spec.whatwg.org/#x-content-type-options-header)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the application's start and stop."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_as_told(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), _HEADER]}
            await send(message)

        await self._app(scope, receive, send_as_told)
