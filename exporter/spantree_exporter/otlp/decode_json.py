"""OTLP/JSON -> spans.

Written by hand since protobuf's own JSON reader is wrong for OTLP on five counts (measured): it takes hex ids for
base64, refuses unknown fields, accepts enum names and snake_case, and fails a batch for one lone surrogate.

A value of a wrong type costs that value, a field of a wrong type that span, a frame of a wrong type the request.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import orjson

from spantree_exporter.errors import MalformedRequest
from spantree_exporter.otlp import deep_json
from spantree_exporter.otlp.build import (
    MAX_DEPTH,
    MAX_KEYS,
    Envelope,
    SpanUnusable,
    build_resource,
    build_scope,
    check_ids,
    clamped_time,
    note,
    parent_id,
    seal,
)
from spantree_exporter.span import Attributes, Event, JsonValue, Link, Span
from spantree_exporter.stored import stored_bytes, stored_double, stored_key

_SPECIAL_DOUBLES = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
# OTLP/JSON forbids names of enum values, and senders write them: which one is meant cannot be mistaken.
_KINDS = {
    name: number for number, name in enumerate(("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"))
}
_CODES = {"UNSET": 0, "OK": 1, "ERROR": 2}
# Names as protobuf's text has them, each with the one that OTLP/JSON wants. A document's keys are names of fields only:
# those of attributes are values of `key`.
_SNAKE_CASE = {
    snake: "".join((head, *(word.capitalize() for word in rest)))
    for snake in (
        "resource_spans", "scope_spans", "schema_url", "dropped_attributes_count", "trace_id", "span_id",
        "parent_span_id", "trace_state", "start_time_unix_nano", "end_time_unix_nano", "time_unix_nano",
        "dropped_events_count", "dropped_links_count", "string_value", "int_value", "bool_value", "double_value",
        "bytes_value", "array_value", "kvlist_value",
    )
    for head, *rest in [snake.split("_")]
}  # fmt: skip
# What releases of OTLP before 0.20 called the scope.
_SNAKE_CASE |= {
    "instrumentationLibrarySpans": "scopeSpans",
    "instrumentation_library_spans": "scopeSpans",
    "instrumentationLibrary": "scope",
    "instrumentation_library": "scope",
}
_FOREIGN = tuple(f'"{name}"'.encode() for name in _SNAKE_CASE)
# SeverityNumber of opentelemetry/proto/logs/v1/logs.proto: four of each.
_SEVERITIES = {
    f"{name}{step or ''}": 4 * place + max(step, 1)
    for place, name in enumerate(("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"))
    for step in (0, 2, 3, 4)
}
_MAX_UINT32, _MAX_UINT64 = 2**32 - 1, 2**64 - 1
# The members of AnyValue's oneof in common.proto, of which only one may be there.
_VALUE_FIELDS = frozenset(
    {
        "stringValue",
        "intValue",
        "boolValue",
        "doubleValue",
        "bytesValue",
        "arrayValue",
        "kvlistValue",
        "stringValueStrindex",
    }
)


def envelopes(body: bytes) -> Iterator[Envelope]:
    """An envelope for each ScopeSpans; its spans are as read from JSON. Raises MalformedRequest before the first."""
    return envelopes_of(body, "resourceSpans", "scopeSpans", "spans")


def envelopes_of(body: bytes, of_resource: str, of_scope: str, of_items: str) -> Iterator[Envelope]:
    """As `envelopes`, for a signal whose fields have these names."""
    request = _document(body, of_resource)
    if any(name in body for name in _FOREIGN):
        _rename_fields(request)
    _refuse_other("the request", request, of_resource)
    # Read whole before the first yield: a request whose frame is wrong is refused, not half taken.
    read: list[Envelope] = []
    for resource_spans in _objects(request, of_resource, "the request"):
        _refuse_other(f"a {of_resource}", resource_spans, of_scope)
        resource_losses: list[str] = []
        sent = resource_spans.get("resource") or {}
        resource = build_resource(
            _attributes(sent.get("attributes"), resource_losses),
            _text(resource_spans.get("schemaUrl"), resource_losses),
            _uint32(sent.get("droppedAttributesCount"), resource_losses),
            resource_losses,
        )
        for scope_spans in _objects(resource_spans, of_scope, f"a {of_resource}"):
            _refuse_other(f"a {of_scope}", scope_spans, of_items)
            scope_losses: list[str] = []
            sent_scope = scope_spans.get("scope") or {}
            scope = build_scope(
                _text(sent_scope.get("name"), scope_losses),
                _text(sent_scope.get("version"), scope_losses),
                _attributes(sent_scope.get("attributes"), scope_losses),
                _text(scope_spans.get("schemaUrl"), scope_losses),
                _uint32(sent_scope.get("droppedAttributesCount"), scope_losses),
                scope_losses,
            )
            spans = scope_spans.get(of_items) or []
            if not isinstance(spans, list):
                raise MalformedRequest(f"{of_items} is {_kind_of(spans)}: wanted an array")
            losses = [f"resource_{loss}" for loss in resource_losses] + [f"scope_{loss}" for loss in scope_losses]
            read.append(
                Envelope(
                    resource,
                    scope,
                    spans,
                    losses,
                    partial(_alone, {of_resource: resource_spans}, {of_scope: scope_spans}, of_items),
                )
            )
    return iter(read)


def read_span(sent: object, envelope: Envelope, received_ns: int) -> Span:
    """One span. Raises SpanUnusable where its ids are invalid or a field has a type that no span has."""
    if not isinstance(sent, dict):
        raise SpanUnusable(f"a span is {_kind_of(sent)}: wanted an object")
    trace_id, span_id = span_ids(sent)
    check_ids(trace_id, span_id)
    losses = envelope.losses.copy()
    get = sent.get
    try:
        status = get("status") or {}
        span = Span(
            trace_id,
            int.from_bytes(span_id, "big", signed=True),
            _parent_id(get("parentSpanId"), losses),
            _text(get("name"), losses),
            _enum(get("kind"), losses, "SPAN_KIND_", _KINDS),
            _uint64(get("startTimeUnixNano"), losses),
            _uint64(get("endTimeUnixNano"), losses),
            _enum(status.get("code"), losses, "STATUS_CODE_", _CODES),
            _text(status.get("message"), losses),
            _uint32(get("flags"), losses),
            _text(get("traceState"), losses),
            envelope.resource,
            envelope.scope,
            _attributes(get("attributes"), losses),
            b"",
            [_event(event, losses) for event in get("events") or ()],
            None,
            [_link(link, losses) for link in get("links") or ()],
            None,
            _uint32(get("droppedAttributesCount"), losses),
            _uint32(get("droppedEventsCount"), losses),
            _uint32(get("droppedLinksCount"), losses),
            received_ns,
            0,
            None,
            losses,
        )
    except (TypeError, AttributeError, ValueError) as error:
        raise SpanUnusable(f"a span's field has a wrong type: {error}") from error
    return seal(span, sent, envelope)


def span_ids(sent: object) -> tuple[bytes, bytes]:
    """(trace id, span id) of one span. Raises SpanUnusable where they are no hex.

    And where its kind or its status is a word that means none: a status must not be told wrong.
    """
    if not isinstance(sent, dict):
        raise SpanUnusable(f"a span is {_kind_of(sent)}: wanted an object")
    if isinstance(kind := sent.get("kind"), str):
        _check_enum("kind", kind, "SPAN_KIND_", _KINDS)
    status = sent.get("status")
    if isinstance(status, dict) and isinstance(code := status.get("code"), str):
        _check_enum("status code", code, "STATUS_CODE_", _CODES)
    return _id(sent.get("traceId"), "trace id"), _id(sent.get("spanId"), "span id")


def _alone(of_resource: dict[str, Any], of_scope: dict[str, Any], of_items: str, sent: object) -> bytes:
    """The text is written anew; what UTF-8 cannot hold is escaped, bytes that were no UTF-8 as PEP 383 has them."""
    [(resource_name, resource_spans)], [(scope_name, scope_spans)] = of_resource.items(), of_scope.items()
    own_scope = {**scope_spans, of_items: [sent]}
    request = {resource_name: [{**resource_spans, scope_name: [own_scope]}]}
    try:
        return json.dumps(request, separators=(",", ":")).encode("ascii")
    except RecursionError:
        return deep_json.dumps(request).encode("ascii")


def _document(body: bytes, of_resource: str) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        document = _read_again(body, error)
    if not isinstance(document, dict):
        raise MalformedRequest(f"the body is {_kind_of(document)}: wanted an object with {of_resource}")
    return document


def _read_again(body: bytes, error: orjson.JSONDecodeError) -> object:
    """Take what orjson does not: bytes that are no UTF-8, lone surrogates, NaN, more than 1,024 levels."""
    text = body.decode("utf-8", "surrogateescape")
    try:
        try:
            return json.loads(text)
        except RecursionError:
            return deep_json.loads(text)
    except ValueError as still:
        told = still if "levels" in str(still) else error
        raise MalformedRequest(f"the body is no JSON: {told}") from still


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


def _event(event: Any, losses: list[str]) -> Event:
    return Event(
        clamped_time(_uint64(event.get("timeUnixNano"), losses), losses),
        _text(event.get("name"), losses),
        _attributes(event.get("attributes"), losses),
        _uint32(event.get("droppedAttributesCount"), losses),
    )


def _link(link: Any, losses: list[str]) -> Link:
    return Link(
        _link_id(link.get("traceId"), losses),
        _link_id(link.get("spanId"), losses),
        _text(link.get("traceState"), losses),
        _attributes(link.get("attributes"), losses),
        _uint32(link.get("flags"), losses),
        _uint32(link.get("droppedAttributesCount"), losses),
    )


def _id(value: object, name: str) -> bytes:
    if value is None:
        return b""
    if not isinstance(value, str):
        raise SpanUnusable(f"{name} is {_kind_of(value)}: wanted hex digits")
    try:
        return _from_hex(value)
    except ValueError:
        raise SpanUnusable(f"{name} {value[:40]!a}: wanted hex digits") from None


def _from_hex(value: str) -> bytes:
    raw = bytes.fromhex(value)
    if 2 * len(raw) != len(value):
        raise ValueError("spaces between hex digits")
    return raw


def _parent_id(value: object, losses: list[str]) -> int | None:
    if value is None or value == "":
        return None
    try:
        return parent_id(_id(value, "parent span id"), losses)
    except SpanUnusable:
        note(losses, "parent_id_invalid")
        return None


def _link_id(value: object, losses: list[str]) -> str:
    if value is None:
        return ""
    try:
        return _id(value, "link").hex()
    except SpanUnusable:
        note(losses, "link_id_invalid")
        return ""


def _text(value: object, losses: list[str]) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(f"{_kind_of(value)} where a string was wanted")
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        note(losses, "invalid_utf8")
        # Two halves of a pair that were escaped one by one are one character; a half alone is none.
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def _whole(value: object) -> int:
    """A whole number, which JSON senders write as a number or as a string, with an exponent if they like."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.isascii() and value.removeprefix("-").isdigit():
        return int(value)
    if isinstance(value, str | float) and "_" not in str(value):
        number = float(value)
        if number.is_integer():
            return int(number)
    raise TypeError(f"{ascii(value)[:40]} where a whole number was wanted")


def _uint64(value: object, losses: list[str]) -> int:
    if value is None or value == "":
        return 0
    number = _whole(value)
    if 0 <= number <= _MAX_UINT64:
        return number
    note(losses, "time_out_of_range")
    return 0 if number < 0 else _MAX_UINT64


def _uint32(value: object, losses: list[str]) -> int:
    if value is None or value == "":
        return 0
    number = _whole(value)
    if 0 <= number <= _MAX_UINT32:
        return number
    note(losses, "number_out_of_range")
    return 0 if number < 0 else _MAX_UINT32


def _enum(value: object, losses: list[str], prefix: str, names: dict[str, int]) -> int:
    if value is None or value == "":
        return 0
    if isinstance(value, str) and (number := names.get(value.upper().removeprefix(prefix))) is not None:
        return number
    number = _whole(value)
    if -(2**31) <= number < 2**31:
        return number
    note(losses, "enum_out_of_range")
    return 0


def _check_enum(field: str, value: str, prefix: str, names: dict[str, int]) -> None:
    if not value or value.upper().removeprefix(prefix) in names:
        return
    try:
        _whole(value)
    except (TypeError, ValueError):
        wanted = ", ".join(f"{number} ({prefix}{name})" for name, number in names.items())
        raise SpanUnusable(f"{field} {value[:40]!a}: wanted one of {wanted}") from None


def _rename_fields(document: object) -> None:
    """Give fields in snake_case, and those of old releases, the names of OTLP/JSON, unless these are there too."""
    open_: list[object] = [document]
    while open_:
        here = open_.pop()
        if isinstance(here, dict):
            for name in [name for name in here if name in _SNAKE_CASE]:
                if _SNAKE_CASE[name] not in here:
                    here[_SNAKE_CASE[name]] = here.pop(name)
            open_.extend(value for value in here.values() if isinstance(value, dict | list))
        elif isinstance(here, list):
            open_.extend(value for value in here if isinstance(value, dict | list))


def _refuse_other(where: str, found: dict[str, Any], wanted: str) -> None:
    """Refuse what holds a list under another name than the one wanted: else its spans would be lost unsaid."""
    if wanted in found:
        return
    for name, value in found.items():
        if isinstance(value, list) and value:
            raise MalformedRequest(f"{where} has {name[:40]!a} and no {wanted}: wanted {wanted}")


def _attributes(pairs: object, losses: list[str], depth: int = 1) -> Attributes:
    if not pairs:
        return {}
    if not isinstance(pairs, list):
        raise TypeError(f"attributes is {_kind_of(pairs)}: wanted an array")
    attributes: Attributes = {}
    for pair in pairs:
        try:
            key = _text(pair.get("key"), losses)
            value = pair.get("value")
            if "keyStrindex" in pair:
                note(losses, "strindex")
        except (TypeError, AttributeError):
            note(losses, "invalid_attribute")
            key, value = "", None
        attributes[stored_key(key)] = _value(value, losses, depth)
    if len(attributes) != len(pairs):
        note(losses, "duplicate_key")
    if len(attributes) > MAX_KEYS:
        note(losses, "too_many_keys")
        attributes = dict(list(attributes.items())[:MAX_KEYS])
    return attributes


def _value(sent: object, losses: list[str], depth: int) -> JsonValue:
    if sent is None:
        return None
    try:
        if not isinstance(sent, dict):
            raise TypeError("a value is no object")
        if len(sent) == 1:
            [(which, value)] = sent.items()
        else:
            there = [which for which in sent if which in _VALUE_FIELDS and sent[which] is not None]
            if not there:
                return None
            if len(there) > 1:
                note(losses, "invalid_value")
            which, value = there[0], sent[there[0]]
        return None if value is None else _read_value(which, value, losses, depth)
    except (TypeError, AttributeError, ValueError):
        note(losses, "invalid_value")
        return None


def _read_value(which: str, value: Any, losses: list[str], depth: int) -> JsonValue:
    if which == "stringValue":
        return _text(value, losses)
    if which == "intValue":
        number = _whole(value)
        if -(2**63) <= number < 2**63:
            return number
        note(losses, "int_out_of_range")
        return str(number)
    if which == "boolValue":
        if isinstance(value, bool):
            return value
        raise TypeError("no boolean")
    if which == "doubleValue":
        if isinstance(value, bool):
            raise TypeError("no number")
        return stored_double(_SPECIAL_DOUBLES[value] if value in _SPECIAL_DOUBLES else float(value))
    if which == "bytesValue":
        # Both alphabets and missing padding are met in the wild, and protobuf's JSON mapping accepts them.
        padded = value.replace("-", "+").replace("_", "/") + "=" * (-len(value) % 4)
        return stored_bytes(base64.b64decode(padded, validate=True))
    if which == "stringValueStrindex":
        # An index into the string table of profiles: in traces to be treated as absent (OTLP 1.11).
        note(losses, "strindex")
        return None
    if which not in {"arrayValue", "kvlistValue"}:
        return None
    if depth >= MAX_DEPTH:
        note(losses, "too_deep")
        return None
    items = value.get("values") or []
    if which == "kvlistValue":
        return _attributes(items, losses, depth + 1)
    if not isinstance(items, list):
        raise TypeError("no array")
    return [_value(item, losses, depth + 1) for item in items]


class FieldReader:
    """The fields of one JSON object by name, for decode_logs; TypeError or ValueError where one has a wrong type."""

    def __init__(self, sent: dict[str, Any], losses: list[str]) -> None:
        self._sent = sent
        self._losses = losses

    def text(self, name: str) -> str:
        """A string."""
        return _text(self._sent.get(name), self._losses)

    def uint32(self, name: str) -> int:
        """A whole number of 32 bits."""
        return _uint32(self._sent.get(name), self._losses)

    def uint64(self, name: str) -> int:
        """A whole number of 64 bits, as a number or a string."""
        return _uint64(self._sent.get(name), self._losses)

    def severity(self, name: str) -> int:
        """The number of a SeverityNumber, given as a number or by its name."""
        return _enum(self._sent.get(name), self._losses, "SEVERITY_NUMBER_", _SEVERITIES)

    def attributes(self, name: str) -> Attributes:
        """KeyValues as they are stored."""
        return _attributes(self._sent.get(name), self._losses)

    def value(self, name: str) -> JsonValue:
        """An AnyValue as it is stored; None where it is not set."""
        return _value(self._sent.get(name), self._losses, 1)
