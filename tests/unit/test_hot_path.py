"""The compiled hot path is the Python one, only faster: equal spans, equal dead letters, equal rows, for any bytes."""

from __future__ import annotations

import math
import random
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.hot_paths import COMPILED, PYTHON, compiled, on
from tests.otlp_strategies import requests
from tests.wire import body_of, field, varint

from spantree_exporter import hot_path
from spantree_exporter.errors import MalformedRequest
from spantree_exporter.facts import read_facts
from spantree_exporter.otlp import decode_protobuf
from spantree_exporter.otlp.decode import PROTOBUF, decode_request, examine, raw_span
from spantree_exporter.postgres.copy_binary import (
    EDGE_COLUMNS,
    EXECUTION_COLUMNS,
    NODE_COLUMNS,
    Column,
    RowUnencodable,
    edge_rows,
    execution_rows,
    node_rows,
    span_rows,
)
from spantree_exporter.postgres.partitions import day_of
from spantree_exporter.rows import Edge, Execution, Node
from spantree_exporter.span import Span

ROOT = Path(__file__).parents[2]
RECORDINGS = ROOT / "tests" / "data" / "recordings"
RECEIVED_NS = 1_790_000_000_000_000_000


def outcome_of(path: str, does: Callable[[], Any]) -> str:
    """What `does` gives or raises on `path`, with the types of all that is in it: 1, 1.0 and True are equal to ==."""
    with on(path):
        try:
            return repr(does())
        except (MalformedRequest, RowUnencodable, IndexError) as error:
            return f"{type(error).__name__}: {error}"


def assert_equal_on_both(does: Callable[[], Any]) -> None:
    assert outcome_of(COMPILED, does) == outcome_of(PYTHON, does)


def all_of(body: bytes) -> tuple[Any, ...]:
    """All that comes of `body`."""
    told = examine(body, PROTOBUF)
    decoded = decode_request(body, PROTOBUF, RECEIVED_NS)
    spans = decoded.spans
    facts = [read_facts(span) for span in spans]
    rows = b"".join(span_rows(3, [day_of(span.start_ns) for span in spans], spans, facts))
    return told, decoded, [raw_span(body, PROTOBUF, index) for index in range(len(spans))], rows


def read_compiled(body: bytes) -> list[bool]:
    """Of each span of `body`, whether the compiled path reads it."""
    native = compiled()
    found: list[bool] = []
    for envelope in decode_protobuf.envelopes(body):
        spans: Any = envelope.spans[:]
        read = native.read_spans(spans, envelope.resource, envelope.scope, RECEIVED_NS)
        found += [span is not None for span in read]
    return found


# ---- spans -----------------------------------------------------------------------------------------------------

IDS = field(1, b"t" * 16) + field(2, b"s" * 8)
SPAN = IDS + field(5, b"step") + b"\x39" + struct.pack("<Q", 5) + b"\x41" + struct.pack("<Q", 9)


def attribute(value: bytes, key: bytes = b"k") -> bytes:
    return field(9, field(1, key) + field(2, value))


def text(value: bytes) -> bytes:
    return field(1, value)


def number(value: int) -> bytes:
    return b"\x18" + varint(value % 2**64)


def double(value: float) -> bytes:
    return b"\x21" + struct.pack("<d", value)


def nested(levels: int, innermost: bytes, *, as_list: bool) -> bytes:
    for _ in range(levels):
        innermost = (
            field(5, field(1, innermost)) if as_list else field(6, field(1, field(1, b"d") + field(2, innermost)))
        )
    return innermost


DOUBLES = [0.0, -0.0, 1.0, 0.1, 1e-5, 1e-9, 1.1e-9, 5e-324, 123456.789, 1e15, 1e16, 9.999e15, 1.5e300, -2.5]
DOUBLES += [float("inf"), float("-inf"), float("nan"), 2.0**53, 1 / 3, 1e-4, 12345678901234567.0]
DOUBLES += [math.nextafter(bound, to) for bound in (1e-9, 1e16) for to in (0.0, math.inf)]
PLAIN: dict[str, bytes] = {
    "nothing but what it needs": SPAN,
    "fields in another order": field(5, b"late") + SPAN[34:] + attribute(number(1)) + IDS,
    "every kind of value": SPAN
    + attribute(text("größe 東京 🙂".encode()), b"text")
    + attribute(text(b'tab\t quote" back\\ bell\x07 del\x7f' * 5), b"escapes")
    + attribute(number(0), b"zero")
    + attribute(number(2**63 - 1), b"largest")
    + attribute(number(-(2**63)), b"smallest")
    + attribute(number(-1), b"minus one")
    + attribute(b"\x10\x01", b"true")
    + attribute(b"\x10\x00", b"false")
    + attribute(b"\x10\xff\x7f", b"another true")
    + attribute(b"", b"null")
    + attribute(field(7, bytes(range(256))), b"bytes")
    + attribute(field(7, b""), b"no bytes")
    + attribute(field(5, b""), b"empty list")
    + attribute(field(6, b""), b"empty map")
    + attribute(field(5, field(1, number(1)) + field(1, b"") + field(1, text(b"x"))), b"list")
    + attribute(text(b""), b"empty text"),
    "doubles": SPAN + b"".join(attribute(double(value), f"{number}".encode()) for number, value in enumerate(DOUBLES)),
    "keys that look like tags": SPAN
    + attribute(number(1), b"$b")
    + attribute(number(2), b"$")
    + attribute(number(3), b""),
    "a key without a value": SPAN + field(9, field(1, b"alone")),
    "a value without a key": SPAN + field(9, field(2, number(1))),
    "63 levels of lists": SPAN + attribute(nested(63, number(1), as_list=True)),
    "63 levels of maps": SPAN + attribute(nested(63, number(1), as_list=False)),
    "fields of a newer protocol": SPAN + field(17, b"x") + varint(99 << 3) + b"\x05" + varint(2000 << 3 | 5) + b"abcd",
    "a name sent twice": SPAN + field(5, b"again"),
    "2000 keys": SPAN + b"".join(attribute(number(n), f"k{n}".encode()) for n in range(2000)),
    "long texts": SPAN + attribute(text(b"x" * 70_000)) + attribute(text("é".encode() * 9_000), "é".encode() * 200),
    "an event and a link": SPAN
    + field(
        11,
        b"\x09"
        + struct.pack("<Q", 7)
        + field(2, b"e\n")
        + field(3, field(1, b"a") + field(2, number(1)))
        + b"\x20\x05",
    )
    + field(11, b"")
    + field(13, field(1, b"u" * 16) + field(2, b"v" * 8) + field(3, b"a=1") + b"\x28\x02\x35\x01\x00\x00\x00")
    + field(13, field(4, field(1, b"a") + field(2, number(1)))),
    "numbers beyond 32 bits": SPAN
    + b"\x30"
    + varint(2**40 + 3)
    + b"\x50"
    + varint(2**35 + 7)
    + b"\x60"
    + varint(2**64 - 1),
    "a negative kind and status": SPAN + b"\x30" + varint(2**64 - 2) + field(15, b"\x18" + varint(2**64 - 3)),
    "a parent of zeros": SPAN + field(4, bytes(8)),
    "a length in more bytes than it needs": SPAN + b"\x2a\x83\x00abc",
    "a tag in more bytes than it needs": SPAN + b"\xaa\x00\x03abc",
}
UNUSUAL: dict[str, bytes] = {
    "nothing": b"",
    "no ids": SPAN[28:],
    "ids of zeros": field(1, bytes(16)) + field(2, bytes(8)),
    "ids of a wrong length": field(1, b"t" * 15) + field(2, b"s" * 9),
    "a short parent": SPAN + field(4, b"short"),
    "no UTF-8": SPAN + attribute(text(b"\xff\xfe")),
    "a lone surrogate": SPAN + attribute(text(b"\xed\xa0\x80")) + field(5, b"\xed\xb0\x80"),
    "text that ends within a character": SPAN + attribute(text("é".encode()[:1])),
    "an overlong NUL": SPAN + attribute(text(b"\xc0\x80")),
    "a NUL in a value": SPAN + attribute(text(b"a\0b")),
    "a NUL in a key": SPAN + attribute(number(1), b"a\0b"),
    "a NUL in the name": SPAN + field(5, b"a\0b"),
    "a key twice": SPAN + attribute(number(1)) + attribute(number(2)),
    "a key twice within": SPAN + attribute(field(6, field(1, field(1, b"x")) + field(1, field(1, b"x")))),
    "2001 keys": SPAN + b"".join(attribute(number(n), f"k{n}".encode()) for n in range(2001)),
    "65 levels": SPAN + attribute(nested(65, number(1), as_list=True)),
    "64 levels of maps": SPAN + attribute(nested(64, number(1), as_list=False)),
    "5000 levels": SPAN + attribute(nested(5000, number(1), as_list=True)),
    "attributes in two places": SPAN + attribute(number(1)) + field(11, b"") + attribute(number(2), b"l"),
    "a status in two parts": SPAN + field(15, b"\x18\x02") + field(15, field(2, b"boom")),
    "a value of two kinds": SPAN + attribute(number(1) + text(b"x")),
    "a list in two parts": SPAN + attribute(field(5, field(1, number(1))) + field(5, field(1, number(2)))),
    "a value before its key": SPAN + field(9, field(2, number(1)) + field(1, b"k")),
    "a key by index": SPAN + field(9, b"\x18\x05" + field(2, number(1))),
    "a value by index": SPAN + attribute(b"\x40\x05"),
    "a field of another wire type": SPAN + b"\x28\x05",
    "a group": SPAN + b"\x93\x01\x94\x01",
    "a field without a number": SPAN + b"\x02\x00",
    "a varint of eleven bytes": SPAN + b"\x30" + b"\x80" * 10 + b"\x01",
    "a varint beyond 64 bits": SPAN + b"\x30" + b"\xff" * 9 + b"\x02",
    "a length beyond the end": SPAN + b"\x2a\x7f",
    "a length beyond all memory": SPAN + b"\x2a" + varint(2**64 - 1),
    "a time beyond bigint": SPAN + b"\x39" + b"\xff" * 8,
    "an end before the start": SPAN + b"\x41" + struct.pack("<Q", 1),
    "no start": IDS,
    "an event beyond bigint": SPAN + field(11, b"\x09" + b"\xff" * 8),
    "a fixed number that is cut off": SPAN + b"\x39\x01",
}


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_what_is_plain_is_read_by_the_compiled_path_and_equal(name: str) -> None:
    body = body_of(PLAIN[name], SPAN)
    assert read_compiled(body) == [True, True]
    assert_equal_on_both(lambda: all_of(body))


@pytest.mark.parametrize("name", sorted(UNUSUAL))
def test_what_is_unusual_is_left_to_python_and_its_neighbours_are_not(name: str) -> None:
    body = body_of(SPAN, UNUSUAL[name], SPAN)
    assert read_compiled(body) == [True, False, True]
    assert_equal_on_both(lambda: all_of(body))


@pytest.mark.parametrize("name", sorted({**PLAIN, **UNUSUAL}))
def test_wherever_a_span_is_cut_off_both_paths_say_the_same(name: str) -> None:
    whole = {**PLAIN, **UNUSUAL}[name]
    for size in range(0, len(whole), max(1, len(whole) // 150)):
        assert_equal_on_both(lambda: all_of(body_of(whole[:size], SPAN)))  # noqa: B023  called at once


@pytest.mark.parametrize("path", sorted(RECORDINGS.glob("*.pb")), ids=lambda path: str(path.stem))
def test_all_that_real_clients_sent_is_read_by_the_compiled_path(path: Path) -> None:
    body = path.read_bytes()
    assert set(read_compiled(body)) == {True}
    with on(COMPILED):
        assert compiled().examine_body(body) == examine(body, PROTOBUF).spans
    assert_equal_on_both(lambda: all_of(body))


@given(requests)
def test_any_request_gives_equal_spans_dead_letters_and_rows(request: ExportTraceServiceRequest) -> None:
    body = request.SerializeToString()
    assert_equal_on_both(lambda: all_of(body))


@given(requests, st.data())
def test_any_damage_gives_equal_spans_dead_letters_and_rows(
    request: ExportTraceServiceRequest, data: st.DataObject
) -> None:
    body = bytearray(request.SerializeToString())
    for _ in range(data.draw(st.integers(1, 4)) if body else 0):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
        if not body:
            break
    assert_equal_on_both(lambda: all_of(bytes(body)))


def test_a_resource_that_lost_something_marks_its_spans_on_both_paths() -> None:
    resource = field(1, field(1, b"k") + field(2, text(b"\xff")))
    body = field(1, field(1, resource) + field(2, field(2, SPAN)))
    assert_equal_on_both(lambda: all_of(body))
    with on(COMPILED):
        (span,) = decode_request(body, PROTOBUF, RECEIVED_NS).spans
    assert span.anomalies == ["resource_invalid_utf8"]


def test_a_text_is_the_same_the_first_second_and_later_time_it_comes() -> None:
    def read(body: bytes) -> str:
        return repr(decode_request(body, PROTOBUF, RECEIVED_NS).spans)

    chance = random.Random(5)
    texts = [bytes(chance.choices(b'abc\n"$', k=chance.randint(0, 70))) for _ in range(400)]
    bodies = [
        body_of(
            SPAN + b"".join(attribute(text(chance.choice(texts)), b"%d" % n + chance.choice(texts)) for n in range(9))
        )
        for _ in range(300)
    ]
    with on(PYTHON):
        expected = [read(body) for body in bodies]
    with on(COMPILED):
        assert [[read(body) for body in bodies] for _ in range(3)] == [expected] * 3


def test_the_fingerprint_is_the_same_where_the_processor_has_no_instructions_for_it() -> None:
    native = compiled()
    bodies = [body_of(SPAN + field(5, b"n" * size)) for size in range(200)]
    with on(COMPILED):
        own = [decode_request(body, PROTOBUF, 1).spans for body in bodies]
        hot_path.set_up(native, own_sha256=False)
        try:
            by_hashlib = [decode_request(body, PROTOBUF, 1).spans for body in bodies]
        finally:
            hot_path.set_up(native)
    with on(PYTHON):
        assert own == by_hashlib == [decode_request(body, PROTOBUF, 1).spans for body in bodies]


def test_nothing_that_was_made_is_left_behind() -> None:
    bodies = [body_of(span, SPAN) for span in (PLAIN | UNUSUAL).values()]

    def blocks_after(rounds: int) -> int:
        for _ in range(rounds):
            for body in bodies:
                decode_request(body, PROTOBUF, RECEIVED_NS)
        return sys.getallocatedblocks()

    with on(COMPILED):
        before = blocks_after(5)
        assert blocks_after(20) - before < 2 * len(bodies)


# ---- rows ------------------------------------------------------------------------------------------------------

texts = st.text(max_size=5) | st.sampled_from(["completed", "\ud800", "nul\0", "größe"])
int8s = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 300)
int4s = st.integers(-(2**31), 2**31 - 1) | st.sampled_from([2**31, -(2**31) - 1, True])
COLUMNS: dict[Column, st.SearchStrategy[Any]] = {
    Column.INT4: int4s,
    Column.INT8: int8s | st.sampled_from([2**63, -(2**63) - 1]),
    Column.FLOAT8: st.floats(allow_nan=False) | st.integers(-5, 5),
    Column.BOOLEAN: st.booleans(),
    Column.TEXT: texts,
    Column.LONG_TEXT: texts,
    Column.TEXTS: st.lists(texts, max_size=3),
    Column.INT8S: st.lists(int8s, max_size=3),
    Column.TRACE_ID: st.sampled_from(["0af7651916cd43dd8448eb211c80319c", "AF" * 16, "0a f" * 8, "short", "x" * 32]),
}


def _execution_rows(tenant_id: int, keys: Any, rows: Sequence[Execution]) -> bytes:
    return execution_rows(tenant_id, keys, rows, [["word", "=key:value"]] * len(rows))


TABLES: dict[str, tuple[dict[str, Column], type, Callable[..., bytes]]] = {
    "execution": (EXECUTION_COLUMNS, Execution, _execution_rows),
    "node": (NODE_COLUMNS, Node, node_rows),
    "edge": (EDGE_COLUMNS, Edge, edge_rows),
}
keys = st.tuples(st.integers(0, 30_000), st.binary(min_size=16, max_size=16))


@pytest.mark.parametrize("table", TABLES)
@given(data=st.data())
def test_rows_of_any_values_are_equal_or_refused_alike(table: str, data: st.DataObject) -> None:
    columns, row_class, rows_of = TABLES[table]
    # Mostly fit to be written; each odd value makes the whole batch unfit.
    odd = data.draw(st.integers(0, 3)) == 0
    sound = {column: _sound(values) for column, values in COLUMNS.items()}
    chosen = COLUMNS if odd else sound
    row = st.builds(row_class, **{name: st.none() | chosen[column] for name, column in columns.items()})
    rows = data.draw(st.lists(row, min_size=1, max_size=4))
    row_keys = data.draw(st.lists(keys, min_size=len(rows), max_size=len(rows)))
    assert_equal_on_both(lambda: rows_of(7, row_keys, rows))
    if not odd:
        with on(COMPILED):
            assert rows_of(7, row_keys, rows)


def _sound(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    def is_sound(value: Any) -> bool:
        if isinstance(value, list):
            return all(map(is_sound, value))
        if isinstance(value, str):
            return "\ud800" not in value and value not in {"x" * 32, "0a f" * 8}
        return isinstance(value, (bool, float)) or -(2**31) <= value < 2**31

    return values.filter(is_sound)


@given(st.lists(st.tuples(requests, st.integers(0, 7)), min_size=1, max_size=3), st.data())
def test_rows_of_spans_that_cannot_be_written_are_refused_alike(
    drawn: list[tuple[ExportTraceServiceRequest, int]], data: st.DataObject
) -> None:
    spans: list[Span] = []
    for request, fault in drawn:
        of_request = decode_request(request.SerializeToString(), PROTOBUF, RECEIVED_NS).spans
        for span in of_request[:1]:
            if fault == 0:
                span.start_ns = 2**63
            elif fault == 1:
                span.name = "\udc00"
            elif fault == 2:
                span.trace_id = b"short"
            elif fault == 3:
                span.kind = True
        spans += of_request
    facts: list[Any] = [data.draw(st.sampled_from([{}, {"kind": "step"}, {"name": "\ud800"}])) for _ in spans]
    days = [data.draw(st.integers(0, 30_000)) for _ in spans]
    assert_equal_on_both(lambda: b"".join(span_rows(1, days, spans, facts)))


# ---- the choice ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "path"), [("1", PYTHON), ("true", PYTHON), ("0", COMPILED), ("", COMPILED)])
def test_the_setting_chooses_python(value: str, path: str) -> None:
    compiled()
    native, reason = hot_path.load({"SPANTREE_PURE_PYTHON": value})
    assert (native is None, reason) == ((True, "SPANTREE_PURE_PYTHON is set") if path == PYTHON else (False, ""))


def test_a_build_of_another_versions_source_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled()
    monkeypatch.setattr(hot_path, "_INTERFACE", -1)
    native, reason = hot_path.load({})
    assert native is None
    assert reason == "it cannot be used: it was built from the source of another version"


def test_without_a_compiler_one_line_says_so_and_what_to_do(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "exporter" / "native" / "build.py"), "--into", str(tmp_path / "made")],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == (
        "hot path: Python, not compiled, at about twice the CPU a span "
        "(there is no C compiler: install one, such as gcc, then run this again)\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_mutated_bodies_break_nothing() -> None:
    compiled()
    command = [sys.executable, str(ROOT / "tests" / "fuzz_hot_path.py"), "--bodies", "3000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
