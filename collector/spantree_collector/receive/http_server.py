"""uvicorn around the HTTP receiver, bounded by bounded_http."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace

from uvicorn.config import Config

from spantree_collector.metrics import CollectorMetrics
from spantree_collector.receive.bounded_http import HttpLimits
from spantree_collector.receive.file_limit import connections_within
from spantree_collector.receive.inflate import BodyTooLarge
from spantree_collector.receive.receiver_http import TRANSPORT, HttpReceiver
from spantree_collector.receive.status import refusal_of
from spantree_collector.receive.tls_server import TlsServer
from spantree_exporter.errors import MalformedRequest
from spantree_exporter.otlp.decode import JSON
from spantree_exporter.tls.certificate import ServerTls

# Of the process's files; the rest is for gRPC, and for the API where it runs in the same process.
_FILES_PART = 0.3


class HttpServer:
    """Serves one HttpReceiver, bounded. Time and size of bodies are the receiver's to see to."""

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
        tls: ServerTls | None = None,
    ) -> None:
        def count(reason: str) -> None:
            metrics.connections_refused.labels(reason).inc()

        limits = HttpLimits(
            max_connections=connections_within(max_connections, _FILES_PART),
            header_deadline_s=header_deadline_s,
            rest_of_body_deadline_s=body_deadline_s,
            refuse=functools.partial(_refusal, metrics),
            count=count,
            answers_half_closed=True,
        )
        self._server = _EmbeddedServer(
            Config(
                app,
                http=limits.protocol(),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                backlog=min(max_connections, 2048),
                # uvicorn takes whole seconds here.
                timeout_keep_alive=max(1, round(idle_timeout_s)),
                timeout_graceful_shutdown=max(1, round(grace_s)),
            ),
            tls,
            count,
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


class _EmbeddedServer(TlsServer):
    """A server that leaves the process's signals to the one who owns the process, and tells when it is up."""

    def __init__(self, config: Config, tls: ServerTls | None, refused: Callable[[str], None]) -> None:
        super().__init__(config, tls, refused)
        self.is_up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.is_up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _refusal(metrics: CollectorMetrics, status: int, message: str) -> tuple[bytes, bytes]:
    # OTLP wants a google.rpc.Status in every 4xx.
    refusal = refusal_of(MalformedRequest(message) if status == 400 else BodyTooLarge(message))
    if status == 400:
        # A reason of its own: what sends gRPC or TLS to this port is told from a body that is no OTLP.
        refusal = replace(refusal, reason="not_http")
    metrics.refused.labels(TRANSPORT, refusal.reason).inc()
    return b"application/json", refusal.body(JSON)
