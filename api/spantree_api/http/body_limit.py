"""Bodies of requests are small here: a larger one is refused before it is in memory."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spantree_api.http.error_answers import error_answer

_BODY_MAX_BYTES = 64 * 1024


class BodyLimit:
    """Answers 413 to a body of more than 64 KiB, announced or not."""

    def __init__(self, app: ASGIApp, max_bytes: int = _BODY_MAX_BYTES) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the application's start and stop."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if announced.isdigit() and int(announced[:20]) > self._max_bytes:
            await self._refuse(scope, receive, send)
            return
        taken_bytes = 0
        refused = False

        async def counted() -> Message:
            nonlocal taken_bytes
            message = await receive()
            taken_bytes += len(message.get("body", b""))
            # The rest is not waited for.
            return {"type": "http.disconnect"} if taken_bytes > self._max_bytes else message

        async def sent(message: Message) -> None:
            nonlocal refused
            if taken_bytes <= self._max_bytes:
                await send(message)
            elif not refused:
                # Whatever the application made of a body that ended in its midst.
                refused = True
                await self._refuse(scope, receive, send)

        await self._app(scope, counted, sent)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = error_answer(
            413,
            "too_large",
            f"the body is larger than {self._max_bytes} bytes: no request of this API needs as much",
            {"max_bytes": self._max_bytes},
            {"connection": "close"},
        )
        await answer(scope, receive, send)
