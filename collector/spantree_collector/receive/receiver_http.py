"""OTLP/HTTP: POST /v1/traces and /v1/logs, and what a machine asks a service: /healthz, /readyz, /metrics.

A raw ASGI application: no framework stands between a body and the disk. The duties are those of OTLP 1.11.0
(opentelemetry-proto docs/specification.md, section "OTLP/HTTP").
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, TypeAlias

from spantree_collector import metrics as exposition
from spantree_collector.receive.cors import Cors, Headers
from spantree_collector.receive.decompress import ACCEPTED, ENCODINGS
from spantree_collector.receive.inflate import too_large
from spantree_collector.receive.intake import Intake, Reservation
from spantree_collector.receive.responses import success
from spantree_collector.receive.status import (
    BodyTimeout,
    MethodNotAllowed,
    NoSuchPath,
    Overloaded,
    Refusal,
    UnsupportedType,
    refusal_of,
)
from spantree_exporter.otlp.decode import JSON, PROTOBUF
from spantree_exporter.otlp.signals import LOGS, TRACES, encoding_of

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Readiness: TypeAlias = Callable[[], tuple[bool, dict[str, Any]]]

TRANSPORT = "http"
# Where a request's scope has whom it is from, once that is known.
_SENDER = "spantree.sender"
TRACES_PATH = "/v1/traces"
SIGNALS = {TRACES_PATH: TRACES, "/v1/logs": LOGS}
_OTHER_SIGNALS = {"/v1/metrics": "metrics", "/v1development/profiles": "profiles"}
_ENCODINGS = {b"application/x-protobuf": PROTOBUF, b"application/json": JSON}
_CONTENT_TYPES = {PROTOBUF: b"application/x-protobuf", JSON: b"application/json"}


class _Disconnected(Exception):
    """The client went away before its body had come."""


class HttpReceiver:
    """The ASGI application. `readiness` tells whether bodies are taken now, and what else a person may want to know."""

    def __init__(
        self, intake: Intake, readiness: Readiness, *, body_deadline_s: float, cors_origins: Sequence[str] = ()
    ) -> None:
        self._cors = Cors(cors_origins)
        self._intake = intake
        self._readiness = readiness
        self._body_deadline_s = body_deadline_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        encoding = _ENCODINGS.get(_media_type(headers), JSON)
        cors: Headers = []
        if scope["path"] in SIGNALS:
            preflight = self._cors.preflight(scope["method"], headers)
            if preflight is not None:
                await send({"type": "http.response.start", "status": 204, "headers": preflight})
                await send({"type": "http.response.body", "body": b""})
                return
            cors = self._cors.headers(headers)
        try:
            status, content_type, body, extra = await self._answer(scope, headers, receive)
        except _Disconnected:
            self._intake.metrics.disconnected.labels(TRANSPORT).inc()
            return
        except Exception as error:
            refusal = refusal_of(error)
            client = scope.get("client")
            self._intake.refused(TRANSPORT, refusal, error, scope.get(_SENDER), client[0] if client else None)
            status, content_type, body = refusal.http_status, _CONTENT_TYPES[encoding], refusal.body(encoding)
            extra = _refusal_headers(refusal, scope["path"])
        head = [(b"content-type", content_type), (b"content-length", str(len(body)).encode()), *extra, *cors]
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(
        self, scope: Scope, headers: dict[bytes, bytes], receive: Receive
    ) -> tuple[int, bytes, bytes, list[tuple[bytes, bytes]]]:
        path, method = scope["path"], scope["method"]
        if (signal := SIGNALS.get(path)) is not None:
            if method != "POST":
                raise MethodNotAllowed(f"{path} takes POST, not {method}")
            encoding, body = await self._export(signal, scope, headers, receive)
            return 200, _CONTENT_TYPES[encoding], body, []
        if path in _OTHER_SIGNALS:
            raise NoSuchPath(
                f"this collector takes traces ({TRACES_PATH}) and logs (/v1/logs), no {_OTHER_SIGNALS[path]}"
            )
        if path not in ("/healthz", "/readyz", "/metrics"):
            raise NoSuchPath(f"there is nothing at this path; traces go to {TRACES_PATH}")
        if method not in ("GET", "HEAD"):
            raise MethodNotAllowed(f"{path} takes GET, not {method}")
        if path == "/metrics":
            # In a thread, as is readiness: both read the spool's file, which the pump may be reading from.
            is_operator = self._intake.authenticator.may_see_all(_authorization(headers))
            text = await asyncio.to_thread(self._intake.metrics.exposition, with_tenants=is_operator)
            return 200, exposition.CONTENT_TYPE.encode(), text, []
        if path == "/healthz":
            return 200, _CONTENT_TYPES[JSON], b'{"status":"alive"}', []
        ready, details = await asyncio.to_thread(self._readiness)
        return 200 if ready else 503, _CONTENT_TYPES[JSON], json.dumps(details).encode(), []

    async def _export(
        self, signal: str, scope: Scope, headers: dict[bytes, bytes], receive: Receive
    ) -> tuple[str, bytes]:
        sender = scope[_SENDER] = self._intake.authenticator.sender(_authorization(headers))
        media_type = _media_type(headers)
        encoding = _ENCODINGS.get(media_type)
        if encoding is None:
            raise UnsupportedType(
                f'the content-type is "{media_type.decode("latin-1")}"; send application/x-protobuf or application/json'
            )
        sent_compression = headers.get(b"content-encoding", b"").strip().lower()
        compression = ENCODINGS.get(sent_compression)
        if compression is None:
            raise UnsupportedType(
                f'the content-encoding is "{sent_compression[:40].decode("latin-1")}"; send one of {ACCEPTED}'
            )
        with self._intake.in_flight.reserve() as reservation:
            payload = await self._read(headers, receive, reservation)
            body = encoding_of(signal, encoding)
            examined = await self._intake.accept(payload, body, compression, reservation, TRANSPORT, sender)
        return encoding, success(examined, encoding, signal)

    async def _read(self, headers: dict[bytes, bytes], receive: Receive, reservation: Reservation) -> bytes:
        max_bytes = self._intake.max_body_bytes
        declared = headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > max_bytes:
            raise too_large(max_bytes)
        parts: list[bytes] = []
        size_bytes = 0
        loop = asyncio.get_running_loop()
        is_cut = False

        def end_now() -> None:
            nonlocal is_cut
            is_cut = True
            # It may have come whole this moment.
            with contextlib.suppress(RuntimeError):
                deadline.reschedule(loop.time())

        def cut() -> None:
            # From whichever thread needs the room.
            loop.call_soon_threadsafe(end_now)

        try:
            async with asyncio.timeout(self._body_deadline_s) as deadline:
                with self._intake.in_flight.receiving(reservation, cut):
                    while True:
                        message = await receive()
                        if message["type"] == "http.disconnect":
                            raise _Disconnected
                        part: bytes = message.get("body", b"")
                        if part:
                            size_bytes += len(part)
                            if size_bytes > max_bytes:
                                raise too_large(max_bytes)
                            reservation.add(len(part))
                            parts.append(part)
                        if not message.get("more_body", False):
                            return parts[0] if len(parts) == 1 else b"".join(parts)
        except TimeoutError:
            if is_cut:
                raise Overloaded(
                    f"{size_bytes} bytes of the body had come, and the rest was awaited for too long while others "
                    "needed the room; send it again"
                ) from None
            raise BodyTimeout(
                f"the body was not complete after {self._body_deadline_s:g} s, {size_bytes} bytes had come; "
                "send smaller batches, or raise SPANTREE_BODY_DEADLINE_S"
            ) from None


def _authorization(headers: dict[bytes, bytes]) -> str | None:
    sent = headers.get(b"authorization")
    return None if sent is None else sent.decode("latin-1")


def _media_type(headers: dict[bytes, bytes]) -> bytes:
    return headers.get(b"content-type", b"").partition(b";")[0].strip().lower()


def _refusal_headers(refusal: Refusal, path: str) -> list[tuple[bytes, bytes]]:
    headers: list[tuple[bytes, bytes]] = []
    if refusal.retry_after_s is not None:
        headers.append((b"retry-after", str(refusal.retry_after_s).encode()))
    if refusal.http_status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if refusal.http_status == 405:
        headers.append((b"allow", b"POST" if path in SIGNALS else b"GET, HEAD"))
    if refusal.http_status == 415:
        headers.append((b"accept", b"application/x-protobuf, application/json"))
        headers.append((b"accept-encoding", ACCEPTED.encode()))
    if refusal.http_status == 408:
        headers.append((b"connection", b"close"))
    return headers
