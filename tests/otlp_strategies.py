"""Hypothesis strategies of OTLP requests, with all that the stored form has to bend or lose."""

from __future__ import annotations

from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Status
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SentSpan

keys = st.text(max_size=6) | st.sampled_from(["http.method", "$ref", "$b", "k" * 130, "nul\0"])
scalars = st.one_of(
    st.builds(AnyValue),
    st.builds(AnyValue, string_value=st.text() | st.sampled_from(["x" * 127, "é" * 9_000, "a\0b", "\\u0000"])),
    st.builds(AnyValue, bool_value=st.booleans()),
    st.builds(AnyValue, int_value=st.integers(-(2**63), 2**63 - 1) | st.integers(-300, 40_000)),
    st.builds(AnyValue, double_value=st.floats()),
    st.builds(AnyValue, bytes_value=st.binary()),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.builds(AnyValue, array_value=st.builds(ArrayValue, values=st.lists(inner, max_size=3))),
        st.builds(
            AnyValue,
            kvlist_value=st.builds(
                KeyValueList, values=st.lists(st.builds(KeyValue, key=keys, value=inner), max_size=3)
            ),
        ),
    ),
    max_leaves=6,
)
attributes = st.lists(st.builds(KeyValue, key=keys, value=values), max_size=4)
uint32 = st.integers(0, 2**32 - 1)
times = st.integers(0, 2**64 - 1) | st.just(1_780_000_000_000_000_000)
texts = st.text(max_size=8) | st.just("nul\0")
spans = st.builds(
    SentSpan,
    trace_id=st.binary(min_size=16, max_size=16).filter(any),
    span_id=st.binary(min_size=8, max_size=8).filter(any),
    parent_span_id=st.just(b"") | st.binary(min_size=8, max_size=8).filter(any) | st.just(b"short"),
    name=texts,
    kind=st.integers(-(2**31), 2**31 - 1),
    start_time_unix_nano=times,
    end_time_unix_nano=times,
    trace_state=texts,
    flags=uint32,
    status=st.none() | st.builds(Status, code=st.integers(-3, 300), message=texts),
    attributes=attributes,
    events=st.lists(
        st.builds(
            SentSpan.Event,
            name=texts,
            time_unix_nano=times,
            attributes=attributes,
            dropped_attributes_count=uint32,
        ),
        max_size=2,
    ),
    links=st.lists(
        st.builds(
            SentSpan.Link,
            trace_id=st.binary(max_size=16),
            span_id=st.binary(max_size=8),
            trace_state=texts,
            flags=uint32,
            attributes=attributes,
            dropped_attributes_count=uint32,
        ),
        max_size=2,
    ),
    dropped_attributes_count=uint32,
    dropped_events_count=uint32,
    dropped_links_count=uint32,
)
requests = st.builds(
    ExportTraceServiceRequest,
    resource_spans=st.lists(
        st.builds(
            ResourceSpans,
            resource=st.none() | st.builds(Resource, attributes=attributes, dropped_attributes_count=uint32),
            schema_url=texts,
            scope_spans=st.lists(
                st.builds(
                    ScopeSpans,
                    scope=st.none() | st.builds(InstrumentationScope, name=texts, version=texts, attributes=attributes),
                    schema_url=texts,
                    spans=st.lists(spans, max_size=3),
                ),
                max_size=2,
            ),
        ),
        max_size=2,
    ),
)
