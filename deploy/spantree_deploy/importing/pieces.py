"""A large message of OTLP or Jaeger -> several: all of what it says beside its spans, and some of its spans.

    {"resource": R, "scopeSpans": [{"scope": S, "spans": [1, 2, 3]}]}
        ->  {"resource": R, "scopeSpans": [{"scope": S, "spans": [1, 2]}]}
            {"resource": R, "scopeSpans": [{"scope": S, "spans": [3]}]}

Decoded, spans take some twenty times their bytes, so that it is the decoded pieces that memory has to hold. Nothing is
decoded here. What is not of that form comes out as it is, for whoever decodes it to say what is wrong. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress, pairwise
from typing import Final, TypeAlias

from spantree_exporter.otlp.protobuf_fields import BYTES, Malformed, fields_of, varint_bytes

# Some 2,000 spans.
PIECE_BYTES: Final = 1 << 20

PathOfLists: TypeAlias = tuple[frozenset[str], ...]
"""The names of the lists, from the outermost on, that are cut; each may be written in either way."""

OF_TRACES: Final[PathOfLists] = (
    frozenset({"resourceSpans", "resource_spans"}),
    frozenset({"scopeSpans", "scope_spans"}),
    frozenset({"spans"}),
)
OF_LOGS: Final[PathOfLists] = (
    frozenset({"resourceLogs", "resource_logs"}),
    frozenset({"scopeLogs", "scope_logs"}),
    frozenset({"logRecords", "log_records"}),
)
OF_JAEGERS_TRACE: Final[PathOfLists] = (frozenset({"spans"}),)
OF_JAEGERS_DOWNLOAD: Final[PathOfLists] = (frozenset({"data"}), *OF_JAEGERS_TRACE)

# A string with what is escaped in it, or what nesting depends on.
_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]', re.DOTALL)
_BETWEEN: Final = re.compile(rb"\s*,\s*")


@dataclass(slots=True)
class _List:
    """A list in a text, from after its bracket to its end; in each element the list that the path goes on to."""

    opened: int
    closed: int = 0
    elements: list[tuple[int, int, _List | None]] = field(default_factory=list)


def cut_json(text: bytes, path: PathOfLists, piece_bytes: int = PIECE_BYTES) -> Iterator[bytes]:
    """The pieces of an object's JSON, of about so many bytes; an element that cannot be cut may be longer."""
    found = _list_of(text, path) if len(text) > piece_bytes else None
    if found is None:
        yield text
    else:
        yield from _pieces(text, 0, len(text), found, piece_bytes)


def _pieces(text: bytes, begin: int, end: int, found: _List, piece_bytes: int) -> Iterator[bytes]:
    """The pieces of an object that holds a list."""
    head, tail = text[begin : found.opened], text[found.closed : end]
    # What is repeated in each piece must not be what is large.
    if len(head) + len(tail) > piece_bytes:
        yield text[begin:end]
        return
    first, last, inner = found.elements[0]
    for start, stop, of_next in (*found.elements[1:], (end + piece_bytes, end, None)):
        if stop - first <= piece_bytes and start < end:
            last, inner = stop, None
            continue
        if inner is not None and last - first > piece_bytes:
            for piece in _pieces(text, first, last, inner, piece_bytes):
                yield head + piece + tail
        else:
            yield head + text[first:last] + tail
        first, last, inner = start, stop, of_next


def _list_of(text: bytes, path: PathOfLists) -> _List | None:
    """The object's list of the first name in `path`; None where it is no list of objects, or there twice."""
    if not any(b'"%s"' % name.encode() in text for name in path[0]):
        return None
    # Lists that are open: the object that holds the next one is 2 * level + 1 brackets deep.
    level = depth = 0
    key = b""
    begins = [0] * (len(path) + 1)
    lists = [_List(0) for _ in path]
    inner: list[_List | None] = [None] * (len(path) + 1)
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if mark in b"{[":
            depth += 1
            if depth == 2 * level + 1:
                begins[level], inner[level] = token.start(), None
            elif depth == 2 * level + 2 and mark == b"[" and _is_next(key, path, level):
                if inner[level] is not None:
                    return None  # twice: the last one counts
                lists[level] = _List(token.end())
                level += 1
        elif mark in b"}]":
            depth -= 1
            if level and depth == 2 * level:
                lists[level - 1].elements.append((begins[level], token.end(), inner[level]))
            elif level and depth == 2 * level - 1:
                level -= 1
                lists[level].closed = token.start()
                if not _is_whole(text, lists[level]):
                    return None
                inner[level] = lists[level] if lists[level].elements else None
        elif depth == 2 * level + 1:
            key = mark
    found = inner[0]
    return found if not depth else None


def _is_next(key: bytes, path: PathOfLists, level: int) -> bool:
    return level < len(path) and key[1:-1].decode(errors="replace") in path[level]


def _is_whole(text: bytes, found: _List) -> bool:
    """Whether there is nothing in a list but its elements."""
    if not found.elements:
        return True
    outside = (text[found.opened : found.elements[0][0]], text[found.elements[-1][1] : found.closed])
    between = pairwise(found.elements)
    return not any(map(bytes.strip, outside)) and all(_BETWEEN.fullmatch(text, a[1], b[0]) for a, b in between)


# resource_spans = 1 of TracesData, scope_spans = 2 of ResourceSpans, spans = 2 of ScopeSpans; of logs as well.
_NUMBERS: Final = (1, 2, 2)


def cut_protobuf(message: bytes, piece_bytes: int = PIECE_BYTES, numbers: Sequence[int] = _NUMBERS) -> Iterator[bytes]:
    """The pieces of a TracesData or LogsData, as of `cut_json`."""
    if not numbers or len(message) <= piece_bytes:
        yield message
        return
    try:
        fields = list(fields_of(message))
    except Malformed:
        yield message
        return
    of_list = [number == numbers[0] and kind == BYTES for number, kind, *_ in fields]
    rest = b"".join(
        message[start:end] for is_of_list, (_, _, start, _, end) in zip(of_list, fields, strict=True) if not is_of_list
    )
    # What is repeated in each piece must not be what is large.
    if not any(of_list) or len(rest) > piece_bytes:
        yield message
        return
    some: list[bytes] = []
    size = 0
    for _, _, start, content, end in compress(fields, of_list):
        if some and size + end - start > piece_bytes:
            yield rest + b"".join(some)
            some, size = [], 0
        if end - start > piece_bytes:
            tag = varint_bytes(numbers[0] << 3 | BYTES)
            for piece in cut_protobuf(message[content:end], piece_bytes, numbers[1:]):
                yield rest + tag + varint_bytes(len(piece)) + piece
            continue
        some.append(message[start:end])
        size += end - start
    if some:
        yield rest + b"".join(some)
