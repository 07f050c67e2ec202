"""What becomes of each fault that an OTLP protobuf request can have; those of JSON are in test_decode_json.py."""

from __future__ import annotations

import math
from typing import Any

import orjson
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SentSpan
from tests.hot_paths import each_hot_path
from tests.otlp_json import otlp_json_body
from tests.otlp_requests import request, span_id, trace_id

from spantree_exporter.errors import MalformedRequest
from spantree_exporter.otlp.decode import JSON, PROTOBUF, DeadLetter, Examined, decode_request, examine, raw_span
from spantree_exporter.span import Event, Link, Span

__all__ = ["each_hot_path"]
pytestmark = pytest.mark.usefixtures("each_hot_path")

RECEIVED_NS = 1_790_000_000_000_000_000
START_NS = 1_780_000_000_000_000_000


def sent_span(number: int = 1, **fields: Any) -> SentSpan:
    known: dict[str, Any] = {
        "trace_id": trace_id(1),
        "span_id": span_id(number),
        "name": "step",
        "kind": 1,
        "start_time_unix_nano": START_NS,
        "end_time_unix_nano": START_NS + 5,
    }
    return SentSpan(**(known | fields))


def with_attribute(value: AnyValue, key: str = "k") -> SentSpan:
    return sent_span(attributes=[KeyValue(key=key, value=value)])


def decoded(*spans: SentSpan) -> list[Span]:
    answer = decode_request(request(*spans).SerializeToString(), PROTOBUF, RECEIVED_NS)
    assert answer.dead == []
    return answer.spans


def one(span: SentSpan) -> Span:
    (only,) = decoded(span)
    return only


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field as the wire has it, whatever the generated classes would refuse to write."""
    length, size = b"", len(content)
    while size >= 0x80:
        length += bytes((size & 0x7F | 0x80,))
        size >>= 7
    return bytes((number << 3 | 2,)) + length + bytes((size,)) + content


def body_with(raw: bytes, *others: SentSpan) -> bytes:
    """A request whose first span is the bytes `raw`."""
    sent = field(2, raw) + b"".join(field(2, other.SerializeToString()) for other in others)
    return field(1, field(2, sent))


def lossless(span: Span) -> bool:
    return span.raw is None and span.anomalies == []


def test_every_field_of_a_span_is_read() -> None:
    sent = sent_span(
        parent_span_id=b"\xff" * 8,
        kind=3,
        flags=0x301,
        trace_state="a=1",
        status={"code": 2, "message": "boom"},
        attributes=[KeyValue(key="n", value=AnyValue(int_value=300))],
        events=[
            {
                "time_unix_nano": START_NS + 1,
                "name": "e",
                "attributes": [KeyValue(key="a", value=AnyValue(bool_value=False))],
                "dropped_attributes_count": 2,
            }
        ],
        links=[{"trace_id": trace_id(9), "span_id": span_id(8), "trace_state": "b=2", "flags": 1}],
        dropped_attributes_count=3,
        dropped_events_count=4,
        dropped_links_count=5,
    )
    message = request(sent, service="shop")
    message.resource_spans[0].schema_url = "https://example.org/resource"
    message.resource_spans[0].scope_spans[0].scope.name = "lib"
    message.resource_spans[0].scope_spans[0].scope.version = "1.2"
    (span,) = decode_request(message.SerializeToString(), PROTOBUF, RECEIVED_NS).spans

    assert (span.trace_id, span.span_id, span.parent_span_id) == (trace_id(1), 1, -1)
    assert (span.name, span.kind, span.start_ns, span.end_ns) == ("step", 3, START_NS, START_NS + 5)
    assert (span.status_code, span.status_message, span.flags, span.trace_state) == (2, "boom", 0x301, "a=1")
    assert (span.attributes, span.attributes_json) == ({"n": 300}, b'{"n":300}')
    assert span.events == [Event(START_NS + 1, "e", {"a": False}, 2)]
    assert orjson.loads(span.events_json or b"") == [
        {"time_ns": START_NS + 1, "name": "e", "attributes": {"a": False}, "dropped_attributes_count": 2}
    ]
    assert span.links == [Link(trace_id(9).hex(), span_id(8).hex(), "b=2", {}, 1)]
    assert orjson.loads(span.links_json or b"") == [
        {"trace_id": trace_id(9).hex(), "span_id": span_id(8).hex(), "trace_state": "b=2", "flags": 1}
    ]
    assert (span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count) == (3, 4, 5)
    assert (span.resource.service_name, span.resource.schema_url) == ("shop", "https://example.org/resource")
    assert span.resource.attributes == {"service.name": "shop"}
    assert (span.scope.name, span.scope.version, span.scope.json) == ("lib", "1.2", b'{"name":"lib","version":"1.2"}')
    assert span.received_ns == RECEIVED_NS
    assert lossless(span)


def test_an_empty_request_has_no_spans() -> None:
    assert decode_request(b"", PROTOBUF, RECEIVED_NS).spans == []
    assert examine(b"", PROTOBUF) == Examined(0, 0, "")


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (AnyValue(), None),
        (AnyValue(string_value=""), ""),
        (AnyValue(string_value="x" * 125), "x" * 125),
        (AnyValue(string_value="x" * 126), "x" * 126),
        (AnyValue(string_value="x" * 127), "x" * 127),
        (AnyValue(string_value="x" * 128), "x" * 128),
        (AnyValue(string_value="é" * 8191), "é" * 8191),
        (AnyValue(string_value="x" * 16_380), "x" * 16_380),
        (AnyValue(string_value="x" * 16_384), "x" * 16_384),
        (AnyValue(string_value="x" * 3_000_000), "x" * 3_000_000),
        (AnyValue(bool_value=True), True),
        (AnyValue(bool_value=False), False),
        (AnyValue(int_value=0), 0),
        (AnyValue(int_value=127), 127),
        (AnyValue(int_value=128), 128),
        (AnyValue(int_value=16_383), 16_383),
        (AnyValue(int_value=16_384), 16_384),
        (AnyValue(int_value=2_097_151), 2_097_151),
        (AnyValue(int_value=2_097_152), 2_097_152),
        (AnyValue(int_value=-1), -1),
        (AnyValue(int_value=2**63 - 1), 2**63 - 1),
        (AnyValue(int_value=-(2**63)), -(2**63)),
        (AnyValue(double_value=1.0), 1.0),
        (AnyValue(double_value=0.0), 0.0),
        (AnyValue(double_value=-2.5), -2.5),
        (AnyValue(double_value=9.9e15), 9.9e15),
        (AnyValue(double_value=1e16), {"$f": "1e+16"}),
        (AnyValue(double_value=1e300), {"$f": "1e+300"}),
        (AnyValue(double_value=1e-300), {"$f": "1e-300"}),
        (AnyValue(double_value=-0.0), {"$f": "-0.0"}),
        (AnyValue(double_value=math.nan), {"$f": "NaN"}),
        (AnyValue(double_value=math.inf), {"$f": "Infinity"}),
        (AnyValue(double_value=-math.inf), {"$f": "-Infinity"}),
        (AnyValue(bytes_value=b"\x00\xff"), {"$b": "AP8="}),
        (AnyValue(bytes_value=b""), {"$b": ""}),
        (AnyValue(array_value=ArrayValue(values=[])), []),
        (
            AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=1), AnyValue(), AnyValue(string_value="a")])),
            [1, None, "a"],
        ),
        (AnyValue(kvlist_value=KeyValueList(values=[])), {}),
        (
            AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="$b", value=AnyValue(string_value="AA"))])),
            {"$$b": "AA"},
        ),
    ],
)
def test_values_have_one_stored_form_and_lose_nothing(value: AnyValue, stored: object) -> None:
    span = one(with_attribute(value))
    assert repr(span.attributes) == repr({"k": stored})
    assert orjson.loads(span.attributes_json) == {"k": stored}
    assert lossless(span)


def test_an_int_a_double_and_a_bool_that_compare_equal_stay_apart() -> None:
    spans = decoded(
        with_attribute(AnyValue(int_value=1)),
        with_attribute(AnyValue(double_value=1.0)),
        with_attribute(AnyValue(bool_value=True)),
    )
    assert [span.attributes_json for span in spans] == [b'{"k":1}', b'{"k":1.0}', b'{"k":true}']
    assert len({span.fingerprint for span in spans}) == 3


def test_the_same_attribute_is_read_alike_the_first_and_the_thousandth_time() -> None:
    sent = [with_attribute(AnyValue(string_value="again")), with_attribute(AnyValue(int_value=7))] * 500
    assert [span.attributes for span in decoded(*sent)] == [{"k": "again"}, {"k": 7}] * 500


def test_a_key_that_starts_with_a_dollar_gets_one_more() -> None:
    span = one(with_attribute(AnyValue(int_value=1), key="$ref"))
    assert span.attributes == {"$$ref": 1}
    assert lossless(span)


def test_empty_and_long_keys_are_kept() -> None:
    long = "k" * 300
    span = one(
        sent_span(
            attributes=[
                KeyValue(key="", value=AnyValue(int_value=1)),
                KeyValue(key="x" * 127, value=AnyValue(int_value=2)),
                KeyValue(key="x" * 128, value=AnyValue(int_value=3)),
                KeyValue(key=long, value=AnyValue(int_value=4)),
            ]
        )
    )
    assert span.attributes == {"": 1, "x" * 127: 2, "x" * 128: 3, long: 4}
    assert lossless(span)


def test_nul_is_replaced_everywhere_and_the_bytes_are_kept() -> None:
    sent = sent_span(
        name="a\0b",
        trace_state="s\0",
        status={"message": "m\0"},
        attributes=[KeyValue(key="k\0", value=AnyValue(array_value=ArrayValue(values=[AnyValue(string_value="v\0")])))],
        events=[{"name": "e\0"}],
        links=[{"trace_state": "l\0"}],
    )
    span = one(sent)
    assert (span.name, span.trace_state, span.status_message) == ("a␀b", "s␀", "m␀")
    assert span.attributes == {"k␀": ["v␀"]}
    assert span.events == [Event(0, "e␀", {})]
    assert span.links == [Link("", "", "l␀", {})]
    assert b"\\u0000" not in span.attributes_json + (span.events_json or b"") + (span.links_json or b"")
    assert span.anomalies == ["nul"]
    assert ExportTraceServiceRequest.FromString(span.raw or b"") == request(sent)


def test_the_six_characters_that_look_like_an_escaped_nul_are_no_nul() -> None:
    span = one(with_attribute(AnyValue(string_value="\\u0000")))
    assert span.attributes == {"k": "\\u0000"}
    assert lossless(span)


def test_invalid_utf8_is_replaced_and_the_bytes_are_kept() -> None:
    bad_value = field(1, b"k") + field(2, field(1, b"caf\xe9"))
    bad_key = field(1, b"\xff") + field(2, field(1, b"x"))
    surrogate = field(1, b"s") + field(2, field(1, b"\xed\xa0\x80"))
    raw = (
        sent_span(name="").SerializeToString()
        + field(5, b"n\xc3")
        + b"".join(field(9, pair) for pair in (bad_value, bad_key, surrogate))
    )
    good = sent_span(2)
    first, second = decode_request(body_with(raw, good), PROTOBUF, RECEIVED_NS).spans
    assert (first.name, first.attributes) == ("n\ufffd", {"k": "caf\ufffd", "\ufffd": "x", "s": "\ufffd\ufffd\ufffd"})
    assert first.anomalies == ["invalid_utf8"]
    assert raw in (first.raw or b"")
    assert (second.span_id, lossless(second)) == (2, True)


def test_invalid_utf8_in_a_value_is_noted_each_time() -> None:
    raw = sent_span(name="").SerializeToString() + field(9, field(1, b"k") + field(2, field(1, b"\xff")))
    for _ in range(2):
        (span,) = decode_request(body_with(raw), PROTOBUF, RECEIVED_NS).spans
        assert (span.attributes, span.anomalies) == ({"k": "\ufffd"}, ["invalid_utf8"])


@pytest.mark.parametrize("levels", [64, 65, 5_000])
@pytest.mark.parametrize("kind", ["array", "kvlist"])
def test_depth_beyond_64_is_cut_and_the_bytes_are_kept(levels: int, kind: str) -> None:
    value = field(1, b"deepest")
    for _ in range(levels - 1):
        value = field(5, field(1, value)) if kind == "array" else field(6, field(1, field(1, b"k") + field(2, value)))
    raw = sent_span().SerializeToString() + field(9, field(1, b"deep") + field(2, value))
    span, other = decode_request(body_with(raw, sent_span(2)), PROTOBUF, RECEIVED_NS).spans
    depth, inner = 0, span.attributes["deep"]
    while isinstance(inner, list | dict):
        inner, depth = (inner[0] if isinstance(inner, list) else inner["k"]), depth + 1
    assert depth == 63
    if levels == 64:
        assert (inner, lossless(span)) == ("deepest", True)
    else:
        assert (inner, span.anomalies, raw in (span.raw or b"")) == (None, ["too_deep"], True)
    assert lossless(other)


def test_of_ten_thousand_attributes_the_first_two_thousand_are_stored() -> None:
    sent = sent_span(attributes=[KeyValue(key=f"k{i}", value=AnyValue(int_value=i)) for i in range(10_000)])
    span = one(sent)
    assert span.attributes == {f"k{i}": i for i in range(2_000)}
    assert span.anomalies == ["too_many_keys"]
    assert ExportTraceServiceRequest.FromString(span.raw or b"") == request(sent)


def test_two_thousand_attributes_are_not_too_many() -> None:
    sent = sent_span(attributes=[KeyValue(key=f"k{i}", value=AnyValue(int_value=i)) for i in range(2_000)])
    assert lossless(one(sent))


def test_of_a_key_sent_twice_the_last_value_is_stored() -> None:
    span = one(
        sent_span(
            attributes=[
                KeyValue(key="k", value=AnyValue(int_value=1)),
                KeyValue(key="other", value=AnyValue(int_value=2)),
                KeyValue(key="k", value=AnyValue(int_value=3)),
            ]
        )
    )
    assert (span.attributes, span.anomalies, span.raw is not None) == ({"k": 3, "other": 2}, ["duplicate_key"], True)


def test_an_attribute_that_cannot_be_read_costs_only_itself() -> None:
    broken_value = field(1, b"broken") + field(2, b"\x0a\x7fshort")
    broken_pair = b"\x0a\x7f"
    good = KeyValue(key="good", value=AnyValue(int_value=1)).SerializeToString()
    raw = sent_span().SerializeToString() + b"".join(field(9, pair) for pair in (broken_value, broken_pair, good))
    (span,) = decode_request(body_with(raw), PROTOBUF, RECEIVED_NS).spans
    assert span.attributes == {"broken": None, "": None, "good": 1}
    assert span.anomalies == ["invalid_value", "invalid_attribute"]
    assert raw in (span.raw or b"")


@pytest.mark.parametrize(
    "pair",
    [
        field(2, field(1, b"v")) + field(1, b"k"),  # value before key
        field(1, b"other") + field(1, b"k") + field(2, field(1, b"v")),  # the last of a repeated field counts
        field(1, b"k") + field(2, field(1, b"w")) + field(2, field(1, b"v")),
        field(1, b"k") + field(2, b"\x0a\x81\x00v"),  # a length in more bytes than it needs
        field(1, b"k") + b"\x12\x83\x00" + field(1, b"v"),
        field(1, b"k") + field(2, field(1, b"v")) + field(15, b"from a later version"),
        field(1, b"k") + field(2, field(15, b"from a later version") + field(1, b"v")),
    ],
)
def test_any_order_and_form_that_protobuf_allows_is_read(pair: bytes) -> None:
    usual = field(9, field(1, b"k") + field(2, field(1, b"usual")))  # so that the name is known
    for raw_pair in (usual, field(9, pair)):
        raw = sent_span().SerializeToString() + raw_pair
        (span,) = decode_request(body_with(raw), PROTOBUF, RECEIVED_NS).spans
        assert lossless(span)
    assert span.attributes == {"k": "v"}


def test_an_index_into_the_string_table_of_profiles_counts_as_absent() -> None:
    span = one(
        sent_span(
            attributes=[
                KeyValue(key="k", value=AnyValue(string_value_strindex=3)),
                KeyValue(key_strindex=4, value=AnyValue(int_value=1)),
            ]
        )
    )
    assert (span.attributes, span.anomalies, span.raw is not None) == ({"k": None, "": 1}, ["strindex"], True)


@pytest.mark.parametrize(
    ("trace", "span", "reason"),
    [
        (b"", span_id(1), "trace id (empty): wanted 16 bytes that are not all zero, got 0"),
        (bytes(16), span_id(1), f"trace id {'00' * 16}: wanted 16 bytes that are not all zero, got 16"),
        (b"\x01" * 8, span_id(1), f"trace id {'01' * 8}: wanted 16 bytes that are not all zero, got 8"),
        (b"\x01" * 999, span_id(1), f"trace id {'01' * 20}...: wanted 16 bytes that are not all zero, got 999"),
        (trace_id(1), b"", "span id (empty): wanted 8 bytes that are not all zero, got 0"),
        (trace_id(1), bytes(8), f"span id {'00' * 8}: wanted 8 bytes that are not all zero, got 8"),
        (trace_id(1), b"\x01" * 7, f"span id {'01' * 7}: wanted 8 bytes that are not all zero, got 7"),
    ],
)
def test_invalid_ids_make_a_dead_letter_and_leave_the_others(trace: bytes, span: bytes, reason: str) -> None:
    bad = sent_span(trace_id=trace, span_id=span)
    body = request(sent_span(2), bad, sent_span(3)).SerializeToString()
    answer = decode_request(body, PROTOBUF, RECEIVED_NS)
    assert [span.span_id for span in answer.spans] == [2, 3]
    assert answer.dead == [DeadLetter(reason, request(bad).SerializeToString(), PROTOBUF, RECEIVED_NS)]
    assert examine(body, PROTOBUF) == Examined(3, 1, reason)


def test_only_the_first_reasons_are_told() -> None:
    body = request(*(sent_span(span_id=b"") for _ in range(1_000))).SerializeToString()
    answer = examine(body, PROTOBUF)
    assert (answer.spans, answer.rejected_spans, answer.error_message.count(";")) == (1_000, 1_000, 4)


def test_an_invalid_parent_id_makes_a_root_with_a_flag() -> None:
    span = one(sent_span(parent_span_id=b"\x01" * 5))
    assert (span.parent_span_id, span.anomalies, span.raw is not None) == (None, ["parent_id_invalid"], True)


def test_an_all_zero_parent_id_is_no_parent() -> None:
    span = one(sent_span(parent_span_id=bytes(8)))
    assert (span.parent_span_id, lossless(span)) == (None, True)


def test_link_ids_of_any_length_are_kept() -> None:
    span = one(sent_span(links=[{"trace_id": b"\xab", "span_id": b""}]))
    assert (span.links, lossless(span)) == ([Link("ab", "", "", {})], True)


def test_times_beyond_bigint_are_clamped_with_a_flag() -> None:
    sent = sent_span(start_time_unix_nano=2**63, end_time_unix_nano=2**64 - 1)
    span = one(sent)
    assert (span.start_ns, span.end_ns) == (2**63 - 1, 2**63 - 1)
    assert (span.anomalies, span.raw) == (["time_out_of_range"], request(sent).SerializeToString())


def test_an_event_time_beyond_bigint_is_clamped_with_a_flag() -> None:
    span = one(sent_span(events=[{"time_unix_nano": 2**64 - 1, "name": "late"}]))
    assert span.events == [Event(2**63 - 1, "late", {})]
    assert (span.anomalies, span.raw is not None) == (["time_out_of_range"], True)


def test_odd_times_are_stored_as_sent_and_flagged_without_keeping_the_bytes() -> None:
    backwards, no_start = decoded(
        sent_span(start_time_unix_nano=START_NS, end_time_unix_nano=START_NS - 1),
        sent_span(start_time_unix_nano=0),
    )
    assert (backwards.start_ns, backwards.end_ns) == (START_NS, START_NS - 1)
    assert (backwards.anomalies, backwards.raw) == (["end_before_start"], None)
    assert (no_start.start_ns, no_start.anomalies, no_start.raw) == (0, ["no_start_time"], None)


@pytest.mark.parametrize("number", [6, 99, 40_000, 2**31 - 1, -1, -(2**31)])
def test_unknown_enums_are_stored_as_sent(number: int) -> None:
    raw = bytearray(sent_span(kind=0).SerializeToString())
    for tag in (b"\x30", b"\x7a"):
        varint, rest = b"", number & (2**64 - 1)
        while rest >= 0x80:
            varint += bytes((rest & 0x7F | 0x80,))
            rest >>= 7
        varint += bytes((rest,))
        raw += tag + varint if tag == b"\x30" else field(15, b"\x18" + varint)
    (span,) = decode_request(body_with(bytes(raw)), PROTOBUF, RECEIVED_NS).spans
    assert (span.kind, span.status_code, lossless(span)) == (number, number, True)


def test_an_empty_name_is_stored_as_sent() -> None:
    span = one(sent_span(name=""))
    assert (span.name, lossless(span)) == ("", True)


def test_the_largest_counts_and_flags_are_kept() -> None:
    most = 2**32 - 1
    span = one(
        sent_span(flags=most, dropped_attributes_count=most, dropped_events_count=most, dropped_links_count=most)
    )
    assert span.flags == most
    assert (span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count) == (most,) * 3
    assert lossless(span)


@pytest.mark.parametrize("body", [b"\x0a\x7fshort", b"no protobuf at all", b"\xff" * 40])
def test_what_is_no_request_is_refused_whole(body: bytes) -> None:
    for read in (lambda: examine(body, PROTOBUF), lambda: decode_request(body, PROTOBUF, RECEIVED_NS)):
        with pytest.raises(MalformedRequest, match="no ExportTraceServiceRequest in protobuf"):
            read()


def test_a_truncated_request_is_refused_whole() -> None:
    body = request(sent_span(1), sent_span(2)).SerializeToString()
    with pytest.raises(MalformedRequest):
        decode_request(body[:-1], PROTOBUF, RECEIVED_NS)


def test_a_span_that_is_no_protobuf_leaves_the_others_and_can_be_read_again() -> None:
    raw = b"\x0a\x7fshort"
    body = body_with(raw, sent_span(2))
    answer = decode_request(body, PROTOBUF, RECEIVED_NS)
    assert [span.span_id for span in answer.spans] == [2]
    (letter,) = answer.dead
    assert (letter.reason, letter.encoding) == ("a span cannot be read as protobuf", PROTOBUF)
    assert letter.raw == body_with(raw)
    assert examine(body, PROTOBUF) == Examined(2, 1, "a span cannot be read as protobuf")


def test_a_dead_letter_holds_resource_and_scope() -> None:
    message = request(sent_span(span_id=b""), sent_span(2), service="shop")
    message.resource_spans[0].scope_spans[0].scope.name = "lib"
    (letter,) = decode_request(message.SerializeToString(), PROTOBUF, RECEIVED_NS).dead
    del message.resource_spans[0].scope_spans[0].spans[1]
    assert ExportTraceServiceRequest.FromString(letter.raw) == message


def test_what_a_resource_or_a_scope_loses_is_flagged_on_their_spans_and_kept() -> None:
    message = request(sent_span(1), sent_span(2), service="sh\0p")
    message.resource_spans[0].scope_spans[0].scope.name = "l\0b"
    message.resource_spans[0].scope_spans[0].scope.attributes.extend(
        [KeyValue(key="k", value=AnyValue(int_value=1)), KeyValue(key="k", value=AnyValue(int_value=2))]
    )
    spans = decode_request(message.SerializeToString(), PROTOBUF, RECEIVED_NS).spans
    for span in spans:
        assert (span.resource.service_name, span.resource.attributes) == ("sh␀p", {"service.name": "sh␀p"})
        assert (span.scope.name, span.scope.attributes) == ("l␀b", {"k": 2})
        assert span.anomalies == ["resource_nul", "scope_duplicate_key", "scope_nul"]
        kept = ExportTraceServiceRequest.FromString(span.raw or b"")
        assert kept.resource_spans[0].resource == message.resource_spans[0].resource
        assert kept.resource_spans[0].scope_spans[0].scope == message.resource_spans[0].scope_spans[0].scope
        assert [sent.span_id for sent in kept.resource_spans[0].scope_spans[0].spans] == [span_id(span.span_id)]


def test_kept_bytes_decode_to_the_same_span() -> None:
    for sent in (sent_span(name="a\0"), sent_span(start_time_unix_nano=2**64 - 1), sent_span(parent_span_id=b"\x01")):
        span = one(sent)
        assert decode_request(span.raw or b"", PROTOBUF, RECEIVED_NS).spans == [span]


def test_two_spans_that_differ_only_in_what_is_lost_are_two() -> None:
    first, second = (
        decode_request(body_with(sent_span(name="").SerializeToString() + field(5, name)), PROTOBUF, RECEIVED_NS).spans[
            0
        ]
        for name in (b"\xff", b"\xfe")
    )
    assert first.name == second.name
    assert first.fingerprint != second.fingerprint


def test_the_fingerprint_tells_every_field_and_not_the_moment() -> None:
    variants = [
        sent_span(),
        sent_span(parent_span_id=span_id(5)),
        sent_span(name="other"),
        sent_span(kind=2),
        sent_span(kind=258),
        sent_span(start_time_unix_nano=START_NS - 1),
        sent_span(end_time_unix_nano=START_NS + 6),
        sent_span(status={"code": 1}),
        sent_span(status={"code": 257}),
        sent_span(status={"message": "m"}),
        sent_span(flags=1),
        sent_span(trace_state="a=1"),
        sent_span(name="", status={"message": "step"}),
        sent_span(name="", trace_state="step"),
        sent_span(attributes=[KeyValue(key="k")]),
        sent_span(events=[{"name": "e"}]),
        sent_span(links=[{"trace_id": trace_id(2)}]),
        sent_span(dropped_attributes_count=1),
        sent_span(dropped_events_count=1),
        sent_span(dropped_links_count=1),
    ]
    spans = decoded(*variants)
    assert len({span.fingerprint for span in spans}) == len(variants)
    again = decode_request(request(*variants).SerializeToString(), PROTOBUF, RECEIVED_NS + 1).spans
    assert [span.fingerprint for span in again] == [span.fingerprint for span in spans]
    elsewhere = decode_request(request(*variants, service="other").SerializeToString(), PROTOBUF, RECEIVED_NS).spans
    assert not {span.fingerprint for span in elsewhere} & {span.fingerprint for span in spans}


def test_the_fingerprint_is_the_same_on_every_machine_and_in_every_release() -> None:
    # Spans in a database were fingerprinted by an earlier build: another value here stores re-sent spans twice.
    span = one(sent_span(attributes=[KeyValue(key="k", value=AnyValue(string_value="v"))], events=[{"name": "e"}]))
    assert (span.resource.id, span.fingerprint) == (3407719512138755020, 2789016793066549757)


def test_raw_span_gives_the_request_of_one_readable_span() -> None:
    message = request(sent_span(1), sent_span(span_id=b""), sent_span(3))
    for encoding, body in ((PROTOBUF, message.SerializeToString()), (JSON, otlp_json_body(message))):
        (span,) = decode_request(raw_span(body, encoding, 1), encoding, RECEIVED_NS).spans
        assert span == decode_request(body, encoding, RECEIVED_NS).spans[1]
        with pytest.raises(IndexError, match="no readable span at 2"):
            raw_span(body, encoding, 2)


def test_the_scopes_of_a_request_keep_their_spans_in_order() -> None:
    message = request(sent_span(1))
    message.resource_spans[0].scope_spans.append(
        ScopeSpans(scope=InstrumentationScope(name="second"), spans=[sent_span(2)])
    )
    message.resource_spans.add().scope_spans.add().spans.append(sent_span(3))
    spans = decode_request(message.SerializeToString(), PROTOBUF, RECEIVED_NS).spans
    assert [(span.span_id, span.scope.name, span.resource.service_name) for span in spans] == [
        (1, "", "a-service"),
        (2, "second", "a-service"),
        (3, "", ""),
    ]
