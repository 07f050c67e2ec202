"""Asking the API from within its own process: the same routes, checks and answers as a client's, without a socket.

What a page shows is therefore what the API answers to the one who asks: with their authorization, for their tenant.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlencode

import orjson
from fastapi import Request
from starlette.types import Message

from spantree_api.routes.api_router import BASE

# Request headers that say who asks; all others (ranges, encodings, conditions) are about the page, not the answer.
_PASSED_ON = (b"authorization", b"cookie", b"host", b"x-spantree-tenant", b"user-agent", b"traceparent")

Parameters = Mapping[str, str | int | float | bool | Sequence[str] | None]

# What one page asks at a time at most: of the pool's connections (8) it leaves some for everybody else.
_AT_ONCE = 3


class NotAnswered(Exception):
    """The API refused; `status`, `code` and `message` are its own."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


async def ask(request: Request, path: str, parameters: Parameters | None = None) -> Any:
    """The answer to GET `path` (below /api/v1, already quoted) as it is decoded from JSON. Raises NotAnswered."""
    status, body = await _get(request, path, parameters or {})
    if status != 200:
        try:
            error = orjson.loads(body)["error"]
            code, message = str(error["code"]), str(error["message"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            code, message = "internal_error", f"the API answered {status}"
        raise NotAnswered(status, code, message)
    return orjson.loads(body)


async def ask_together(request: Request, *asked: tuple[str, Parameters | None]) -> list[Any]:
    """The answers to some questions, in their order, three asked at a time.

    Raises NotAnswered of the first that was refused; the others are then given up.
    """
    free = asyncio.Semaphore(_AT_ONCE)

    async def answer(path: str, parameters: Parameters | None) -> Any:
        async with free:
            return await ask(request, path, parameters)

    tasks = [asyncio.create_task(answer(path, parameters)) for path, parameters in asked]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def position(request: Request) -> str:
    """Where the page's stream begins. Ask it before what the page shows: what changes meanwhile is told."""
    return str((await ask(request, "/stream/position"))["position"])


async def _get(request: Request, path: str, parameters: Parameters) -> tuple[int, bytes]:
    given = {name: value for name, value in parameters.items() if value not in (None, "", [], ())}
    query = urlencode({name: _text(value) for name, value in given.items()}, doseq=True)
    scope = {
        "type": "http",
        "asgi": request.scope["asgi"],
        "http_version": "1.1",
        "method": "GET",
        "scheme": request.scope.get("scheme", "http"),
        "path": unquote(BASE + path),
        "raw_path": (BASE + path).encode("ascii"),
        "query_string": query.encode("ascii"),
        "root_path": request.scope.get("root_path", ""),
        "headers": [(name, value) for name, value in request.scope["headers"] if name in _PASSED_ON],
        "client": request.scope.get("client"),
        "server": request.scope.get("server"),
        "state": dict(request.scope.get("state", {})),
    }
    status = 500
    parts: list[bytes] = []

    asked = False

    async def receive() -> Message:
        nonlocal asked
        if asked:
            # Whoever streams an answer waits here for the client to go away, and is cancelled when all is sent. An
            # answer at once would be asked for again at once, for ever, and nothing else would run.
            await asyncio.Event().wait()
        asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            parts.append(message.get("body", b""))

    await request.app(scope, receive, send)
    return status, b"".join(parts)


def _text(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value
