"""A file -> bodies of OTLP, whatever its form and however large; what is no body is told instead.

    JSON lines        a TracesData or LogsData on each line: the Collector's file exporter, our own archive and export
    one JSON object   the same in one document, or Jaeger's download {"data": [...]}
    protobuf          one TracesData; or several, each after its length: a varint (OTLP's file exporter) or four bytes,
                      big-endian (the Collector's), each of these perhaps compressed by itself

All of it plain, or as gzip or zstd. What is in memory is one line, one element of a list or one message, as bytes; the
bodies that come of a large one are pieces of it.
"""

from __future__ import annotations

import base64
import gzip
import io
import re
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

import orjson

from spantree_collector.receive.object_budget import check_objects
from spantree_deploy.importing.json_elements import NotJson, elements
from spantree_deploy.importing.pieces import (
    OF_JAEGERS_DOWNLOAD,
    OF_JAEGERS_TRACE,
    OF_LOGS,
    OF_TRACES,
    PIECE_BYTES,
    PathOfLists,
    cut_json,
    cut_protobuf,
)
from spantree_exporter.errors import SpantreeError
from spantree_exporter.foreign.jaeger_json import traces_of
from spantree_exporter.otlp.decode import JSON, PROTOBUF
from spantree_exporter.otlp.decode_logs import LOGS_JSON
from spantree_exporter.otlp.deep_json import loads_any
from spantree_exporter.otlp.encode_json import BYTES, OURS
from spantree_exporter.otlp.protobuf_fields import varint_bytes

if TYPE_CHECKING:
    from typing_extensions import Buffer

# A line, an element or a message: what the collector takes in one request.
MOST_BYTES: Final = 64 * 2**20
# A first line that is longer is not read whole to see what it is.
_FIRST_LINE_BYTES: Final = 8 * 2**20
# Real spans become a fortieth or so by compression, for their ids and times differ. Of what says nothing a kilobyte may
# become gigabytes, which take as long to look through. So much of any file is read all the same.
_MOST_RATIO: Final = 100
_ANY_RATIO_BYTES: Final = 4 * 2**20
# 64 MiB of real traces hold two million at most; of spans without anything 16 kB of gzip would hold forty.
MOST_OBJECTS: Final = 4_000_000
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_UTF8_MARK: Final = b"\xef\xbb\xbf"
# What PowerShell's `>` writes. With a character of JSON, for two bytes alone may be the length of a message.
_UTF16: Final = re.compile(rb"\xff\xfe[\s{\[]\0|\xfe\xff\0[\s{\[]|[{\[]\0")
_LISTS: Final = ("resourceSpans", "resource_spans", "resourceLogs", "resource_logs", "data")
_PATHS: Final = (OF_TRACES, OF_LOGS, OF_JAEGERS_DOWNLOAD, OF_JAEGERS_TRACE)
_OURS_KEY: Final = f'"{OURS}"'.encode()
_MESSAGE_TAG: Final = 0x0A  # resource_spans = 1, length-delimited
_LENGTH_BYTES: Final = 4
_FIRST_OF_MESSAGES: Final = (bytes([_MESSAGE_TAG]), _ZSTD[:1], b"{", b"")
_NO_FORM: Final = "it is none of what can be read: OTLP as JSON lines, JSON or protobuf, Jaeger's JSON (docs/import.md)"


@dataclass(frozen=True, slots=True)
class Body:
    """A request as a collector could have got it. `ours` is what our own lines tell beside OTLP."""

    where: str
    body: bytes
    encoding: str
    ours: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Bad:
    """A part of a file that holds no spans that can be read, and why."""

    where: str
    reason: str


def bodies(path: Path, most_bytes: int = MOST_BYTES) -> Iterator[Body | Bad]:
    """All of a file, in its order. Raises OSError; SpantreeError where it is compressed and cannot be read."""
    try:
        for part in _parts(path, most_bytes):
            yield part if isinstance(part, Bad) else _bounded(part)
    except _TooCompressed:
        yield Bad(
            str(path.name), f"it becomes more than {_MOST_RATIO} times as long, as no spans do: it is read no further"
        )
    except _of_compressed() as error:
        yield Bad(str(path.name), f"the compressed file ends or breaks here: {error}")


def _bounded(part: Body) -> Body | Bad:
    if not _is_bounded(part.body, part.encoding):
        return Bad(part.where, f"it holds more than {MOST_OBJECTS} spans, attributes and values")
    return part


def _is_bounded(body: bytes, encoding: str) -> bool:
    try:
        check_objects(body, encoding, MOST_OBJECTS)
    except SpantreeError:
        return False
    return True


def _in_pieces(whole: Body, path: PathOfLists = ()) -> Iterator[Body | Bad]:
    """A request, or several that hold some of its spans each; `path` leads to them in JSON."""
    checked = _bounded(whole)
    if isinstance(checked, Bad):
        yield checked
        return
    pieces = cut_json(whole.body, path) if path else cut_protobuf(whole.body)
    for piece in pieces:
        yield Body(whole.where, piece, whole.encoding)


def _parts(path: Path, most_bytes: int) -> Iterator[Body | Bad]:
    with path.open("rb") as raw, _plain(raw) as file:
        if file.peek(3)[:3] == _UTF8_MARK:
            file.read(3)
        start = file.peek(64)[:64]
        if not start:
            return
        if _UTF16.match(start):
            yield Bad("the file", "it is UTF-16, wanted is UTF-8: iconv -f UTF-16 -t UTF-8 makes that of it")
            return
        if start.lstrip()[:1] in (b"{", b"["):
            yield from _json(file, most_bytes)
        elif start[0] == _MESSAGE_TAG:
            yield from _one_message(file, most_bytes)
        else:
            yield from _messages(file, start[0] == 0, most_bytes)


def _plain(raw: BinaryIO) -> io.BufferedReader:
    reader = cast("io.BufferedReader", raw)
    start = reader.peek(4)[:4]
    if start.startswith(_GZIP):
        return io.BufferedReader(_Expanded(cast("Any", gzip.GzipFile(fileobj=reader)), reader))
    if start == _ZSTD:
        expanded = _zstd().ZstdDecompressor().stream_reader(reader, read_across_frames=True)
        return io.BufferedReader(_Expanded(expanded, reader))
    return reader


class _TooCompressed(Exception):
    """The file becomes too long for what it is."""


class _Expanded(io.RawIOBase):
    """What a compressed file holds, as long as it is not too much for its length."""

    def __init__(self, expanded: BinaryIO, compressed: BinaryIO) -> None:
        self._expanded = expanded
        self._compressed = compressed
        self._bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer)
        found = self._expanded.read(len(view))
        view[: len(found)] = found
        self._bytes += len(found)
        if self._bytes > max(_ANY_RATIO_BYTES, _MOST_RATIO * self._compressed.tell()):
            raise _TooCompressed
        return len(found)


def _of_compressed() -> tuple[type[Exception], ...]:
    """What reading a compressed file that is broken raises; zstandard is there only where one is read with it."""
    zstandard = sys.modules.get("zstandard")
    return (EOFError, zlib.error, gzip.BadGzipFile, *((zstandard.ZstdError,) if zstandard is not None else ()))


def _zstd() -> Any:
    try:
        import zstandard
    except ImportError:
        raise SpantreeError(
            'the file is compressed by zstd, which needs a package: pip install "spantree[collector]", or decompress it'
        ) from None
    return zstandard


# ---- JSON ----------------------------------------------------------------------------------------------------------


def _json(file: io.BufferedReader, most_bytes: int) -> Iterator[Body | Bad]:
    size = min(most_bytes, _FIRST_LINE_BYTES)
    first = file.readline(size)
    while first and not first.strip():
        first = file.readline(size)
    whole = _Rejoined(first, file)
    if _is_object(first):
        yield from _lines(whole, most_bytes)
        return
    if first.endswith(b"\n") and file.peek(64).startswith((b'{"resourceSpans"', b'{"resourceLogs"')):
        # A line that was cut off, before others.
        yield from _lines(whole, most_bytes)
        return
    try:
        yield from _document(whole, most_bytes)
    except NotJson as error:
        yield Bad("the document", str(error))


def _is_object(line: bytes) -> bool:
    """Whether the line is whole: Jaeger's download, or a document in one line, is read as a line as well."""
    if not line.rstrip().endswith(b"}"):
        return False
    try:
        found = _read(line)
    except ValueError:
        return False
    return isinstance(found, dict)


def _read(text: bytes) -> Any:
    """What JSON says. Raises ValueError where it is none, or more than is read."""
    try:
        check_objects(text, JSON, MOST_OBJECTS)
    except SpantreeError:
        raise ValueError(f"it holds more than {MOST_OBJECTS} objects, lists and members") from None
    try:
        return loads_any(text)
    except ValueError as error:
        raise ValueError(f"it is no JSON: {error}") from error


def _lines(file: _Rejoined, most_bytes: int) -> Iterator[Body | Bad]:
    number = 0
    while line := file.readline(most_bytes + 1):
        number += 1
        if len(line) > most_bytes:
            yield Bad(f"line {number}", f"it is longer than {most_bytes} bytes")
            while line and not line.endswith(b"\n"):
                line = file.readline(most_bytes)
            continue
        if line.strip():
            yield from _object(f"line {number}", line)


def _object(where: str, text: bytes) -> Iterator[Body | Bad]:
    # What our own lines tell of their spans is of all of them.
    paths = _PATHS if len(text) > PIECE_BYTES and _OURS_KEY not in text and _is_bounded(text, JSON) else ()
    for path in paths:
        pieces = cut_json(text, path)
        first = next(pieces)
        if len(first) < len(text):
            for number, piece in enumerate(chain((first,), pieces), 1):
                yield from _whole_object(f"{where}, piece {number}", piece)
            return
    yield from _whole_object(where, text)


def _whole_object(where: str, text: bytes) -> Iterator[Body | Bad]:
    try:
        found = _read(text)
    except ValueError as error:
        yield Bad(where, str(error))
        return
    match found:
        case {"resourceSpans": list()} | {"resource_spans": list()}:
            yield from _ours(where, text, found.get(OURS))
        case {"resourceLogs": list()} | {"resource_logs": list()}:
            told = found.get(OURS)
            yield Body(where, text, LOGS_JSON, told if isinstance(told, dict) else None)
        case {"data": list(traces)}:
            for number, trace in enumerate(traces, 1):
                yield from _jaeger(f"{where}, trace {number}", trace)
        case {"spans": list(), "processes": dict()}:
            yield from _jaeger(where, found)
        case {"resourceMetrics": _} | {"resource_metrics": _}:
            yield Bad(where, "it holds metrics, which are not kept here")
        case _:
            keys = ", ".join(list(found)[:5]) if isinstance(found, dict) else type(found).__name__
            yield Bad(where, f"it is neither OTLP nor Jaeger's JSON; it has {keys[:200]}")


def _ours(where: str, text: bytes, ours: Any) -> Iterator[Body | Bad]:
    """A line of OTLP; of ours, it may hold a request that JSON cannot."""
    if not isinstance(ours, dict):
        yield Body(where, text, JSON)
    elif isinstance(encoded := ours.get(BYTES), str):
        try:
            yield Body(where, base64.b64decode(encoded, validate=True), PROTOBUF, ours)
        except ValueError as error:
            yield Bad(where, f"its {OURS}.{BYTES} is no base64: {error}")
    else:
        yield Body(where, text, JSON, ours)


def _document(file: _Rejoined, most_bytes: int) -> Iterator[Body | Bad]:
    is_known = False
    for number, (key, element) in enumerate(elements(cast("BinaryIO", file), most_bytes), 1):
        is_known = is_known or key in _LISTS
        match key:
            case "resourceSpans" | "resource_spans":
                yield from _in_pieces(Body(f"{key} {number}", b'{"resourceSpans":[' + element + b"]}", JSON), OF_TRACES)
            case "resourceLogs" | "resource_logs":
                yield from _in_pieces(
                    Body(f"{key} {number}", b'{"resourceLogs":[' + element + b"]}", LOGS_JSON), OF_LOGS
                )
            case "data":
                pieces = cut_json(element, OF_JAEGERS_TRACE) if _is_bounded(element, JSON) else (element,)
                for part, piece in enumerate(pieces, 1):
                    yield from _jaeger_text(f"trace {number}" + (f", piece {part}" if part > 1 else ""), piece)
    if not is_known:
        yield Bad("the document", f"it has none of {', '.join(_LISTS)}, in UTF-8, with anything in it")


def _jaeger_text(where: str, text: bytes) -> Iterator[Body | Bad]:
    try:
        trace = _read(text)
    except ValueError as error:
        yield Bad(where, str(error))
        return
    yield from _jaeger(where, trace)


def _jaeger(where: str, trace: Any) -> Iterator[Body | Bad]:
    try:
        if not isinstance(trace, dict):
            raise ValueError("it is no object")
        told, faults = traces_of(trace)
        body = orjson.dumps(told)
    except (ValueError, TypeError) as error:
        yield Bad(where, f"it is no trace of Jaeger's: {error}")
        return
    for fault in faults:
        yield Bad(where, fault)
    yield Body(where, body, JSON)


class _Rejoined:
    """A file whose first line has been read already."""

    def __init__(self, first: bytes, file: io.BufferedReader) -> None:
        self._first = first
        self._file = file

    def readline(self, size: int) -> bytes:
        if not self._first:
            return self._file.readline(size)
        first, self._first = self._first, b""
        if not first.endswith(b"\n") and len(first) < size:
            first += self._file.readline(size - len(first))
        return first

    def read(self, size: int) -> bytes:
        if self._first:
            first, self._first = self._first[:size], self._first[size:]
            return first
        return self._file.read(size)


# ---- protobuf ------------------------------------------------------------------------------------------------------


def _one_message(file: io.BufferedReader, most_bytes: int) -> Iterator[Body | Bad]:
    """A TracesData, field by field: messages of one type laid end to end are one message with the fields of all."""
    number = 0
    while (tag := file.read(1)) != b"":
        number += 1
        where = f"resource_spans {number}"
        length = _varint(file)
        if tag[0] != _MESSAGE_TAG or length is None:
            yield Bad(where, f"it is no TracesData in protobuf: field {tag[0] >> 3} of wire type {tag[0] & 7}")
            return
        if length > most_bytes:
            yield Bad(where, f"it is longer than {most_bytes} bytes")
            return
        content = file.read(length)
        if len(content) < length:
            yield Bad(where, f"the file ends within it: {len(content)} of {length} bytes are there")
            return
        yield from _in_pieces(Body(where, tag + varint_bytes(length) + content, PROTOBUF))


def _messages(file: io.BufferedReader, fixed: bool, most_bytes: int) -> Iterator[Body | Bad]:
    """Messages, each after its length."""
    number = 0
    while file.peek(1):
        number += 1
        where = f"message {number}"
        length = _fixed(file) if fixed else _varint(file)
        if number == 1 and length and file.peek(1)[:1] not in _FIRST_OF_MESSAGES:
            yield Bad("the file", _NO_FORM)
            return
        if length is None or length > most_bytes:
            yield Bad(where, "its length is none" if length is None else f"it is longer than {most_bytes} bytes")
            return
        content = file.read(length)
        if len(content) < length:
            yield Bad(where, f"the file ends within it: {len(content)} of {length} bytes are there")
            return
        if content.startswith(_ZSTD):
            # It is what a frame says of its length that is allocated.
            if _zstd().frame_content_size(content) > most_bytes:
                yield Bad(where, f"it is longer than {most_bytes} bytes")
                continue
            content = _zstd().ZstdDecompressor().decompress(content, max_output_size=most_bytes)
        if content.startswith(b"{"):
            yield from _object(where, content)
        elif content:
            yield from _in_pieces(Body(where, content, PROTOBUF))


def _fixed(file: io.BufferedReader) -> int | None:
    read = file.read(_LENGTH_BYTES)
    return int.from_bytes(read, "big") if len(read) == _LENGTH_BYTES else None


def _varint(file: io.BufferedReader) -> int | None:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    return None
