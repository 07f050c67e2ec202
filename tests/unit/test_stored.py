"""The stored form of values, and the way back to OTLP."""

from __future__ import annotations

import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spantree_exporter.span import JsonValue
from spantree_exporter.stored import (
    dump_json,
    json_bytes,
    otlp_attributes,
    otlp_value,
    stored_bytes,
    stored_double,
    stored_key,
    without_nul,
)


@given(st.floats())
def test_a_double_comes_back_as_the_double_it_was(value: float) -> None:
    stored = orjson.loads(orjson.dumps(stored_double(value)))
    back = otlp_value(stored)["doubleValue"]
    assert isinstance(back, float | str)
    assert repr(float(back)) == repr(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, b"0.0"),
        (1.0, b"1.0"),
        (1e15, b"1000000000000000.0"),
        (-0.0, b'{"$f":"-0.0"}'),
        (1e16, b'{"$f":"1e+16"}'),
        (5e-324, b'{"$f":"5e-324"}'),
        (math.nan, b'{"$f":"NaN"}'),
        (-math.inf, b'{"$f":"-Infinity"}'),
    ],
)
def test_a_plain_double_has_a_point_and_any_other_a_tag(value: float, text: bytes) -> None:
    assert orjson.dumps(stored_double(value)) == text


@pytest.mark.parametrize(
    ("stored", "otlp"),
    [
        (None, {}),
        (True, {"boolValue": True}),
        (1, {"intValue": "1"}),
        (1.0, {"doubleValue": 1.0}),
        ("a", {"stringValue": "a"}),
        (stored_bytes(b"\x00"), {"bytesValue": "AA=="}),
        ({"$f": "NaN"}, {"doubleValue": "NaN"}),
        ({"$f": "1e+300"}, {"doubleValue": 1e300}),
        ([1, []], {"arrayValue": {"values": [{"intValue": "1"}, {"arrayValue": {"values": []}}]}}),
        ({}, {"kvlistValue": {"values": []}}),
        ({"$$b": "AA=="}, {"kvlistValue": {"values": [{"key": "$b", "value": {"stringValue": "AA=="}}]}}),
        (
            {"$$f": "NaN", "a": None},
            {"kvlistValue": {"values": [{"key": "$f", "value": {"stringValue": "NaN"}}, {"key": "a", "value": {}}]}},
        ),
    ],
)
def test_a_stored_value_becomes_the_value_that_was_sent(stored: JsonValue, otlp: dict[str, Any]) -> None:
    assert otlp_value(stored) == otlp
    assert list(otlp_attributes({"k": stored})) == [{"key": "k", "value": otlp}]


@given(st.text())
def test_no_key_of_a_sender_is_taken_for_a_tag(key: str) -> None:
    stored = stored_key(key)
    assert stored not in {"$b", "$f"}
    assert [pair["key"] for pair in otlp_attributes({stored: None})] == [key]


@pytest.mark.parametrize(
    ("value", "text", "changed"),
    [
        ({"a": "b"}, b'{"a":"b"}', False),
        ({"a": "\\u0000"}, b'{"a":"\\\\u0000"}', False),
        ({"a\0": ["\0", {"b": "\0\\u0000"}]}, '{"a␀":["␀",{"b":"␀\\\\u0000"}]}'.encode(), True),
        ({}, b"{}", False),
    ],
)
def test_json_text_holds_no_nul(value: JsonValue, text: bytes, changed: bool) -> None:
    assert dump_json(value) == (text, changed)
    assert orjson.loads(text) == without_nul(value)


@pytest.mark.parametrize("value", ["für", ["für"], {"für": 1}, {"a": [{"b": "für"}]}])
def test_want_of_memory_is_no_fault_of_a_text(value: JsonValue, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_memory(_: object) -> bytes:
        # What orjson 3.13 says where PyUnicode_AsUTF8AndSize fails, for whatever reason.
        raise orjson.JSONEncodeError("str is not valid UTF-8: surrogates not allowed")

    monkeypatch.setattr(orjson, "dumps", without_memory)
    with pytest.raises(MemoryError):
        json_bytes(value)


@pytest.mark.parametrize("value", ["\ud800", ["\udfff"], {"\ud800": 1}, {"a": [{"b": "x\ud800"}]}])
def test_half_a_character_is_one_of_a_text(value: JsonValue) -> None:
    with pytest.raises(orjson.JSONEncodeError):
        json_bytes(value)
