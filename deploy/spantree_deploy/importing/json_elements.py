"""JSON objects of any size, one after the other -> the elements of the lists in the outermost ones.

    {"resourceSpans": [ {...}, {...} ], "spantree": {...}}        ->  ("resourceSpans", {...}), ("resourceSpans", {...})
    {"data": [ {...}, {...} ]}                                    ->  ("data", {...}), ("data", {...})

What is in memory is one element, which may be `most_bytes` long. Nothing is decoded but strings that are keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, Final

# All that nesting depends on: strings are skipped whole, whatever is in them.
_MARK: Final = re.compile(rb'["\\{}\[\],:]')
_READ_BYTES: Final = 1 << 20


class NotJson(ValueError):
    """The text is no JSON object, or an element of it is too long."""


def elements(file: BinaryIO, most_bytes: int) -> Iterator[tuple[str, bytes]]:
    """(key of the list, an element's own bytes), in their order. Raises NotJson where the document goes wrong."""
    buffer = b""
    base = at = depth = 0  # `base`: how much of the document is before the buffer
    in_string = False
    string_start = 0
    key, text = "", ""
    element: int | None = None  # where the element began, in the buffer
    objects = 0
    while True:
        found = _MARK.search(buffer, at)
        if found is None:
            kept = element if element is not None else (string_start if in_string else len(buffer))
            if len(buffer) - kept > most_bytes:
                raise NotJson(f"what begins at byte {base + kept} is longer than {most_bytes} bytes")
            more = file.read(_READ_BYTES)
            if not more:
                break
            at = len(buffer) - kept
            base += kept
            string_start -= kept
            element = None if element is None else element - kept
            buffer = buffer[kept:] + more
            continue
        at = found.end()
        mark = found[0]
        if in_string:
            if mark == b"\\":
                if at == len(buffer):
                    buffer += file.read(1)
                at += 1
            elif mark == b'"':
                in_string = False
                if depth == 1:
                    text = buffer[string_start : at - 1].decode(errors="replace")
        elif mark == b'"':
            in_string, string_start = True, at
        elif mark in b"{[":
            depth += 1
            if depth == 1 and mark != b"{":
                raise NotJson("the document is no JSON object")
            if depth == 2:
                key = text if mark == b"[" else ""
            elif depth == 3 and key and element is None:
                element = at - 1
        elif mark in b"}]":
            depth -= 1
            if depth < 0:
                raise NotJson(f"a bracket too many at byte {base + at - 1}")
            if depth == 2 and element is not None:
                yield key, buffer[element:at]
                element = None
            objects += depth == 0
    if depth or not objects:
        raise NotJson("the document ends before its outermost object does")
