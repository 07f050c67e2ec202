"""Cursors: where a list goes on, as one opaque text.

    base64url( kind byte | position | 4 bytes of BLAKE2s over what stands before )

The check bytes are no secret: they turn a cut, mistyped or invented cursor into a clear refusal instead of a page
from nowhere. A cursor holds a position and no filter, so a caller may change `limit` on the way.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from spantree_api.errors import InvalidParameter

_CHECK_BYTES = 4
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EXECUTION = struct.Struct(">cq16s")
_SEQUENCE = struct.Struct(">cq")
_SPAN = struct.Struct(">cq16sq")
_GROUP = struct.Struct(">cq")


@dataclass(frozen=True, slots=True)
class ExecutionCursor:
    """After this execution, in the order of `started_ns` and `trace_id`, newest first."""

    started_ns: int
    trace_id: UUID

    def encode(self) -> str:
        """The text for `next_cursor`."""
        return _seal(_EXECUTION.pack(b"e", self.started_ns, self.trace_id.bytes))

    @classmethod
    def decode(cls, text: str) -> ExecutionCursor:
        """The position that `encode` wrote. Raises InvalidParameter."""
        body = _open(text)
        if len(body) != _EXECUTION.size or body[:1] != b"e":
            raise _refusal(text)
        _, started_ns, trace_id = _EXECUTION.unpack(body)
        return cls(started_ns, UUID(bytes=trace_id))


@dataclass(frozen=True, slots=True, order=True)
class OldestFirstCursor:
    """After this execution, in the order of `started_ns` and `trace_id`, oldest first."""

    started_ns: int
    trace_id: UUID

    def encode(self) -> str:
        """The text for `next_cursor`."""
        return _seal(_EXECUTION.pack(b"o", self.started_ns, self.trace_id.bytes))

    @classmethod
    def decode(cls, text: str) -> OldestFirstCursor:
        """The position that `encode` wrote. Raises InvalidParameter."""
        body = _open(text)
        if len(body) != _EXECUTION.size or body[:1] != b"o":
            raise _refusal(text)
        _, started_ns, trace_id = _EXECUTION.unpack(body)
        return cls(started_ns, UUID(bytes=trace_id))


@dataclass(frozen=True, slots=True)
class SpanCursor:
    """After this span, in the order of `started_ns`, `trace_id` and `span_id`, newest first."""

    started_ns: int
    trace_id: UUID
    span_id: int

    def encode(self) -> str:
        """The text for `next_cursor`."""
        return _seal(_SPAN.pack(b"n", self.started_ns, self.trace_id.bytes, self.span_id))

    @classmethod
    def decode(cls, text: str) -> SpanCursor:
        """The position that `encode` wrote. Raises InvalidParameter."""
        body = _open(text)
        if len(body) != _SPAN.size or body[:1] != b"n":
            raise _refusal(text)
        _, started_ns, trace_id, span_id = _SPAN.unpack(body)
        return cls(started_ns, UUID(bytes=trace_id), span_id)


@dataclass(frozen=True, slots=True)
class SequenceCursor:
    """After the node of this sequence number in its execution."""

    sequence: int

    def encode(self) -> str:
        """The text for `next_cursor`."""
        return _seal(_SEQUENCE.pack(b"s", self.sequence))

    @classmethod
    def decode(cls, text: str) -> SequenceCursor:
        """The position that `encode` wrote. Raises InvalidParameter."""
        body = _open(text)
        if len(body) != _SEQUENCE.size or body[:1] != b"s":
            raise _refusal(text)
        return cls(_SEQUENCE.unpack(body)[1])


@dataclass(frozen=True, slots=True)
class GroupCursor:
    """After this group of failures, in the order of `last_seen_ns` and `fingerprint`, last seen first."""

    last_seen_ns: int
    fingerprint: str

    def encode(self) -> str:
        """The text for `next_cursor`."""
        return _seal(_GROUP.pack(b"g", self.last_seen_ns) + self.fingerprint.encode())

    @classmethod
    def decode(cls, text: str) -> GroupCursor:
        """The position that `encode` wrote. Raises InvalidParameter."""
        body = _open(text)
        if len(body) < _GROUP.size or body[:1] != b"g":
            raise _refusal(text)
        try:
            return cls(_GROUP.unpack(body[: _GROUP.size])[1], body[_GROUP.size :].decode())
        except UnicodeDecodeError as error:
            raise _refusal(text) from error


@dataclass(frozen=True, slots=True)
class MomentCursor:
    """After this row, in the order of a moment and an id, newest first."""

    moment: datetime
    id: UUID

    def encode(self) -> str:
        """The text for `next_cursor`."""
        return _seal(_EXECUTION.pack(b"m", (self.moment - _EPOCH) // timedelta(microseconds=1), self.id.bytes))

    @classmethod
    def decode(cls, text: str) -> MomentCursor:
        """The position that `encode` wrote. Raises InvalidParameter."""
        body = _open(text)
        if len(body) != _EXECUTION.size or body[:1] != b"m":
            raise _refusal(text)
        _, microseconds, of_row = _EXECUTION.unpack(body)
        try:
            return cls(_EPOCH + timedelta(microseconds=microseconds), UUID(bytes=of_row))
        except OverflowError as error:
            raise _refusal(text) from error


def _seal(body: bytes) -> str:
    sealed = body + hashlib.blake2s(body, digest_size=_CHECK_BYTES).digest()
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode("ascii")


def _open(text: str) -> bytes:
    try:
        sealed = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError as error:  # binascii.Error and UnicodeEncodeError are ValueErrors
        raise _refusal(text) from error
    # base64 leaves some bits of its last character unused: only the text that was given out is taken back.
    if base64.urlsafe_b64encode(sealed).rstrip(b"=").decode("ascii") != text:
        raise _refusal(text)
    body, check = sealed[:-_CHECK_BYTES], sealed[-_CHECK_BYTES:]
    if hashlib.blake2s(body, digest_size=_CHECK_BYTES).digest() != check:
        raise _refusal(text)
    return body


def _refusal(text: str) -> InvalidParameter:
    return InvalidParameter(
        "cursor", f"{text[:80]!r} is no cursor of this list: wanted the next_cursor of its previous page, unchanged"
    )
