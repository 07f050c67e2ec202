"""The fields of a protobuf message where they stand in its bytes, for what is cut or rewritten without being parsed.

The wire format: https://protobuf.dev/programming-guides/encoding/. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

VARINT, FIXED64, BYTES, GROUP, GROUP_END, FIXED32 = range(6)
_GROUPS_MAX: Final = 64


class Malformed(Exception):
    """The bytes are no protobuf message."""


def fields_of(sent: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """(number, wire type, where its tag begins, its content begins, it ends) of each field. Raises Malformed.

    A group, which protobuf knows no more and readers step over, is one with all that is in it.
    """
    at, end = 0, len(sent)
    while at < end:
        tag_at = at
        tag, at = varint_at(sent, at)
        number, kind = tag >> 3, tag & 7
        start = at
        if kind == BYTES:
            size, start = varint_at(sent, at)
            at = start + size
        elif kind == GROUP:
            at = _after_group(sent, at)
            start = tag_at
        else:
            at = _after(sent, at, kind)
        if at > end or number == 0:
            raise Malformed
        yield number, kind, tag_at, start, at


def _after(sent: bytes, at: int, kind: int) -> int:
    if kind == VARINT:
        return varint_at(sent, at)[1]
    if kind == FIXED64:
        return at + 8
    if kind == FIXED32:
        return at + 4
    raise Malformed


def _after_group(sent: bytes, at: int) -> int:
    depth = 1
    while depth:
        tag, at = varint_at(sent, at)
        kind = tag & 7
        if kind == GROUP:
            depth += 1
            if depth > _GROUPS_MAX:
                raise Malformed
        elif kind == GROUP_END:
            depth -= 1
        elif kind == BYTES:
            size, at = varint_at(sent, at)
            at += size
        else:
            at = _after(sent, at, kind)
    return at


def varint_at(sent: bytes, at: int) -> tuple[int, int]:
    """(the number that is written there, where it ends). Raises Malformed."""
    value = shift = 0
    while True:
        if at >= len(sent) or shift > 63:
            raise Malformed
        byte = sent[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def varint_bytes(number: int) -> bytes:
    """A number, 0 or more, as it is written."""
    written = bytearray()
    while number >= 0x80:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)
