"""Bounded gunzip: a body never becomes larger than its limit, whatever its header promises (CVE-2024-36129)."""

from __future__ import annotations

import zlib

from spantree_exporter.errors import MalformedRequest, SpantreeError

GZIP = "gzip"
"""The Content-Encoding that OTLP knows."""
# zlib's window for "gzip header expected", https://docs.python.org/3/library/zlib.html#zlib.decompressobj
_GZIP_WINDOW = 31


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
        self._rest = payload
        self._stream = zlib.decompressobj(wbits=_GZIP_WINDOW)
        self._parts: list[bytes] = []
        self.size_bytes = 0

    def advance(self, step_bytes: int) -> bool:
        """Inflate at most `step_bytes` more; True when all is inflated.

        Raises BodyTooLarge, and MalformedRequest for what is not gzip, is cut off or damaged.
        """
        try:
            part = self._stream.decompress(self._rest, step_bytes)
        except zlib.error as error:
            raise MalformedRequest(f"the body is not the gzip that its content-encoding says: {error}") from error
        self.size_bytes += len(part)
        if self._max_bytes is not None and self.size_bytes > self._max_bytes:
            raise too_large(self._max_bytes)
        self._parts.append(part)
        if self._stream.eof:
            self._rest = self._stream.unused_data
            if not self._rest:
                return True
            # A gzip file may have several members (RFC 1952, section 2.2).
            self._stream = zlib.decompressobj(wbits=_GZIP_WINDOW)
            return False
        self._rest = self._stream.unconsumed_tail
        if not self._rest and len(part) < step_bytes:
            raise MalformedRequest("the gzip body is cut off; its end is missing")
        return False

    def result(self) -> bytes:
        """The inflated body, once `advance` was True."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)


def gunzip(payload: bytes, max_bytes: int | None = None) -> bytes:
    """`payload` inflated in one go. Raises as `Inflation.advance` does."""
    inflation = Inflation(payload, max_bytes)
    while not inflation.advance(4 * 2**20):
        pass
    return inflation.result()
