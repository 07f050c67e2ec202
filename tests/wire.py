"""Protobuf by hand, for what no generated class would write."""

from __future__ import annotations


def varint(value: int) -> bytes:
    """`value`, 0 or more, in as few bytes as there are."""
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def body_of(*spans: bytes) -> bytes:
    """A request with one resource and one scope, both empty."""
    return field(1, field(2, b"".join(field(2, span) for span in spans)))
