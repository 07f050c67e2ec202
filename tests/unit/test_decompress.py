"""Decompression of request bodies: what each format gives back, and that none takes more than it may."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import Callable

import cramjam
import lz4.frame
import pytest
import zstandard

from spantree_collector.receive.decompress import DEFLATE, ENCODINGS, LZ4, SNAPPY, ZSTD, decompress, decompression
from spantree_collector.receive.inflate import GZIP, BodyTooLarge
from spantree_exporter.errors import MalformedRequest

MIB = 2**20


def bare_deflate(plain: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(plain) + stream.flush()


def zstd_stream(plain: bytes) -> bytes:
    """As a sender that streams writes it: the size is not in the head."""
    stream = zstandard.ZstdCompressor(level=3).compressobj()
    return stream.compress(plain) + stream.flush()


# (what the spool calls it, how somebody makes it)
FORMATS: list[tuple[str, Callable[[bytes], bytes]]] = [
    (DEFLATE, zlib.compress),
    (DEFLATE, bare_deflate),
    (ZSTD, zstandard.compress),
    (ZSTD, zstd_stream),
    (SNAPPY, lambda plain: bytes(cramjam.snappy.compress_raw(plain))),
    (SNAPPY, lambda plain: bytes(cramjam.snappy.compress(plain))),
    (LZ4, lz4.frame.compress),
    (LZ4, lambda plain: lz4.frame.compress(plain, content_checksum=True, block_linked=False, store_size=False)),
]
IDS = ["zlib", "deflate", "zstd", "zstd-stream", "snappy", "snappy-framed", "lz4", "lz4-checksum"]
every_format = pytest.mark.parametrize(("compression", "compress"), FORMATS, ids=IDS)


@every_format
@pytest.mark.parametrize("size", [0, 1, 65_536, 5_000_000])
def test_what_was_compressed_comes_back(compression: str, compress: Callable[[bytes], bytes], size: int) -> None:
    plain = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert decompress(compress(plain), compression, max_bytes=size) == plain


@every_format
def test_small_steps_end_at_the_same_body(compression: str, compress: Callable[[bytes], bytes]) -> None:
    plain = b"".join(b"span %d, " % (number * 7919) for number in range(60_000))
    work = decompression(compress(plain), compression, None)
    steps = 1
    while not work.advance(65_536):
        steps += 1
    assert (work.result(), work.size_bytes) == (plain, len(plain))
    assert steps > 1


@every_format
def test_one_byte_too_many_is_refused(compression: str, compress: Callable[[bytes], bytes]) -> None:
    with pytest.raises(BodyTooLarge, match="larger than 999 bytes"):
        decompress(compress(b"x" * 1000), compression, max_bytes=999)


@every_format
def test_a_bomb_is_stopped_within_its_limit(compression: str, compress: Callable[[bytes], bytes]) -> None:
    bomb = compress(bytes(200 * MIB))
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge):
            decompress(bomb, compression, max_bytes=8 * MIB)
        assert tracemalloc.get_traced_memory()[1] < 40 * MIB
    finally:
        tracemalloc.stop()


@every_format
@pytest.mark.parametrize("cut", [1, 5, 12])
def test_a_body_that_is_cut_off_is_malformed(compression: str, compress: Callable[[bytes], bytes], cut: int) -> None:
    whole = compress(bytes(range(256)) * 4)
    with pytest.raises(MalformedRequest, match=f"{compression} (body is cut off|that its content-encoding says)"):
        decompress(whole[:-cut], compression)


@pytest.mark.parametrize("compression", [DEFLATE, ZSTD, SNAPPY, LZ4])
def test_what_is_none_is_malformed(compression: str) -> None:
    with pytest.raises(MalformedRequest):
        decompress(b"plain text that is nothing of the kind", compression)


@pytest.mark.parametrize("compression", [DEFLATE, ZSTD, LZ4])
def test_nothing_at_all_is_a_body_that_is_cut_off(compression: str) -> None:
    with pytest.raises(MalformedRequest, match="cut off"):
        decompress(b"", compression)


@pytest.mark.parametrize(
    ("compression", "frame"), [(ZSTD, zstandard.compress(b"")), (LZ4, lz4.frame.compress(b""))], ids=["zstd", "lz4"]
)
def test_frames_follow_each_other_but_not_without_end(compression: str, frame: bytes) -> None:
    full = {ZSTD: zstandard.compress, LZ4: lz4.frame.compress}[compression]
    assert decompress(full(b"one ") + frame + full(b"two"), compression) == b"one two"
    with pytest.raises(MalformedRequest, match="more than 100000 frames"):
        decompress(frame * 100_002, compression)


def test_snappys_chunks_are_counted_and_checked() -> None:
    stream = bytes(cramjam.snappy.compress(b"one "))
    padding = b"\xfe\x00\x00\x00"
    assert decompress(stream + padding + stream, SNAPPY) == b"one one "
    with pytest.raises(MalformedRequest, match="more than 100000 frames"):
        decompress(stream + padding * 100_000, SNAPPY)
    with pytest.raises(MalformedRequest, match="unknown kind 2"):
        decompress(stream + b"\x02\x00\x00\x00", SNAPPY)
    damaged = bytearray(stream)
    damaged[-1] ^= 0xFF
    with pytest.raises(MalformedRequest, match="not the snappy"):
        decompress(bytes(damaged), SNAPPY)


def test_a_snappy_block_is_believed_in_what_it_declares_before_it_is_undone() -> None:
    with pytest.raises(BodyTooLarge):
        decompress(b"\xff\xff\xff\xff\x0f" + b"x" * 20, SNAPPY, max_bytes=MIB)


def test_a_zstd_window_beyond_the_limit_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    sent = stream.compress(b"x" * 1000) + stream.flush()
    with pytest.raises(MalformedRequest, match="not the zstd that its content-encoding says"):
        decompress(sent, ZSTD)


def test_every_encoding_that_is_accepted_can_be_undone() -> None:
    makers = dict(FORMATS) | {GZIP: lambda plain: zlib.compress(plain, wbits=31), "": lambda plain: plain}
    for compression in ENCODINGS.values():
        assert decompress(makers[compression](b"a body"), compression) == b"a body"
