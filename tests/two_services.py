"""Traces of two services, and hostile ones, that are asked for in the forms of Jaeger and Tempo."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from tests.api_rows import NOW_NS, T0_NS, S, trace_id
from tests.api_server import api_over
from tests.jaeger_storage import store_request
from tests.postgres import new_database
from tests.tables import project_all

from spantree_exporter.otlp.decode import JSON, PROTOBUF, decode_request
from spantree_exporter.postgres.store import Store

SHOP, OTHER, HOSTILE = trace_id(0xA1), trace_id(0xA2), trace_id(0xA3)
START_S = T0_NS // S
MS = 1_000_000
RANGE = {"query.startTimeMin": "2026-11-20T09:00:00Z", "query.startTimeMax": "2026-11-20T11:00:00.000000001Z"}


def text(value: str) -> AnyValue:
    return AnyValue(string_value=value)


def request() -> ExportTraceServiceRequest:
    """Trace A1: shop calls bank, which fails; trace A2: shop alone, a minute later."""
    sent = ExportTraceServiceRequest()
    scopes = {}
    for service in ("shop", "bank"):
        entry = sent.resource_spans.add()
        entry.resource.attributes.add(key="service.name", value=text(service))
        entry.resource.attributes.add(key="host.name", value=text(f"host-{service}"))
        scopes[service] = entry.scope_spans.add()
        scopes[service].scope.name = "lib"
    root = scopes["shop"].spans.add(
        trace_id=bytes.fromhex(SHOP), span_id=b"\0" * 7 + b"\x01", name="POST /orders", kind=Span.SPAN_KIND_SERVER,
        start_time_unix_nano=T0_NS, end_time_unix_nano=T0_NS + 90 * MS, flags=1,
    )  # fmt: skip
    root.attributes.add(key="http.response.status_code", value=AnyValue(int_value=502))
    root.attributes.add(key="big", value=AnyValue(int_value=2**60))
    root.attributes.add(key="vip", value=AnyValue(bool_value=True))
    root.attributes.add(key="ratio", value=AnyValue(double_value=0.5))
    root.attributes.add(key="bytes", value=AnyValue(bytes_value=b"\xff"))
    accepted = root.attributes.add(key="http.request.header.accept")
    accepted.value.array_value.values.extend([text("text/html"), text("image/*"), AnyValue(int_value=7)])
    child = scopes["bank"].spans.add(
        trace_id=bytes.fromhex(SHOP), span_id=b"\0" * 7 + b"\x02", parent_span_id=b"\0" * 7 + b"\x01", name="charge",
        kind=Span.SPAN_KIND_CLIENT, start_time_unix_nano=T0_NS + 10 * MS, end_time_unix_nano=T0_NS + 40 * MS,
    )  # fmt: skip
    child.status.code, child.status.message = Status.STATUS_CODE_ERROR, "declined"
    event = child.events.add(name="exception", time_unix_nano=T0_NS + 20 * MS)
    event.attributes.append(KeyValue(key="exception.type", value=text("CardError")))
    child.links.add(trace_id=bytes.fromhex(OTHER), span_id=b"\0" * 7 + b"\x03")
    child.links.add(trace_id=bytes(16), span_id=bytes(8))  # to no span
    also_of = child.links.add(trace_id=bytes.fromhex(OTHER), span_id=b"\0" * 7 + b"\x04")
    also_of.attributes.add(key="opentracing.ref_type").value.string_value = "child_of"
    scopes["shop"].spans.add(
        trace_id=bytes.fromhex(OTHER), span_id=b"\0" * 7 + b"\x03", name="GET /orders", kind=Span.SPAN_KIND_SERVER,
        start_time_unix_nano=T0_NS + 60 * S, end_time_unix_nano=T0_NS + 60 * S + 5 * MS,
    )  # fmt: skip
    return sent


def hostile() -> list[tuple[bytes, str]]:
    """Spans of one trace that no two of the forms can hold: text that is no UTF-8, half of a surrogate pair, depth."""

    def span_json(number: int, value: str) -> bytes:
        return (
            f'{{"resourceSpans":[{{"resource":{{"attributes":[]}},"scopeSpans":[{{"spans":[{{"traceId":"{HOSTILE}",'
            f'"spanId":"{number:016x}","name":"json","startTimeUnixNano":"{T0_NS}",'
            f'"endTimeUnixNano":"{T0_NS + 7 * MS}",'
            f'"attributes":[{{"key":"big","value":{value}}}]}}]}}]}}]}}'
        ).encode()

    deep = "".join(['{"arrayValue":{"values":['] * 3_000) + '{"intValue":"1"}' + "]}}" * 3_000
    sent = ExportTraceServiceRequest()
    sent.resource_spans.add().scope_spans.add().spans.add(
        trace_id=bytes.fromhex(HOSTILE), span_id=b"\0" * 7 + b"\x03", name="bad !", start_time_unix_nano=T0_NS,
        end_time_unix_nano=T0_NS + 7 * MS,
    )  # fmt: skip
    return [
        (span_json(1, '{"stringValue":"\\ud800"}'), JSON),
        (span_json(2, deep), JSON),
        (sent.SerializeToString().replace(b"bad !", b"bad \xff"), PROTOBUF),
    ]


@contextmanager
def served(postgres_url: str, template: str) -> Iterator[httpx.Client]:
    """An API over a database of its own that has both, as they are stored and projected."""
    with new_database(postgres_url, template=template) as url:
        store_request(url, request())
        store = Store(url)
        for body, encoding in hostile():
            decoded = decode_request(body, encoding, NOW_NS)
            assert not decoded.dead
            store.write(decoded.spans)
        project_all(url, store)
        store.close()
        with api_over(url, NOW_NS) as found:
            yield found
