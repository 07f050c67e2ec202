"""Every form of file gives the spans that were written, in bounded pieces; what cannot be read is named."""

from __future__ import annotations

import base64
import gzip
import io
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard
from google.protobuf.json_format import MessageToJson
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from tests.wire import field

from spantree_deploy.importing.files import Bad, Body, bodies
from spantree_deploy.importing.json_elements import NotJson, elements
from spantree_deploy.importing.pieces import OF_TRACES, cut_json, cut_protobuf
from spantree_exporter.otlp.decode import JSON, PROTOBUF, decode_request
from spantree_exporter.otlp.decode_logs import LOGS_JSON
from spantree_exporter.otlp.signals import decode_body

NOON_NS = 1_795_176_000_000_000_000


def sent(number: int) -> TracesData:
    """Two resources, one span each."""
    data = TracesData()
    for service in ("shop", "bank"):
        entry = data.resource_spans.add()
        entry.resource.attributes.add(key="service.name").value.string_value = service
        span = entry.scope_spans.add().spans.add(
            trace_id=number.to_bytes(16, "big"),
            span_id=len(service + str(number)).to_bytes(4, "big") + number.to_bytes(4, "big"),
            name=f'{service} "{number}" {{[\\',
            start_time_unix_nano=NOON_NS + number,
            end_time_unix_nano=NOON_NS + number + 1,
        )
        span.attributes.add(key="a").value.int_value = number
    return data


def as_json(data: TracesData) -> dict[str, Any]:
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]},
                "scopeSpans": [
                    {
                        "spans": [
                            {
                                "traceId": span.trace_id.hex(),
                                "spanId": span.span_id.hex(),
                                "name": span.name,
                                "startTimeUnixNano": str(span.start_time_unix_nano),
                                "endTimeUnixNano": str(span.end_time_unix_nano),
                                "attributes": [{"key": "a", "value": {"intValue": span.attributes[0].value.int_value}}],
                            }
                        ]
                    }
                ],
            }
            for entry in data.resource_spans
            for service in [entry.resource.attributes[0].value.string_value]
            for span in entry.scope_spans[0].spans
        ]
    }


def varint(value: int) -> bytes:
    return bytes([value & 0x7F | 0x80, value >> 7]) if value >= 0x80 else bytes([value])


SENT = [sent(number) for number in range(1, 4)]
MESSAGES = [data.SerializeToString() for data in SENT]
LINES = [orjson.dumps(as_json(data)) for data in SENT]
WHOLE = {
    "resourceSpans": [entry for data in SENT for entry in as_json(data)["resourceSpans"]],
    "spantree": {"x": [[1]]},
}
FORMS = {
    "lines": b"\n".join(LINES),
    "lines with empty ones": b"\n\n" + b"\r\n\r\n".join(LINES) + b"\n",
    "document": json.dumps(WHOLE, indent=2).encode(),
    "document in one line": orjson.dumps(WHOLE),
    "message": b"".join(MESSAGES),
    "varint lengths": b"".join(varint(len(message)) + message for message in MESSAGES),
    "four bytes of length": b"".join(len(message).to_bytes(4, "big") + message for message in MESSAGES),
    "compressed one by one": b"".join(
        len(small).to_bytes(4, "big") + small for small in map(zstandard.ZstdCompressor().compress, MESSAGES)
    ),
    "JSON compressed one by one": b"".join(
        len(small).to_bytes(4, "big") + small for small in map(zstandard.ZstdCompressor().compress, LINES)
    ),
}


def read(path: Path, content: bytes, **options: Any) -> tuple[list[int], list[Bad]]:
    """(fingerprints of the spans, what is wrong)."""
    path.write_bytes(content)
    found, bad = [], []
    for part in bodies(path, **options):
        if isinstance(part, Bad):
            bad.append(part)
            continue
        decoded = decode_body(part.body, part.encoding, NOON_NS)
        assert not decoded.dead
        found += [item.fingerprint for item in decoded.items]
    return found, bad


WANTED = [span.fingerprint for message in MESSAGES for span in decode_body(message, PROTOBUF, NOON_NS).items]


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstandard.ZstdCompressor().compress])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_spans(tmp_path: Path, form: str, compress: Any) -> None:
    assert read(tmp_path / "f", compress(FORMS[form])) == (WANTED, [])


def test_frames_that_follow_each_other_are_one_file(tmp_path: Path) -> None:
    for compress in (gzip.compress, zstandard.ZstdCompressor().compress):
        assert read(tmp_path / "f", b"".join(compress(line + b"\n") for line in LINES)) == (WANTED, [])


def test_a_bad_line_is_named_and_takes_no_other_with_it(tmp_path: Path) -> None:
    content = b"\n".join([LINES[0][:-9], LINES[0], b'{"resourceMetrics":[]}', b"null", b"x" * 5000, *LINES[1:]])
    found, bad = read(tmp_path / "f", content, most_bytes=4096)
    assert found == WANTED
    assert [(one.where, one.reason.split(":")[0]) for one in bad] == [
        ("line 1", "it is no JSON"),
        ("line 3", "it holds metrics, which are not kept here"),
        ("line 4", "it is neither OTLP nor Jaeger's JSON; it has NoneType"),
        ("line 5", "it is longer than 4096 bytes"),
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"resourceSpans": [\n{"a": 1}, {"b"', "the document ends before its outermost object does"),
        (b'{\n"a": 1}}', "a bracket too many at byte 9"),
        (b"[\n1]", "the document is no JSON object"),
        (MESSAGES[0][:-3], "the file ends within it: "),
        (b"\x0a\xff\xff\xff\xff\xff\x7f", "it is longer than 67108864 bytes"),
        (MESSAGES[0] + b"\x12\x00", "it is no TracesData in protobuf: field 2 of wire type 2"),
        (b"\x00\x00\x00", "its length is none"),
        (b"\x00\x00\x10\x00\x0abc", "the file ends within it: 3 of 4096 bytes are there"),
        (b"Usage: a text of some other kind\nand more of it\n", "it is none of what can be read: OTLP as JSON lines, "),
        (b"a,b\n1,2\n", "it is none of what can be read: OTLP as JSON lines, "),
        (gzip.compress(LINES[0] * 2)[:-20], "the compressed file ends or breaks here: "),
        (zstandard.compress(LINES[0] * 2)[:9] + b"broken", "the compressed file ends or breaks here: "),
        (b"\x05" + zstandard.compress(b"")[:4] + b"!", "the compressed file ends or breaks here: "),
        # 14 bytes that claim to be four terabytes.
        (b"\x00\x00\x00\x10\x28\xb5\x2f\xfd\xc0" + (2**42).to_bytes(8, "little") + bytes(3), "it is longer than"),
        *((LINES[0].decode().encode(f"utf-16{end}"), "it is UTF-16, wanted is UTF-8: ") for end in ("", "-le")),
        (b"\xfe\xff" + LINES[0].decode().encode("utf-16-be"), "it is UTF-16, wanted is UTF-8: "),
        (b'{"spans":\n[{"name": "a"}]}', "it has none of resourceSpans, resource_spans, "),
        # 16 MB that would become gigabytes of objects, and 16 kB that would become these.
        (field(1, field(2, field(2, b"") * 8_000_000)), "it holds more than 4000000 spans"),
        (gzip.compress(field(1, field(2, field(2, b"") * 8_000_000))), "it becomes more than 100 times as long"),
    ],
)
def test_a_file_that_breaks_off_says_where(tmp_path: Path, content: bytes, reason: str) -> None:
    _, bad = read(tmp_path / "f", content)
    assert len(bad) == 1
    assert bad[0].reason.startswith(reason)


@pytest.mark.parametrize("unit", [b"\x00", b"\n", b" \n", b'{"resourceSpans":[]}\n', b'{"resourceSpans":[{},'])
def test_a_file_that_becomes_longer_than_spans_do_is_not_read_to_its_end(tmp_path: Path, unit: bytes) -> None:
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = unit * (2**20 // len(unit))
    bomb = b"".join([*(compressor.compress(block) for _ in range(128)), compressor.flush()])
    (tmp_path / "f").write_bytes(bomb)
    *_, last = bodies(tmp_path / "f")
    assert last == Bad("f", "it becomes more than 100 times as long, as no spans do: it is read no further")


def test_a_mark_of_utf8_is_read_over(tmp_path: Path) -> None:
    assert read(tmp_path / "f", b"\xef\xbb\xbf" + b"\n".join(LINES)) == (WANTED, [])


def test_a_line_that_would_become_too_many_objects_is_not_read(tmp_path: Path) -> None:
    content = LINES[0] + b'\n{"data":[%s1]}' % (b"1," * 4_000_000)
    _, bad = read(tmp_path / "f", content)
    assert bad == [Bad("line 2", "it holds more than 4000000 objects, lists and members")]


def test_an_empty_file_holds_nothing(tmp_path: Path) -> None:
    assert read(tmp_path / "f", b"") == ([], [])


def test_logs_and_what_our_own_lines_tell_come_along(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b'{"resourceSpans":[],"spantree":{"fingerprints":[]}}\n{"resourceLogs":[]}\n')
    assert list(bodies(path)) == [
        Body("line 1", b'{"resourceSpans":[],"spantree":{"fingerprints":[]}}\n', JSON, {"fingerprints": []}),
        Body("line 2", b'{"resourceLogs":[]}\n', LOGS_JSON),
    ]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


OBJECTS = st.dictionaries(st.text(max_size=4), JSON_VALUES, max_size=2)


class Trickle(io.BytesIO):
    """A file that gives little at a time."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(3, size or 3))


@given(
    st.lists(
        st.dictionaries(
            st.text(max_size=4),
            st.lists(st.dictionaries(st.text(max_size=4), JSON_VALUES, max_size=2), max_size=3)
            | st.integers()
            | st.text(),
            max_size=3,
        ),
        min_size=1,
        max_size=2,
    ),
    st.sampled_from([None, 1]),
)
def test_elements_are_those_of_a_parser(documents: Sequence[dict[str, Any]], indent: int | None) -> None:
    text = "\n".join(json.dumps(document, indent=indent) for document in documents).encode()
    wanted = [
        (key, element)
        for document in documents
        for key, value in document.items()
        if isinstance(value, list) and key and "\\" not in json.dumps(key)
        for element in value
    ]
    found = [(key, json.loads(element)) for key, element in elements(Trickle(text), 10_000) if "\\" not in key]
    assert found == wanted


def test_an_element_has_a_longest_length() -> None:
    with pytest.raises(NotJson, match="longer than 100 bytes"):
        list(elements(Trickle(b'{"data":[{"a":"' + b"x" * 1000 + b'"}]}'), 100))


JSON_SPANS: st.SearchStrategy[list[dict[str, Any]]] = st.lists(
    st.fixed_dictionaries(
        {"name": st.text(max_size=20)}, optional={"links": st.lists(st.just({"spans": []}), max_size=2)}
    ),
    max_size=8,
)


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "scopeSpans": st.lists(
                    st.fixed_dictionaries({"scope": st.text(max_size=5), "spans": JSON_SPANS}), max_size=4
                )
            },
            optional={"resource": st.text(max_size=9), "scopeSpans ": st.just([{"spans": [{"name": "no"}]}])},
        ),
        max_size=3,
    ),
    st.integers(20, 400),
    st.sampled_from((None, 2)),
)
def test_the_pieces_of_a_request_say_what_it_says(
    resource_spans: list[dict[str, Any]], piece_bytes: int, indent: int | None
) -> None:
    def said(request: dict[str, Any]) -> list[Any]:
        return [
            (resource.get("resource"), resource.get("scopeSpans "), scope["scope"], span)
            for resource in request["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]

    whole = {"spare": {"resourceSpans": 1}, "resourceSpans": resource_spans, "last": "]}"}
    text = json.dumps(whole, indent=indent).encode()
    pieces = [json.loads(piece) for piece in cut_json(text, OF_TRACES, piece_bytes)]
    assert [one for piece in pieces for one in said(piece)] == said(whole)
    assert all({**piece, "resourceSpans": resource_spans} == whole for piece in pieces)


@pytest.mark.parametrize(
    "text",
    [
        b'{"resourceSpans":[{"a":1},{"a":2}',
        b'{"resourceSpans":[{"a":1},{"a":2}]],"b":[]}',
        b'{"resourceSpans":[{"a":1}],"resourceSpans":[{"a":2},{"a":3}]}',
        b'{"resourceSpans":[{"a":1} {"a":2}],"b":1}',
        b'{"resourceSpans":[{"a":1},5,{"a":2}],"b":1}',
        b'{"resourceSpans":[{"a":1},{"a":2}],"large":"' + b"x" * 30 + b'"}',
        b'{"resourceSpans":{"a":[{"a":1},{"a":2}]}}',
        b'{"resourceSpans":[{"scopeSpans":[                        ]}]}',
    ],
)
def test_what_cannot_be_cut_stays_whole(text: bytes) -> None:
    assert list(cut_json(text, OF_TRACES, 20)) == [text]


@given(st.lists(st.lists(st.lists(st.text(max_size=20), max_size=6), max_size=4), max_size=4), st.integers(1, 200))
def test_the_pieces_of_a_message_say_what_it_says(names: list[list[list[str]]], piece_bytes: int) -> None:
    whole = TracesData()
    for number, scopes in enumerate(names):
        entry = whole.resource_spans.add(schema_url=str(number))
        for spans in scopes:
            scope = entry.scope_spans.add(schema_url="of a scope")
            for name in spans:
                scope.spans.add(name=name)

    def said(data: TracesData) -> list[tuple[str, str, str]]:
        return [
            (entry.schema_url, scope.schema_url, span.name)
            for entry in data.resource_spans
            for scope in entry.scope_spans
            for span in scope.spans
        ]

    pieces = list(cut_protobuf(whole.SerializeToString(), piece_bytes))
    assert [one for piece in pieces for one in said(TracesData.FromString(piece))] == said(whole)
    assert list(cut_protobuf(b"\x0a\xff" * 200, 20)) == [b"\x0a\xff" * 200]


@pytest.mark.parametrize("form", ["line", "document", "protobuf", "jaeger"])
def test_a_large_request_comes_in_pieces_with_the_same_spans(tmp_path: Path, form: str) -> None:
    count = 12_000
    data = TracesData()
    entry = data.resource_spans.add()
    entry.resource.attributes.add(key="service.name").value.string_value = "shop"
    spans = entry.scope_spans.add(schema_url="https://example.org/1").spans
    for number in range(1, count + 1):
        spans.add(
            trace_id=b"\x01" * 16,
            span_id=number.to_bytes(8, "big"),
            name=f"step {number}",
            start_time_unix_nano=NOON_NS + number * 1000,
            end_time_unix_nano=NOON_NS + number * 1000 + 1000,
        ).attributes.add(key="note").value.string_value = "x" * 200
    text = MessageToJson(data).encode()
    told = json.loads(text)
    for one in told["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        one |= {key: base64.b64decode(one[key]).hex() for key in ("traceId", "spanId")}
    process = {"serviceName": "shop", "tags": []}
    jaeger_spans = [
        {
            "traceID": "01" * 16,
            "spanID": span.span_id.hex(),
            "operationName": span.name,
            "startTime": span.start_time_unix_nano // 1000,
            "duration": 1,
            "processID": "p1",
            "tags": [{"key": "note", "type": "string", "value": "x" * 200}],
        }
        for span in spans
    ]
    content = {
        "line": json.dumps(told).encode() + b"\n",
        "document": json.dumps(told, indent=1).encode(),
        "protobuf": data.SerializeToString(),
        "jaeger": json.dumps(
            {"data": [{"traceID": "01" * 16, "spans": jaeger_spans, "processes": {"p1": process}}]}
        ).encode(),
    }[form]
    path = tmp_path / "file"
    path.write_bytes(content)
    found = list(bodies(path))
    assert [one for one in found if isinstance(one, Bad)] == []
    parts = [one for one in found if isinstance(one, Body)]
    assert len(parts) > 2
    assert max(len(one.body) for one in parts) < 2 * 2**20
    whole = decode_request(json.dumps(told).encode(), JSON, NOON_NS).spans
    read_back = [span for one in parts for span in decode_request(one.body, one.encoding, NOON_NS).spans]
    if form == "jaeger":  # which keeps no schema URLs
        assert [(one.span_id, one.name, one.attributes) for one in read_back] == [
            (one.span_id, one.name, one.attributes) for one in whole
        ]
    else:
        assert [(one.span_id, one.fingerprint) for one in read_back] == [
            (one.span_id, one.fingerprint) for one in whole
        ]
