"""Bounded gunzip."""

from __future__ import annotations

import gzip
import tracemalloc

import pytest

from spantree_collector.receive.decompress import decompress
from spantree_collector.receive.inflate import GZIP, BodyTooLarge, Inflation
from spantree_exporter.errors import MalformedRequest


@pytest.mark.parametrize("size", [0, 1, 65_536, 5_000_000])
def test_what_was_compressed_comes_back(size: int) -> None:
    plain = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert decompress(gzip.compress(plain), GZIP, max_bytes=size) == plain


def test_several_members_are_one_body() -> None:
    assert decompress(gzip.compress(b"one ") + gzip.compress(b"two"), GZIP) == b"one two"


def test_one_byte_too_many_is_refused() -> None:
    with pytest.raises(BodyTooLarge, match="larger than 999 bytes; send smaller batches, or raise SPANTREE_MAX_BODY"):
        decompress(gzip.compress(b"x" * 1000), GZIP, max_bytes=999)


def test_a_bomb_is_stopped_within_its_limit() -> None:
    bomb = gzip.compress(bytes(300 * 2**20), compresslevel=1)
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge):
            decompress(bomb, GZIP, max_bytes=8 * 2**20)
        assert tracemalloc.get_traced_memory()[1] < 24 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("cut", [1, 5, 12, 100])
def test_a_body_that_is_cut_off_is_malformed(cut: int) -> None:
    whole = gzip.compress(b"some text that is long enough to be cut " * 20)
    with pytest.raises(MalformedRequest, match="cut off"):
        decompress(whole[: max(1, len(whole) - cut)], GZIP)


def test_what_is_no_gzip_is_malformed() -> None:
    with pytest.raises(MalformedRequest, match="not the gzip that its content-encoding says"):
        decompress(b"plain text", GZIP)
    with pytest.raises(MalformedRequest, match="cut off"):
        decompress(b"", GZIP)


def test_a_damaged_body_is_malformed() -> None:
    damaged = bytearray(gzip.compress(b"some text" * 100))
    damaged[-6] ^= 0xFF
    with pytest.raises(MalformedRequest):
        decompress(bytes(damaged), GZIP)


def test_an_inflation_advances_in_bounded_steps() -> None:
    inflation = Inflation(gzip.compress(b"x" * 10_000), max_bytes=None)
    sizes = []
    while not inflation.advance(4096):
        sizes.append(inflation.size_bytes)
    assert sizes[:2] == [4096, 8192]
    assert inflation.result() == b"x" * 10_000


def test_a_body_of_endless_members_is_refused_and_costs_no_square_of_its_size() -> None:
    payload = gzip.compress(b"") * 2_000 + bytes(4_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(MalformedRequest, match="more than 1000 members; send it as one"):
            decompress(payload, GZIP)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_members_and_steps_of_any_size_come_out_as_one_body() -> None:
    plain = [bytes([index]) * (index * 700) for index in range(200)]
    payload = b"".join(map(gzip.compress, plain))
    for step in (1_000, 65_536, 2**24):
        inflation = Inflation(payload, max_bytes=None)
        while not inflation.advance(step):
            pass
        assert inflation.result() == b"".join(plain)
