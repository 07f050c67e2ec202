"""What spans are found by, wherever it is: terms, 32 bits of each thing that a span says. Pure.

    of an attribute   `key = value` of the span, its scope, its events or its links
    of a name         that of the span
    of an error       a status that is one

A hash only says what may match: whoever searches compares the spans found. It says so for every match: equal values
have equal terms. A number has the term of its value, 5.0 that of 5; long texts that of their beginning; lists, objects
and null share one for each key. terms/segment.py stores them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final
from zlib import crc32

from spantree_exporter.span import STATUS_ERROR, Attributes, JsonValue, Span

# Of a value, more is not looked at.
VALUE_CHARS: Final = 200
_NAME: Final = b"\x00name\x00"
_ERROR: Final = crc32(b"\x00error\x00")
_FRACTION: Final = struct.Struct("<d")


def attribute_term(key: str, value: JsonValue) -> int:
    """The term of an attribute with this value."""
    return crc32(key.encode() + b"\x00" + _bytes_of(value))


def text_terms(key: str, text: str) -> set[int]:
    """The terms of an attribute whose value is, or is written, as `text`: as the database writes jsonb as text."""
    terms = {crc32(key.encode() + b"\x00" + text[:VALUE_CHARS].encode(errors="replace"))}
    if text[:1] in "[{":
        terms.add(attribute_term(key, None))
    try:
        number = float(text)
        terms.add(attribute_term(key, int(text) if text.strip("+-").isdigit() else number))
    except (ValueError, OverflowError):
        pass
    return terms


def name_term(name: str) -> int:
    """The term of a span with this name."""
    return crc32(_NAME + name[:VALUE_CHARS].encode(errors="replace"))


def error_term() -> int:
    """The term of a span whose status is an error."""
    return _ERROR


def terms_of(span: Span) -> Iterator[int]:
    """The terms of a span, some more than once."""
    yield name_term(span.name)
    if span.status_code == STATUS_ERROR:
        yield _ERROR
    for attributes in _all_attributes(span):
        for key, value in attributes.items():
            yield attribute_term(key, value)


def _all_attributes(span: Span) -> Iterator[Attributes]:
    yield span.attributes
    yield span.scope.attributes
    for event in span.events:
        yield event.attributes
    for link in span.links:
        yield link.attributes


def _bytes_of(value: JsonValue) -> bytes:
    if isinstance(value, str):
        return value[:VALUE_CHARS].encode(errors="replace")
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, int):
        return b"%d" % value
    if isinstance(value, float):
        # A fraction's shortest digits cost more than all else here.
        return b"%d" % int(value) if value.is_integer() else _FRACTION.pack(value)
    return b"\x00"
