"""The body of an OTLP success: empty, or partial_success where spans or log records are rejected."""

from __future__ import annotations

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsPartialSuccess, ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from spantree_collector.receive.status import encoded
from spantree_exporter.otlp.decode import JSON, Examined
from spantree_exporter.otlp.signals import LOGS, TRACES

_EMPTY_PROTOBUF = b""
_EMPTY_JSON = b"{}"


def success(examined: Examined, encoding: str, signal: str = TRACES) -> bytes:
    """The Export...ServiceResponse; `partial_success` is unset where there is nothing to say ("Full Success")."""
    if not examined.rejected_spans and not examined.error_message:
        return _EMPTY_JSON if encoding == JSON else _EMPTY_PROTOBUF
    rejected, message = examined.rejected_spans, examined.error_message
    if signal == LOGS:
        logs = ExportLogsPartialSuccess(rejected_log_records=rejected, error_message=message)
        return encoded(ExportLogsServiceResponse(partial_success=logs), encoding)
    partial = ExportTracePartialSuccess(rejected_spans=rejected, error_message=message)
    return encoded(ExportTraceServiceResponse(partial_success=partial), encoding)
