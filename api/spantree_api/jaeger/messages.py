"""The messages of Jaeger's remote storage, package `jaeger.storage.v2`, declared as this module needs them. Pure.

https://github.com/jaegertracing/jaeger-idl, proto/storage/v2: names and numbers of services, methods and fields are the
protocol's. Attributes have OTLP's types, which are the same on the wire. A pool of its own, so that a process may
load Jaeger's own classes beside.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, message_factory, timestamp_pb2
from google.protobuf.message import DecodeError as WireError
from opentelemetry.proto.common.v1 import common_pb2

PACKAGE: Final = "jaeger.storage.v2"
_Field = descriptor_pb2.FieldDescriptorProto
_TIME: Final = ".google.protobuf.Timestamp"
_LENGTH: Final = ".google.protobuf.Duration"
_KEY_VALUE: Final = ".opentelemetry.proto.common.v1.KeyValue"
_TYPES: Final = {
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
    "bool": _Field.TYPE_BOOL,
    "int32": _Field.TYPE_INT32,
    "uint64": _Field.TYPE_UINT64,
    "fixed64": _Field.TYPE_FIXED64,
}

# message -> its fields by number: (name, type), a type of another message with its package or its bare name, "*" before
# it where the field is repeated.
_MESSAGES: Final[dict[str, dict[int, tuple[str, str]]]] = {
    "GetTraceParams": {1: ("trace_id", "bytes"), 2: ("start_time", _TIME), 3: ("end_time", _TIME)},
    "GetTracesRequest": {1: ("query", "*GetTraceParams")},
    "GetServicesRequest": {},
    "GetServicesResponse": {1: ("services", "*string")},
    "GetOperationsRequest": {1: ("service", "string"), 2: ("span_kind", "string")},
    "Operation": {1: ("name", "string"), 2: ("span_kind", "string")},
    "GetOperationsResponse": {1: ("operations", "*Operation")},
    "TraceQueryParameters": {
        1: ("service_name", "string"),
        2: ("operation_name", "string"),
        3: ("attributes", "*" + _KEY_VALUE),
        4: ("start_time_min", _TIME),
        5: ("start_time_max", _TIME),
        6: ("duration_min", _LENGTH),
        7: ("duration_max", _LENGTH),
        8: ("search_depth", "int32"),
        # A tree of conditions, jaeger.expression.v1.Call: known only so that it can be refused.
        9: ("filter", "bytes"),
    },
    "FindTracesRequest": {1: ("query", "TraceQueryParameters")},
    "FoundTraceID": {1: ("trace_id", "bytes"), 2: ("start", _TIME), 3: ("end", _TIME)},
    "FindTraceIDsResponse": {1: ("trace_ids", "*FoundTraceID")},
    "ServiceSummary": {1: ("name", "string"), 2: ("span_count", "int32"), 3: ("error_span_count", "int32")},
    "TraceSummary": {
        1: ("trace_id", "bytes"),
        2: ("root_service_name", "string"),
        3: ("root_operation_name", "string"),
        4: ("min_start_time_unix_nano", "fixed64"),
        5: ("max_end_time_unix_nano", "fixed64"),
        6: ("span_count", "int32"),
        7: ("error_span_count", "int32"),
        8: ("orphan_span_count", "int32"),
        9: ("services", "*ServiceSummary"),
    },
    "FindTraceSummariesResponse": {1: ("summaries", "*TraceSummary")},
    "GetDependenciesRequest": {1: ("start_time", _TIME), 2: ("end_time", _TIME)},
    "Dependency": {
        1: ("parent", "string"),
        2: ("child", "string"),
        3: ("call_count", "uint64"),
        4: ("source", "string"),
    },
    "GetDependenciesResponse": {1: ("dependencies", "*Dependency")},
    "SearchCapabilities": {1: ("without_service_name", "bool"), 2: ("same_span_conjunction", "bool")},
    "GetCapabilitiesRequest": {},
    "GetCapabilitiesResponse": {1: ("search", "SearchCapabilities")},
}


def _declare() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    file = descriptor_pb2.FileDescriptorProto(name="spantree/jaeger_storage.proto", package=PACKAGE, syntax="proto3")
    for module in (timestamp_pb2, duration_pb2, common_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
        file.dependency.append(module.DESCRIPTOR.name)
    for message, numbered in _MESSAGES.items():
        declared = file.message_type.add(name=message)
        for number, (name, kind) in numbered.items():
            field = declared.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
            if kind.startswith("*"):
                field.label, kind = _Field.LABEL_REPEATED, kind[1:]
            if kind in _TYPES:
                field.type = _TYPES[kind]
            else:
                field.type = _Field.TYPE_MESSAGE
                field.type_name = kind if kind.startswith(".") else f".{PACKAGE}.{kind}"
    pool.Add(file)
    return pool


_pool = _declare()


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))


# upb makes these classes while running: no checker knows their fields, hence Any, at this edge only.
GetTracesRequest: Final = _message("GetTracesRequest")
GetServicesRequest: Final = _message("GetServicesRequest")
GetServicesResponse: Final = _message("GetServicesResponse")
GetOperationsRequest: Final = _message("GetOperationsRequest")
GetOperationsResponse: Final = _message("GetOperationsResponse")
TraceQueryParameters: Final = _message("TraceQueryParameters")
# FindTraceIDs and FindTraceSummaries take a message of the same form.
FindTracesRequest: Final = _message("FindTracesRequest")
FindTraceIDsResponse: Final = _message("FindTraceIDsResponse")
FindTraceSummariesResponse: Final = _message("FindTraceSummariesResponse")
GetDependenciesRequest: Final = _message("GetDependenciesRequest")
GetDependenciesResponse: Final = _message("GetDependenciesResponse")
GetCapabilitiesRequest: Final = _message("GetCapabilitiesRequest")
GetCapabilitiesResponse: Final = _message("GetCapabilitiesResponse")
TraceSummary: Final = _message("TraceSummary")

__all__ = [
    "PACKAGE",
    "FindTraceIDsResponse",
    "FindTraceSummariesResponse",
    "FindTracesRequest",
    "GetCapabilitiesRequest",
    "GetCapabilitiesResponse",
    "GetDependenciesRequest",
    "GetDependenciesResponse",
    "GetOperationsRequest",
    "GetOperationsResponse",
    "GetServicesRequest",
    "GetServicesResponse",
    "GetTracesRequest",
    "TraceQueryParameters",
    "TraceSummary",
    "WireError",
]
