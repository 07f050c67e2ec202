"""The requests that checks send: spans of the service `spantree-conform`, each with ids of its own."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable
from typing import Any, Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from spantree_deploy.conform.check import BINARY, INTEROPERABILITY

SERVICE: Final = "spantree-conform"
# A field that no message of OTLP has: number 4000, a varint.
UNKNOWN_FIELD: Final = b"\x80\xfa\x01\x07"


def span(**fields: Any) -> Span:
    """A span of this moment, with random ids unless `fields` has others."""
    now_ns = time.time_ns()
    values: dict[str, Any] = {
        "trace_id": os.urandom(16),
        "span_id": os.urandom(8),
        "name": "conform",
        "kind": Span.SPAN_KIND_INTERNAL,
        "start_time_unix_nano": now_ns - 1_000_000,
        "end_time_unix_nano": now_ns,
    }
    return Span(**(values | fields))


def request(*spans: Span) -> ExportTraceServiceRequest:
    """`spans` of one resource and one scope."""
    built = ExportTraceServiceRequest()
    of_resource = built.resource_spans.add()
    of_resource.resource.attributes.add(key="service.name").value.string_value = SERVICE
    of_scope = of_resource.scope_spans.add()
    of_scope.scope.name = SERVICE
    of_scope.spans.extend(spans)
    return built


def body(*spans: Span) -> bytes:
    """`request` in protobuf; without arguments one span."""
    return request(*(spans or (span(),))).SerializeToString()


def log_body(count: int = 1) -> bytes:
    """A request of `count` log records that belong to a span, in protobuf."""
    built = ExportLogsServiceRequest()
    of_resource = built.resource_logs.add()
    of_resource.resource.attributes.add(key="service.name").value.string_value = SERVICE
    of_scope = of_resource.scope_logs.add()
    for _ in range(count):
        record = of_scope.log_records.add(
            time_unix_nano=time.time_ns(), severity_number=9, trace_id=os.urandom(16), span_id=os.urandom(8)
        )
        record.body.string_value = "conform"
    return built.SerializeToString()


def json_span(**fields: Any) -> dict[str, Any]:
    """A span in OTLP/JSON, with random ids unless `fields` has others; a field that is ... is left out."""
    now_ns = time.time_ns()
    values: dict[str, Any] = {
        "traceId": os.urandom(16).hex(),
        "spanId": os.urandom(8).hex(),
        "name": "conform",
        "kind": 1,
        "startTimeUnixNano": str(now_ns - 1_000_000),
        "endTimeUnixNano": str(now_ns),
    }
    return {name: value for name, value in (values | fields).items() if value is not ...}


def json_request(*spans: dict[str, Any]) -> dict[str, Any]:
    """`spans`, or one, of one resource and one scope."""
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": SERVICE}}]},
                "scopeSpans": [{"scope": {"name": SERVICE}, "spans": list(spans or (json_span(),))}],
            }
        ]
    }


def with_value(value: object) -> dict[str, Any]:
    """A JSON request whose span has an attribute with the AnyValue `value`."""
    return json_request(json_span(attributes=[{"key": "value", "value": value}]))


def _every_value() -> bytes:
    sent = span()
    value = {
        name: sent.attributes.add(key=name).value for name in ("s", "b", "i", "d", "bytes", "array", "map", "none")
    }
    value["s"].string_value = "text"
    value["b"].bool_value = False
    value["i"].int_value = -(2**63)
    value["d"].double_value = float("nan")
    value["bytes"].bytes_value = b"\x00\xff"
    value["array"].array_value.values.add().int_value = 1
    value["array"].array_value.values.add().string_value = "two"
    nested = value["map"].kvlist_value.values.add(key="inner").value
    nested.kvlist_value.values.add(key="innermost").value.bool_value = True
    return body(sent)


def _everything() -> bytes:
    sent = span(flags=0x101, trace_state="vendor=1,other=2", parent_span_id=os.urandom(8))
    sent.status.code, sent.status.message = Status.STATUS_CODE_ERROR, "it failed"
    event = sent.events.add(name="event", time_unix_nano=time.time_ns(), dropped_attributes_count=1)
    event.attributes.add(key="k").value.string_value = "v"
    link = sent.links.add(trace_id=os.urandom(16), span_id=os.urandom(8), trace_state="a=1", flags=1)
    link.attributes.add(key="k").value.int_value = 1
    sent.dropped_attributes_count, sent.dropped_events_count, sent.dropped_links_count = 1, 2, 3
    whole = request(sent)
    whole.resource_spans[0].schema_url = whole.resource_spans[0].scope_spans[0].schema_url = "https://example/1.0"
    whole.resource_spans[0].resource.dropped_attributes_count = 1
    whole.resource_spans[0].scope_spans[0].scope.version = "1"
    return whole.SerializeToString()


def _unknown_fields(where: str) -> bytes:
    sent = request(span())
    message: Any = {
        "request": sent,
        "resource": sent.resource_spans[0].resource,
        "resource_spans": sent.resource_spans[0],
        "scope_spans": sent.resource_spans[0].scope_spans[0],
        "span": sent.resource_spans[0].scope_spans[0].spans[0],
        "attribute": sent.resource_spans[0].resource.attributes[0],
        "value": sent.resource_spans[0].resource.attributes[0].value,
    }[where]
    changed = type(message).FromString(message.SerializeToString() + UNKNOWN_FIELD)
    message.CopyFrom(copy.deepcopy(changed))
    return sent.SerializeToString()


def _many_resources() -> bytes:
    sent = ExportTraceServiceRequest()
    for _ in range(100):
        sent.MergeFrom(request(span(), span()))
    return sent.SerializeToString()


def _without(what: str) -> bytes:
    sent = request(span())
    owner: Any = sent.resource_spans[0] if what == "resource" else sent.resource_spans[0].scope_spans[0]
    owner.ClearField(what)
    return sent.SerializeToString()


def _twice_the_same_key() -> bytes:
    sent = span()
    for number in (1, 2):
        sent.attributes.add(key="same").value.int_value = number
    return body(sent)


def _wide() -> bytes:
    sent = span()
    for number in range(1000):
        sent.attributes.add(key=f"key {number}").value.int_value = number
    return body(sent)


def _large_value() -> bytes:
    sent = span()
    sent.attributes.add(key="large").value.string_value = "x" * 2**20
    return body(sent)


# (what is sent, which section says that it is valid, how it is made), for protobuf over either transport
VALID: Final[list[tuple[str, str, Callable[[], bytes]]]] = [
    ("a span with every kind of value", BINARY, _every_value),
    ("a span with events, links, status, flags, trace state and dropped counts", BINARY, _everything),
    ("1,000 spans of one trace", BINARY, lambda: body(*_of_one_trace(1000))),
    ("200 spans of 100 resources", BINARY, _many_resources),
    ("a resource that is left out", BINARY, lambda: _without("resource")),
    ("a scope that is left out", BINARY, lambda: _without("scope")),
    ("a name that is empty", BINARY, lambda: body(span(name=""))),
    ("a name in several scripts", BINARY, lambda: body(span(name="für 東京 🚆 \u202eabc"))),
    ("times that are all zero", BINARY, lambda: body(span(start_time_unix_nano=0, end_time_unix_nano=0))),
    ("an end before the start", BINARY, lambda: body(span(end_time_unix_nano=1))),
    ("the largest time", BINARY, lambda: body(span(end_time_unix_nano=2**64 - 1))),
    ("an attribute of 1 MiB", BINARY, _large_value),
    ("1,000 attributes", BINARY, _wide),
    ("the same key twice", BINARY, _twice_the_same_key),
    ("an unknown kind of span", INTEROPERABILITY, lambda: body(span(kind=99))),
    ("unknown flags", INTEROPERABILITY, lambda: body(span(flags=0xFFFFFFFF))),
    ("an unknown field of the request", INTEROPERABILITY, lambda: _unknown_fields("request")),
    ("an unknown field of ResourceSpans", INTEROPERABILITY, lambda: _unknown_fields("resource_spans")),
    ("an unknown field of Resource", INTEROPERABILITY, lambda: _unknown_fields("resource")),
    ("an unknown field of ScopeSpans", INTEROPERABILITY, lambda: _unknown_fields("scope_spans")),
    ("an unknown field of Span", INTEROPERABILITY, lambda: _unknown_fields("span")),
    ("an unknown field of KeyValue", INTEROPERABILITY, lambda: _unknown_fields("attribute")),
]


def _of_one_trace(count: int) -> list[Span]:
    trace_id = os.urandom(16)
    return [span(trace_id=trace_id) for _ in range(count)]


# (what, how it is made): bytes that are no ExportTraceServiceRequest
MALFORMED: Final[list[tuple[str, Callable[[], bytes]]]] = [
    ("text", lambda: b"this is no protobuf"),
    ("a request that is cut off", lambda: body(span(), span())[:-3]),
    ("a length beyond the end", lambda: b"\x0a\xff\xff\xff\x7f"),
    ("a varint that does not end", lambda: b"\x08" + b"\xff" * 11),
]
