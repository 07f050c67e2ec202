"""Ids in their four forms: bytes, hex, the column's number, a node's name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spantree_exporter.ids import (
    InvalidId,
    node_id,
    span_id_from_hex,
    span_id_to_bytes,
    span_id_to_hex,
    trace_id_from_hex,
)

TRACE = "0af7651916cd43dd8448eb211c80319c"


@given(st.binary(min_size=8, max_size=8))
def test_a_span_id_keeps_its_bytes_in_every_form(raw: bytes) -> None:
    number = span_id_from_hex(raw.hex().upper())
    assert -(2**63) <= number < 2**63
    assert span_id_to_bytes(number) == raw
    assert span_id_to_hex(number) == raw.hex()
    assert span_id_from_hex(raw.hex()) == number


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1, "0000000000000001"),
        (-1, "ffffffffffffffff"),
        (2**63 - 1, "7fffffffffffffff"),
        (-(2**63), "8000000000000000"),
    ],
)
def test_the_column_is_signed_and_people_see_hex(number: int, text: str) -> None:
    assert span_id_to_hex(number) == text
    assert span_id_from_hex(text) == number


def test_a_node_is_named_by_its_span_and_further_ones_by_a_number() -> None:
    assert node_id(-1, 0) == "ffffffffffffffff"
    assert node_id(1, 2) == "0000000000000001.2"


@pytest.mark.parametrize("text", [TRACE, TRACE.upper(), "0af76519-16cd-43dd-8448-eb211c80319c"])
def test_a_trace_id_is_read_in_either_case_and_as_uuid(text: str) -> None:
    assert trace_id_from_hex(text) == bytes.fromhex(TRACE)


@pytest.mark.parametrize("text", ["", TRACE[:-1], TRACE + "0", "g" * 32, " " * 32, f"{TRACE[:30]}  ", "é" * 32])
def test_what_is_no_trace_id_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidId) as raised:
        trace_id_from_hex(text)
    assert str(raised.value) == f"{text!r} is no trace id: wanted 32 hex digits"


@pytest.mark.parametrize("text", ["", "0" * 15, "0" * 17, "g" * 16, " " * 16, "ab cd ef 01 23 4", "-000000000000001"])
def test_what_is_no_span_id_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidId) as raised:
        span_id_from_hex(text)
    assert str(raised.value) == f"{text!r} is no span id: wanted 16 hex digits"


def test_a_refusal_quotes_no_more_than_eighty_characters() -> None:
    with pytest.raises(InvalidId) as raised:
        trace_id_from_hex("x" * 10_000)
    assert len(str(raised.value)) < 150
