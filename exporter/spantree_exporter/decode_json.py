"""OTLP/JSON -> parts of spans.

Written by hand since protobuf's own JSON reader is wrong for OTLP on five counts (protocol.md section 1): it takes hex ids
for base64, refuses unknown fields, accepts enum names and snake_case, and fails a batch for one lone surrogate.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Iterator
from typing import Any

import orjson

from spantree_exporter.build import (
    MAX_BIGINT,
    MAX_DEPTH,
    MAX_KEYS,
    Loss,
    Parts,
    SpanUnusable,
    build_resource,
    build_scope,
)
from spantree_exporter.errors import MalformedRequest
from spantree_exporter.span import Attributes, Event, JsonValue, Link, Resource, Scope
from spantree_exporter.stored import stored_bytes, stored_double, stored_key

_SPECIAL_DOUBLES = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def envelopes(body: bytes) -> Iterator[tuple[Resource, Scope, list[object]]]:
    """(resource, scope, each span as read from JSON) for each ScopeSpans. Raises MalformedRequest before the first."""
    request = _document(body)
    # Read whole before the first yield: a request whose frame is wrong is refused, not half taken.
    read: list[tuple[Resource, Scope, list[object]]] = []
    for resource_spans in _objects(request, "resourceSpans", "the request"):
        loss = Loss()
        sent = resource_spans.get("resource") or {}
        resource = build_resource(
            _attributes(sent.get("attributes"), loss),
            _text(resource_spans.get("schemaUrl"), loss),
            _uint32(sent.get("droppedAttributesCount")),
        )
        for scope_spans in _objects(resource_spans, "scopeSpans", "a resourceSpans"):
            sent_scope = scope_spans.get("scope") or {}
            scope = build_scope(
                _text(sent_scope.get("name"), loss),
                _text(sent_scope.get("version"), loss),
                _attributes(sent_scope.get("attributes"), loss),
                _text(scope_spans.get("schemaUrl"), loss),
                _uint32(sent_scope.get("droppedAttributesCount")),
            )
            spans = scope_spans.get("spans") or []
            if not isinstance(spans, list):
                raise MalformedRequest(f"spans is {_kind_of(spans)}: wanted an array")
            read.append((resource, scope, spans))
    return iter(read)


def read_span(sent: object, loss: Loss) -> Parts:
    """The parts of one span. Raises SpanUnusable where a field has a type that no span has."""
    if not isinstance(sent, dict):
        raise SpanUnusable(f"a span is {_kind_of(sent)}: wanted an object")
    try:
        return _parts(sent, loss)
    except (TypeError, AttributeError, ValueError) as error:
        raise SpanUnusable(f"a span's field has a wrong type: {error}") from error


def span_ids(sent: object) -> tuple[bytes, bytes]:
    """(trace id, span id) of one span; empty where they are no hex."""
    if not isinstance(sent, dict):
        return b"", b""
    return _id(sent.get("traceId")), _id(sent.get("spanId"))


def raw_bytes(sent: object) -> bytes:
    """The span as JSON text again, with every character that UTF-8 cannot hold escaped."""
    return json.dumps(sent, separators=(",", ":")).encode("ascii")


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # orjson refuses lone surrogates, NaN and depths over 1024; the standard reader knows the first two.
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            raise MalformedRequest(f"the body is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise MalformedRequest(f"the body is {_kind_of(document)}: wanted an object with resourceSpans")
    return document


def _objects(parent: dict[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    items = parent.get(key)
    if items is None:
        return []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise MalformedRequest(f"{key} of {where} is {_kind_of(items)}: wanted an array of objects")
    return items


def _kind_of(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a string", type(None): "null", bool: "a boolean"}
    return names.get(type(value), "a number")


def _parts(sent: dict[str, Any], loss: Loss) -> Parts:
    status = sent.get("status") or {}
    return Parts(
        _id(sent.get("traceId")),
        _id(sent.get("spanId")),
        _parent_id(sent.get("parentSpanId"), loss),
        _text(sent.get("name"), loss),
        _enum(sent.get("kind"), loss),
        _uint(sent.get("startTimeUnixNano")),
        _uint(sent.get("endTimeUnixNano")),
        _enum(status.get("code"), loss),
        _text(status.get("message"), loss),
        _uint32(sent.get("flags")),
        _text(sent.get("traceState"), loss),
        _attributes(sent.get("attributes"), loss),
        [
            Event(
                min(_uint(event.get("timeUnixNano")), MAX_BIGINT),
                _text(event.get("name"), loss),
                _attributes(event.get("attributes"), loss),
                _uint32(event.get("droppedAttributesCount")),
            )
            for event in sent.get("events") or ()
        ],
        [
            Link(
                _hex(link.get("traceId")),
                _hex(link.get("spanId")),
                _text(link.get("traceState"), loss),
                _attributes(link.get("attributes"), loss),
                _uint32(link.get("flags")),
                _uint32(link.get("droppedAttributesCount")),
            )
            for link in sent.get("links") or ()
        ],
        _uint32(sent.get("droppedAttributesCount")),
        _uint32(sent.get("droppedEventsCount")),
        _uint32(sent.get("droppedLinksCount")),
    )


def _id(value: object) -> bytes:
    if not isinstance(value, str):
        return b""
    try:
        return bytes.fromhex(value)
    except ValueError:
        return b""


def _parent_id(value: object, loss: Loss) -> bytes:
    if value is None or value == "":
        return b""
    parent = _id(value)
    if len(parent) != 8:
        loss.add("parent_id_invalid")
        return b""
    return parent


def _hex(value: object) -> str:
    return value.lower() if isinstance(value, str) else ""


def _text(value: object, loss: Loss) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(f"{_kind_of(value)} where a string was wanted")
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        loss.add("invalid_utf8")
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def _uint(value: object) -> int:
    """A 64-bit number, which JSON senders write as a string or as a number."""
    if value is None or value == "":
        return 0
    if isinstance(value, bool) or not isinstance(value, int | str):
        if isinstance(value, float) and value.is_integer():
            return max(int(value), 0)
        raise TypeError(f"{value!r:.40} where a whole number was wanted")
    return min(max(int(value), 0), 2**64 - 1)


def _uint32(value: object) -> int:
    return min(_uint(value), 2**32 - 1)


def _enum(value: object, loss: Loss) -> int:
    if isinstance(value, str) and not value.lstrip("-").isdigit():
        # OTLP/JSON: enum names are forbidden. The span is kept, its bytes tell the name.
        loss.add("enum_name")
        return 0
    number = _uint(value)
    if number > 32767:
        loss.add("enum_out_of_range")
        return 0
    return number


def _attributes(pairs: object, loss: Loss, depth: int = 1) -> Attributes:
    if not pairs:
        return {}
    if not isinstance(pairs, list):
        raise TypeError(f"attributes is {_kind_of(pairs)}: wanted an array")
    attributes: Attributes = {}
    for pair in pairs:
        attributes[stored_key(_text(pair.get("key"), loss))] = _value(pair.get("value"), loss, depth)
    if len(attributes) != len(pairs):
        loss.add("duplicate_key")
    if len(attributes) > MAX_KEYS:
        loss.add("too_many_keys")
        attributes = dict(list(attributes.items())[:MAX_KEYS])
    return attributes


def _value(sent: object, loss: Loss, depth: int) -> JsonValue:
    if sent is None:
        return None
    if not isinstance(sent, dict):
        raise TypeError(f"a value is {_kind_of(sent)}: wanted an object such as {{'stringValue': ...}}")
    for which, value in sent.items():
        if value is None:
            continue
        if which == "stringValue":
            return _text(value, loss)
        if which == "intValue":
            return _int64(value, loss)
        if which == "boolValue":
            return bool(value)
        if which == "doubleValue":
            return stored_double(_SPECIAL_DOUBLES[value] if value in _SPECIAL_DOUBLES else float(value))
        if which == "bytesValue":
            return _bytes(value, loss)
        if which in {"arrayValue", "kvlistValue"}:
            if depth >= MAX_DEPTH:
                loss.add("too_deep")
                return None
            items = value.get("values") or []
            if which == "arrayValue":
                return [_value(item, loss, depth + 1) for item in items]
            return dict(_attributes(items, loss, depth + 1))
    return None


def _int64(value: object, loss: Loss) -> JsonValue:
    if isinstance(value, bool) or not isinstance(value, int | str | float):
        raise TypeError(f"{value!r:.40} where a whole number was wanted")
    number = int(value)
    if not -(2**63) <= number < 2**63:
        loss.add("int_out_of_range")
        return str(number)
    return number


def _bytes(value: object, loss: Loss) -> JsonValue:
    if not isinstance(value, str):
        raise TypeError(f"{_kind_of(value)} where base64 was wanted")
    try:
        # Both alphabets and missing padding are met in the wild, and protobuf's JSON mapping accepts them.
        padded = value.replace("-", "+").replace("_", "/") + "=" * (-len(value) % 4)
        return stored_bytes(base64.b64decode(padded, validate=True))
    except binascii.Error:
        loss.add("invalid_base64")
        return value
