"""OTLP/HTTP: POST /v1/traces, and what a machine asks a service: /healthz, /readyz, /metrics.

A raw ASGI application: no framework stands between a body and the disk. The duties are those of OTLP 1.11.0
(opentelemetry-proto docs/specification.md, section "OTLP/HTTP").
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any, TypeAlias

import uvicorn
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from spantree_collector import metrics as exposition
from spantree_collector.inflate import too_large
from spantree_collector.intake import GZIP, Intake, Lease
from spantree_collector.responses import success
from spantree_collector.status import BodyTimeout, MethodNotAllowed, NoSuchPath, Refusal, UnsupportedType, refusal_of
from spantree_exporter.decode import JSON, PROTOBUF
from spantree_exporter.errors import MalformedRequest, SpantreeError

log = logging.getLogger(__name__)

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Readiness: TypeAlias = Callable[[], tuple[bool, dict[str, Any]]]

TRANSPORT = "http"
TRACES_PATH = "/v1/traces"
_OTHER_SIGNALS = {"/v1/metrics": "metrics", "/v1/logs": "logs", "/v1development/profiles": "profiles"}
_ENCODINGS = {b"application/x-protobuf": PROTOBUF, b"application/json": JSON}
_CONTENT_TYPES = {PROTOBUF: b"application/x-protobuf", JSON: b"application/json"}
_COMPRESSIONS = {b"": "", b"identity": "", b"gzip": GZIP, b"x-gzip": GZIP}


class _Disconnected(Exception):
    """The client went away before its body had come."""


class HttpReceiver:
    """The ASGI application. `readiness` tells whether bodies are taken now, and what else a person may want to know."""

    def __init__(self, intake: Intake, readiness: Readiness, *, body_deadline_s: float) -> None:
        self._intake = intake
        self._readiness = readiness
        self._body_deadline_s = body_deadline_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        encoding = _ENCODINGS.get(_media_type(headers), JSON)
        try:
            status, content_type, body, extra = await self._answer(scope, headers, receive)
        except _Disconnected:
            self._intake.metrics.disconnected.labels(TRANSPORT).inc()
            return
        except Exception as error:
            if not isinstance(error, SpantreeError):
                log.exception("a request failed in the HTTP receiver")
            refusal = refusal_of(error)
            self._intake.metrics.refused.labels(TRANSPORT, refusal.reason).inc()
            status, content_type, body = refusal.http_status, _CONTENT_TYPES[encoding], refusal.body(encoding)
            extra = _refusal_headers(refusal, scope["path"])
        head = [(b"content-type", content_type), (b"content-length", str(len(body)).encode()), *extra]
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(
        self, scope: Scope, headers: dict[bytes, bytes], receive: Receive
    ) -> tuple[int, bytes, bytes, list[tuple[bytes, bytes]]]:
        path, method = scope["path"], scope["method"]
        if path == TRACES_PATH:
            if method != "POST":
                raise MethodNotAllowed(f"{path} takes POST, not {method}")
            encoding, body = await self._export(headers, receive)
            return 200, _CONTENT_TYPES[encoding], body, []
        if path in _OTHER_SIGNALS:
            raise NoSuchPath(f"this collector takes traces only ({TRACES_PATH}), no {_OTHER_SIGNALS[path]}")
        if path not in ("/healthz", "/readyz", "/metrics"):
            raise NoSuchPath(f"there is nothing at this path; traces go to {TRACES_PATH}")
        if method not in ("GET", "HEAD"):
            raise MethodNotAllowed(f"{path} takes GET, not {method}")
        if path == "/metrics":
            # In a thread, as is readiness: both read the spool's file, which the pump may be reading from.
            text = await asyncio.to_thread(self._intake.metrics.exposition)
            return 200, exposition.CONTENT_TYPE.encode(), text, []
        if path == "/healthz":
            return 200, _CONTENT_TYPES[JSON], b'{"status":"alive"}', []
        ready, details = await asyncio.to_thread(self._readiness)
        return 200 if ready else 503, _CONTENT_TYPES[JSON], json.dumps(details).encode(), []

    async def _export(self, headers: dict[bytes, bytes], receive: Receive) -> tuple[str, bytes]:
        media_type = _media_type(headers)
        encoding = _ENCODINGS.get(media_type)
        if encoding is None:
            raise UnsupportedType(
                f'the content-type is "{media_type.decode("latin-1")}"; send application/x-protobuf or application/json'
            )
        sent_compression = headers.get(b"content-encoding", b"").strip().lower()
        compression = _COMPRESSIONS.get(sent_compression)
        if compression is None:
            raise UnsupportedType(
                f'the content-encoding is "{sent_compression.decode("latin-1")}"; send gzip, or none at all'
            )
        with self._intake.in_flight.lease() as lease:
            payload = await self._read(headers, receive, lease)
            examined = await self._intake.accept(payload, encoding, compression, lease, TRANSPORT)
        return encoding, success(examined, encoding)

    async def _read(self, headers: dict[bytes, bytes], receive: Receive, lease: Lease) -> bytes:
        max_bytes = self._intake.max_body_bytes
        declared = headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > max_bytes:
            raise too_large(max_bytes)
        parts: list[bytes] = []
        size_bytes = 0
        try:
            async with asyncio.timeout(self._body_deadline_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Disconnected
                    part: bytes = message.get("body", b"")
                    if part:
                        size_bytes += len(part)
                        if size_bytes > max_bytes:
                            raise too_large(max_bytes)
                        lease.add(len(part))
                        parts.append(part)
                    if not message.get("more_body", False):
                        return parts[0] if len(parts) == 1 else b"".join(parts)
        except TimeoutError:
            raise BodyTimeout(
                f"the body was not complete after {self._body_deadline_s:g} s, {size_bytes} bytes had come; "
                "send smaller batches, or raise SPANTREE_BODY_DEADLINE_S"
            ) from None


def _media_type(headers: dict[bytes, bytes]) -> bytes:
    return headers.get(b"content-type", b"").partition(b";")[0].strip().lower()


def _refusal_headers(refusal: Refusal, path: str) -> list[tuple[bytes, bytes]]:
    headers: list[tuple[bytes, bytes]] = []
    if refusal.retry_after_s is not None:
        headers.append((b"retry-after", str(refusal.retry_after_s).encode()))
    if refusal.http_status == 405:
        headers.append((b"allow", b"POST" if path == TRACES_PATH else b"GET, HEAD"))
    if refusal.http_status == 415:
        headers.append((b"accept", b"application/x-protobuf, application/json"))
        headers.append((b"accept-encoding", b"gzip, identity"))
    if refusal.http_status == 408:
        headers.append((b"connection", b"close"))
    return headers


class HttpServer:
    """uvicorn around the application, with the limits that uvicorn itself has not.

    uvicorn closes a connection that is idle after an answer; it waits for ever for the first byte, for the end of the
    headers and for a body that nobody reads any more, and its limit on concurrency answers with a body that is no
    google.rpc.Status. The protocol class here cuts those connections instead.
    """

    def __init__(
        self,
        app: HttpReceiver,
        metrics: exposition.CollectorMetrics,
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


class _Limits:
    def __init__(
        self,
        metrics: exposition.CollectorMetrics,
        max_connections: int,
        header_deadline_s: float,
        body_deadline_s: float,
    ) -> None:
        self.metrics = metrics
        self.max_connections = max_connections
        self.header_deadline_s = header_deadline_s
        self.body_deadline_s = body_deadline_s


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
        refusal = refusal_of(MalformedRequest(f"the request is no HTTP/1.1: {msg}"))
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
