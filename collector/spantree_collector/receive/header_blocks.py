"""How much the heads of requests say over HTTP/2, out of the frames that carry them. Pure.

A field that was told before is one byte of a block (HPACK, RFC 7541, 6.1), and may stand for four thousand. grpc keeps
what it refuses: a block of 4,000 such bytes, refused for being larger than 16 KiB, is 1.3 MB that it did not give back
(grpcio 1.85). So fields are counted before it sees them. Blocks of clients have some ten.
"""

from __future__ import annotations

from typing import Final

_HEADERS: Final = 0x1
_END_HEADERS, _PADDED, _PRIORITY = 0x4, 0x8, 0x20
_PRIORITY_BYTES: Final = 5
MAX_FIELDS: Final = 128
# What grpc refuses at the latest, by the sum of names and values; written down they are shorter.
MAX_BLOCK_BYTES: Final = 16 * 2**10


class HeaderBlocks:
    """The blocks of one connection, as their frames come: `begin`, `add` however it is cut, `end`, and the next one."""

    __slots__ = ("_block", "_frame", "is_excessive")

    def __init__(self) -> None:
        self._frame = bytearray()
        self._block = bytearray()
        self.is_excessive = False

    def begin(self, size_bytes: int) -> None:
        """A frame of so many bytes begins; once one is too much `is_excessive` is true, and nothing is kept."""
        if len(self._block) + size_bytes > MAX_BLOCK_BYTES:
            self.is_excessive = True

    def add(self, part: bytes) -> None:
        """More of the frame."""
        if not self.is_excessive:
            self._frame += part

    def end(self, kind: int, flags: int) -> None:
        """The frame has come whole."""
        if self.is_excessive:
            return
        self._block += _fragment(self._frame, kind, flags)
        self._frame.clear()
        if flags & _END_HEADERS:
            # No block has more fields than bytes: nearly all that clients send need no closer look.
            self.is_excessive = len(self._block) > MAX_FIELDS and fields_of(self._block) > MAX_FIELDS
            self._block.clear()


def _fragment(frame: bytes | bytearray, kind: int, flags: int) -> bytes | bytearray:
    """What a frame has of its block (RFC 9113, 6.2, 6.10)."""
    first, end = 0, len(frame)
    if kind == _HEADERS and flags & _PADDED and frame:
        first, end = 1, end - frame[0]
    if kind == _HEADERS and flags & _PRIORITY:
        first += _PRIORITY_BYTES
    return frame[first:end]


def fields_of(block: bytes | bytearray) -> int:
    """How many fields a block has, changes of the table's size among them; of a broken one those before its fault."""
    at, fields = 0, 0
    while at < len(block):
        first = block[at]
        fields += 1
        if first & 0x80:
            _, at = _number(block, at, 0x7F)
            continue
        if first & 0xE0 == 0x20:
            _, at = _number(block, at, 0x1F)
            continue
        index, at = _number(block, at, 0x3F if first & 0x40 else 0x0F)
        for _ in range(1 if index else 2):
            if at >= len(block):
                return fields
            length, at = _number(block, at, 0x7F)
            at += length
    return fields


def _number(block: bytes | bytearray, at: int, prefix: int) -> tuple[int, int]:
    """A number and where it ends (RFC 7541, 5.1); past the end of the block where it is cut off or too large."""
    number = block[at] & prefix
    at += 1
    if number < prefix:
        return number, at
    for shift in range(0, 35, 7):
        if at >= len(block):
            break
        number += (block[at] & 0x7F) << shift
        at += 1
        if block[at - 1] < 0x80:
            return number, at
    return number, len(block)
