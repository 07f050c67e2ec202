"""A read that PostgreSQL gave up for a reason that has passed with it is made once more before the client is told.

Two such reasons: a standby ended it to go on following its primary, and a migration gave a table another column under a
prepared statement. Whoever raises `Unavailable` says so (`passes`).
"""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

PASSES: Final = "spantree.passes"
"""In a request's scope: the answer is a refusal that a second attempt may not meet."""
_READS: Final = ("GET", "HEAD")


class RepeatReads:
    """ASGI middleware around the application and its error answers. Only what has no body is repeated, and once."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] not in _READS:
            await self._app(scope, receive, send)
            return
        first = dict(scope)
        refused = False

        async def unless_it_passes(message: Message) -> None:
            nonlocal refused
            refused = refused or (message["type"] == "http.response.start" and first.get(PASSES, False))
            if not refused:
                await send(message)

        await self._app(first, receive, unless_it_passes)
        if refused:
            await self._app(scope, receive, send)
