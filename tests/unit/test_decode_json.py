"""The rules of OTLP/JSON (OTLP 1.11, "JSON Protobuf Encoding") and what becomes of bodies that break them."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from spantree_exporter.errors import MalformedRequest
from spantree_exporter.otlp import deep_json
from spantree_exporter.otlp.decode import JSON, DeadLetter, Examined, decode_request, examine
from spantree_exporter.span import Event, Link, Span

RECEIVED_NS = 1_790_000_000_000_000_000
START_NS = 1_780_000_000_000_000_000
TRACE = "0af7651916cd43dd8448eb211c80319c"


def sent_span(**fields: Any) -> dict[str, Any]:
    known = {
        "traceId": TRACE,
        "spanId": "b7ad6b7169203331",
        "name": "step",
        "kind": 1,
        "startTimeUnixNano": str(START_NS),
        "endTimeUnixNano": str(START_NS + 5),
    }
    return {name: value for name, value in (known | fields).items() if value is not ...}


def document(*spans: object) -> dict[str, Any]:
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "lib"}, "spans": list(spans)}]}]}


def body(*spans: object) -> bytes:
    return json.dumps(document(*spans)).encode()


def one(sent: dict[str, Any]) -> Span:
    answer = decode_request(body(sent), JSON, RECEIVED_NS)
    assert answer.dead == []
    (span,) = answer.spans
    return span


def value_of(sent: object) -> Span:
    return one(sent_span(attributes=[{"key": "k", "value": sent}]))


def lossless(span: Span) -> bool:
    return span.raw is None and span.anomalies == []


def test_every_field_of_a_span_is_read() -> None:
    span = one(
        sent_span(
            parentSpanId="ffffffffffffffff",
            kind=3,
            flags=769,
            traceState="a=1",
            status={"code": 2, "message": "boom"},
            attributes=[{"key": "n", "value": {"intValue": "300"}}],
            events=[
                {
                    "timeUnixNano": str(START_NS + 1),
                    "name": "e",
                    "attributes": [{"key": "a", "value": {"boolValue": False}}],
                    "droppedAttributesCount": 2,
                }
            ],
            links=[{"traceId": TRACE.upper(), "spanId": "00f067aa0ba902b7", "traceState": "b=2", "flags": 1}],
            droppedAttributesCount=3,
            droppedEventsCount=4,
            droppedLinksCount=5,
        )
    )
    assert (span.trace_id.hex(), span.span_id, span.parent_span_id) == (TRACE, -0x485294_8E96DFCCCF, -1)
    assert (span.name, span.kind, span.start_ns, span.end_ns) == ("step", 3, START_NS, START_NS + 5)
    assert (span.status_code, span.status_message, span.flags, span.trace_state) == (2, "boom", 769, "a=1")
    assert (span.attributes, span.attributes_json) == ({"n": 300}, b'{"n":300}')
    assert span.events == [Event(START_NS + 1, "e", {"a": False}, 2)]
    assert span.links == [Link(TRACE, "00f067aa0ba902b7", "b=2", {}, 1)]
    assert (span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count) == (3, 4, 5)
    assert (span.resource.service_name, span.scope.name, span.received_ns) == ("shop", "lib", RECEIVED_NS)
    assert lossless(span)


@pytest.mark.parametrize(
    "empty", [b"{}", b'{"resourceSpans":[]}', b'{"resourceSpans":null}', b'{"resourceSpans":[{}]}']
)
def test_an_empty_request_has_no_spans(empty: bytes) -> None:
    assert decode_request(empty, JSON, RECEIVED_NS).spans == []
    assert examine(empty, JSON) == Examined(0, 0, "")


def test_ids_are_hex_in_either_case() -> None:
    lower = one(sent_span(parentSpanId="00f067aa0ba902b7"))
    upper = one(sent_span(traceId=TRACE.upper(), spanId="B7AD6B7169203331", parentSpanId="00F067AA0BA902B7"))
    assert lower == upper
    assert lower.trace_id == bytes.fromhex(TRACE)


def test_64_bit_numbers_are_strings_or_numbers() -> None:
    as_text = one(sent_span(attributes=[{"key": "n", "value": {"intValue": str(2**62 + 1)}}]))
    as_number = one(
        sent_span(
            startTimeUnixNano=START_NS,
            endTimeUnixNano=START_NS + 5,
            attributes=[{"key": "n", "value": {"intValue": 2**62 + 1}}],
        )
    )
    assert as_text == as_number
    assert as_text.attributes == {"n": 2**62 + 1}


def test_whole_numbers_may_have_an_exponent() -> None:
    assert one(sent_span(startTimeUnixNano="178e16")).start_ns == START_NS
    assert one(sent_span(startTimeUnixNano=178e16)).start_ns == START_NS


def test_unknown_fields_are_ignored_everywhere() -> None:
    sent = document(sent_span(events=[{"name": "e", "x": 1}], links=[{"x": 1}], status={"x": 1}, x={"y": [1]}))
    sent["x"] = sent["resourceSpans"][0]["x"] = sent["resourceSpans"][0]["scopeSpans"][0]["x"] = {"deep": [None]}
    sent["resourceSpans"][0]["resource"]["x"] = "y"
    (span,) = decode_request(json.dumps(sent).encode(), JSON, RECEIVED_NS).spans
    assert (span.events, span.links) == ([Event(0, "e", {})], [Link("", "", "", {})])
    assert lossless(span)


def test_null_stands_for_an_absent_field() -> None:
    nulls = dict.fromkeys(
        ("parentSpanId", "status", "attributes", "events", "links", "traceState", "flags", "droppedLinksCount")
    )
    assert one(sent_span(**nulls)) == one(sent_span())


def test_snake_case_names_are_read_as_the_fields_they_are() -> None:
    span = one(sent_span(parent_span_id="00f067aa0ba902b7", trace_state="a=1", dropped_links_count=1))
    assert (span.parent_span_id, span.trace_state, span.dropped_links_count) == (0x00F067AA0BA902B7, "a=1", 1)
    snake = json.dumps({"resource_spans": document(sent_span())["resourceSpans"]}).encode()
    assert len(decode_request(snake, JSON, RECEIVED_NS).spans) == 1


@pytest.mark.parametrize(
    ("kind", "code"), [("SPAN_KIND_SERVER", "STATUS_CODE_ERROR"), ("SERVER", "ERROR"), ("server", "error"), ("2", "2")]
)
def test_the_names_of_enums_are_read(kind: str, code: str) -> None:
    span = one(sent_span(kind=kind, status={"code": code}))
    assert (span.kind, span.status_code, span.anomalies) == (2, 2, [])


def test_a_word_that_names_no_kind_or_status_is_refused_with_a_sentence() -> None:
    told = examine(json.dumps(document(sent_span(status={"code": "BROKEN"}))).encode(), JSON)
    assert (told.spans, told.rejected_spans) == (1, 1)
    assert told.error_message.startswith("status code 'BROKEN': wanted one of 0 (STATUS_CODE_UNSET)")


@pytest.mark.parametrize("body", [{"spans": [{}]}, {"resourceLogs": [{}]}, {"resourceSpans": [{"spans": [{}]}]}])
def test_spans_under_another_name_are_refused_and_not_lost_unsaid(body: object) -> None:
    with pytest.raises(MalformedRequest, match="wanted"):
        examine(json.dumps(body).encode(), JSON)


@pytest.mark.parametrize("number", [6, 40_000, 2**31 - 1, -1, -(2**31)])
def test_unknown_enums_are_stored_as_sent(number: int) -> None:
    span = one(sent_span(kind=number, status={"code": number}))
    assert (span.kind, span.status_code, lossless(span)) == (number, number, True)


def test_an_enum_beyond_32_bits_is_flagged() -> None:
    span = one(sent_span(kind=2**31))
    assert (span.kind, span.anomalies, span.raw is not None) == (0, ["enum_out_of_range"], True)


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ({}, None),
        (None, None),
        ({"stringValue": None}, None),
        ({"fromALaterVersion": 1}, None),
        ({"fromALaterVersion": 1, "intValue": 2}, 2),
        ({"stringValue": ""}, ""),
        ({"stringValue": "é 𝄞"}, "é 𝄞"),
        ({"intValue": "-9223372036854775808"}, -(2**63)),
        ({"intValue": 5.0}, 5),
        ({"boolValue": False}, False),
        ({"doubleValue": 1}, 1.0),
        ({"doubleValue": "2.5"}, 2.5),
        ({"doubleValue": "NaN"}, {"$f": "NaN"}),
        ({"doubleValue": "Infinity"}, {"$f": "Infinity"}),
        ({"doubleValue": "-Infinity"}, {"$f": "-Infinity"}),
        ({"doubleValue": float("nan")}, {"$f": "NaN"}),
        ({"doubleValue": -0.0}, {"$f": "-0.0"}),
        ({"doubleValue": 1e300}, {"$f": "1e+300"}),
        ({"bytesValue": ""}, {"$b": ""}),
        ({"bytesValue": "+/8="}, {"$b": "+/8="}),
        ({"bytesValue": "-_8="}, {"$b": "+/8="}),
        ({"bytesValue": "+/8"}, {"$b": "+/8="}),
        ({"arrayValue": {}}, []),
        ({"arrayValue": {"values": [{"intValue": 1}, {}, {"stringValue": "a"}]}}, [1, None, "a"]),
        ({"kvlistValue": {"values": [{"key": "$b", "value": {"stringValue": "AA"}}]}}, {"$$b": "AA"}),
        ({"kvlistValue": {}}, {}),
    ],
)
def test_values_have_one_stored_form_and_lose_nothing(value: object, stored: object) -> None:
    span = value_of(value)
    assert repr(span.attributes) == repr({"k": stored})
    assert lossless(span)


@pytest.mark.parametrize(
    ("value", "stored", "anomaly"),
    [
        ("bare", None, "invalid_value"),
        ({"stringValue": 5}, None, "invalid_value"),
        ({"intValue": "five"}, None, "invalid_value"),
        ({"intValue": "1_000"}, None, "invalid_value"),
        ({"intValue": 1.5}, None, "invalid_value"),
        ({"intValue": True}, None, "invalid_value"),
        ({"intValue": "9" * 5_000}, None, "invalid_value"),
        ({"intValue": str(2**63)}, "9223372036854775808", "int_out_of_range"),
        ({"boolValue": "false"}, None, "invalid_value"),
        ({"doubleValue": "much"}, None, "invalid_value"),
        ({"doubleValue": [1]}, None, "invalid_value"),
        ({"doubleValue": True}, None, "invalid_value"),
        ({"bytesValue": "no base64!"}, None, "invalid_value"),
        ({"bytesValue": "é"}, None, "invalid_value"),
        ({"arrayValue": []}, None, "invalid_value"),
        ({"arrayValue": {"values": "text"}}, None, "invalid_value"),
        ({"arrayValue": {"values": [{"intValue": "x"}, {"intValue": 1}]}}, [None, 1], "invalid_value"),
        ({"kvlistValue": {"values": {"a": 1}}}, None, "invalid_value"),
        ({"stringValue": "a", "intValue": 1}, "a", "invalid_value"),
        ({"stringValueStrindex": 1}, None, "strindex"),
    ],
)
def test_a_value_that_cannot_be_read_costs_only_itself(value: object, stored: object, anomaly: str) -> None:
    span = one(sent_span(attributes=[{"key": "k", "value": value}, {"key": "good", "value": {"intValue": 1}}]))
    assert span.attributes == {"k": stored, "good": 1}
    assert span.anomalies == [anomaly]
    kept = orjson.loads(span.raw or b"")["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    assert kept["attributes"][0]["value"] == value


def test_an_attribute_that_is_none_costs_only_itself() -> None:
    span = one(sent_span(attributes=[7, {"key": 8}, {"key": "good", "value": {"intValue": 1}}]))
    assert (span.attributes, span.anomalies) == ({"": None, "good": 1}, ["invalid_attribute", "duplicate_key"])


def test_nul_is_replaced_everywhere_and_the_text_is_kept() -> None:
    sent = sent_span(
        name="a\0b",
        traceState="s\0",
        status={"message": "m\0"},
        attributes=[{"key": "k\0", "value": {"stringValue": "v\0"}}],
        events=[{"name": "e\0"}],
        links=[{"traceState": "l\0"}],
    )
    span = one(sent)
    assert (span.name, span.trace_state, span.status_message) == ("a␀b", "s␀", "m␀")
    assert (span.attributes, span.events, span.links) == ({"k␀": "v␀"}, [Event(0, "e␀", {})], [Link("", "", "l␀", {})])
    assert (span.anomalies, orjson.loads(span.raw or b"")) == (["nul"], document(sent))


def test_a_lone_surrogate_is_replaced_and_the_text_is_kept() -> None:
    sent = body(sent_span(name="a\ud800b"), sent_span(spanId="00000000000000ff"))
    first, second = decode_request(sent, JSON, RECEIVED_NS).spans
    assert (first.name, first.anomalies) == ("a\ufffdb", ["invalid_utf8"])
    assert rb"a\ud800b" in (first.raw or b"")
    assert lossless(second)


def test_a_pair_of_escaped_surrogates_is_one_character() -> None:
    span = one(sent_span(name="\U0001d11e"))
    assert (span.name, lossless(span)) == ("\U0001d11e", True)


def test_bytes_that_are_no_utf8_cost_no_other_span() -> None:
    sent = body(sent_span(name="caf?"), sent_span(spanId="00000000000000ff")).replace(b"caf?", b"caf\xe9")
    first, second = decode_request(sent, JSON, RECEIVED_NS).spans
    assert (first.name, first.anomalies) == ("caf\ufffd", ["invalid_utf8"])
    assert rb"caf\udce9" in (first.raw or b"")
    assert lossless(second)


@pytest.mark.parametrize("levels", [64, 65, 250, 300, 5_000])
@pytest.mark.parametrize("kind", ["array", "kvlist"])
def test_depth_beyond_64_is_cut_and_the_text_is_kept(levels: int, kind: str) -> None:
    opening, closing = {
        "array": ('{"arrayValue":{"values":[', "]}}"),
        "kvlist": ('{"kvlistValue":{"values":[{"key":"k","value":', "}]}}"),
    }[kind]
    deep = opening * (levels - 1) + '{"stringValue":"deepest"}' + closing * (levels - 1)
    sent = json.dumps(document(sent_span(attributes=[{"key": "deep", "value": "?"}]), sent_span(name="other")))
    answer = decode_request(sent.replace('"?"', deep).encode(), JSON, RECEIVED_NS)
    span, other = answer.spans
    depth, inner = 0, span.attributes["deep"]
    while isinstance(inner, list | dict):
        inner, depth = (inner[0] if isinstance(inner, list) else inner["k"]), depth + 1
    assert depth == 63
    if levels == 64:
        assert (inner, lossless(span)) == ("deepest", True)
    else:
        assert (inner, span.anomalies, deep.encode() in (span.raw or b"")) == (None, ["too_deep"], True)
    assert lossless(other)


def test_of_ten_thousand_attributes_the_first_two_thousand_are_stored() -> None:
    span = one(sent_span(attributes=[{"key": f"k{i}", "value": {"intValue": i}} for i in range(10_000)]))
    assert span.attributes == {f"k{i}": i for i in range(2_000)}
    assert (span.anomalies, b"k9999" in (span.raw or b"")) == (["too_many_keys"], True)


@pytest.mark.parametrize(
    ("fields", "stored", "anomaly"),
    [
        ({"startTimeUnixNano": str(2**64 - 1), "endTimeUnixNano": "0"}, (2**63 - 1, 0), "time_out_of_range"),
        ({"startTimeUnixNano": str(2**70), "endTimeUnixNano": "0"}, (2**63 - 1, 0), "time_out_of_range"),
        ({"endTimeUnixNano": "-1"}, (START_NS, 0), "time_out_of_range"),
        ({"flags": 2**32}, (START_NS, START_NS + 5), "number_out_of_range"),
        ({"droppedLinksCount": -1}, (START_NS, START_NS + 5), "number_out_of_range"),
        ({"parentSpanId": "0102"}, (START_NS, START_NS + 5), "parent_id_invalid"),
        ({"parentSpanId": "no hex"}, (START_NS, START_NS + 5), "parent_id_invalid"),
        ({"parentSpanId": 5}, (START_NS, START_NS + 5), "parent_id_invalid"),
        ({"links": [{"traceId": "\ud800", "spanId": "ab"}]}, (START_NS, START_NS + 5), "link_id_invalid"),
        ({"links": [{"traceId": "ab cd", "spanId": "ab"}]}, (START_NS, START_NS + 5), "link_id_invalid"),
        ({"events": [{"timeUnixNano": str(2**63)}]}, (START_NS, START_NS + 5), "time_out_of_range"),
    ],
)
def test_what_no_column_holds_is_cut_flagged_and_kept(
    fields: dict[str, Any], stored: tuple[int, int], anomaly: str
) -> None:
    span = one(sent_span(**fields))
    assert ((span.start_ns, span.end_ns), span.anomalies) == (stored, [anomaly])
    assert json.loads(span.raw or b"") == document(sent_span(**fields))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (7, "a span is a number: wanted an object"),
        (None, "a span is null: wanted an object"),
        (sent_span(traceId=...), "trace id (empty): wanted 16 bytes that are not all zero, got 0"),
        (sent_span(traceId="0" * 32), f"trace id {'00' * 16}: wanted 16 bytes that are not all zero, got 16"),
        (sent_span(traceId="zz" * 16), f"trace id '{'zz' * 16}': wanted hex digits"),
        (sent_span(traceId="ab " * 16), f"trace id '{('ab ' * 16)[:40]}': wanted hex digits"),
        (sent_span(traceId=7), "trace id is a number: wanted hex digits"),
        (sent_span(spanId="\ud800"), r"span id '\ud800': wanted hex digits"),
        (sent_span(spanId="0102"), "span id 0102: wanted 8 bytes that are not all zero, got 2"),
    ],
)
def test_invalid_ids_make_a_dead_letter_and_leave_the_others(bad: object, reason: str) -> None:
    sent = body(sent_span(name="first"), bad, sent_span(name="third"))
    answer = decode_request(sent, JSON, RECEIVED_NS)
    assert [span.name for span in answer.spans] == ["first", "third"]
    raw = json.dumps(document(bad), separators=(",", ":")).encode()
    assert answer.dead == [DeadLetter(reason, raw, JSON, RECEIVED_NS)]
    assert examine(sent, JSON) == Examined(3, 1, reason)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"name": 7}, "a number where a string was wanted"),
        ({"startTimeUnixNano": "soon"}, "could not convert string to float: 'soon'"),
        ({"startTimeUnixNano": 1.5}, "1.5 where a whole number was wanted"),
        ({"startTimeUnixNano": True}, "True where a whole number was wanted"),
        ({"startTimeUnixNano": {}}, "{} where a whole number was wanted"),
        ({"attributes": {"a": 1}}, "attributes is an object: wanted an array"),
        ({"events": [7]}, "has no attribute 'get'"),
        ({"links": 7}, "not iterable"),
        ({"status": "ok"}, "has no attribute 'get'"),
    ],
)
def test_a_field_of_a_wrong_type_costs_only_its_span(fields: dict[str, Any], told: str) -> None:
    answer = decode_request(body(sent_span(**fields), sent_span(name="other")), JSON, RECEIVED_NS)
    assert [span.name for span in answer.spans] == ["other"]
    (letter,) = answer.dead
    assert letter.reason.startswith("a span's field has a wrong type: ")
    assert told in letter.reason
    assert orjson.loads(letter.raw) == document(sent_span(**fields))


def test_what_a_resource_loses_is_flagged_on_its_spans_and_kept() -> None:
    sent = document(sent_span())
    sent["resourceSpans"][0]["resource"]["attributes"] += [{"key": "pid", "value": {"intValue": "many"}}]
    (span,) = decode_request(json.dumps(sent).encode(), JSON, RECEIVED_NS).spans
    assert (span.resource.attributes, span.anomalies) == (
        {"service.name": "shop", "pid": None},
        ["resource_invalid_value"],
    )
    assert orjson.loads(span.raw or b"") == sent


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"", "the body is no JSON"),
        (b"{", "the body is no JSON"),
        (b'{"resourceSpans":[{}]', "the body is no JSON"),
        (b"\xff\xfe", "the body is no JSON"),
        (b"[]", "the body is an array: wanted an object with resourceSpans"),
        (b"null", "the body is null"),
        (b'"text"', "the body is a string"),
        (b"7", "the body is a number"),
        (b'{"resourceSpans":{}}', "resourceSpans of the request is an object: wanted an array of objects"),
        (b'{"resourceSpans":[7]}', "resourceSpans of the request is an array: wanted an array of objects"),
        (b'{"resourceSpans":[{"scopeSpans":7}]}', "scopeSpans of a resourceSpans is a number"),
        (b'{"resourceSpans":[{"scopeSpans":[{"spans":{"a":1}}]}]}', "spans is an object: wanted an array"),
        (b'{"resourceSpans":[{"resource":7}]}', "no ExportTraceServiceRequest in JSON"),
        (b'{"resourceSpans":[{"resource":{"attributes":7}}]}', "attributes is a number: wanted an array"),
        (b'{"resourceSpans":[{"scopeSpans":[{"scope":{"name":7}}]}]}', "a number where a string was wanted"),
        (b'{"x":' + b"[" * 5_000, "the body is no JSON"),
        (b"[" * 200_000, "nested deeper than 100000 levels"),
        (b'"' + b"x" * deep_json.MAX_DEEP_CHARS + b'"' + b"[" * 2_000, "the body is no JSON"),
        (
            # Python 3.13's own reader goes down some thousands of levels.
            b"[" * 200_000 + b'"' + b"x" * deep_json.MAX_DEEP_CHARS,
            "nested deeper than 1,000 levels in 4394305 characters",
        ),
    ],
)
def test_what_is_no_request_is_refused_whole(sent: bytes, told: str) -> None:
    for read in (lambda: examine(sent, JSON), lambda: decode_request(sent, JSON, RECEIVED_NS)):
        with pytest.raises(MalformedRequest) as raised:
            read()
        assert told in str(raised.value)


def test_a_request_whose_second_frame_is_wrong_is_not_half_taken() -> None:
    sent = document(sent_span())
    sent["resourceSpans"].append({"scopeSpans": 7})
    with pytest.raises(MalformedRequest):
        decode_request(json.dumps(sent).encode(), JSON, RECEIVED_NS)
