"""What came in over OTLP goes out equal: as protobuf and as JSON, lossy spans by their own bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Status, TracesData
from tests.api_rows import T0_NS, S, trace_id
from tests.api_server import api_over, ok, refused
from tests.postgres import new_database

from spantree_exporter.otlp.decode import JSON, PROTOBUF, decode_request
from spantree_exporter.postgres.store import Store

TRACE = bytes.fromhex(trace_id(0xAB))
VALUES: dict[str, AnyValue] = {
    "text": AnyValue(string_value="ä\u2028"),
    "empty": AnyValue(string_value=""),
    "none": AnyValue(),
    "yes": AnyValue(bool_value=True),
    "no": AnyValue(bool_value=False),
    "int": AnyValue(int_value=-(2**63)),
    "big": AnyValue(int_value=2**63 - 1),
    "double": AnyValue(double_value=0.1),
    "whole": AnyValue(double_value=2.0),
    "huge": AnyValue(double_value=1e300),
    "minus": AnyValue(double_value=-0.0),
    "inf": AnyValue(double_value=float("-inf")),
    "bytes": AnyValue(bytes_value=b"\x00\xff"),
    "list": AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=1), AnyValue(string_value="1")])),
    "no list": AnyValue(array_value=ArrayValue()),
    "map": AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="$b", value=AnyValue(string_value="x"))])),
    "no map": AnyValue(kvlist_value=KeyValueList()),
    "$f": AnyValue(string_value="NaN"),
    "$$": AnyValue(int_value=1),
}


def request() -> ExportTraceServiceRequest:
    """Two resources, three scopes, spans with everything that a span can have."""
    sent = ExportTraceServiceRequest()
    attributes = [KeyValue(key=key, value=value) for key, value in VALUES.items()]
    for r in range(2):
        entry = sent.resource_spans.add(schema_url=f"https://schema/{r}")
        entry.resource.attributes.add(key="service.name", value=AnyValue(string_value=f"service {r}"))
        entry.resource.dropped_attributes_count = r
        for s in range(2 - r):
            scope = entry.scope_spans.add(schema_url="https://scope" if s else "")
            scope.scope.name, scope.scope.version = f"scope {s}", "1" if s else ""
            if s:
                scope.scope.attributes.extend(attributes[:3])
            for n in range(2):
                number = 1 + n + 2 * s + 4 * r
                span = scope.spans.add(
                    trace_id=TRACE,
                    span_id=number.to_bytes(8, "big"),
                    name=f"span {number}",
                    kind=number % 6,
                    start_time_unix_nano=T0_NS + number,
                    end_time_unix_nano=T0_NS + S,
                    attributes=attributes if n else [],
                    flags=0x301,
                    trace_state="a=b" if n else "",
                    dropped_attributes_count=n,
                    dropped_events_count=2 * n,
                    dropped_links_count=3 * n,
                    status=Status(message="m" if n else "", code=number % 3),  # type: ignore[arg-type]
                )
                if number > 1:
                    span.parent_span_id = (1).to_bytes(8, "big")
                if n:
                    span.events.add(
                        time_unix_nano=T0_NS + 5, name="e", attributes=attributes, dropped_attributes_count=4
                    )
                    span.events.add(time_unix_nano=T0_NS + 4)
                    span.links.add(
                        trace_id=TRACE, span_id=b"12345678", attributes=attributes, flags=1, trace_state="x=y"
                    )
                    span.links.add(trace_id=b"\x01" * 16, span_id=b"\xff" * 8, dropped_attributes_count=1)
    return sent


def lossy() -> ExportTraceServiceRequest:
    """A span whose name jsonb and text cannot hold."""
    sent = ExportTraceServiceRequest()
    sent.resource_spans.add().scope_spans.add().spans.add(
        trace_id=TRACE, span_id=b"\xaa" * 8, name="nul \x00", start_time_unix_nano=T0_NS, end_time_unix_nano=T0_NS + 1
    )
    return sent


def not_utf8() -> bytes:
    """The same with a name that is not UTF-8, which no official message can be made of."""
    return lossy().SerializeToString().replace(b"nul \x00", b"bad \xff").replace(b"\xaa" * 8, b"\xbb" * 8)


def spans_of(data: TracesData | ExportTraceServiceRequest) -> dict[bytes, tuple[Any, ...]]:
    """Each span with what it shares, attributes in an order of their own."""
    found = {}
    for entry in data.resource_spans:
        for scope in entry.scope_spans:
            for span in scope.spans:
                found[span.span_id] = (in_order(entry, scope_spans=False), in_order(scope, spans=False), in_order(span))
    return found


def in_order(message: Any, **left_out: bool) -> Any:
    told = MessageToDict(message)
    for field in left_out:
        told.pop("".join([field.split("_")[0], *(part.title() for part in field.split("_")[1:])]), None)
    return sorted_attributes(told)


def sorted_attributes(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: sorted(map(sorted_attributes, item), key=repr)
            if key in {"attributes", "values"} and item and "key" in item[0]
            else sorted_attributes(item)
            for key, item in value.items()
        }
    return [sorted_attributes(item) for item in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def api(postgres_url: str, _migrated_template: str) -> Iterator[httpx.Client]:
    json_lossy = {
        "resourceSpans": [
            {
                "scopeSpans": [
                    {
                        "spans": [
                            {
                                "traceId": trace_id(0xAB),
                                "spanId": "cc" * 8,
                                "name": "json \x00",
                                "startTimeUnixNano": str(T0_NS),
                                "endTimeUnixNano": str(T0_NS + 1),
                            }
                        ]
                    }
                ]
            }
        ]
    }
    bodies = [
        (request().SerializeToString(), PROTOBUF),
        (lossy().SerializeToString(), PROTOBUF),
        (not_utf8(), PROTOBUF),
        (orjson.dumps(json_lossy), JSON),
    ]
    with new_database(postgres_url, template=_migrated_template) as url:
        store = Store(url)
        for body, encoding in bodies:
            decoded = decode_request(body, encoding, T0_NS + 2 * S)
            assert not decoded.dead
            store.write(decoded.spans)
        store.close()
        with api_over(url) as client:
            yield client


PATH = f"/api/v1/executions/{trace_id(0xAB)}/otlp"


def test_protobuf_is_equal_to_what_came_in(api: httpx.Client) -> None:
    answer = api.get(PATH, headers={"accept": "application/x-protobuf"})
    assert answer.headers["content-type"] == "application/x-protobuf"
    assert not_utf8() in answer.content
    told = spans_of(TracesData.FromString(answer.content.replace(b"bad \xff", b"bad !")))
    assert {key: told[key] for key in spans_of(request())} == spans_of(request())
    assert {key: told[key] for key in spans_of(lossy())} == spans_of(lossy())
    assert told[b"\xcc" * 8][2]["name"] == "json \x00"
    assert len(told) == 9


def test_json_is_equal_to_what_came_in(api: httpx.Client) -> None:
    answer = api.get(PATH)
    assert answer.headers["content-type"] == "application/json"
    told = {}
    for entry in ok(answer)["resourceSpans"]:
        for scope in entry["scopeSpans"]:
            for span in scope["spans"]:
                assert len(span["traceId"]) == 32
                told[span["spanId"]] = span
    assert told["aa" * 8]["name"] == "nul \x00"
    assert told["cc" * 8]["name"] == "json \x00"
    assert told["bb" * 8]["name"] == "bad \ufffd"
    # Taken in again, as a collector would, it is the same spans.
    again = decode_request(answer.content, JSON, 0).spans
    before = decode_request(request().SerializeToString(), PROTOBUF, 0).spans
    by_id = {span.span_id: span for span in again}
    assert len(by_id) == 9
    for span in before:
        twin = by_id[span.span_id]
        assert (span.attributes, span.events, span.links) == (twin.attributes, twin.events, twin.links)
        assert (span.resource.attributes, span.scope.attributes) == (twin.resource.attributes, twin.scope.attributes)
        assert (span.kind, span.status_code, span.flags, span.trace_state, span.parent_span_id) == (
            twin.kind,
            twin.status_code,
            twin.flags,
            twin.trace_state,
            twin.parent_span_id,
        )
        assert (span.start_ns, span.end_ns, span.name, span.status_message) == (
            twin.start_ns,
            twin.end_ns,
            twin.name,
            twin.status_message,
        )


def test_a_trace_without_spans_is_not_found(api: httpx.Client) -> None:
    assert refused(api.get(f"/api/v1/executions/{trace_id(1)}/otlp"))[:2] == (404, "not_found")


def test_the_comparison_sees_a_difference() -> None:
    changed = request()
    changed.resource_spans[0].scope_spans[0].spans[1].attributes[0].value.string_value = "other"
    assert spans_of(changed) != spans_of(request())
