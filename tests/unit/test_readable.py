"""Spans of the SDK read without a detour over OTLP are those that come out of the detour, to the fingerprint."""

from __future__ import annotations

import math
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from spantree_exporter import readable
from spantree_exporter.otlp.decode import PROTOBUF, decode_request
from spantree_exporter.readable import SpanReader

RECEIVED_NS = 1_780_000_000_000_000_000


class Ended(SpanProcessor):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


def ended(attributes: dict[str, Any], **resource: Any) -> list[ReadableSpan]:
    """A root with a remote parent, and a child with every part that a span can have."""
    provider = TracerProvider(resource=Resource({"service.name": "shop", **resource}), shutdown_on_exit=False)
    collecting = Ended()
    provider.add_span_processor(collecting)
    tracer = provider.get_tracer("scope", "1.2", schema_url="https://example.org/1", attributes={"beta": True})
    state = trace.TraceState([("vendor", "v1"), ("other", "x")])
    remote = trace.SpanContext(
        2**127 + 5, 2**63 + 1, is_remote=True, trace_flags=trace.TraceFlags(1), trace_state=state
    )
    context = trace.set_span_in_context(trace.NonRecordingSpan(remote))
    with tracer.start_as_current_span("served", context=context, kind=trace.SpanKind.SERVER) as root:
        link = trace.Link(root.get_span_context(), {"why": "because"})
        with tracer.start_as_current_span("child", attributes=attributes, links=[link, trace.Link(remote)]) as child:
            child.add_event("event", {"n": 1}, timestamp=RECEIVED_NS)
            child.set_status(trace.StatusCode.ERROR, "failed")
    for kind in trace.SpanKind:
        tracer.start_span(kind.name, kind=kind).end()
    provider.get_tracer("").start_span("no scope").end()
    return collecting.spans


ORDINARY: dict[str, Any] = {
    "text": "größe",
    "empty": "",
    "int": 2**63 - 1,
    "negative": -5,
    "true": True,
    "double": 1.5,
    "zero": -0.0,
    "huge": 1e300,
    "nan": math.nan,
    "bytes": b"\x00\xff",
    "mixed": [1.5, 2.0],
    "texts": ("a", "b"),
    "bools": [True, False],
    "$ref": "dollar",
}
ODD: dict[str, Any] = {"nul": "a\0b", "smallest": -(2**63), "fine": 1}


@pytest.mark.parametrize("attributes", [{}, ORDINARY, ODD, {f"k{number}": number for number in range(128)}])
@pytest.mark.parametrize("resource", [{}, {"nul": "a\0b"}])
def test_both_roads_lead_to_the_same_span(attributes: dict[str, Any], resource: dict[str, Any]) -> None:
    spans = ended(attributes, **resource)
    over_otlp = [
        span
        for sent in spans
        for span in decode_request(encode_spans([sent]).SerializeToString(), PROTOBUF, RECEIVED_NS).spans
    ]
    read = SpanReader().read(spans, RECEIVED_NS)
    assert read.spans == over_otlp
    assert (read.dead, read.errors) == ([], [])


def test_what_is_ordinary_is_not_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readable, "encode_spans", None)
    assert len(SpanReader().read(ended(ORDINARY), RECEIVED_NS).spans) == 8


def test_a_span_that_no_message_can_hold_costs_no_other() -> None:
    spans = ended(ORDINARY)
    spans[0]._name = "half a pair \ud800"
    read = SpanReader().read(spans, RECEIVED_NS)
    assert ([span.name for span in read.spans[:1]], len(read.spans), len(read.errors)) == (["served"], 7, 1)


def test_the_bytes_of_one_span_are_a_request_of_its_own() -> None:
    read = SpanReader().read(ended(ORDINARY), RECEIVED_NS)
    assert decode_request(read.raw(1), PROTOBUF, RECEIVED_NS).spans == [read.spans[1]]
