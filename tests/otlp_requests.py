"""OTLP requests for tests, with ids that can be told from each other."""

from __future__ import annotations

import time

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


def trace_id(number: int) -> bytes:
    """The id of the trace `number`, 1 or more."""
    return number.to_bytes(16, "big")


def span_id(number: int) -> bytes:
    """The id of the span `number`, 1 or more."""
    return number.to_bytes(8, "big")


def span(trace: int, number: int, *, parent: int | None = None, name: str | None = None, payload: str = "") -> Span:
    """A span of today that took a millisecond; `payload` is the value of an attribute."""
    start_ns = time.time_ns()
    sent = Span(
        trace_id=trace_id(trace),
        span_id=span_id(number),
        parent_span_id=span_id(parent) if parent is not None else b"",
        name=name if name is not None else f"step {number}",
        kind=Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=start_ns,
        end_time_unix_nano=start_ns + 1_000_000,
    )
    if payload:
        sent.attributes.add(key="payload").value.string_value = payload
    return sent


def request(*spans: Span, service: str = "a-service") -> ExportTraceServiceRequest:
    """A request with one resource and one scope."""
    built = ExportTraceServiceRequest()
    resource_spans = built.resource_spans.add()
    resource_spans.resource.attributes.add(key="service.name").value.string_value = service
    resource_spans.scope_spans.add().spans.extend(spans)
    return built


def trace_request(trace: int, spans: int, *, first: int = 1, payload: str = "") -> ExportTraceServiceRequest:
    """A request with `spans` spans of one trace, a root and its children."""
    root = first
    return request(
        *(
            span(trace, number, parent=None if number == root else root, payload=payload)
            for number in range(first, first + spans)
        )
    )
