"""Official OTLP messages as OTLP/JSON, by reflection: nothing of the decoder under test is used."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from typing import Any

import orjson
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_IDS = {"trace_id", "span_id", "parent_span_id"}
_LONG = {
    FieldDescriptor.TYPE_INT64,
    FieldDescriptor.TYPE_UINT64,
    FieldDescriptor.TYPE_FIXED64,
    FieldDescriptor.TYPE_SFIXED64,
}


def otlp_json(message: Message, long_as: Callable[[int], object] = str) -> dict[str, Any]:
    """`message` in JSON form: ids in hex, 64-bit numbers as `long_as` makes them, unset fields left out."""
    written: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.is_repeated:
            written[field.json_name] = [_member(field, item, long_as) for item in value]
        else:
            written[field.json_name] = _member(field, value, long_as)
    return written


def otlp_json_body(message: Message, long_as: Callable[[int], object] = str) -> bytes:
    """`otlp_json` as the text of a body."""
    return orjson.dumps(otlp_json(message, long_as))


def _member(field: FieldDescriptor, value: Any, long_as: Callable[[int], object]) -> Any:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return otlp_json(value, long_as)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return value.hex() if field.name in _IDS else base64.b64encode(value).decode()
    if field.type in _LONG:
        return long_as(value)
    if field.type == FieldDescriptor.TYPE_DOUBLE and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
