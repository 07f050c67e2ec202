"""`spantree mcp` over stdin and stdout: lines have an end, and what is no message has an answer.

The SDK's own reader takes a line of any length into memory, and says nothing to one that it cannot read, for whose
answer a client would wait without end.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Any, BinaryIO, Final, Self

import anyio
import anyio.to_thread
from mcp.server import MCPServer
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from mcp.types import INVALID_REQUEST, PARSE_ERROR, ErrorData, JSONRPCError
from pydantic import ValidationError

LINE_BYTES: Final = 2**20
"""The longest message: arguments of tools are some hundred characters."""
_TOO_LONG: Final = "a line that is too long"
_NO_ID: Final = "a line whose id is none"


def run(server: MCPServer) -> None:
    """Serve until stdin ends."""
    anyio.run(_serve, server)


async def _serve(server: MCPServer) -> None:
    # Beside descriptor 0, which nothing else that runs here should read from.
    with os.fdopen(os.dup(0), "rb") as source:
        lines: Any = _Lines(source)
        async with stdio_server(stdin=lines) as (received, answers), anyio.create_task_group() as tasks:
            send, messages = anyio.create_memory_object_stream[SessionMessage | Exception](0)
            tasks.start_soon(_pass_on, received, send, answers)
            lowlevel = server._lowlevel_server  # what its own run_stdio_async does
            await lowlevel.run(messages, answers, lowlevel.create_initialization_options())
            tasks.cancel_scope.cancel()


async def _pass_on(received: Any, send: Any, answers: Any) -> None:
    with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
        async with send:
            async for message in received:
                if isinstance(message, Exception):
                    await answers.send(SessionMessage(JSONRPCError(jsonrpc="2.0", id=None, error=_told(message))))
                else:
                    await send.send(message)


def _told(error: Exception) -> ErrorData:
    faults = error.errors() if isinstance(error, ValidationError) else []
    if any(fault["input"] == _TOO_LONG for fault in faults):
        return ErrorData(code=INVALID_REQUEST, message=f"a message has more than {LINE_BYTES} bytes; send less")
    if any(fault["input"] == _NO_ID for fault in faults):
        return ErrorData(code=INVALID_REQUEST, message="an id is none; send a text or a whole number")
    if any(fault["type"] == "json_invalid" for fault in faults):
        return ErrorData(code=PARSE_ERROR, message="a line is no JSON; send one JSON-RPC message a line")
    return ErrorData(
        code=INVALID_REQUEST, message="a line is no JSON-RPC message; send one a line, and no lists of them"
    )


def _asks_without_id(text: str) -> bool:
    """Whether a request has an id that no answer could name: the SDK would take it for a message without one.

    (https://www.jsonrpc.org/specification, 4: text and whole numbers; MCP allows no null.)
    """
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return False  # as whoever reads it will say
    if not isinstance(message, dict) or "method" not in message or "id" not in message:
        return False
    return not isinstance(message["id"], str | int) or isinstance(message["id"], bool)


class _Lines:
    """The lines of a file, each of a bounded length."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        line = await anyio.to_thread.run_sync(self._read, abandon_on_cancel=True)
        if not line:
            raise StopAsyncIteration
        return line

    def _read(self) -> str:
        line = self._source.readline(LINE_BYTES + 1)
        if len(line) <= LINE_BYTES:
            text = line.decode("utf-8", "replace")
            return _NO_ID if _asks_without_id(text) else text
        while line and not line.endswith(b"\n"):
            line = self._source.readline(LINE_BYTES)
        return _TOO_LONG
