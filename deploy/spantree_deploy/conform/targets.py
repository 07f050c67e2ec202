"""The receiver under check: how a request gets there, and what comes back."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import grpc
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
TRACES: Final = "/v1/traces"
LOGS: Final = "/v1/logs"
_SHOWN: Final = 80
TRACE_EXPORT: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
LOGS_EXPORT: Final = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
# A receiver that says nothing for this long has failed the check.
TIMEOUT_S: Final = 20.0


class NoAnswer(Exception):
    """The receiver did not answer: it closed the connection, or said nothing in time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, read whole and, where it says so, gunzipped; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def content_type(self) -> str:
        """The media type, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class HttpTarget:
    """An OTLP/HTTP receiver at a base URL."""

    host: str
    port: int
    tls: bool
    prefix: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def at(cls, url: str, headers: Mapping[str, str] | None = None) -> HttpTarget:
        """The receiver at `url`, such as http://127.0.0.1:4318. Raises ValueError where that is no URL."""
        try:
            parts = urlsplit(url if "//" in url else f"http://{url}")
            host, port = _host_of(parts), parts.port
        except ValueError:
            host, port = "", None
        if not host or parts.scheme not in ("http", "https"):
            raise ValueError(f'"{url[:_SHOWN]}" is no URL of OTLP/HTTP; give one such as http://127.0.0.1:4318')
        tls = parts.scheme == "https"
        return cls(
            host,
            port or (443 if tls else 4318),
            tls,
            parts.path.rstrip("/").removesuffix("/v1/traces"),
            dict(headers or {}),
        )

    def connection(self) -> http.client.HTTPConnection:
        """A connection of its own."""
        kind = http.client.HTTPSConnection if self.tls else http.client.HTTPConnection
        return kind(self.host, self.port, timeout=TIMEOUT_S)

    def post(
        self,
        body: bytes | Iterable[bytes],
        content_type: str | None = PROTOBUF,
        path: str = TRACES,
        *,
        method: str = "POST",
        connection: http.client.HTTPConnection | None = None,
        **headers: str,
    ) -> Answer:
        """The answer to one request; `content_encoding="gzip"` and the like become headers. Raises NoAnswer."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()} | dict(self.headers)
        if content_type is not None:
            sent["content-type"] = content_type
        used = connection or self.connection()
        try:
            used.request(method, self.prefix + path, body, sent, encode_chunked=not isinstance(body, bytes))
            return read(used)
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswer(f"no answer: {type(error).__name__} {error}".rstrip()) from error
        finally:
            if connection is None:
                used.close()

    def raw(self, sent: bytes, *, then_end: bool = False) -> bytes:
        """What comes back for `sent`, up to its end; `then_end` says that no more will be sent. Raises NoAnswer."""
        try:
            with socket.create_connection((self.host, self.port), timeout=TIMEOUT_S) as client:
                client.sendall(sent)
                if then_end:
                    client.shutdown(socket.SHUT_WR)
                received = b""
                while part := client.recv(65_536):
                    received += part
                    if len(received) > 2**20:
                        break
                return received
        except OSError as error:
            raise NoAnswer(f"no answer: {type(error).__name__} {error}") from error


def read(connection: http.client.HTTPConnection) -> Answer:
    """The answer to the request that `connection` has sent."""
    response = connection.getresponse()
    headers = {name.lower(): value for name, value in response.getheaders()}
    body = response.read()
    if headers.get("content-encoding", "").lower() == "gzip":
        body = gzip.decompress(body)
    return Answer(response.status, headers, body)


@dataclass(frozen=True, slots=True)
class Reply:
    """The end of a gRPC call: `payload` is empty unless the code is OK, `details` None where none were sent."""

    code: grpc.StatusCode
    message: str
    payload: bytes
    details: Status | None

    @property
    def retry_info(self) -> bool:
        """Whether the receiver asks to be tried again."""
        return self.details is not None and any(detail.Is(RetryInfo.DESCRIPTOR) for detail in self.details.details)


def _host_of(parts: SplitResult) -> str:
    host = parts.hostname or ""
    host.encode("idna")  # as whoever looks it up does; a ValueError where it is no name
    return host


@dataclass(frozen=True, slots=True)
class GrpcTarget:
    """An OTLP/gRPC receiver."""

    address: str
    metadata: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def at(cls, address: str, metadata: Mapping[str, str] | None = None) -> GrpcTarget:
        """The receiver at `address`, such as 127.0.0.1:4317. Raises ValueError where that is none."""
        try:
            parts = urlsplit(f"//{address}")
            is_one = bool(_host_of(parts)) and parts.port is not None and parts.netloc == address
        except ValueError:
            is_one = False
        if not is_one:
            raise ValueError(f'"{address[:_SHOWN]}" is no address of OTLP/gRPC; give one such as 127.0.0.1:4317')
        return cls(address, dict(metadata or {}))

    def channel(self) -> grpc.Channel:
        """A connection of its own; what is received may have 64 MiB."""
        return grpc.insecure_channel(
            self.address,
            options=[
                ("grpc.max_receive_message_length", 64 * 2**20),
                ("grpc.max_send_message_length", -1),
                ("grpc.use_local_subchannel_pool", 1),
            ],
        )

    def call(
        self,
        payload: bytes,
        method: str = TRACE_EXPORT,
        *,
        channel: grpc.Channel | None = None,
        compression: grpc.Compression | None = None,
        metadata: Iterable[tuple[str, str | bytes]] = (),
        timeout_s: float = TIMEOUT_S,
    ) -> Reply:
        """The reply to `payload`, sent as it is."""
        used = channel or self.channel()
        try:
            call = used.unary_unary(method)
            sent = (*self.metadata.items(), *metadata)
            answered = call(payload, timeout=timeout_s, compression=compression, metadata=sent, wait_for_ready=False)
            return Reply(grpc.StatusCode.OK, "", bytes(answered), None)
        except grpc.RpcError as error:
            reply = reply_of(error)
            if reply.code is grpc.StatusCode.UNAVAILABLE and "failed to connect" in reply.message.lower():
                raise NoAnswer(f"no answer: {reply.message}") from error
            return reply
        finally:
            if channel is None:
                used.close()


def reply_of(error: Any) -> Reply:
    """The reply that a failed call is."""
    details = None
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            details = Status.FromString(value)
    return Reply(error.code(), error.details() or "", b"", details)


@dataclass(frozen=True, slots=True)
class Targets:
    """Where the checks go; None leaves the checks of that transport out. `oversize_bytes` is more than it may take."""

    http: HttpTarget | None
    grpc: GrpcTarget | None
    oversize_bytes: int = 100 * 2**20

    @property
    def over_http(self) -> HttpTarget:
        """The HTTP receiver; asked for by checks of HTTP only."""
        assert self.http is not None  # noqa: S101  the runner leaves those checks out otherwise
        return self.http

    @property
    def over_grpc(self) -> GrpcTarget:
        """The gRPC receiver; asked for by checks of gRPC only."""
        assert self.grpc is not None  # noqa: S101  the runner leaves those checks out otherwise
        return self.grpc


def json_of(body: bytes) -> Any:
    """`body` as JSON. Raises ValueError."""
    return json.loads(body)
