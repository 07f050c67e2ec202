"""JSON objects of any size, one after the other -> the elements of the lists in the outermost ones.

    {"resourceSpans": [ {...}, {...} ], "spantree": {...}}        ->  ("resourceSpans", {...}), ("resourceSpans", {...})
    {"data": [ {...}, {...} ]}                                    ->  ("data", {...}), ("data", {...})

What is in memory is one element, which may be `most_bytes` long. Nothing is decoded but strings that are keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, Final

# A whole string, whatever is in it; what nesting depends on; and a string that goes on beyond what was read.
_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]"]', re.DOTALL)
_READ_BYTES: Final = 1 << 20


class NotJson(ValueError):
    """The text is no JSON object, or an element of it is too long."""


def elements(file: BinaryIO, most_bytes: int) -> Iterator[tuple[str, bytes]]:
    """(key of the list, an element's own bytes), in their order. Raises NotJson where the document goes wrong."""
    buffer = b""
    base = at = depth = 0  # `base`: how much of the document is before the buffer
    key, text = "", b""
    element: int | None = None  # where the element began, in the buffer
    objects = 0
    while True:
        for token in _TOKEN.finditer(buffer, at):
            mark = token[0]
            if mark == b'"':
                at = token.start()
                break
            at = token.end()
            if mark in b"{[":
                depth += 1
                if depth == 1 and mark != b"{":
                    raise NotJson("the document is no JSON object")
                if depth == 2:
                    key = text[1:-1].decode(errors="replace") if mark == b"[" else ""
                elif depth == 3 and key and element is None:
                    element = token.start()
            elif mark in b"}]":
                depth -= 1
                if depth < 0:
                    raise NotJson(f"a bracket too many at byte {base + token.start()}")
                if depth == 2 and element is not None:
                    yield key, buffer[element:at]
                    element = None
                objects += depth == 0
            elif depth == 1:
                text = mark
        else:
            at = len(buffer)
        kept = at if element is None else element
        if len(buffer) - kept > most_bytes:
            raise NotJson(f"what begins at byte {base + kept} is longer than {most_bytes} bytes")
        more = file.read(_READ_BYTES)
        if not more:
            break
        buffer = buffer[kept:] + more
        base += kept
        at -= kept
        element = None if element is None else 0
    if depth or not objects:
        raise NotJson("the document ends before its outermost object does")
