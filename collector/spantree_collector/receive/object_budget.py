"""What a body would cost once it is decoded, known before it is: the number of objects in it, not its size.

A span of two bytes and one of a megabyte both become a Python object with some twenty fields, so 16 kB of gzip can hold
eight million spans. The limit counts units:

    5   a resource, a scope, a span          (measured: 1.2 kB a span, 0.4 kB an attribute)
    4   an event, a link
    1   an attribute, a value within an array or a map

Most bodies are told to be within the budget by their length. Others are read frame by frame, which stops as soon as
the budget is spent: in C, without the interpreter's lock (native/budget.c), or, where that is not built, in Python,
and only where counting bytes, at the speed of memory, leaves it open.
"""

from __future__ import annotations

import re
from typing import Final

from spantree_collector.receive.inflate import BodyTooLarge
from spantree_exporter import hot_path
from spantree_exporter.otlp.decode import JSON
from spantree_exporter.otlp.decode_logs import LOGS_JSON
from spantree_exporter.otlp.signals import is_logs

SPAN_UNITS: Final = 5
"""What a span costs, and a resource, and a scope."""
_EVENT_UNITS: Final = 4
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# Readers pass over a group and go on after it, so what is in it counts as if it were not.
_GROUP = (3, 4)

_REQUEST, _RESOURCE_SPANS, _RESOURCE, _SCOPE_SPANS, _SCOPE, _SPAN, _EVENT, _LINK, _KEY_VALUE, _VALUE, _ARRAY, _MAP = (
    range(12)
)
# The same for logs/v1/logs.proto; what is not named is shared.
_LOGS_REQUEST, _RESOURCE_LOGS, _SCOPE_LOGS, _LOG_RECORD = range(12, 16)
# message -> its fields that hold messages: the number -> which message, and its units. opentelemetry-proto
# trace/v1/trace.proto, common/v1/common.proto, resource/v1/resource.proto.
_FIELDS: Final[dict[int, dict[int, tuple[int, int]]]] = {
    _REQUEST: {1: (_RESOURCE_SPANS, SPAN_UNITS)},
    _RESOURCE_SPANS: {1: (_RESOURCE, 0), 2: (_SCOPE_SPANS, SPAN_UNITS)},
    _RESOURCE: {1: (_KEY_VALUE, 1)},
    _SCOPE_SPANS: {1: (_SCOPE, 0), 2: (_SPAN, SPAN_UNITS)},
    _SCOPE: {3: (_KEY_VALUE, 1)},
    _SPAN: {9: (_KEY_VALUE, 1), 11: (_EVENT, _EVENT_UNITS), 13: (_LINK, _EVENT_UNITS)},
    _EVENT: {3: (_KEY_VALUE, 1)},
    _LINK: {4: (_KEY_VALUE, 1)},
    _KEY_VALUE: {2: (_VALUE, 0)},
    _VALUE: {5: (_ARRAY, 0), 6: (_MAP, 0)},
    _ARRAY: {1: (_VALUE, 1)},
    _MAP: {1: (_KEY_VALUE, 1)},
    _LOGS_REQUEST: {1: (_RESOURCE_LOGS, SPAN_UNITS)},
    _RESOURCE_LOGS: {1: (_RESOURCE, 0), 2: (_SCOPE_LOGS, SPAN_UNITS)},
    _SCOPE_LOGS: {1: (_SCOPE, 0), 2: (_LOG_RECORD, SPAN_UNITS)},
    _LOG_RECORD: {5: (_VALUE, 0), 6: (_KEY_VALUE, 1)},
}
_FRAMES: Final = frozenset({_REQUEST, _RESOURCE_SPANS, _SCOPE_SPANS, _LOGS_REQUEST, _RESOURCE_LOGS, _SCOPE_LOGS})
# Fields 1 and 2 of the messages that frame spans, in however many bytes the tag is written.
_FRAME_TAGS: Final = bytes([0x0A, 0x12, 0x8A, 0x92])
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_JSON_STRING: Final = re.compile(_STRING, re.DOTALL)
# What looks for strings must not begin again within one that has no end: in each of its quotes, to the end each time.
_WHOLE_STRINGS: Final = re.compile(rb'(?:[^"]*+' + _STRING + rb')*+[^"]*+', re.DOTALL)
# One call of `re` keeps the interpreter's lock: of 30 MB at once all other requests would wait for half a second.
_JSON_PIECE_BYTES: Final = 64 * 2**10
_COUNTED_PIECE_BYTES: Final = 2**20
# Fields that hold no message cost nothing to decode and time to step over: an attribute has three for its one unit.
_STEPS_PER_UNIT: Final = 4


def check_objects(body: bytes, encoding: str, max_units: int) -> None:
    """Raise BodyTooLarge where `body`, inflated, holds more than `max_units`. Costs no more than the budget allows."""
    if encoding in (JSON, LOGS_JSON):
        within = _json_within(body, max_units)
    else:
        within = _protobuf_within(body, max_units, _LOGS_REQUEST if is_logs(encoding) else _REQUEST)
    if not within:
        raise too_many_objects(max_units)


def too_many_objects(max_units: int) -> BodyTooLarge:
    """The error for a body of more than `max_units`."""
    return BodyTooLarge(
        f"the request holds more than {max_units} objects (an attribute or a value counts as 1, an event or a link as "
        f"{_EVENT_UNITS}, a span, a log record, a scope or a resource as {SPAN_UNITS}); send smaller batches, or raise "
        "SPANTREE_MAX_BODY_OBJECTS"
    )


def frames_at_most(body: bytes, encoding: str) -> int:
    """No fewer than the resources, scopes and spans in `body`: the bytes that can begin one, counted."""
    return _count_of(body, b"{" if encoding == JSON else _FRAME_TAGS)


def _count_of(body: bytes, marks: bytes) -> int:
    """How many bytes of `body` are one of `marks`; other threads go on between two pieces."""
    count = 0
    for at in range(0, len(body), _COUNTED_PIECE_BYTES):
        piece = body[at : at + _COUNTED_PIECE_BYTES]
        count += len(piece) - len(piece.translate(None, marks))
    return count


def _protobuf_within(body: bytes, max_units: int, request: int) -> bool:
    # The cheapest way to a unit is a span of two bytes.
    if len(body) // 2 * SPAN_UNITS <= max_units:
        return True
    if hot_path.native is not None:
        units = hot_path.native.object_units(body, request == _LOGS_REQUEST, max_units)
        if units is not None:
            return units <= max_units
    frame_units = _spent_units(body, max_units, request, frames_only=True)
    if frame_units > max_units:
        return False
    most_units = frame_units + sum(units * _count_of(body, tags) for units, tags in _INNER_TAGS.items())
    return most_units <= max_units or _spent_units(body, max_units, request, frames_only=False) <= max_units


def _inner_tags() -> dict[int, bytes]:
    """By its units, the first byte of each field inside of a span, a resource or a scope: number << 3 | wire type.

    A tag may be written in more bytes than it needs, all but the last with the high bit set.
    """
    tags: dict[int, set[int]] = {}
    for message, children in _FIELDS.items():
        for number, (_, units) in children.items():
            if units and message not in _FRAMES:
                tags.setdefault(units, set()).update(number << 3 | _BYTES | high for high in (0x00, 0x80))
    return {units: bytes(sorted(found)) for units, found in tags.items()}


_INNER_TAGS: Final = _inner_tags()


def _spent_units(body: bytes, max_units: int, request: int, *, frames_only: bool) -> int:
    """The units of a request; more than `max_units` as soon as that is sure. What is malformed is another's to say."""
    units = 0
    steps_left = max_units * _STEPS_PER_UNIT
    waiting = [(request, 0, len(body))]
    while waiting:
        message, at, end = waiting.pop()
        children = _FIELDS[message]
        while at < end:
            steps_left -= 1
            if steps_left < 0:
                return max_units + 1
            try:
                tag = body[at]
                at += 1
                if tag >= 0x80:
                    tag, at = _varint(body, at - 1)
                kind = tag & 7
                if kind == _BYTES:
                    size = body[at]
                    at += 1
                    if size >= 0x80:
                        size, at = _varint(body, at - 1)
                    child = children.get(tag >> 3)
                    if child is not None and at + size <= end:
                        inner, price = child
                        units += price
                        if units > max_units:
                            return units
                        if size and (inner in _FRAMES or not frames_only):
                            waiting.append((inner, at, at + size))
                    at += size
                elif kind == _VARINT:
                    _, at = _varint(body, at)
                elif kind == _FIXED64:
                    at += 8
                elif kind == _FIXED32:
                    at += 4
                elif kind not in _GROUP:
                    break
            except IndexError:
                break
    return units


def _varint(body: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise IndexError("a varint of more than ten bytes")


def _json_within(body: bytes, max_units: int) -> bool:
    """By the marks that begin an object, an array or a further member: each is a Python object once it is read."""
    if len(body) <= max_units or _marks(body) <= max_units:
        return True
    # Texts may hold as many as they like.
    units = at = 0
    while at < len(body) and units <= max_units:
        found = _WHOLE_STRINGS.match(body, at, at + _JSON_PIECE_BYTES)
        whole = b"" if found is None else found[0]
        units += _marks(_JSON_STRING.sub(b"", whole))
        at += len(whole)
        if len(whole) == _JSON_PIECE_BYTES or at == len(body):
            continue
        # The piece ends within a string.
        string = _JSON_STRING.match(body, at)
        if string is None:
            return units + _marks(body[at:]) <= max_units
        at = string.end()
    return units <= max_units


def _marks(text: bytes) -> int:
    return text.count(b"{") + text.count(b"[") + text.count(b",")
