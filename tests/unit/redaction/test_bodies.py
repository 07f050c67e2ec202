"""Bodies without secrets: rewriting them is what redacting the decoded spans would be, in both encodings."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any, Final

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from tests.otlp_json import otlp_json_body
from tests.otlp_requests import request, span
from tests.otlp_strategies import requests

from spantree_exporter.attributes import REDACTED
from spantree_exporter.otlp import deep_json
from spantree_exporter.otlp.build import Envelope, seal
from spantree_exporter.otlp.decode import JSON, PROTOBUF, decode_request
from spantree_exporter.otlp.decode_logs import LOGS_JSON, LOGS_PROTOBUF, decode_logs
from spantree_exporter.redaction import Redactor, protobuf
from spantree_exporter.redaction.protobuf import ProtobufRedactor
from spantree_exporter.redaction.rules import DEFAULT_RULES, rules_from
from spantree_exporter.redaction.scan import scans
from spantree_exporter.redaction.spans import redacted_resource, redacted_scope, redacted_span
from spantree_exporter.redaction.text import TextRedactor
from spantree_exporter.span import Resource, Scope, Span

SECRET: Final = "hunter2-kX93"
REDACTOR: Final = Redactor(DEFAULT_RULES)
SLOW: Final = scans(DEFAULT_RULES, fast=False)
RECEIVED_NS: Final = 1_790_000_000_000_000_000
_NO_ENVELOPE: Final = Envelope(Resource(0, "", {}, b"{}"), Scope("", "", {}, None), (), [], lambda sent: b"")

# Texts and keys with and without secrets, some as they come, some as parts of others.
SECRET_TEXTS: Final = (
    f"GET /x?token={SECRET}&n=1",
    f'{{"password": "{SECRET}", "n": 1}}',
    f"postgresql://app:{SECRET}@db/x",
    f"Authorization: Bearer {SECRET}",
    f'{{\\"secret\\": \\"{SECRET}\\"}}',
    f"naïve password={SECRET}",
    f"--password {SECRET}",
    f"Cookie: sid={SECRET}",
)
SECRET_KEYS: Final = (
    "http.request.header.authorization", "db.password", "apiKey", "x-auth-token", "set-cookie", "$secret"
)  # fmt: skip


def put_secrets(message: Any, chance: Random) -> None:
    """Into some of the texts, the bytes and the keys of `message`."""
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if field.is_repeated else [value]:
                if isinstance(inner, KeyValue) and chance.random() < 0.2:
                    inner.key = chance.choice(SECRET_KEYS)
                put_secrets(inner, chance)
        elif field.type == field.TYPE_STRING and chance.random() < 0.3:
            setattr(message, field.name, chance.choice(SECRET_TEXTS))
        elif field.name == "bytes_value" and chance.random() < 0.5:
            message.bytes_value = chance.choice(SECRET_TEXTS).encode()


@st.composite
def with_secrets(draw: st.DrawFn) -> ExportTraceServiceRequest:
    sent = ExportTraceServiceRequest()
    sent.CopyFrom(draw(requests))
    put_secrets(sent, Random(draw(st.integers(0, 2**32))))
    return sent


def redacted_decoded(sent: Span) -> Span:
    """The same by way of the stored form: what the decoder read, redacted, sealed anew."""
    kinds: Counter[str] = Counter()
    texts = REDACTOR.texts
    resource = redacted_resource(sent.resource, texts, kinds) or sent.resource
    scope = redacted_scope(sent.scope, texts, kinds) or sent.scope
    told = redacted_span(sent, texts, kinds) or sent
    odd = ("end_before_start", "no_start_time")
    anomalies = [one for one in told.anomalies if one not in odd]
    return seal(replace(told, resource=resource, scope=scope, anomalies=anomalies, raw=None), b"", _NO_ENVELOPE)


def comparable(sent: Span) -> Span:
    # Of a span whose bytes are kept these are part of the fingerprint, and differ by the encoding.
    return replace(sent, raw=None, fingerprint=0, anomalies=sorted(sent.anomalies)) if sent.raw is not None else sent


@settings(max_examples=30)
@given(with_secrets())
def test_rewriting_the_wire_is_decoding_and_redacting(sent: ExportTraceServiceRequest) -> None:
    body = sent.SerializeToString()
    redacted, kinds = REDACTOR.body(body, PROTOBUF)
    assert (redacted is body) == (not kinds)
    decoded = decode_request(redacted, PROTOBUF, RECEIVED_NS)
    wanted = decode_request(body, PROTOBUF, RECEIVED_NS)
    assert not decoded.dead
    for got, before in zip(decoded.spans, wanted.spans, strict=True):
        # Of what is lost in the stored form a secret may have been a part, or of a key that is there twice.
        if before.raw is None:
            assert got == redacted_decoded(before)
        assert (got.trace_id, got.span_id, got.start_ns) == (before.trace_id, before.span_id, before.start_ns)
    assert SECRET.encode() not in redacted
    assert REDACTOR.body(redacted, PROTOBUF) == (redacted, Counter())


@settings(max_examples=30)
@given(with_secrets())
def test_json_and_protobuf_say_the_same(sent: ExportTraceServiceRequest) -> None:
    by_wire, kinds = REDACTOR.body(sent.SerializeToString(), PROTOBUF)
    by_json, json_kinds = REDACTOR.body(otlp_json_body(sent), JSON)
    assert kinds == json_kinds
    assert SECRET.encode() not in by_json
    wire = decode_request(by_wire, PROTOBUF, RECEIVED_NS).spans
    assert list(map(comparable, decode_request(by_json, JSON, RECEIVED_NS).spans)) == list(map(comparable, wire))
    assert REDACTOR.body(by_json, JSON) == (by_json, Counter())


@settings(max_examples=30)
@given(with_secrets())
def test_the_look_never_misses_what_reading_finds(sent: ExportTraceServiceRequest) -> None:
    body = sent.SerializeToString()
    thorough = ProtobufRedactor(REDACTOR.texts, lambda body: True).body(body, logs=False)
    assert thorough == REDACTOR.body(body, PROTOBUF)
    assert ProtobufRedactor(REDACTOR.texts, SLOW.wire).body(body, logs=False) == thorough
    assert SLOW.json(otlp_json_body(sent)) >= bool(thorough[1])
    for one in decode_request(body, PROTOBUF, RECEIVED_NS).spans:
        assert REDACTOR.span(one) == redacted_span(one, REDACTOR.texts, Counter())


@settings(max_examples=30)
@given(with_secrets(), st.data())
def test_bytes_that_are_broken_hold_no_secret_either(sent: ExportTraceServiceRequest, place: st.DataObject) -> None:
    body = bytearray(sent.SerializeToString())
    for _ in range(place.draw(st.integers(1, 3))):
        if body:
            body[place.draw(st.integers(0, len(body) - 1))] = place.draw(st.integers(0, 255))
    redacted, _ = REDACTOR.body(bytes(body), PROTOBUF)
    # A changed byte may have made another text of it, which no rule knows: what is whole is gone.
    for line in (f"token={SECRET}", f"password={SECRET}"):
        assert line.encode() not in redacted


def value(**one: Any) -> AnyValue:
    return AnyValue(**one)


def texts(*some: str) -> AnyValue:
    return value(array_value=ArrayValue(values=[value(string_value=text) for text in some]))


def everywhere() -> ExportTraceServiceRequest:
    text = f"password={SECRET}"
    one = span(1, 1, name=f"login {text}")
    one.trace_state = f"x=token:{SECRET}"
    one.status.message = f"failed: {text}"
    nested = KeyValueList(
        values=[
            KeyValue(key="token", value=value(string_value=SECRET)),
            KeyValue(key="deeper", value=texts(text)),
        ]
    )
    one.attributes.extend(
        [
            KeyValue(key="plain", value=value(string_value=text)),
            KeyValue(key="db.password", value=value(string_value=SECRET)),
            KeyValue(key="http.request.header.cookie", value=texts(SECRET)),
            KeyValue(key="nested", value=value(kvlist_value=nested)),
            KeyValue(key="bytes", value=value(bytes_value=text.encode())),
            KeyValue(key="secret", value=value(bytes_value=SECRET.encode())),
            KeyValue(key="pin.secret", value=value(int_value=123456)),
            KeyValue(key="argv", value=texts("--password", SECRET)),
            KeyValue(key=f"key {text}", value=value(bool_value=True)),
            KeyValue(key="kept", value=value(string_value="as it is")),
        ]
    )  # fmt: skip
    event = one.events.add(name=f"event {text}", time_unix_nano=1)
    event.attributes.add(key="exception.message").value.string_value = text
    link = one.links.add(trace_id=b"t" * 16, span_id=b"s" * 8, trace_state=f"x=token:{SECRET}")
    link.attributes.add(key="api_key").value.string_value = SECRET
    sent = request(one)
    of_resource = sent.resource_spans[0]
    of_resource.schema_url = f"https://x/?token={SECRET}"
    of_resource.resource.attributes.add(key="process.command_line").value.string_value = f"run --token {SECRET}"
    of_scope = of_resource.scope_spans[0]
    of_scope.schema_url = f"https://u:{SECRET}@x/"
    of_scope.scope.name = f"scope {text}"
    of_scope.scope.version = text
    of_scope.scope.attributes.add(key="authorization").value.string_value = SECRET
    return sent


@pytest.mark.parametrize("encoding", [PROTOBUF, JSON])
def test_every_place_of_a_span_is_looked_at_and_told(encoding: str) -> None:
    sent = everywhere()
    body = sent.SerializeToString() if encoding == PROTOBUF else otlp_json_body(sent)
    redacted, kinds = REDACTOR.body(body, encoding)
    assert SECRET.encode() not in redacted
    [got] = decode_request(redacted, encoding, RECEIVED_NS).spans
    assert SECRET not in repr(got)
    assert b"123456" not in got.attributes_json
    assert got.attributes.pop(REDACTED) == [
        "api_key:links.attributes.api_key",
        "cookie:attributes.http.request.header.cookie",
        "password:attributes.argv",
        "password:attributes.bytes",
        "password:attributes.db.password",
        "password:attributes.key password=<redacted>",
        "password:attributes.nested.deeper",
        "password:attributes.plain",
        "password:events.attributes.exception.message",
        "password:events.name",
        "password:name",
        "password:status_message",
        "secret:attributes.pin.secret",
        "secret:attributes.secret",
        "token:attributes.nested.token",
        "token:links.trace_state",
        "token:trace_state",
    ]
    assert got.attributes["kept"] == "as it is"
    assert got.resource.attributes[REDACTED] == ["token:resource.attributes.process.command_line"]
    assert got.scope.attributes[REDACTED] == [
        "authorization:scope.attributes.authorization",
        "password:scope.name",
        "password:scope.version",
    ]
    assert kinds.total() == 23


@pytest.mark.parametrize("encoding", [LOGS_PROTOBUF, LOGS_JSON])
def test_every_place_of_a_log_record_is_looked_at_and_told(encoding: str) -> None:
    sent = ExportLogsServiceRequest()
    record = (
        sent.resource_logs.add()
        .scope_logs.add()
        .log_records.add(
            trace_id=b"t" * 16, span_id=b"s" * 8, severity_text=f"password={SECRET}", event_name=f"token={SECRET}"
        )
    )
    pairs = record.body.kvlist_value.values
    pairs.add(key="password").value.string_value = SECRET
    pairs.add(key="said").value.string_value = f'{{"api_key": "{SECRET}"}}'
    record.attributes.add(key="cookie").value.string_value = SECRET
    body = sent.SerializeToString() if encoding == LOGS_PROTOBUF else otlp_json_body(sent)
    redacted, _ = REDACTOR.body(body, encoding)
    [got] = decode_logs(redacted, encoding, RECEIVED_NS).records
    assert SECRET.encode() not in redacted
    assert got.body == {"password": "<redacted>", "said": '{"api_key": "<redacted>"}'}
    assert got.attributes == {
        REDACTED: ["api_key:body.said", "cookie:attributes.cookie", "password:body.password", "password:severity_text",
                   "token:event_name"],
        "cookie": "<redacted>",
    }  # fmt: skip


def test_a_dropped_attribute_is_gone_and_the_others_stay() -> None:
    redactor = Redactor(rules_from({"mode": "drop"}))
    one = span(1, 1)
    one.attributes.add(key="a").value.int_value = 1
    one.attributes.add(key="password").value.string_value = SECRET
    one.attributes.add(key="b").value.string_value = f"x password={SECRET}"
    for encoding, body in ((PROTOBUF, request(one).SerializeToString()), (JSON, otlp_json_body(request(one)))):
        [got] = decode_request(redactor.body(body, encoding)[0], encoding, RECEIVED_NS).spans
        assert got.attributes == {
            REDACTED: ["password:attributes.b", "password:attributes.password"],
            "a": 1,
            "b": "x ",
        }


def test_json_is_looked_at_behind_its_escapes() -> None:
    text = "pass\\u0077ord=" + SECRET
    body = otlp_json_body(request(span(1, 1, payload="PLACE"))).replace(b"PLACE", text.encode())
    redacted, kinds = REDACTOR.body(body, JSON)
    assert kinds == {"password": 1}
    assert SECRET.encode() not in redacted
    reversed_pair = body.replace(b"pass\\u0077ord=", b"").replace(b'"key":"payload"', b'"x":1')
    document = orjson.loads(reversed_pair)
    [pair] = document["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["attributes"]
    pair["key"] = "password"
    assert SECRET.encode() not in REDACTOR.body(orjson.dumps(document), JSON)[0]


def test_fields_that_nobody_knows_go_if_they_hold_a_secret() -> None:
    text = f"password={SECRET}".encode()
    unknown = _field(99, text)
    group = _tag(98, 3) + _field(1, text) + _tag(98, 4)
    plain = span(1, 1, name="kept").SerializeToString()
    body = _field(1, _field(2, _field(2, plain + unknown) + _field(2, plain + group)))
    redacted, kinds = REDACTOR.body(body, PROTOBUF)
    assert SECRET.encode() not in redacted
    assert kinds == {"password": 2}
    assert [one.name for one in decode_request(redacted, PROTOBUF, RECEIVED_NS).spans] == ["kept", "kept"]


def _tag(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _field(number: int, content: bytes) -> bytes:
    return _tag(number, 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 0x7F | 0x80]) + _varint(number >> 7)


@pytest.mark.parametrize("encoding", [PROTOBUF, JSON])
def test_a_fault_of_ours_costs_the_texts_and_not_the_span(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: TextRedactor, *arguments: object) -> object:
        raise RuntimeError("a fault")

    sent = everywhere()
    body = sent.SerializeToString() if encoding == PROTOBUF else otlp_json_body(sent)
    redactor = Redactor(DEFAULT_RULES)
    monkeypatch.setattr(TextRedactor, "instead", fail)
    monkeypatch.setattr(protobuf, "value_of", fail)
    redacted, kinds = redactor.body(body, encoding)
    assert SECRET.encode() not in redacted
    [got] = decode_request(redacted, encoding, RECEIVED_NS).spans
    [wanted] = sent.resource_spans[0].scope_spans[0].spans
    assert (got.trace_id, got.start_ns, got.end_ns) == (
        wanted.trace_id, wanted.start_time_unix_nano, wanted.end_time_unix_nano
    )  # fmt: skip
    assert kinds["rule_failed"] > 0


@pytest.mark.parametrize("in_json", [False, True])
def test_beyond_so_many_places_in_a_request_texts_with_one_go_whole(
    in_json: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spantree_exporter.redaction.effort.PLACES_MAX", 20)
    many = f"password={SECRET} secret: word --password {SECRET} Bearer {SECRET}0 " * 3
    sent = span(1, 2, name="a name")
    for key, text in (
        ("first", many),
        ("second", many),
        ("third", many),
        ("fourth", "nothing"),
        ("db.password", SECRET),
    ):
        sent.attributes.add(key=key).value.string_value = text
    built = request(sent)
    body = otlp_json_body(built) if in_json else built.SerializeToString()
    redacted, kinds = Redactor(DEFAULT_RULES).body(body, JSON if in_json else PROTOBUF)
    assert dict(kinds) == {"password": 2, "bearer": 1, "too_many": 2}
    [got] = decode_request(redacted, JSON if in_json else PROTOBUF, RECEIVED_NS).spans
    first = "password=<redacted> secret: word --password <redacted> Bearer <redacted> " * 3
    assert {key: value for key, value in got.attributes.items() if key != REDACTED} == {
        "first": first, "second": "<redacted>", "third": "<redacted>", "fourth": "nothing", "db.password": "<redacted>"
    }  # fmt: skip
    assert got.name == "a name"
    # The next request has its own.
    assert Redactor(DEFAULT_RULES).texts.text(many)[0] == first


def test_values_deeper_than_what_is_stored_go_where_they_may_hold_a_secret() -> None:
    # By hand: what makes official messages refuses so many levels.
    wire = _field(1, f"password={SECRET}".encode())
    told: dict[str, Any] = {"stringValue": f"password={SECRET}"}
    for _ in range(90):
        wire, told = _field(5, _field(1, wire)), {"arrayValue": {"values": [told]}}
    pair = _field(1, b"deep") + _field(2, wire)
    of_span = span(1, 1).SerializeToString() + _field(9, pair)
    document = orjson.loads(otlp_json_body(request(span(1, 1))))
    document["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["attributes"] = [{"key": "deep", "value": told}]
    in_protobuf = _field(1, _field(2, _field(2, of_span)))
    for encoding, body in ((PROTOBUF, in_protobuf), (JSON, deep_json.dumps_any(document))):
        redacted, kinds = REDACTOR.body(body, encoding)
        assert SECRET.encode() not in redacted
        assert kinds.total() == 1
        assert len(decode_request(redacted, encoding, RECEIVED_NS).spans) == 1
