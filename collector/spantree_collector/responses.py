"""The body of an OTLP success: empty, or partial_success where spans are rejected."""

from __future__ import annotations

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from spantree_collector.status import encoded
from spantree_exporter.decode import JSON, Examined

_EMPTY_PROTOBUF = b""
_EMPTY_JSON = b"{}"


def success(examined: Examined, encoding: str) -> bytes:
    """The ExportTraceServiceResponse; `partial_success` is unset where there is nothing to say ("Full Success")."""
    if not examined.rejected_spans and not examined.error_message:
        return _EMPTY_JSON if encoding == JSON else _EMPTY_PROTOBUF
    partial = ExportTracePartialSuccess(rejected_spans=examined.rejected_spans, error_message=examined.error_message)
    return encoded(ExportTraceServiceResponse(partial_success=partial), encoding)
