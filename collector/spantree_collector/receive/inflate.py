"""Bounded gunzip: a body never becomes larger than its limit, whatever its header promises (CVE-2024-36129)."""

from __future__ import annotations

import zlib

from spantree_exporter.errors import MalformedRequest, SpantreeError

GZIP = "gzip"
"""The Content-Encoding that OTLP knows."""
# zlib's window for "gzip header expected", https://docs.python.org/3/library/zlib.html#zlib.decompressobj
_GZIP_WINDOW = 31
# A gzip file may have several members (RFC 1952, section 2.2), each of which costs a new decompressor.
_MAX_MEMBERS = 1_000
# Given out piece by piece: zlib copies what it has not consumed, and would copy all of it at each step and member.
_PIECE_BYTES = 64 * 2**10


class BodyTooLarge(SpantreeError):
    """The body is larger than this collector takes. Retrying cannot help; smaller batches do."""


def too_large(max_bytes: int) -> BodyTooLarge:
    """The error for a body, as sent or after decompression, of more than `max_bytes`."""
    return BodyTooLarge(
        f"the request body is larger than {max_bytes} bytes; send smaller batches, or raise SPANTREE_MAX_BODY_BYTES"
    )


class Inflation:
    """One gzip body being inflated, in steps, so that the caller can stop, account or go to another thread between."""

    def __init__(self, payload: bytes, max_bytes: int | None) -> None:
        self._max_bytes = max_bytes
        self._payload = payload
        self._at = 0
        self._rest = b""
        self._members = 1
        self._stream = zlib.decompressobj(wbits=_GZIP_WINDOW)
        self._parts: list[bytes] = []
        self.size_bytes = 0

    def advance(self, step_bytes: int) -> bool:
        """Inflate at most `step_bytes` more; True when all is inflated.

        Raises BodyTooLarge, and MalformedRequest for what is not gzip, is cut off or damaged.
        """
        until_bytes = self.size_bytes + step_bytes
        while self.size_bytes < until_bytes:
            if not self._rest:
                self._rest = self._payload[self._at : self._at + _PIECE_BYTES]
                self._at += len(self._rest)
            is_last = not self._rest
            try:
                part = self._stream.decompress(self._rest, until_bytes - self.size_bytes)
            except zlib.error as error:
                raise MalformedRequest(f"the body is not the gzip that its content-encoding says: {error}") from error
            self._rest = self._stream.unconsumed_tail
            if part:
                self.size_bytes += len(part)
                if self._max_bytes is not None and self.size_bytes > self._max_bytes:
                    raise too_large(self._max_bytes)
                self._parts.append(part)
            if self._stream.eof:
                self._at -= len(self._stream.unused_data)
                if self._at == len(self._payload):
                    return True
                self._begin_member()
            elif is_last and not part:
                raise MalformedRequest("the gzip body is cut off; its end is missing")
        return False

    def _begin_member(self) -> None:
        self._members += 1
        if self._members > _MAX_MEMBERS:
            raise MalformedRequest(f"the gzip body has more than {_MAX_MEMBERS} members; send it as one")
        self._stream = zlib.decompressobj(wbits=_GZIP_WINDOW)
        self._rest = b""

    def result(self) -> bytes:
        """The inflated body, once `advance` was True."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
