"""Blocks of header fields over HTTP/2: how many fields they have, however they are written and cut."""

from __future__ import annotations

import pytest

from spantree_collector.receive.header_blocks import MAX_BLOCK_BYTES, MAX_FIELDS, HeaderBlocks, fields_of

HEADERS, CONTINUATION = 1, 9
END_HEADERS, PADDED, PRIORITY = 0x4, 0x8, 0x20


@pytest.mark.parametrize(
    ("block", "fields"),
    [
        (b"", 0),
        (b"\x82\x86\x84\xbe", 4),
        # RFC 7541, C.2: literals with and without a name told before, never indexed; C.4: by Huffman's code.
        (b"\x40\x0acustom-key\x0dcustom-header", 1),
        (b"\x04\x0c/sample/path\x10\x08password\x06secret", 2),
        (bytes.fromhex("828684418cf1e3c2e5f23a6ba0ab90f4ff"), 4),
        # A value of 1,337 bytes, whose length takes three; a change of the table's size; an index of two bytes.
        (b"\x41\x7f\xba\x09" + b"v" * 1_337 + b"\x82", 2),
        (b"\x3f\xe1\x1f\x20\xff\x00\x82", 4),
        # Cut off within a value, within a length, before a value; a number that does not end.
        (b"\x40\x0acustom", 1),
        (b"\x82\x41\x7f\xba", 2),
        (b"\x82\x41", 2),
        (b"\x82\xff" + b"\xff" * 9, 2),
    ],
)
def test_fields_are_counted_without_being_read(block: bytes, fields: int) -> None:
    assert fields_of(block) == fields


def excessive_after(*frames: tuple[int, int, bytes], cut: int = 7) -> bool:
    blocks = HeaderBlocks()
    for kind, flags, payload in frames:
        blocks.begin(len(payload))
        for at in range(0, len(payload), cut):
            blocks.add(payload[at : at + cut])
        blocks.end(kind, flags)
    return blocks.is_excessive


def test_a_block_may_have_some_fields_however_long_and_however_it_is_cut() -> None:
    most, one_more = b"\xbe" * MAX_FIELDS, b"\xbe" * (MAX_FIELDS + 1)
    token = b"\x0f\x08\x7f" + bytes([0x80 | (8_000 - 127) & 0x7F, (8_000 - 127) >> 7]) + b"t" * 8_000
    assert not excessive_after((HEADERS, END_HEADERS, most))
    assert excessive_after((HEADERS, END_HEADERS, one_more))
    assert not excessive_after((HEADERS, END_HEADERS, token + most[1:]), (HEADERS, END_HEADERS, token))
    assert excessive_after((HEADERS, 0, most), (CONTINUATION, END_HEADERS, b"\x82"))
    padded = bytes([200]) + bytes(5) + most + bytes(200)
    assert not excessive_after((HEADERS, END_HEADERS | PADDED | PRIORITY, padded))
    assert excessive_after((HEADERS, END_HEADERS | PADDED, bytes([2]) + one_more + bytes(2)))


def test_a_block_may_not_go_on_for_ever() -> None:
    assert not excessive_after((HEADERS, 0, bytes(MAX_BLOCK_BYTES - 1)), (CONTINUATION, 0, b"\0"))
    assert excessive_after((HEADERS, 0, bytes(MAX_BLOCK_BYTES - 1)), (CONTINUATION, 0, b"\0\0"))
    assert excessive_after((HEADERS, 0, bytes(MAX_BLOCK_BYTES + 1)))
