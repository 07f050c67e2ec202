"""OTLP protobuf -> spans. Reads each span, each attribute and each value by itself, so that each fails alone."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from spantree_exporter import hot_path
from spantree_exporter.otlp.build import (
    MAX_DEPTH,
    MAX_KEYS,
    Envelope,
    build_resource,
    build_scope,
    check_ids,
    clamped_time,
    note,
    parent_id,
    seal,
)
from spantree_exporter.otlp.wire import AnyValue, KeyValue, Request, WireError, WireSpan
from spantree_exporter.span import Attributes, Event, JsonValue, Link, Span
from spantree_exporter.stored import PLAIN_MAX, PLAIN_MIN, stored_bytes, stored_double, stored_key

_DOUBLE = struct.Struct("<d")
# Most attributes repeat endlessly, name and value: looking one up by its bytes takes a third of the time of reading it
# (measured). Bounded to some ten megabytes; started anew when full, since what repeats is soon back.
_KNOWN_PAIRS = 30_000
_KNOWN_PAIR_BYTES = 80
_known: dict[bytes, tuple[str, JsonValue]] = {}
_REPEATING = frozenset({int, bool})
# A value of that size is let go before what is in it is read: of 64 levels each would hold all that is within it.
_LARGE_BYTES = 64 * 2**10
# Likewise the start of an attribute, up to where the length of its value stands, by which its name is found.
_heads: dict[bytes, str] = {}

# The first byte of a field is its number and wire type (protobuf encoding guide); numbers are those of common.proto.
_KEY, _VALUE = 0x0A, 0x12  # of KeyValue
_STRING, _BOOL, _INT, _DOUBLE_TAG = 0x0A, 0x10, 0x18, 0x21  # of AnyValue


def envelopes(body: bytes) -> Iterator[Envelope]:
    """An envelope for each ScopeSpans; its spans are bytes. Raises WireError before the first one."""
    request = Request.FromString(body)
    for resource_spans in request.resource_spans:
        resource_losses: list[str] = []
        sent = resource_spans.resource
        resource = build_resource(
            _attributes(sent.attributes, resource_losses),
            _text(resource_spans.schema_url, resource_losses),
            sent.dropped_attributes_count,
            resource_losses,
        )
        for scope_spans in resource_spans.scope_spans:
            scope_losses: list[str] = []
            sent_scope = scope_spans.scope
            scope = build_scope(
                _text(sent_scope.name, scope_losses),
                _text(sent_scope.version, scope_losses),
                _attributes(sent_scope.attributes, scope_losses),
                _text(scope_spans.schema_url, scope_losses),
                sent_scope.dropped_attributes_count,
                scope_losses,
            )
            yield Envelope(
                resource,
                scope,
                scope_spans.spans,
                [f"resource_{loss}" for loss in resource_losses] + [f"scope_{loss}" for loss in scope_losses],
                partial(_alone, resource_spans, scope_spans),
            )


def read_together(envelope: Envelope, received_ns: int) -> list[Span | None]:
    """The spans of `envelope` that the compiled path reads, each at its place; [] where it reads none."""
    if (native := hot_path.native) is None or envelope.losses:
        return []
    sent: list[bytes] = envelope.spans[:]  # type: ignore[assignment]  # of what upb gives, a slice is a list
    return native.read_spans(sent, envelope.resource, envelope.scope, received_ns)


def count_spans(body: bytes) -> int | None:
    """How many spans are in `body`; None where that is not known, or not all of them have valid ids."""
    return None if hot_path.native is None else hot_path.native.examine_body(body)


def read_span(sent: bytes, envelope: Envelope, received_ns: int) -> Span:
    """One span. Raises WireError where `sent` is none, SpanUnusable where its ids are invalid."""
    wire = WireSpan.FromString(sent)
    trace_id, span_id = wire.trace_id, wire.span_id
    check_ids(trace_id, span_id)
    losses = envelope.losses.copy()
    status, events, links = wire.status, wire.events, wire.links
    span = Span(
        trace_id,
        int.from_bytes(span_id, "big", signed=True),
        parent_id(wire.parent_span_id, losses),
        _text(wire.name, losses),
        wire.kind,
        wire.start_time_unix_nano,
        wire.end_time_unix_nano,
        status.code,
        _text(status.message, losses),
        wire.flags,
        _text(wire.trace_state, losses),
        envelope.resource,
        envelope.scope,
        _attributes(wire.attributes, losses),
        b"",
        [_event(event, losses) for event in events] if events else [],
        None,
        [_link(link, losses) for link in links] if links else [],
        None,
        wire.dropped_attributes_count,
        wire.dropped_events_count,
        wire.dropped_links_count,
        received_ns,
        0,
        None,
        losses,
    )
    return seal(span, sent, envelope)


def span_ids(sent: bytes) -> tuple[bytes, bytes]:
    """(trace id, span id) of one span, cheaply: every official sender writes them first. Raises WireError."""
    if sent[:2] == b"\x0a\x10" and sent[18:20] == b"\x12\x08":
        return sent[2:18], sent[20:28]
    span = WireSpan.FromString(sent)
    return span.trace_id, span.span_id


def _alone(resource_spans: Any, scope_spans: Any, sent: bytes) -> bytes:
    request = Request()
    own_resource = request.resource_spans.add(schema_url=resource_spans.schema_url)
    if resource_spans.HasField("resource"):
        own_resource.resource.CopyFrom(resource_spans.resource)
    own_scope = own_resource.scope_spans.add(schema_url=scope_spans.schema_url, spans=[sent])
    if scope_spans.HasField("scope"):
        own_scope.scope.CopyFrom(scope_spans.scope)
    serialized: bytes = request.SerializeToString()
    return serialized


def _event(event: Any, losses: list[str]) -> Event:
    return Event(
        clamped_time(event.time_unix_nano, losses),
        _text(event.name, losses),
        _attributes(event.attributes, losses),
        event.dropped_attributes_count,
    )


def _link(link: Any, losses: list[str]) -> Link:
    return Link(
        link.trace_id.hex(),
        link.span_id.hex(),
        _text(link.trace_state, losses),
        _attributes(link.attributes, losses),
        link.flags,
        link.dropped_attributes_count,
    )


def _text(raw: bytes, losses: list[str]) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        note(losses, "invalid_utf8")
        return raw.decode("utf-8", "replace")


def _attributes(repeated: Any, losses: list[str], depth: int = 1) -> Attributes:
    """Key-value pairs as they are stored; of a key sent twice the last value, as jsonb would keep it."""
    if len(_known) > _KNOWN_PAIRS:
        _known.clear()
    pairs: list[bytes] = repeated[:]  # faster than to iterate over what upb gives
    known = _known.get
    attributes: Attributes = {}
    for pair in pairs:
        key, value = known(pair) or _pair(pair, losses, depth)
        attributes[key] = value
    return _checked(attributes, len(pairs), losses)


def _checked(attributes: Attributes, pairs: int, losses: list[str]) -> Attributes:
    if len(attributes) != pairs:
        note(losses, "duplicate_key")
    if len(attributes) > MAX_KEYS:
        note(losses, "too_many_keys")
        attributes = dict(list(attributes.items())[:MAX_KEYS])
    return attributes


def _pair(pair: bytes, losses: list[str], depth: int) -> tuple[str, JsonValue]:
    """One KeyValue. Read by hand in the form that senders write, since a message object costs three times as much."""
    size = len(pair)
    try:
        at = pair[1] + 3
        key = _heads[pair[:at]]
        length, start = pair[at], at + 1
        if length >= 0x80:
            length, start = length + (pair[start] - 1 << 7), start + 1
        if start + length != size or pair[start - 1] >= 0x80:
            return _unusual_pair(pair, losses, depth)
        if pair[start] == _STRING:
            length, text = pair[start + 1], start + 2
            if length >= 0x80:
                length, text = length + (pair[text] - 1 << 7), text + 1
            if text + length == size and pair[text - 1] < 0x80:
                read: tuple[str, JsonValue] = key, pair[text:].decode()
                if size <= _KNOWN_PAIR_BYTES:
                    _known[pair] = read
                return read
        read = key, _value(pair[start:], losses, depth)
        if type(read[1]) in _REPEATING:
            _known[pair] = read
        return read
    except (KeyError, IndexError, UnicodeDecodeError):
        # A name that is not known yet, a value of more than 16 KiB, no value, bytes that are no UTF-8.
        return _unusual_pair(pair, losses, depth)


def _unusual_pair(pair: bytes, losses: list[str], depth: int) -> tuple[str, JsonValue]:
    """One KeyValue in any form that protobuf allows; learns its name."""
    try:
        message = KeyValue.FromString(pair)
    except WireError:
        note(losses, "invalid_attribute")
        return "", None
    if message.key_strindex:
        note(losses, "strindex")
    raw_key = message.key
    try:
        key = stored_key(raw_key.decode())
    except UnicodeDecodeError:
        key = stored_key(_text(raw_key, losses))
    else:
        head = bytes((_KEY, min(len(raw_key), 255))) + raw_key + bytes((_VALUE,))
        if len(raw_key) < 0x80 and pair.startswith(head):
            if len(_heads) >= _KNOWN_PAIRS:
                _heads.clear()
            _heads[head] = key
    values = [message.value]
    del pair, message, raw_key
    return key, _next_value(values, losses, depth)


def _value(raw: bytes, losses: list[str], depth: int) -> JsonValue:
    """An AnyValue as it is stored; the common forms are read by hand."""
    size = len(raw)
    if size < 2:
        return _rare_value(raw, losses, depth) if size else None
    tag = raw[0]
    if tag == _DOUBLE_TAG and size == 9:
        double: float = _DOUBLE.unpack_from(raw, 1)[0]
        return double if PLAIN_MIN < double < PLAIN_MAX else stored_double(double)
    if tag == _INT:
        if size == 2 and raw[1] < 0x80:
            return raw[1]
        if size == 3 and raw[1] >= 0x80 > raw[2]:
            return raw[1] - 0x80 + (raw[2] << 7)
        if size == 4 and raw[1] >= 0x80 <= raw[2] and raw[3] < 0x80:
            return raw[1] - 0x80 + (raw[2] - 0x80 << 7) + (raw[3] << 14)
    elif tag == _STRING:
        if raw[1] < 0x80 and raw[1] == size - 2:
            return _text(raw[2:], losses)
    elif tag == _BOOL and size == 2 and raw[1] < 0x80:
        return raw[1] != 0
    return _rare_value(raw, losses, depth)


def _rare_value(raw: bytes, losses: list[str], depth: int) -> JsonValue:
    try:
        value = AnyValue.FromString(raw)
    except WireError:
        note(losses, "invalid_value")
        return None
    which = value.WhichOneof("value")
    reader = _SCALARS.get(which)
    if reader:
        return reader(value, losses)
    if which is None:
        return None
    if which == "string_value_strindex":
        # An index into the string table of profiles: in traces to be treated as absent (OTLP 1.11).
        note(losses, "strindex")
        return None
    if depth >= MAX_DEPTH:
        note(losses, "too_deep")
        return None
    if len(raw) <= _LARGE_BYTES:
        if which == "array_value":
            return [_value(item, losses, depth + 1) for item in value.array_value.values]
        return _attributes(value.kvlist_value.values, losses, depth + 1)
    parts: list[bytes] = (value.array_value if which == "array_value" else value.kvlist_value).values[::-1]
    del raw, value
    if which == "array_value":
        items: list[JsonValue] = []
        while parts:
            items.append(_next_value(parts, losses, depth + 1))
        return items
    attributes: Attributes = {}
    count = len(parts)
    while parts:
        read = _unusual_pair if len(parts[-1]) > _LARGE_BYTES else _pair
        key, of_key = read(parts.pop(), losses, depth + 1)
        attributes[key] = of_key
    return _checked(attributes, count, losses)


def _next_value(parts: list[bytes], losses: list[str], depth: int) -> JsonValue:
    """The last of `parts`, of which no more is held than is being read."""
    read = _rare_value if len(parts[-1]) > _LARGE_BYTES else _value
    return read(parts.pop(), losses, depth)


_SCALARS: dict[str | None, Callable[[Any, list[str]], JsonValue]] = {
    "string_value": lambda value, losses: _text(value.string_value, losses),
    "int_value": lambda value, losses: int(value.int_value),
    "double_value": lambda value, losses: stored_double(value.double_value),
    "bool_value": lambda value, losses: bool(value.bool_value),
    "bytes_value": lambda value, losses: stored_bytes(value.bytes_value),
}


# ---- for decode_logs ------------------------------------------------------------------------------------------------


def attributes_of(repeated: Any, losses: list[str]) -> Attributes:
    """KeyValues as they are stored; `losses` gains what that loses."""
    return _attributes(repeated, losses)


def value_of(raw: bytes, losses: list[str]) -> JsonValue:
    """An AnyValue as it is stored; None where it is not set."""
    return _value(raw, losses, 1)


def text_of(raw: bytes, losses: list[str]) -> str:
    """A string field."""
    return _text(raw, losses)
