"""Log records out of requests: the same from protobuf and JSON, each failing alone, none without a span."""

from __future__ import annotations

import math
import os
import sys
import tracemalloc

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord as Wire
from tests.otlp_json import otlp_json_body

from spantree_collector.write.watchdog import resident_bytes
from spantree_exporter.errors import MalformedRequest
from spantree_exporter.otlp.decode_logs import LOGS_JSON, LOGS_PROTOBUF, decode_logs, examine_logs, raw_logs
from spantree_exporter.span import JsonValue

TRACE, SPAN = bytes(range(16)), bytes(range(1, 9))


def request(*records: Wire) -> ExportLogsServiceRequest:
    built = ExportLogsServiceRequest()
    of_resource = built.resource_logs.add(schema_url="https://resource/1")
    of_resource.resource.attributes.add(key="service.name").value.string_value = "shop"
    of_scope = of_resource.scope_logs.add(schema_url="https://scope/1")
    of_scope.scope.name = "logger"
    of_scope.log_records.extend(records)
    return built


def wire(**fields: object) -> Wire:
    return Wire(**({"trace_id": TRACE, "span_id": SPAN, "time_unix_nano": 5} | fields))  # type: ignore[arg-type]


def full() -> Wire:
    sent = wire(
        observed_time_unix_nano=7,
        severity_number=17,
        severity_text="ERROR",
        event_name="exception",
        flags=1,
        dropped_attributes_count=3,
    )
    sent.attributes.add(key="exception.type").value.string_value = "CardDeclined"
    sent.attributes.add(key="bytes").value.bytes_value = b"\x00\xff"
    sent.attributes.add(key="nan").value.double_value = math.nan
    sent.body.kvlist_value.values.add(key="role").value.string_value = "user"
    sent.body.kvlist_value.values.add(key="n").value.int_value = 2**62
    return sent


def both(sent: ExportLogsServiceRequest) -> list[tuple[bytes, str]]:
    return [(sent.SerializeToString(), LOGS_PROTOBUF), (otlp_json_body(sent), LOGS_JSON)]


def test_all_of_a_record_is_read_and_alike_in_both_encodings() -> None:
    read = [decode_logs(body, encoding, 9) for body, encoding in both(request(full()))]
    assert [decoded.dead for decoded in read] == [[], []]
    assert read[0].records == read[1].records
    [record] = read[0].records
    assert (record.trace_id, record.span_id) == (TRACE, int.from_bytes(SPAN, "big"))
    assert (record.time_ns, record.observed_ns, record.received_ns, record.flags) == (5, 7, 9, 1)
    assert (record.severity_number, record.severity_text, record.event_name) == (17, "ERROR", "exception")
    assert record.body == {"role": "user", "n": 2**62}
    assert record.attributes == {"exception.type": "CardDeclined", "bytes": {"$b": "AP8="}, "nan": {"$f": "NaN"}}
    assert (record.dropped_attributes_count, record.anomalies, record.raw) == (3, [], None)
    assert (record.resource.service_name, record.resource.schema_url) == ("shop", "https://resource/1")
    assert (record.scope.name, record.scope.json is not None) == ("logger", True)


def test_a_record_sent_again_has_the_same_fingerprint_and_another_one_has_not() -> None:
    [first], [again], [other] = (
        decode_logs(request(sent).SerializeToString(), LOGS_PROTOBUF, received_ns).records
        for sent, received_ns in ((full(), 1), (full(), 2), (wire(event_name="exception"), 1))
    )
    assert first.fingerprint == again.fingerprint != other.fingerprint


@pytest.mark.parametrize("encoding", [LOGS_PROTOBUF, LOGS_JSON])
def test_what_belongs_to_no_span_is_rejected_with_a_sentence_and_not_kept(encoding: str) -> None:
    sent = request(
        wire(), wire(trace_id=b""), wire(span_id=bytes(8)), wire(span_id=b"abc"), wire(trace_id=b"", flags=1)
    )
    body = {name: body for body, name in both(sent)}[encoding]
    examined = examine_logs(body, encoding)
    assert (examined.spans, examined.rejected_spans) == (5, 4)
    assert examined.error_message == (
        "a log record has no trace id: only records that belong to a span are taken; log within a span, or send these "
        "to a store of logs; a log record has no span id: only records that belong to a span are taken; log within a "
        "span, or send these to a store of logs; a log record's span id 616263: wanted 8 bytes that are not all zero, "
        "got 3"
    )
    decoded = decode_logs(body, encoding, 0)
    assert (len(decoded.records), decoded.dead) == (1, [])


@pytest.mark.parametrize("encoding", [LOGS_PROTOBUF, LOGS_JSON])
def test_what_the_stored_form_loses_keeps_the_bytes(encoding: str) -> None:
    sent = wire(severity_text="a\x00b", time_unix_nano=2**64 - 1)
    sent.body.string_value = "c\x00d"
    body = {name: body for body, name in both(request(wire(), sent))}[encoding]
    [_, record] = decode_logs(body, encoding, 0).records
    assert (record.severity_text, record.body, record.time_ns) == ("a\u2400b", "c\u2400d", 2**63 - 1)
    assert record.anomalies == ["nul", "time_out_of_range"]
    assert record.raw is not None
    [again] = decode_logs(record.raw, encoding, 0).records
    assert again.fingerprint == record.fingerprint
    assert list(raw_logs(body, encoding, [1])) == [record.raw]
    assert list(raw_logs(body, encoding, [2])) == []


def test_bytes_that_are_no_utf_8_cost_a_text_and_not_the_record() -> None:
    body = request(wire(severity_text="WARN")).SerializeToString().replace(b"WARN", b"\xff\xfeRN")
    [record] = decode_logs(body, LOGS_PROTOBUF, 0).records
    assert (record.severity_text, record.anomalies) == ("\ufffd\ufffdRN", ["invalid_utf8"])


def test_a_field_of_a_wrong_type_costs_one_record() -> None:
    body = otlp_json_body(request(wire(), wire(flags=7))).replace(b'"flags":7', b'"flags":"x"')
    decoded = decode_logs(body, LOGS_JSON, 3)
    assert len(decoded.records) == 1
    [letter] = decoded.dead
    assert letter.reason.startswith("a log record's field has a wrong type")
    assert (letter.encoding, letter.received_ns) == (LOGS_JSON, 3)


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b"no protobuf", LOGS_PROTOBUF),
        (b"{no json", LOGS_JSON),
        (b'{"resourceLogs": 5}', LOGS_JSON),
        (b"[]", LOGS_JSON),
    ],
)
def test_what_is_no_request_is_malformed(body: bytes, encoding: str) -> None:
    with pytest.raises(MalformedRequest):
        examine_logs(body, encoding)


def test_counting_stops_beyond_the_most() -> None:
    body = request(*[wire()] * 50).SerializeToString()
    assert examine_logs(body, LOGS_PROTOBUF, 10).spans == 11


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory of the process is read from /proc")
def test_many_small_records_take_little_memory() -> None:
    records = [wire(trace_id=number.to_bytes(16, "big")) for number in range(1, 20_001)]
    for record in records:
        record.body.string_value = "so"
    for body, encoding in both(request(*records)):
        before_bytes = resident_bytes(os.getpid())
        decoded = decode_logs(body, encoding, 5)
        assert len(decoded.records) == 20_000
        # Three kilobytes each; the leavings of what writes JSON were twice as much.
        assert resident_bytes(os.getpid()) - before_bytes < 60_000_000


def test_what_a_large_value_is_in_holds_no_copy_of_it() -> None:
    text, levels = "so much " * 250_000, 24
    sent = wire()
    value = sent.body
    stored: JsonValue = text
    for level in range(levels):
        if level % 2:
            value = value.kvlist_value.values.add(key="k").value
            continue
        # What stands before and behind it is kept in its order.
        value.array_value.values.add().int_value = 1
        inner = value.array_value.values.add()
        value.array_value.values.add().string_value = "behind"
        value = inner
    value.string_value = text
    for level in reversed(range(levels)):
        stored = {"k": stored} if level % 2 else [1, stored, "behind"]
    body = request(sent).SerializeToString()
    tracemalloc.start()
    try:
        [record] = decode_logs(body, LOGS_PROTOBUF, 5).records
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (record.body, record.anomalies) == (stored, [])
    # Of two million each: what is sent, what is being read, the text and its JSON. With a copy for each level, 80.
    assert most_bytes < 30_000_000
