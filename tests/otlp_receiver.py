"""A small OTLP/HTTP receiver in the test's own process: collects spans, lets the test wait for the one it wants."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status


@dataclass(frozen=True)
class ReceivedSpan:
    """One span as it came over the wire, ids in hex."""

    service: str
    scope: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: str
    start_ns: int
    end_ns: int
    error: bool
    status_message: str
    attributes: Mapping[str, Any]
    events: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    links: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    """Of each link: `trace:span` and its attributes."""

    @property
    def pending(self) -> bool:
        return self.attributes.get("spantree.span_type") == "pending_span"


@dataclass
class OtlpReceiver:
    """``with OtlpReceiver() as receiver``: listens on 127.0.0.1 at `receiver.endpoint`."""

    spans: list[ReceivedSpan] = field(default_factory=list)
    ports: dict[str, int] = field(default_factory=dict)
    """Of each span's name the client's port, which tells one connection from another."""
    takes_s: float = 0.0
    """How long it takes for a request."""
    _arrived: threading.Condition = field(default_factory=threading.Condition)

    def __enter__(self) -> Self:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                time.sleep(receiver.takes_s)
                if self.path == "/v1/traces":
                    receiver._take(ExportTraceServiceRequest.FromString(body), self.client_address[1])
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that goes away with its process is no matter here."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def wait_for(self, enough: Callable[[list[ReceivedSpan]], bool], what: str, timeout_s: float = 20.0) -> None:
        """Wait until `enough(spans)`; an AssertionError that names what came instead after `timeout_s`."""
        deadline_s = time.monotonic() + timeout_s
        with self._arrived:
            while not enough(self.spans):
                if not self._arrived.wait(deadline_s - time.monotonic()):
                    names = sorted({f"{span.service}: {span.name}" for span in self.spans})
                    raise AssertionError(f"waited {timeout_s:g} s for {what}; came: {names}")

    def _take(self, request: ExportTraceServiceRequest, port: int) -> None:
        with self._arrived:
            for group in request.resource_spans:
                service = attributes_of(group.resource.attributes).get("service.name", "")
                for scope in group.scope_spans:
                    self.spans.extend(received(span, str(service), scope.scope.name) for span in scope.spans)
                    self.ports.update((span.name, port) for span in scope.spans)
            self._arrived.notify_all()


def received(span: Span, service: str, scope: str) -> ReceivedSpan:
    return ReceivedSpan(
        service=service,
        scope=scope,
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        error=span.status.code == Status.STATUS_CODE_ERROR,
        status_message=span.status.message,
        attributes=attributes_of(span.attributes),
        events=tuple((event.name, attributes_of(event.attributes)) for event in span.events),
        links=tuple(
            (f"{link.trace_id.hex()}:{link.span_id.hex()}", attributes_of(link.attributes)) for link in span.links
        ),
    )


def attributes_of(pairs: Any) -> dict[str, Any]:
    return {pair.key: value_of(pair.value) for pair in pairs}


def value_of(value: AnyValue) -> Any:
    match value.WhichOneof("value"):
        case "array_value":
            return [value_of(item) for item in value.array_value.values]
        case "kvlist_value":
            return attributes_of(value.kvlist_value.values)
        case None:
            return None
        case kind:
            return getattr(value, kind)
