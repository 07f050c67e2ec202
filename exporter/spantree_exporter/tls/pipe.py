"""Passing connections on, byte by byte, to a server of this process that listens on a socket file."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Final

_PART_BYTES: Final = 64 * 2**10


class Pipe:
    """Made and used within one event loop."""

    def __init__(self, upstream: Path, max_connections: int) -> None:
        self._upstream = upstream
        self._max_connections = max_connections
        self._connections: set[asyncio.Task[None]] = set()

    def protocol(self) -> asyncio.StreamReaderProtocol:
        """For the next connection."""
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(limit=_PART_BYTES), self._pass_on)

    async def close(self) -> None:
        """Cut what is left."""
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._connections) >= self._max_connections:
            writer.transport.abort()
            return
        self._connections.add(task)
        try:
            server_reader, server_writer = await asyncio.open_unix_connection(self._upstream, limit=_PART_BYTES)
            ways = [
                asyncio.create_task(_copy(reader, server_writer)),
                asyncio.create_task(_copy(server_reader, writer)),
            ]
            try:
                # HTTP/2 has no half-closed connections: when one side has ended, both have.
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                server_writer.transport.abort()
        except OSError:
            pass  # the server is stopping: the client sees its connection end
        finally:
            self._connections.discard(task)
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while part := await reader.read(_PART_BYTES):
            writer.write(part)
            await writer.drain()
