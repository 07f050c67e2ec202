"""HTTP/1.1 of clients that offer another protocol besides: the offer is passed over, the request is read as it is.

Java's own HTTP client (java.net.http, and with it OpenTelemetry's `opentelemetry-exporter-sender-jdk`) offers HTTP/2
with each request over plain TCP: `Connection: Upgrade, HTTP2-Settings`, `Upgrade: h2c`. A server may ignore that
(RFC 9110, 7.8). httptools takes the request for ended with its headers then, so that what came in had no body: an empty
request of OTLP, which is a success.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import httptools


class ReadsHttp(Protocol):
    """The connection whose requests are read: it has httptools' callbacks, and what came of the request so far."""

    headers: list[tuple[bytes, bytes]]

    def go_on_with_body(self) -> None:
        """The request that was told to be complete has a body after all, which follows."""


class PlainHttp:
    """httptools' parser of requests, as far as uvicorn uses it, that goes on where it would hand over."""

    def __init__(self, connection: ReadsHttp) -> None:
        self._connection = connection
        self._parser = httptools.HttpRequestParser(connection)

    def feed_data(self, data: bytes) -> None:
        """Read on. Raises httptools.HttpParserError for what is no HTTP, HttpParserUpgrade for CONNECT."""
        while data:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                if self._parser.get_method() == b"CONNECT":
                    raise
                data = data[offer.args[0] :]
                self._go_on()
            else:
                return

    def get_http_version(self) -> str:
        """Of the request that is being read, "1.1" or "1.0"."""
        return str(self._parser.get_http_version())

    def get_method(self) -> bytes:
        """Of the request that is being read."""
        return bytes(self._parser.get_method())

    def should_keep_alive(self) -> bool:
        """Whether further requests may follow."""
        return bool(self._parser.should_keep_alive())

    def should_upgrade(self) -> bool:
        """Nothing is handed over."""
        return False

    def _go_on(self) -> None:
        """Have a parser that knows how the body is framed, and nothing of the offer."""
        framing = [
            b"%s: %s\r\n" % (name, value)
            for name, value in self._connection.headers
            if name in (b"content-length", b"transfer-encoding")
        ]
        if framing:
            self._connection.go_on_with_body()
        self._parser = httptools.HttpRequestParser(_AfterHead(self._connection))
        self._parser.feed_data(b"POST / HTTP/1.1\r\n" + b"".join(framing) + b"\r\n")


class _AfterHead:
    """Callbacks that pass on all but the head of the first request, which has been told already."""

    def __init__(self, connection: ReadsHttp) -> None:
        self._connection: Any = connection
        self._is_told = True

    def on_message_begin(self) -> None:
        self._further(self._connection.on_message_begin)

    def on_url(self, url: bytes) -> None:
        self._further(self._connection.on_url, url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._further(self._connection.on_header, name, value)

    def on_headers_complete(self) -> None:
        self._further(self._connection.on_headers_complete)
        self._is_told = False

    def on_body(self, body: bytes) -> None:
        self._connection.on_body(body)

    def on_message_complete(self) -> None:
        self._connection.on_message_complete()

    def _further(self, told: Callable[..., None], *values: bytes) -> None:
        if not self._is_told:
            told(*values)
