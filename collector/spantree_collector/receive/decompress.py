"""Bounded decompression of request bodies, for every encoding that an OpenTelemetry Collector can be set to send.

    Content-Encoding         what it is                               sent by
    gzip                     RFC 1952                                 every SDK, and the Collector unless told otherwise
    deflate, zlib            RFC 1950 (zlib); bare RFC 1951, too      Collector `compression: deflate`, `zlib`
    zstd                     RFC 8878                                 Collector `compression: zstd`
    snappy, x-snappy-framed  one block, or the framing format         Collector `compression: snappy`, by its version
    lz4                      the frame format                         Collector `compression: lz4`

OTLP itself knows gzip only. Each is undone in steps and stops at its limit, whatever its header promises, and an empty
frame costs the sender a byte and us an object: their number is limited, too (CVE-2024-36129, GHSA-87m9-rv8p-rgmg).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Protocol

import cramjam
import lz4.frame
import zstandard

from spantree_collector.receive.inflate import GZIP, Inflation, too_large
from spantree_exporter.errors import MalformedRequest

DEFLATE: Final = "deflate"
ZSTD: Final = "zstd"
SNAPPY: Final = "snappy"
LZ4: Final = "lz4"

ENCODINGS: Final[Mapping[bytes, str]] = MappingProxyType(
    {
        b"": "",
        b"identity": "",
        b"gzip": GZIP,
        b"x-gzip": GZIP,
        b"deflate": DEFLATE,
        b"zlib": DEFLATE,
        b"zstd": ZSTD,
        b"snappy": SNAPPY,
        b"x-snappy-framed": SNAPPY,
        b"lz4": LZ4,
    }
)
"""Content-Encoding, in lower case -> what `Body.compression` says."""
ACCEPTED: Final = "gzip, deflate, zlib, zstd, snappy, x-snappy-framed, lz4, identity"
"""The same for a person, and for the header Accept-Encoding."""

# Frames of zstd and lz4, chunks of snappy: a sender makes them of 64 KiB or more, an attacker makes empty ones.
_MAX_FRAMES: Final = 100_000
# Go's zstd (klauspost/compress), which the Collector uses, has windows of 4 to 32 MiB by its level. zstd allocates what
# a frame asks for, so the limit is also the price of a small hostile body.
_ZSTD_MAX_WINDOW_BYTES: Final = 32 * 2**20
# zstd's Python binding inflates all that it is given. A run of 128 KiB takes four bytes at least, so a piece of this
# size becomes 16 MiB at most.
_ZSTD_PIECE_BYTES: Final = 512
_SNAPPY_STREAM: Final = b"\xff\x06\x00\x00sNaPpY"
# https://github.com/google/snappy/blob/main/framing_format.txt, section 4
_SNAPPY_COMPRESSED, _SNAPPY_PLAIN, _SNAPPY_FIRST_SKIPPABLE, _SNAPPY_STREAM_START = 0x00, 0x01, 0x80, 0xFF


class Decompression(Protocol):
    """One body being decompressed, in steps, so that the caller can stop, account or go to another thread between."""

    size_bytes: int
    """What has come out so far."""

    def advance(self, step_bytes: int) -> bool:
        """Decompress about `step_bytes` more; True when all is there.

        Raises BodyTooLarge, and MalformedRequest for what is of another format, is cut off or damaged.
        """
        ...

    def result(self) -> bytes:
        """The plain body, once `advance` was True."""
        ...


def decompression(payload: bytes, compression: str, max_bytes: int | None) -> Decompression:
    """The beginning of undoing `compression`, one of ENCODINGS' values but ""; `max_bytes` None: without a limit."""
    if compression == GZIP:
        return Inflation(payload, max_bytes)
    if compression == DEFLATE:
        return _Deflate(payload, max_bytes)
    if compression == ZSTD:
        return _Zstd(payload, max_bytes)
    if compression == LZ4:
        return _Lz4(payload, max_bytes)
    if compression == SNAPPY:
        # A stream in which nothing was written is empty, a block never is.
        framed = not payload or payload.startswith(_SNAPPY_STREAM)
        return _FramedSnappy(payload, max_bytes) if framed else _Snappy(payload, max_bytes)
    raise MalformedRequest(f'nothing here undoes the compression "{compression}"')


def decompress(payload: bytes, compression: str, max_bytes: int | None = None) -> bytes:
    """`payload` as it was before `compression`, "" included, in one go. Raises as `Decompression.advance` does."""
    if not compression:
        return payload
    work = decompression(payload, compression, max_bytes)
    while not work.advance(4 * 2**20):
        pass
    return work.result()


class _Parts:
    """What has come out, bounded."""

    def __init__(self, payload: bytes, max_bytes: int | None) -> None:
        self._payload = payload
        self._max_bytes = max_bytes
        self._parts: list[bytes] = []
        self._frames = 0
        self.size_bytes = 0

    def result(self) -> bytes:
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def _add(self, part: bytes) -> None:
        self.size_bytes += len(part)
        if self._max_bytes is not None and self.size_bytes > self._max_bytes:
            raise too_large(self._max_bytes)
        if part:
            self._parts.append(part)

    def _count_frame(self) -> None:
        self._frames += 1
        if self._frames > _MAX_FRAMES:
            raise MalformedRequest(f"the compressed body has more than {_MAX_FRAMES} frames; send it as one")


class _Deflate(_Parts):
    def __init__(self, payload: bytes, max_bytes: int | None) -> None:
        super().__init__(payload, max_bytes)
        # RFC 1950: the method in the low bits, and both bytes a multiple of 31. What has no such head is taken for a
        # bare RFC 1951 stream, which is what some senders understand by "deflate".
        has_head = payload[:1] != b"" and payload[0] & 0x0F == 8 and int.from_bytes(payload[:2], "big") % 31 == 0
        self._stream = zlib.decompressobj(wbits=zlib.MAX_WBITS if has_head else -zlib.MAX_WBITS)
        self._rest = payload

    def advance(self, step_bytes: int) -> bool:
        try:
            part = self._stream.decompress(self._rest, step_bytes)
        except zlib.error as error:
            raise _not_what_it_says(DEFLATE, error) from error
        self._add(part)
        self._rest = self._stream.unconsumed_tail
        if self._stream.eof:
            if self._stream.unused_data:
                raise MalformedRequest("the deflate body goes on after its end")
            return True
        if not self._rest and len(part) < step_bytes:
            raise _cut_off(DEFLATE)
        return False


class _Zstd(_Parts):
    def __init__(self, payload: bytes, max_bytes: int | None) -> None:
        super().__init__(payload, max_bytes)
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_MAX_WINDOW_BYTES)
        self._frame = self._decompressor.decompressobj()
        self._at = 0

    def advance(self, step_bytes: int) -> bool:
        until_bytes = self.size_bytes + step_bytes
        while self.size_bytes < until_bytes:
            piece = self._payload[self._at : self._at + _ZSTD_PIECE_BYTES]
            if not piece:
                raise _cut_off(ZSTD)
            self._at += len(piece)
            try:
                self._add(self._frame.decompress(piece))
            except zstandard.ZstdError as error:
                raise _not_what_it_says(ZSTD, error) from error
            if self._frame.eof:
                self._at -= len(self._frame.unused_data)
                if self._at == len(self._payload):
                    return True
                self._count_frame()
                self._frame = self._decompressor.decompressobj()
        return False


class _Lz4(_Parts):
    def __init__(self, payload: bytes, max_bytes: int | None) -> None:
        super().__init__(payload, max_bytes)
        self._frame = lz4.frame.LZ4FrameDecompressor()
        self._rest: bytes = payload

    def advance(self, step_bytes: int) -> bool:
        try:
            part = self._frame.decompress(self._rest, max_length=step_bytes)
        except RuntimeError as error:
            raise _not_what_it_says(LZ4, error) from error
        self._add(part)
        # What was not looked at yet is kept within.
        self._rest = b""
        if self._frame.eof:
            self._rest = self._frame.unused_data or b""
            if not self._rest:
                return True
            self._count_frame()
            self._frame = lz4.frame.LZ4FrameDecompressor()
        elif self._frame.needs_input:
            raise _cut_off(LZ4)
        return False


class _Snappy(_Parts):
    """One block, whose head tells its size."""

    def __init__(self, payload: bytes, max_bytes: int | None) -> None:
        super().__init__(payload, max_bytes)
        self._plain_bytes = _declared_bytes(payload)
        if max_bytes is not None and self._plain_bytes > max_bytes:
            raise too_large(max_bytes)
        self._deferred = False

    def advance(self, step_bytes: int) -> bool:
        if self._plain_bytes > step_bytes and not self._deferred:
            # A block cannot be undone in part, so a large one waits for a caller who has the time.
            self._deferred = True
            return False
        try:
            self._add(bytes(cramjam.snappy.decompress_raw(self._payload)))
        except cramjam.DecompressionError as error:
            raise _not_what_it_says(SNAPPY, error) from error
        return True


class _FramedSnappy(_Parts):
    def __init__(self, payload: bytes, max_bytes: int | None) -> None:
        super().__init__(payload, max_bytes)
        self._at = 0

    def advance(self, step_bytes: int) -> bool:
        until_bytes = self.size_bytes + step_bytes
        payload, size = self._payload, len(self._payload)
        while self.size_bytes < until_bytes:
            if self._at == size:
                return True
            self._count_frame()
            if self._at + 4 > size:
                raise _cut_off(SNAPPY)
            kind = payload[self._at]
            end = self._at + 4 + int.from_bytes(payload[self._at + 1 : self._at + 4], "little")
            if end > size:
                raise _cut_off(SNAPPY)
            if kind in (_SNAPPY_COMPRESSED, _SNAPPY_PLAIN):
                try:
                    # A stream of this chunk alone: its checksum is looked at, and 64 KiB is the most that comes out.
                    self._add(bytes(cramjam.snappy.decompress(_SNAPPY_STREAM + payload[self._at : end])))
                except cramjam.DecompressionError as error:
                    raise _not_what_it_says(SNAPPY, error) from error
            elif kind < _SNAPPY_FIRST_SKIPPABLE:
                raise MalformedRequest(f"the snappy body has a chunk of the unknown kind {kind}")
            elif kind == _SNAPPY_STREAM_START and payload[self._at : end] != _SNAPPY_STREAM:
                raise MalformedRequest("the snappy body has a stream identifier that is none")
            self._at = end
        return False


def _declared_bytes(block: bytes) -> int:
    """The size before compression, a varint at the head of a block."""
    size = 0
    for index, byte in enumerate(block[:5]):
        size |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return size
    raise MalformedRequest("the body is not the snappy that its content-encoding says: it begins with no size")


def _not_what_it_says(compression: str, error: Exception) -> MalformedRequest:
    return MalformedRequest(f"the body is not the {compression} that its content-encoding says: {error}")


def _cut_off(compression: str) -> MalformedRequest:
    return MalformedRequest(f"the {compression} body is cut off; its end is missing")
