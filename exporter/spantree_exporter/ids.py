"""Trace and span ids: bytes on the wire, hex for people, uuid and bigint in PostgreSQL.

In memory a trace id is its 16 bytes and a span id is the signed 64-bit integer that its 8 bytes are in
big-endian order, which is what the column holds: no conversion on the way to PostgreSQL.
"""

from __future__ import annotations

from spantree_exporter.errors import SpantreeError


class InvalidId(SpantreeError):
    """A text that is no trace or span id."""


def span_id_to_bytes(span_id: int) -> bytes:
    """The 8 bytes of the column's form."""
    return span_id.to_bytes(8, "big", signed=True)


def span_id_to_hex(span_id: int) -> str:
    """16 lower-case hex digits."""
    return f"{span_id & 0xFFFFFFFFFFFFFFFF:016x}"


def span_id_from_hex(text: str) -> int:
    """The column's form of 16 hex digits, in either case. Raises InvalidId."""
    raw = _from_hex(text, 8)
    if raw is not None:
        return int.from_bytes(raw, "big", signed=True)
    raise InvalidId(f"{text[:80]!r} is no span id: wanted 16 hex digits")


def trace_id_from_hex(text: str) -> bytes:
    """The 16 bytes of 32 hex digits, in either case, with or without the dashes of a UUID. Raises InvalidId."""
    raw = _from_hex(text.replace("-", ""), 16)
    if raw is not None:
        return raw
    raise InvalidId(f"{text[:80]!r} is no trace id: wanted 32 hex digits")


def node_id(span_id: int, ordinal: int) -> str:
    """A node's name in answers: the span id, and `.N` for each further node that shares the span id."""
    return f"{span_id & 0xFFFFFFFFFFFFFFFF:016x}.{ordinal}" if ordinal else f"{span_id & 0xFFFFFFFFFFFFFFFF:016x}"


def _from_hex(digits: str, size: int) -> bytes | None:
    if len(digits) != 2 * size:
        return None
    try:
        raw = bytes.fromhex(digits)
    except ValueError:
        return None
    # fromhex passes over spaces between digits
    return raw if len(raw) == size else None
