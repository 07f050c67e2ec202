"""What holds for any span: nothing is lost unsaid, both encodings agree, and no bytes break the decoder."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Status
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SentSpan
from tests.hot_paths import each_hot_path
from tests.otlp_json import otlp_json_body
from tests.otlp_strategies import requests, spans

from spantree_exporter.errors import MalformedRequest
from spantree_exporter.otlp.build import events_from_json, links_from_json
from spantree_exporter.otlp.decode import JSON, PROTOBUF, decode_request, examine, raw_span
from spantree_exporter.span import Span
from spantree_exporter.stored import otlp_attributes

__all__ = ["each_hot_path"]
pytestmark = pytest.mark.usefixtures("each_hot_path")

# For each hot path; that both give the same for any request, test_hot_path.py holds by as many again.
EXAMPLES = settings(max_examples=50)
RECORDINGS = Path(__file__).parents[1] / "data" / "recordings"
RECEIVED_NS = 1_790_000_000_000_000_000


def sent_spans(request: ExportTraceServiceRequest) -> list[tuple[ResourceSpans, ScopeSpans, SentSpan]]:
    return [
        (resource_spans, scope_spans, span)
        for resource_spans in request.resource_spans
        for scope_spans in resource_spans.scope_spans
        for span in scope_spans.spans
    ]


def comparable(span: Span) -> Span:
    """Without what depends on the encoding of a span whose bytes are kept."""
    return dataclasses.replace(span, raw=None, fingerprint=0) if span.raw else span


def pairs_of(stored: dict[str, Any]) -> list[KeyValue]:
    return [json_format.ParseDict(pair, KeyValue()) for pair in otlp_attributes(stored)]


def sent_back(span: Span) -> SentSpan:
    """The official message that `span` says, from its stored JSON alone, as a reader of the table has it."""
    return SentSpan(
        trace_id=span.trace_id,
        span_id=span.span_id.to_bytes(8, "big", signed=True),
        parent_span_id=b"" if span.parent_span_id is None else span.parent_span_id.to_bytes(8, "big", signed=True),
        name=span.name,
        kind=span.kind,  # type: ignore[arg-type]
        start_time_unix_nano=span.start_ns,
        end_time_unix_nano=span.end_ns,
        trace_state=span.trace_state,
        flags=span.flags,
        status=Status(code=span.status_code, message=span.status_message),  # type: ignore[arg-type]
        attributes=pairs_of(orjson.loads(span.attributes_json)),
        events=[
            SentSpan.Event(
                name=event.name,
                time_unix_nano=event.time_ns,
                attributes=pairs_of(event.attributes),
                dropped_attributes_count=event.dropped_attributes_count,
            )
            for event in events_from_json(span.events_json or b"[]")
        ],
        links=[
            SentSpan.Link(
                trace_id=bytes.fromhex(link.trace_id),
                span_id=bytes.fromhex(link.span_id),
                trace_state=link.trace_state,
                attributes=pairs_of(link.attributes),
                flags=link.flags,
                dropped_attributes_count=link.dropped_attributes_count,
            )
            for link in links_from_json(span.links_json or b"[]")
        ],
        dropped_attributes_count=span.dropped_attributes_count,
        dropped_events_count=span.dropped_events_count,
        dropped_links_count=span.dropped_links_count,
    )


def wire(message: Any) -> bytes:
    """Bytes, since messages with NaN are unequal to themselves. An empty status says what none says."""
    if isinstance(message, SentSpan) and not message.status.ListFields():
        message.ClearField("status")
    written: bytes = message.SerializeToString(deterministic=True)
    return written


def has_duplicates(pairs: Any) -> bool:
    names = [pair.key for pair in pairs]
    return len(set(names)) != len(names) or any(_value_has_duplicates(pair.value) for pair in pairs)


def _value_has_duplicates(value: AnyValue) -> bool:
    return has_duplicates(value.kvlist_value.values) or any(map(_value_has_duplicates, value.array_value.values))


def is_lossy(resource_spans: ResourceSpans, scope_spans: ScopeSpans, span: SentSpan) -> bool:
    """Whether the span or what it shares holds anything that the stored form cannot."""
    shared = [resource_spans.resource, scope_spans.scope]
    texts_sent: list[Any] = [json_format.MessageToDict(message) for message in (*shared, span)]
    texts_sent += [resource_spans.schema_url, scope_spans.schema_url]
    with_attributes: list[Any] = [*shared, span, *span.events, *span.links]
    times_ns = [span.start_time_unix_nano, span.end_time_unix_nano, *(event.time_unix_nano for event in span.events)]
    return (
        any(map(_holds_nul, texts_sent))
        or any(has_duplicates(message.attributes) for message in with_attributes)
        or max(times_ns) >= 2**63
        or len(span.parent_span_id) not in {0, 8}
    )


def _holds_nul(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_nul, value.values()))
    if isinstance(value, list):
        return any(map(_holds_nul, value))
    return isinstance(value, str) and "\0" in value


@EXAMPLES
@given(requests)
def test_protobuf_and_json_give_the_same_spans(request: ExportTraceServiceRequest) -> None:
    by_protobuf = decode_request(request.SerializeToString(), PROTOBUF, RECEIVED_NS)
    for long_as in (str, int):
        by_json = decode_request(otlp_json_body(request, long_as), JSON, RECEIVED_NS)
        assert (by_protobuf.dead, by_json.dead) == ([], [])
        assert [comparable(span) for span in by_json.spans] == [comparable(span) for span in by_protobuf.spans]
        assert [bool(span.raw) for span in by_json.spans] == [bool(span.raw) for span in by_protobuf.spans]


@EXAMPLES
@given(requests)
def test_the_stored_form_gives_back_what_was_sent_or_the_bytes_are_kept(request: ExportTraceServiceRequest) -> None:
    stored = decode_request(request.SerializeToString(), PROTOBUF, RECEIVED_NS).spans
    for (resource_spans, scope_spans, sent), span in zip(sent_spans(request), stored, strict=True):
        assert (span.raw is not None) == is_lossy(resource_spans, scope_spans, sent)
        if span.raw is None:
            assert wire(sent_back(span)) == wire(sent)
            resource = resource_spans.resource
            back = Resource(
                attributes=pairs_of(orjson.loads(span.resource.attributes_json)),
                dropped_attributes_count=span.resource.dropped_attributes_count,
            )
            assert (wire(back), span.resource.schema_url) == (wire(resource), resource_spans.schema_url)
            scope = orjson.loads(span.scope.json or b"{}")
            assert scope.get("name", "") == scope_spans.scope.name == span.scope.name
            assert scope.get("version", "") == scope_spans.scope.version == span.scope.version
            assert scope.get("schema_url", "") == scope_spans.schema_url
            assert [wire(pair) for pair in pairs_of(scope.get("attributes", {}))] == [
                wire(pair) for pair in scope_spans.scope.attributes
            ]
        else:
            (kept,) = sent_spans(ExportTraceServiceRequest.FromString(span.raw))
            assert wire(kept[2]) == wire(sent)


@EXAMPLES
@given(requests)
def test_every_stored_value_fits_its_column(request: ExportTraceServiceRequest) -> None:
    for span in decode_request(request.SerializeToString(), PROTOBUF, RECEIVED_NS).spans:
        signed = (
            span.span_id,
            span.parent_span_id or 0,
            span.fingerprint,
            span.resource.id,
            span.start_ns,
            span.end_ns,
        )
        assert all(-(2**63) <= number < 2**63 for number in signed)
        assert -(2**31) <= span.kind < 2**31
        assert -(2**31) <= span.status_code < 2**31
        texts_of = (
            span.name,
            span.status_message,
            span.trace_state,
            span.resource.service_name,
            span.resource.schema_url,
        )
        assert not any("\0" in text for text in texts_of)
        for part in (span.attributes_json, span.events_json, span.links_json, span.scope.json):
            assert not _holds_nul(orjson.loads(part or b"null"))
        assert orjson.loads(span.attributes_json) == span.attributes
        assert events_from_json(span.events_json or b"[]") == span.events
        assert links_from_json(span.links_json or b"[]") == span.links


@EXAMPLES
@given(requests)
def test_a_span_is_the_same_alone_and_among_others(request: ExportTraceServiceRequest) -> None:
    for encoding, body in ((PROTOBUF, request.SerializeToString()), (JSON, otlp_json_body(request))):
        together = decode_request(body, encoding, RECEIVED_NS).spans
        alone = [raw_span(body, encoding, index) for index in range(len(together))]
        assert [decode_request(raw, encoding, RECEIVED_NS).spans for raw in alone] == [[span] for span in together]


@EXAMPLES
@given(st.lists(spans, min_size=1, max_size=3), st.integers(0, 2), st.data())
def test_a_broken_span_costs_no_other(sent: list[SentSpan], position: int, data: st.DataObject) -> None:
    good = decode_request(_one_scope([span.SerializeToString() for span in sent]), PROTOBUF, RECEIVED_NS).spans
    raw = [span.SerializeToString() for span in sent]
    broken = bytearray(raw[0])
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    raw.insert(position % (len(raw) + 1), bytes(broken))
    answer = decode_request(_one_scope(raw), PROTOBUF, RECEIVED_NS)
    assert len(answer.spans) + len(answer.dead) == len(raw)
    assert all(span in answer.spans for span in good)


def _one_scope(raw: list[bytes]) -> bytes:
    return _field(1, _field(2, b"".join(_field(2, span) for span in raw)))


def _field(number: int, content: bytes) -> bytes:
    size = len(content)
    length = bytearray()
    while size >= 0x80:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return bytes((number << 3 | 2,)) + bytes(length) + content


@EXAMPLES
@given(st.binary() | requests.map(lambda request: request.SerializeToString()), st.data())
def test_no_bytes_break_the_decoder(body: bytes, data: st.DataObject) -> None:
    changed = bytearray(body)
    for _ in range(data.draw(st.integers(0, 3)) if body else 0):
        changed[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    _examined_and_decoded_agree(bytes(changed), PROTOBUF)
    _examined_and_decoded_agree(bytes(changed), JSON)


FIELDS = ["traceId", "spanId", "parentSpanId", "name", "kind", "startTimeUnixNano", "attributes", "events", "links"]
FIELDS += ["status", "code", "message", "flags", "key", "value", "values", "stringValue", "intValue", "doubleValue"]
FIELDS += ["boolValue", "bytesValue", "arrayValue", "kvlistValue"]
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["ab" * 16, "ab" * 8]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(FIELDS),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@EXAMPLES
@given(json_values, json_values)
def test_no_json_breaks_the_decoder(resource: Any, span: Any) -> None:
    known = {"traceId": "ab" * 16, "spanId": "ab" * 8}
    sent = [span, {**span, **known} if isinstance(span, dict) else span, {**known, "attributes": span}]
    document = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": sent}]}]}
    _examined_and_decoded_agree(json.dumps(document).encode(), JSON)


def _examined_and_decoded_agree(body: bytes, encoding: str) -> None:
    """What the receiver promises (so many spans, so many rejected) is what the pump then finds."""
    try:
        told = examine(body, encoding)
    except MalformedRequest:
        with pytest.raises(MalformedRequest):
            decode_request(body, encoding, RECEIVED_NS)
        return
    found = decode_request(body, encoding, RECEIVED_NS)
    assert told.spans == len(found.spans) + len(found.dead)
    assert told.rejected_spans <= len(found.dead)
    for letter in found.dead:
        again = decode_request(letter.raw, letter.encoding, RECEIVED_NS)
        assert (again.spans, [dead.reason for dead in again.dead]) == ([], [letter.reason])


@EXAMPLES
@given(st.sampled_from(sorted(RECORDINGS.iterdir())), st.floats(0, 1))
def test_a_body_that_is_cut_off_is_refused_or_read_alike(path: Path, share: float) -> None:
    body = path.read_bytes()
    _examined_and_decoded_agree(body[: int(len(body) * share)], JSON if path.suffix == ".json" else PROTOBUF)


@pytest.mark.parametrize("name", sorted(path.stem for path in RECORDINGS.glob("*.pb")))
def test_recordings_of_real_clients_lose_nothing_in_either_encoding(name: str) -> None:
    body = (RECORDINGS / f"{name}.pb").read_bytes()
    by_protobuf = decode_request(body, PROTOBUF, RECEIVED_NS)
    by_json = decode_request((RECORDINGS / f"{name}.json").read_bytes(), JSON, RECEIVED_NS)
    assert (by_protobuf.dead, by_json.dead) == ([], [])
    assert by_json.spans == by_protobuf.spans
    sent = sent_spans(ExportTraceServiceRequest.FromString(body))
    assert [wire(sent_back(span)) for span in by_protobuf.spans] == [wire(span) for _, _, span in sent]
    assert {span.raw for span in by_protobuf.spans} == {None}
