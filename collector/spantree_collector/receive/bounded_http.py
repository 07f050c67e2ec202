"""uvicorn's HTTP/1.1 with the limits that it has not itself: for the collector's receiver and for the API.

    connections       at the limit the connection that has been idle longest makes room, else the longest of those that
                      one address has filled them with by half-sent bodies, else the new one is closed
    headers           their bytes, and the time from the first byte, or from connecting, to their end
    body              its bytes and its time where the application sees to neither; what frames it never outweighs it
    answers           a client that does not read what it asked for is cut after a while, and the one that has waited
                      longest as soon as unread answers are too many bytes in all

What goes on for ever, or grows without bound, in plain uvicorn: half-sent headers, a header without an end, half-sent
bodies, trailers, answers that nobody reads.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from spantree_collector.receive.plain_http import PlainHttp

# Ten times what browsers and SDKs send together with long tokens.
_MAX_HEADER_BYTES = 64 * 2**10
# Chunk sizes and trailers may be as much as the body, or as much as this.
_FRAMING_BYTES = 256 * 2**10
# A client that has just been answered may be about to send again.
_IDLE_S = 1.0
# Half-sent bodies may be this part of all connections from one address before one of so long ago makes room.
_HALF_SENT_PART = 0.25
_HALF_SENT_S = 3.0
_UNREAD_DEADLINE_S = 30.0
_LOG_INTERVAL_S = 60.0


class _OnceAMinute(logging.Filter):
    """uvicorn warns of every request that is no HTTP or wants an upgrade: as many lines as anybody cares to cause."""

    def __init__(self) -> None:
        super().__init__()
        self._told_s: dict[object, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this warning was not told within the last minute. What they say is uvicorn's own, and a few texts."""
        if record.levelno != logging.WARNING:
            return True
        now_s = time.monotonic()
        if now_s - self._told_s.get(record.msg, float("-inf")) < _LOG_INTERVAL_S:
            return False
        self._told_s[record.msg] = now_s
        return True


_UVICORN = logging.getLogger("uvicorn.error")
_ONCE_A_MINUTE = _OnceAMinute()


@dataclass(slots=True)
class HttpLimits:
    """The limits of one server. `refuse` writes the body of a refusal: (status, sentence) -> content type, body.

    `count` is told why a connection was cut. `body_deadline_s` and `max_body_bytes` None: the application does it.
    """

    max_connections: int
    header_deadline_s: float
    rest_of_body_deadline_s: float
    refuse: Callable[[int, str], tuple[bytes, bytes]]
    count: Callable[[str], None] = lambda reason: None
    body_deadline_s: float | None = None
    max_body_bytes: int | None = None
    max_unread_bytes: int = 64 * 2**20
    # Whether a client that sends no more is still answered; else it is taken for one that went away.
    answers_half_closed: bool = False
    unread: dict[BoundedHttp, None] = field(default_factory=dict)
    """The connections whose client does not read its answer, the one that has waited longest first."""

    def protocol(self) -> type[BoundedHttp]:
        """The class for uvicorn's `http` setting."""
        limits = self
        _UVICORN.addFilter(_ONCE_A_MINUTE)

        class Bounded(BoundedHttp):
            pass

        Bounded.limits = limits
        return Bounded


class BoundedHttp(HttpToolsProtocol):
    """One connection. Subclassed by HttpLimits.protocol."""

    limits: ClassVar[HttpLimits]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.parser = PlainHttp(self)  # type: ignore[assignment]
        self._deadline: asyncio.TimerHandle | None = None
        self._unread_deadline: asyncio.TimerHandle | None = None
        self._in_headers = True
        self._head_bytes = 0
        self._message_bytes = 0
        self._body_bytes = 0
        self._idle_since_s = 0.0
        self._body_since_s = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room for it, or close it."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections and not self._make_room():
            self._cut("max_connections")
            return
        self._idle_since_s = time.monotonic()
        self._expect("headers", self.limits.header_deadline_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._expect_nothing()
        self._stop_waiting_for_reader()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more: what has come whole is answered, then the connection ends."""
        cycle: object = self.cycle
        if not self.limits.answers_half_closed or cycle is None or self.cycle.response_complete or self.cycle.more_body:
            return False
        self.cycle.keep_alive = False  # the last request of those that have come
        # Over TLS there is no half of it.
        return self.transport.get_extra_info("sslcontext") is None

    def go_on_with_body(self) -> None:
        """The request that was told to be complete has a body after all (plain_http.py)."""
        self.cycle.more_body = True
        if self.limits.body_deadline_s is not None:
            self._expect("body", self.limits.body_deadline_s)

    def data_received(self, data: bytes) -> None:
        """Read on, and look at what it has come to."""
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_headers:
            self._head_bytes += len(data)
            if self._head_bytes > _MAX_HEADER_BYTES:
                self._refuse(431, f"the headers are larger than {_MAX_HEADER_BYTES} bytes; send fewer or shorter ones")
            return
        self._message_bytes += len(data)
        if self._message_bytes > 2 * self._body_bytes + _FRAMING_BYTES:
            self._cut("framing")

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._in_headers = True
        self._head_bytes = 0
        self._expect("headers", self.limits.header_deadline_s)

    def on_headers_complete(self) -> None:
        """The body follows, if there is one."""
        self._in_headers = False
        self._body_since_s = time.monotonic()
        self._message_bytes = self._body_bytes = 0
        self._expect_nothing()
        if self.limits.body_deadline_s is not None:
            self._expect("body", self.limits.body_deadline_s)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of it."""
        self._body_bytes += len(body)
        most_bytes = self.limits.max_body_bytes
        if most_bytes is not None and self._body_bytes > most_bytes:
            self._refuse(413, f"the request body is larger than {most_bytes} bytes")
            return
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Answered; perhaps before its body had come."""
        unread = self.cycle.more_body
        self._idle_since_s = time.monotonic()
        super().on_response_complete()
        if unread and not self.pipeline:
            # Refused before its body had come: the rest is read and dropped, so that the client sees the answer, but
            # not for ever.
            self._expect("rest_of_body", self.limits.rest_of_body_deadline_s)

    def on_message_complete(self) -> None:
        """All of a request has come."""
        super().on_message_complete()
        if self.cycle.response_complete or self.limits.body_deadline_s is not None:
            self._expect_nothing()

    def pause_writing(self) -> None:
        """The client does not read as fast as it is answered."""
        super().pause_writing()
        unread = self.limits.unread
        unread[self] = None
        self._unread_deadline = self.loop.call_later(_UNREAD_DEADLINE_S, self._cut, "unread_answer")
        while len(unread) > 1 and _buffered_bytes(unread) > self.limits.max_unread_bytes:
            next(iter(unread))._cut("unread_answer")

    def resume_writing(self) -> None:
        """It has read."""
        super().resume_writing()
        self._stop_waiting_for_reader()

    def send_400_response(self, msg: str) -> None:
        """In the form of this server's refusals: uvicorn's own is text."""
        self.limits.count("no_http")
        self._refuse(400, f"the request is no HTTP/1.1: {msg}")

    def _refuse(self, status: int, message: str) -> None:
        content_type, body = self.limits.refuse(status, message)
        self.transport.write(
            b"HTTP/1.1 %d %s\r\ncontent-type: %s\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s"
            % (status, _PHRASES[status], content_type, len(body), body)
        )
        self.transport.close()

    def _make_room(self) -> bool:
        """Close the connection that has been idle longest, or else a half-sent one; False where there is none."""
        before_s = time.monotonic() - _IDLE_S
        longest: BoundedHttp | None = None
        for one in self.connections:
            if isinstance(one, BoundedHttp) and one is not self and one._is_idle() and one._idle_since_s < before_s:
                longest, before_s = one, one._idle_since_s
        longest = longest or self._half_sent_longest()
        if longest is None:
            return False
        longest._cut("made_room")
        return True

    def _half_sent_longest(self) -> BoundedHttp | None:
        """Of the address that has most half-sent bodies, if it has many, the one that has been coming longest."""
        half_sent = [one for one in self.connections if isinstance(one, BoundedHttp) and one._is_half_sent()]
        of_address = Counter(one._address for one in half_sent)
        for address, count in of_address.most_common(1):
            if count >= _HALF_SENT_PART * self.limits.max_connections:
                longest = min((one for one in half_sent if one._address == address), key=lambda one: one._body_since_s)
                return longest if time.monotonic() - longest._body_since_s >= _HALF_SENT_S else None
        return None

    def _is_idle(self) -> bool:
        # None before the first request, whatever uvicorn's annotation says.
        cycle: object = self.cycle
        return (cycle is None or self.cycle.response_complete) and not self.transport.is_closing()

    def _is_half_sent(self) -> bool:
        cycle: object = self.cycle
        return cycle is not None and self.cycle.more_body and not self.transport.is_closing()

    @property
    def _address(self) -> str:
        return self.client[0] if self.client else ""

    def _stop_waiting_for_reader(self) -> None:
        self.limits.unread.pop(self, None)
        if self._unread_deadline is not None:
            self._unread_deadline.cancel()
            self._unread_deadline = None

    def _expect(self, what: str, deadline_s: float) -> None:
        self._expect_nothing()
        self._deadline = self.loop.call_later(deadline_s, self._cut, what)

    def _expect_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _cut(self, reason: str) -> None:
        self.limits.count(reason)
        self.limits.unread.pop(self, None)
        if not self.transport.is_closing():
            self.transport.abort()


_PHRASES = {400: b"Bad Request", 413: b"Content Too Large", 431: b"Request Header Fields Too Large"}


def _buffered_bytes(connections: Iterable[BoundedHttp]) -> int:
    return sum(one.transport.get_write_buffer_size() for one in connections)
