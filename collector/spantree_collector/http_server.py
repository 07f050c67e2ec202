"""uvicorn around the HTTP receiver, with the limits that uvicorn itself has not."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import uvicorn
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from spantree_collector.metrics import CollectorMetrics
from spantree_collector.receiver_http import TRANSPORT, HttpReceiver
from spantree_collector.status import refusal_of
from spantree_exporter.decode import JSON
from spantree_exporter.errors import MalformedRequest


class HttpServer:
    """Serves one HttpReceiver, bounded.

    uvicorn closes a connection that is idle after an answer; it waits for ever for the first byte, for the end of the
    headers and for a body that nobody reads any more, and its limit on concurrency answers with a body that is no
    google.rpc.Status. The protocol class here cuts those connections instead.
    """

    def __init__(
        self,
        app: HttpReceiver,
        metrics: CollectorMetrics,
        *,
        max_connections: int,
        header_deadline_s: float,
        body_deadline_s: float,
        idle_timeout_s: float,
        grace_s: float,
    ) -> None:
        class BoundedProtocol(_BoundedProtocol):
            limits = _Limits(metrics, max_connections, header_deadline_s, body_deadline_s)

        self._server = _EmbeddedServer(
            Config(
                app,
                http=BoundedProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                backlog=min(max_connections, 2048),
                # uvicorn takes whole seconds here.
                timeout_keep_alive=max(1, round(idle_timeout_s)),
                timeout_graceful_shutdown=max(1, round(grace_s)),
            )
        )

    async def serve(self, listener: socket.socket) -> None:
        """Serve on `listener` until `stop`; requests that have come by then are answered."""
        await self._server.serve(sockets=[listener])

    def stop(self) -> None:
        """Take no more connections, answer what is being received, end."""
        self._server.should_exit = True

    @property
    def started(self) -> asyncio.Event:
        """Set once connections are taken."""
        return self._server.is_up


class _EmbeddedServer(uvicorn.Server):
    """A server that leaves the process's signals to the one who owns the process, and tells when it is up."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.is_up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass(frozen=True, slots=True)
class _Limits:
    metrics: CollectorMetrics
    max_connections: int
    header_deadline_s: float
    body_deadline_s: float


class _BoundedProtocol(HttpToolsProtocol):
    limits: _Limits

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            self._cut("max_connections")
            return
        self._expect("headers", self.limits.header_deadline_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect("headers", self.limits.header_deadline_s)

    def on_headers_complete(self) -> None:
        self._expect_nothing()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        unread = self.cycle.more_body
        super().on_response_complete()
        if unread and not self.pipeline:
            # Refused before its body had come: the rest is read and dropped, so that the client sees the answer, but
            # not for ever.
            self._expect("rest_of_body", self.limits.body_deadline_s)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if self.cycle.response_complete:
            self._expect_nothing()

    def send_400_response(self, msg: str) -> None:
        # uvicorn's own is text/plain; OTLP wants a google.rpc.Status in every 4xx.
        # A reason of its own: what sends gRPC or TLS to this port is told from a body that is no OTLP.
        refusal = replace(refusal_of(MalformedRequest(f"the request is no HTTP/1.1: {msg}")), reason="not_http")
        self.limits.metrics.refused.labels(TRANSPORT, refusal.reason).inc()
        body = refusal.body(JSON)
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
            + f"content-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        self.transport.close()

    def _expect(self, what: str, deadline_s: float) -> None:
        self._expect_nothing()
        self._deadline = self.loop.call_later(deadline_s, self._cut, what)

    def _expect_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _cut(self, reason: str) -> None:
        self.limits.metrics.connections_refused.labels(reason).inc()
        if not self.transport.is_closing():
            self.transport.abort()
