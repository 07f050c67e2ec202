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
        # What is outside looks at the scope afterwards, for the route for instance: both attempts are made in this one.
        as_it_came = dict(scope)
        refused = False

        async def unless_it_passes(message: Message) -> None:
            nonlocal refused
            refused = refused or (message["type"] == "http.response.start" and scope.get(PASSES, False))
            if not refused:
                await send(message)

        await self._app(scope, receive, unless_it_passes)
        if refused:
            scope.clear()
            scope.update(as_it_came)
            await self._app(scope, receive, send)
