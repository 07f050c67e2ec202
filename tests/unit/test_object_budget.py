"""What a body may hold is told before it is decoded, and telling it costs no more than the budget."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.hot_paths import each_hot_path
from tests.otlp_requests import request, span, trace_request

from spantree_collector.receive.inflate import BodyTooLarge
from spantree_collector.receive.object_budget import check_objects, frames_at_most
from spantree_exporter.otlp.decode import JSON, PROTOBUF
from spantree_exporter.otlp.decode_logs import LOGS_JSON, LOGS_PROTOBUF

__all__ = ["each_hot_path"]
pytestmark = pytest.mark.usefixtures("each_hot_path")

BUDGET = 20_000


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited field."""
    size, encoded = len(payload), b""
    while size >= 0x80:
        encoded += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([number << 3 | 2]) + encoded + bytes([size]) + payload


def in_span(payload: bytes) -> bytes:
    return field(1, field(2, field(2, payload)))


def nested_values(depth: int) -> bytes:
    value = b""
    for _ in range(depth):
        value = field(5, field(1, value))
    return value


MANY = BUDGET * 8
BOMBS = {
    "empty spans": field(1, field(2, field(2, b"") * MANY)),
    "empty ResourceSpans": field(1, b"") * MANY,
    "empty ScopeSpans": field(1, field(2, b"") * MANY),
    "empty events": in_span(field(11, b"") * MANY),
    "empty links": in_span(field(13, b"") * MANY),
    "empty attributes": in_span(field(9, b"") * MANY),
    "attributes of the resource": field(1, field(1, field(1, b"") * MANY)),
    "attributes of the scope": field(1, field(2, field(1, field(3, b"") * MANY))),
    "attributes of an event": in_span(field(11, field(3, b"") * MANY)),
    "attributes of a link": in_span(field(13, field(4, b"") * MANY)),
    "values of an array": in_span(field(9, field(1, b"k") + field(2, field(5, field(1, b"") * MANY)))),
    "members of a map": in_span(field(9, field(1, b"k") + field(2, field(6, field(1, b"") * MANY)))),
    "values within values": in_span(field(9, field(2, nested_values(900))) * 40),
    "tags of more bytes than they need": in_span(b"\xca\x00\x00" * MANY),
    # Readers pass over a group, and of a varint they take what fits into 64 bits.
    "spans after a group": field(1, field(2, b"\xa3\x06\xa4\x06" + field(2, b"") * MANY)),
    "events after a group": in_span(b"\xa3\x06\xa4\x06" + field(11, b"") * MANY),
    "events after a varint beyond 64 bits": in_span(b"\x30" + b"\xff" * 9 + b"\x7f" + field(11, b"") * MANY),
}


@pytest.mark.parametrize("what", BOMBS)
def test_more_than_the_budget_is_refused_before_it_is_decoded(what: str) -> None:
    with pytest.raises(BodyTooLarge, match=f"more than {BUDGET} objects .* raise SPANTREE_MAX_BODY_OBJECTS"):
        check_objects(BOMBS[what], PROTOBUF, BUDGET)


@pytest.mark.parametrize("what", BOMBS)
def test_looking_takes_steps_by_the_budget_and_not_by_the_body(what: str) -> None:
    body = BOMBS[what] if what == "values within values" else BOMBS[what] * 4

    def check() -> None:
        with pytest.raises(BodyTooLarge):
            check_objects(body, PROTOBUF, BUDGET)

    assert _lines_run(check) < 250 * BUDGET


def test_what_is_within_the_budget_passes_by_whichever_way_it_is_told() -> None:
    small = trace_request(1, 5).SerializeToString()
    # 4,000 spans are the whole budget; the tags' bytes are everywhere in the payload.
    large = request(
        *(span(1, number, payload='"{\n\x12\x1a",\n' * 20) for number in range(1, 1500))
    ).SerializeToString()
    for body in (b"", small, large, b"\xff\xff no protobuf" * 10_000):
        check_objects(body, PROTOBUF, BUDGET)
    attributes = [{"key": "k", "value": {"stringValue": '{"a":[1,2,3],"b":"\\"{{{"}' * 2000}}]
    spans = [{"traceId": "1" * 32, "spanId": "2" * 16, "attributes": attributes}] * 10
    text = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()
    assert text.count(b"{") > BUDGET
    check_objects(text, JSON, BUDGET)


def test_the_units_are_those_that_the_refusal_names() -> None:
    sent = ExportTraceServiceRequest()
    scope_spans = sent.resource_spans.add().scope_spans.add()
    for _ in range(100):
        one = scope_spans.spans.add()
        one.events.add().attributes.add(key="a").value.string_value = "x" * 50
        one.links.add()
        one.attributes.add(key="b").value.array_value.values.add().int_value = 1
    units = 5 + 5 + 100 * (5 + 4 + 1 + 4 + 1 + 1)
    check_objects(sent.SerializeToString(), PROTOBUF, units)
    with pytest.raises(BodyTooLarge):
        check_objects(sent.SerializeToString(), PROTOBUF, units - 1)


@pytest.mark.parametrize(
    "what", ["spans after a group", "events after a group", "events after a varint beyond 64 bits"]
)
def test_what_is_no_field_of_otlp_hides_nothing_that_protobuf_reads(what: str) -> None:
    [read] = ExportTraceServiceRequest.FromString(BOMBS[what]).resource_spans[0].scope_spans
    assert len(read.spans) == MANY or len(read.spans[0].events) == MANY


def test_what_frames_spans_is_never_told_to_be_less_than_it_is() -> None:
    sent = trace_request(1, 500)
    for body, encoding in ((sent.SerializeToString(), PROTOBUF), (b'{"resourceSpans":[' + b"{}," * 600, JSON)):
        assert 502 <= frames_at_most(body, encoding) < 5_000
    assert frames_at_most(BOMBS["empty spans"], PROTOBUF) >= MANY
    assert frames_at_most(BOMBS["empty ResourceSpans"], PROTOBUF) >= MANY


@pytest.mark.parametrize("one", [b"{}", b"[]", b"1", b'""'])
def test_json_is_told_by_its_marks(one: bytes) -> None:
    body = b'{"resourceSpans":[{"scopeSpans":[{"spans":[%s]}]}]}' % b",".join([one] * BUDGET)
    with pytest.raises(BodyTooLarge):
        check_objects(body, JSON, BUDGET)


def test_strings_in_json_are_read_once_however_many_quotes_are_in_them() -> None:
    # Seconds for each where every quote is taken for the beginning of a string.
    texts = b",".join([b'"%s"' % (b'\\"' * 50_000)] * 10)
    body = b'{"x":"%s","y":[%s],"z":"%s' % (b"{" * BUDGET, texts, b'\\"' * 50_000)
    began_s = time.process_time()
    check_objects(body, JSON, BUDGET)
    with pytest.raises(BodyTooLarge):
        check_objects(body + b"{" * BUDGET, JSON, 5)
    assert time.process_time() - began_s < 1


def _lines_run(call: Callable[[], object]) -> int:
    lines = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal lines
        if event == "line":
            lines += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return lines


def in_record(payload: bytes) -> bytes:
    return field(1, field(2, field(2, payload)))


LOG_BOMBS = {
    "empty records": field(1, field(2, field(2, b"") * MANY)),
    "empty ResourceLogs": field(1, b"") * MANY,
    "empty attributes": in_record(field(6, b"") * MANY),
    "values of a body that is an array": in_record(field(5, field(5, field(1, b"") * MANY))),
    "members of a body that is a map": in_record(field(5, field(6, field(1, b"") * MANY))),
}


@pytest.mark.parametrize("bomb", LOG_BOMBS.values(), ids=LOG_BOMBS)
def test_a_request_of_log_records_is_bounded_too(bomb: bytes) -> None:
    with pytest.raises(BodyTooLarge, match="more than 20000 objects"):
        check_objects(bomb, LOGS_PROTOBUF, BUDGET)
    within = in_record(field(6, b"") * (BUDGET - 3 * 5)) + field(2, b"x" * 500_000)
    check_objects(within, LOGS_PROTOBUF, BUDGET)


def test_a_request_of_log_records_in_json_is_bounded_too() -> None:
    with pytest.raises(BodyTooLarge):
        check_objects(b'{"resourceLogs":[' + b",".join([b"{}"] * MANY) + b"]}", LOGS_JSON, BUDGET)


@pytest.mark.parametrize("piece_bytes", [1, 2, 3, 7, 64])
def test_json_that_is_read_in_pieces_counts_no_mark_within_a_string(
    monkeypatch: pytest.MonkeyPatch, piece_bytes: int
) -> None:
    monkeypatch.setattr("spantree_collector.receive.object_budget._JSON_PIECE_BYTES", piece_bytes)
    body = json.dumps({"a": ["{,[", '\\"{,', "\\\\", "", "x" * 50], 'k"': {"b": '\\\\"{{{'}}).encode()
    marks = 2 + 1 + 4 + 1  # maps, lists, commas
    check_objects(body * 1_000, JSON, marks * 1_000)
    with pytest.raises(BodyTooLarge):
        check_objects(body * 1_000, JSON, marks * 1_000 - 1)
