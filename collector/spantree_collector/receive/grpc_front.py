"""A port of gRPC (OTLP's, Jaeger's): passes bytes on to grpc's own server, and bounds what that cannot bound.

    client ── TCP or TLS ──> GrpcFront ── socket file ──> grpc.aio.server

grpc holds half-sent messages without a limit of their number, their time or their bytes in all, and has no limit of
connections. Here each connection's HTTP/2 frames (RFC 9113, section 4.1) are counted as they pass, nine bytes of head
and no content but that of requests' heads: the bytes of a request are in flight from the first one until its answer has
ended.

    too many bytes in flight    the connection with the most bytes of unfinished requests is cut, which is retryable
    a request takes too long    its connection is cut
    too many connections        the one that has been idle longest makes room, else the new one is closed
    too many requests at once   the connection that has most of them is cut: each is a dozen kilobytes of memory
    frames that carry nothing   more of them than any client needs: the connection is cut
    a request's head is large   in fields or bytes, whatever they stand for (header_blocks.py): its connection is cut
    answers that are not read   nothing more is taken from the connection; after a while it is cut
    the socket file is removed  grpc's server is made anew; requests that it had are answered within a moment
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from spantree_collector.receive.header_blocks import HeaderBlocks
from spantree_collector.receive.intake import InFlight, Reservation
from spantree_collector.receive.status import Overloaded
from spantree_collector.write.memory import Burst, trim
from spantree_exporter.tls.certificate import ServerTls
from spantree_exporter.tls.listener import Listening, take_connections

log = logging.getLogger(__name__)

# The address of a socket file has room for 108, grpc's prefix and the end included.
_MAX_PATH_BYTES = 100
_PREFACE_BYTES = 24
_HEAD_BYTES = 9
_DATA, _HEADERS, _RST_STREAM, _CONTINUATION = 0x0, 0x1, 0x3, 0x9
# Frames that are neither a request's head nor bytes of it (PING, SETTINGS, WINDOW_UPDATE, RST_STREAM, DATA of nothing).
# Each costs as much as one that carries 16 KiB; a client needs some for a request and a ping now and then.
_IDLE_FRAMES_A_S = 2_000.0
_MOST_IDLE_FRAMES = 10_000.0
# Read at a time: with the 256 KiB that asyncio reads, a dozen clients that send without a pause are ten milliseconds of
# every turn of the loop.
_READ_BYTES = 64 * 2**10
_END_STREAM = 0x1
_LOOK_S = 0.5
_IDLE_S = 1.0
_LOG_INTERVAL_S = 60.0
# Requests that grpc's server holds at a time, over all connections, whether they have come or not: 120 MB of them.
_STREAMS_MAX = 10_000


class GrpcFront:
    """Listens for gRPC clients. Made and used within one event loop; `upstream` is where grpc's server is to listen."""

    def __init__(
        self,
        in_flight: InFlight,
        count: Callable[[str], None],
        directory: Path,
        *,
        max_connections: int,
        header_deadline_s: float,
        body_deadline_s: float,
        max_streams: int = _STREAMS_MAX,
        tells_addresses: bool = False,
        tls: ServerTls | None = None,
    ) -> None:
        """`directory` is nobody else's to read. `count` is told why a connection was cut.

        With `tells_addresses` grpc's server sees a client as `unix-abstract:spantree/.../ADDRESS` where the system has
        such names (Linux).
        """
        # Beside the spool, which this process owns: grpc takes over the file that a killed one has left there.
        self.upstream = directory.absolute() / "grpc.sock"
        self._short: tempfile.TemporaryDirectory[str] | None = None
        if len(os.fsencode(self.upstream)) > _MAX_PATH_BYTES:
            self._short = tempfile.TemporaryDirectory(prefix="spantree-grpc-")
            self.upstream = Path(self._short.name) / "grpc.sock"
        self.in_flight = in_flight
        # Of all connections: a read fills it and is passed on before the next one begins.
        self.buffer = bytearray(_READ_BYTES)
        self._count = count
        self._tells_addresses = tells_addresses and sys.platform == "linux"
        self._max_connections = max_connections
        self._max_streams = max_streams
        self._open_streams = 0
        self._header_deadline_s = header_deadline_s
        self._body_deadline_s = body_deadline_s
        self._connections: set[_Client] = set()
        self._tls = tls
        self._server: Listening | None = None
        self._looking: asyncio.Task[None] | None = None

    async def start(self, listener: socket.socket, listen_anew: Callable[[], Awaitable[None]] | None = None) -> None:
        """Take connections on `listener`, which this closes at last; `listen_anew` makes a lost socket file again."""
        self._server = await take_connections(
            listener, lambda: _Client(self), self._tls, "h2", backlog=1024, refused=self.count_cut
        )
        self._looking = asyncio.create_task(self._look_for_ever(listen_anew))

    async def stop_listening(self) -> None:
        """Take no more connections; those that there are go on."""
        if self._server is not None:
            self._server.close()

    async def close(self) -> None:
        """Cut what is left."""
        await self.stop_listening()
        if self._looking is not None:
            self._looking.cancel()
        for client in list(self._connections):
            client.cut("")
        self.upstream.unlink(missing_ok=True)
        if self._short is not None:
            self._short.cleanup()

    def entered(self, client: _Client) -> bool:
        """Note a new connection; False where there is no room for it."""
        if len(self._connections) >= self._max_connections:
            before_s = time.monotonic() - _IDLE_S
            idle = [one for one in self._connections if not one.streams and one.quiet_since_s < before_s]
            if not idle:
                self._count("grpc_max_connections")
                return False
            min(idle, key=lambda one: one.quiet_since_s).cut("grpc_made_room")
        self._connections.add(client)
        return True

    def left(self, client: _Client) -> None:
        """Forget a connection."""
        self._connections.discard(client)

    def make_room(self, asking: _Client) -> None:
        """Cut the connection with the most bytes of requests that have not come whole, `asking` among them."""
        heaviest = max(self._connections, key=lambda one: one.unfinished_bytes, default=asking)
        heaviest.cut("grpc_in_flight")

    def began(self) -> None:
        """Note a request; beyond their limit the connection that has most of them is cut."""
        self._open_streams += 1
        if self._open_streams > self._max_streams:
            max(self._connections, key=lambda one: len(one.streams)).cut("grpc_streams")

    def ended(self) -> None:
        """A request has been answered, or is given up."""
        self._open_streams -= 1

    async def connect(self, client: _Client, address: str) -> asyncio.Transport:
        """To grpc's server, for a client of that address. Raises OSError."""
        loop = asyncio.get_running_loop()
        upstream = socket.socket(socket.AF_UNIX)
        try:
            upstream.setblocking(False)
            if self._tells_addresses:
                # Where somebody has the name already, the client is one without an address.
                with contextlib.suppress(OSError):
                    upstream.bind(f"\0spantree/{secrets.token_hex(8)}/{address}")
            await loop.sock_connect(upstream, str(self.upstream))
        except BaseException:
            upstream.close()
            raise
        transport, _ = await loop.create_unix_connection(lambda: _Upstream(client), sock=upstream)
        return transport

    def count_cut(self, reason: str) -> None:
        """A connection was cut."""
        if reason:
            self._count(reason)

    async def _look_for_ever(self, listen_anew: Callable[[], Awaitable[None]] | None) -> None:
        burst = Burst()
        told_s = float("-inf")
        while True:
            await asyncio.sleep(_LOOK_S)
            if listen_anew is not None and not self.upstream.exists():
                is_to_be_told = time.monotonic() - told_s >= _LOG_INTERVAL_S
                told_s = time.monotonic() if is_to_be_told else told_s
                if is_to_be_told:
                    log.warning("%s was removed: gRPC takes nothing until it is made anew", self.upstream)
                try:
                    await listen_anew()
                except (OSError, RuntimeError) as error:
                    if is_to_be_told:
                        log.error("%s cannot be made anew, and is tried again: %s", self.upstream, error)
            if burst.is_over(self.in_flight.bytes):
                await asyncio.to_thread(trim)
            now_s = time.monotonic()
            for client in list(self._connections):
                if client.is_late(now_s, self._header_deadline_s, self._body_deadline_s):
                    client.cut("grpc_deadline")


class _Stream:
    __slots__ = ("began_s", "bytes", "is_whole", "reservation")

    def __init__(self, reservation: Reservation) -> None:
        self.began_s = time.monotonic()
        self.bytes = 0
        self.is_whole = False
        self.reservation = reservation


class _Frames:
    """Finds the heads of frames in a stream of bytes, however it is cut."""

    __slots__ = ("_blocks", "_head", "_kind", "_left")

    def __init__(self, preface_bytes: int, blocks: HeaderBlocks | None = None) -> None:
        """`blocks` is told of what heads of requests say."""
        self._left = preface_bytes
        self._head = b""
        self._blocks = blocks
        # Of the frame that has not come whole, where `blocks` is told of it.
        self._kind: tuple[int, int] | None = None

    def heads(self, data: bytes) -> list[tuple[int, int, int, int]]:
        """(kind, flags, stream, payload bytes) of each frame whose head ends in `data`."""
        found: list[tuple[int, int, int, int]] = []
        at, end = 0, len(data)
        while True:
            skipped = min(self._left, end - at)
            if self._kind is not None and self._blocks is not None:
                self._blocks.add(data[at : at + skipped])
                if skipped == self._left:
                    self._blocks.end(*self._kind)
                    self._kind = None
            at += skipped
            self._left -= skipped
            if at == end:
                return found
            wanted = _HEAD_BYTES - len(self._head)
            self._head += data[at : at + wanted]
            at += wanted
            if len(self._head) < _HEAD_BYTES:
                return found
            head, self._head = self._head, b""
            self._left = int.from_bytes(head[:3], "big")
            if self._blocks is not None and head[3] in (_HEADERS, _CONTINUATION):
                self._blocks.begin(self._left)
                self._kind = head[3], head[4]
            found.append((head[3], head[4], int.from_bytes(head[5:], "big") & 0x7FFF_FFFF, self._left))


class _Client(asyncio.BufferedProtocol):
    """The client's side of a connection; grpc's side is `_Upstream`."""

    def __init__(self, front: GrpcFront) -> None:
        self._front = front
        self._blocks = HeaderBlocks()
        self._frames = _Frames(_PREFACE_BYTES, self._blocks)
        self._answers = _Frames(0)
        self._waiting: list[bytes] | None = []
        self.streams: dict[int, _Stream] = {}
        self.quiet_since_s = time.monotonic()
        self._has_spoken = False
        self._idle_frames_left = _MOST_IDLE_FRAMES
        self._idle_frames_at_s = self.quiet_since_s
        self.transport: asyncio.Transport | None = None
        self._address = ""
        self._upstream: asyncio.Transport | None = None
        self._upstream_is_full = False
        self._unread_since_s: float | None = None
        self._connecting: asyncio.Task[None] | None = None

    @property
    def unfinished_bytes(self) -> int:
        """Bytes of requests that have not come whole."""
        return sum(stream.bytes for stream in self.streams.values() if not stream.is_whole)

    def is_late(self, now_s: float, header_deadline_s: float, body_deadline_s: float) -> bool:
        """Whether it has not spoken, not finished a request or not read its answers in time."""
        if not self._has_spoken:
            return now_s - self.quiet_since_s > header_deadline_s
        if self._unread_since_s is not None and now_s - self._unread_since_s > body_deadline_s:
            return True
        return any(not one.is_whole and now_s - one.began_s > body_deadline_s for one in self.streams.values())

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if isinstance(peer, tuple) else ""
        if not self._front.entered(self):
            transport.abort()
            return
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        try:
            transport = await self._front.connect(self, self._address)
        except OSError:
            self.cut("grpc_upstream")
            return
        if self.transport is None or self.transport.is_closing():
            transport.abort()
            return
        self._upstream = transport
        waiting, self._waiting = self._waiting or [], None
        for data in waiting:
            transport.write(data)
        self._read_or_wait()

    def get_buffer(self, sizehint: int) -> memoryview:
        # A view: of a bytearray asyncio's TLS would fill a copy.
        return memoryview(self._front.buffer)

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(memoryview(self._front.buffer)[:nbytes])
        self._has_spoken = True
        heads = self._frames.heads(data)
        if self._is_flood(heads):
            self.cut("grpc_idle_frames")
            return
        if self._blocks.is_excessive:
            self.cut("grpc_headers")
            return
        for kind, flags, number, size_bytes in heads:
            if kind == _HEADERS and number not in self.streams and number:
                self.streams[number] = _Stream(self._front.in_flight.reserve())
                self._front.began()
                if self.transport is None or self.transport.is_closing():
                    return
            stream = self.streams.get(number)
            if stream is None:
                continue
            if kind == _DATA and not self._hold(stream, size_bytes):
                return
            if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
                stream.is_whole = True
            elif kind == _RST_STREAM:
                self._release(number)
        if self._waiting is not None:
            self._waiting.append(data)
            self._read_or_wait()
        elif self._upstream is not None:
            self._upstream.write(data)

    def _is_flood(self, heads: list[tuple[int, int, int, int]]) -> bool:
        idle = sum(kind != _HEADERS and not (kind == _DATA and (size or flags)) for kind, flags, _, size in heads)
        if not idle:
            return False
        now_s = time.monotonic()
        earned = (now_s - self._idle_frames_at_s) * _IDLE_FRAMES_A_S
        self._idle_frames_left = min(self._idle_frames_left + earned, _MOST_IDLE_FRAMES) - idle
        self._idle_frames_at_s = now_s
        return self._idle_frames_left < 0

    def _hold(self, stream: _Stream, size_bytes: int) -> bool:
        while True:
            try:
                stream.reservation.add(size_bytes)
            except Overloaded:
                before = self._front.in_flight.bytes
                self._front.make_room(self)
                if self.transport is None or self.transport.is_closing():
                    return False
                if self._front.in_flight.bytes >= before:
                    self.cut("grpc_in_flight")
                    return False
            else:
                stream.bytes += size_bytes
                return True

    def answered(self, data: bytes) -> None:
        """Pass on what grpc's server sends."""
        for kind, flags, number, _ in self._answers.heads(data):
            if kind == _RST_STREAM or (kind in (_DATA, _HEADERS) and flags & _END_STREAM):
                self._release(number)
        if self.transport is not None:
            self.transport.write(data)

    def _release(self, number: int) -> None:
        stream = self.streams.pop(number, None)
        if stream is not None:
            self._front.ended()
            stream.reservation.give_back()
            self.quiet_since_s = time.monotonic()

    def pause_writing(self) -> None:
        # The end of an answer is under no flow control: grpc would keep it for each request that it is given.
        self._unread_since_s = time.monotonic()
        if self._upstream is not None:
            self._upstream.pause_reading()
        self._read_or_wait()

    def resume_writing(self) -> None:
        self._unread_since_s = None
        if self._upstream is not None:
            self._upstream.resume_reading()
        self._read_or_wait()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._end()

    def upstream_lost(self) -> None:
        """Grpc's server has closed its side: what it has sent is still delivered."""
        self._upstream = None
        if self.transport is not None:
            self.transport.close()

    def pause_reading(self) -> None:
        """Grpc's server does not read as fast as the client sends."""
        self._upstream_is_full = True
        self._read_or_wait()

    def resume_reading(self) -> None:
        """It does again."""
        self._upstream_is_full = False
        self._read_or_wait()

    def _read_or_wait(self) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        if self._upstream_is_full or self._unread_since_s is not None or self._waiting is not None:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def cut(self, reason: str) -> None:
        """End both sides at once."""
        self._front.count_cut(reason)
        if self.transport is not None:
            self.transport.abort()
        self._end()

    def _end(self) -> None:
        self._front.left(self)
        for number in list(self.streams):
            self._release(number)
        if self._connecting is not None and not self._connecting.done() and self._upstream is None:
            self._connecting.cancel()
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.abort()


class _Upstream(asyncio.Protocol):
    """grpc's side of a connection."""

    def __init__(self, client: _Client) -> None:
        self._client = client

    def data_received(self, data: bytes) -> None:
        self._client.answered(data)

    def pause_writing(self) -> None:
        self._client.pause_reading()

    def resume_writing(self) -> None:
        self._client.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._client.upstream_lost()
