"""OTLP's protobuf messages, derived so that nothing in one span can make the whole request unreadable.

The generated classes refuse a request for one string that is no UTF-8 or one value nested deeper than about 30
levels. Here the very same wire format is declared with `bytes` wherever it says `string`, `bytes` for each
attribute's value and for each span: strings, values and spans are then read one at a time, each failing alone.
On the wire a string, a message and bytes are one thing (length-delimited, protobuf encoding guide), so nothing changes for
the sender. Measured: faster, too, since most of a value's message objects are never made.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError as WireError
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

_Field = descriptor_pb2.FieldDescriptorProto

# (message, field) whose sub-message is read later, by itself.
_LAZY: Final = {
    ("KeyValue", "value"),
    ("ArrayValue", "values"),
    ("ScopeSpans", "spans"),
}


def _derive() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for module in (common_pb2, resource_pb2, trace_pb2, trace_service_pb2):
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        pending = list(file.message_type)
        while pending:
            message = pending.pop()
            pending.extend(message.nested_type)
            for field in message.field:
                if field.type == _Field.TYPE_STRING or (message.name, field.name) in _LAZY:
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
AnyValue: Final = _message("opentelemetry.proto.common.v1.AnyValue")

__all__ = ["AnyValue", "Request", "WireError", "WireSpan"]
