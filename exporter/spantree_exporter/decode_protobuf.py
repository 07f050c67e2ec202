"""OTLP protobuf -> parts of spans. Reads each span, each string and each value by itself."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any

from spantree_exporter.build import MAX_BIGINT, MAX_DEPTH, MAX_KEYS, Loss, Parts, build_resource, build_scope
from spantree_exporter.span import Attributes, Event, JsonValue, Link, Resource, Scope
from spantree_exporter.stored import stored_bytes, stored_double, stored_key
from spantree_exporter.wire import AnyValue, Request, WireError, WireSpan

_DOUBLE = struct.Struct("<d")
# Attribute names repeat endlessly; a bounded cache spares decoding each again. Names are at most this long to get in.
_CACHED_KEYS = 20_000
_CACHED_KEY_BYTES = 100
_keys: dict[bytes, str] = {}


def envelopes(body: bytes) -> Iterator[tuple[Resource, Scope, Iterable[bytes]]]:
    """(resource, scope, the bytes of each span) for each ScopeSpans. Raises WireError before the first one."""
    request = Request.FromString(body)
    for resource_spans in request.resource_spans:
        loss = Loss()
        sent = resource_spans.resource
        resource = build_resource(
            _attributes(sent.attributes, loss), _text(resource_spans.schema_url, loss), sent.dropped_attributes_count
        )
        for scope_spans in resource_spans.scope_spans:
            sent_scope = scope_spans.scope
            scope = build_scope(
                _text(sent_scope.name, loss),
                _text(sent_scope.version, loss),
                _attributes(sent_scope.attributes, loss),
                _text(scope_spans.schema_url, loss),
                sent_scope.dropped_attributes_count,
            )
            yield resource, scope, scope_spans.spans


def read_span(raw: bytes, loss: Loss) -> Parts:
    """The parts of one span. Raises WireError where `raw` is no span."""
    span = WireSpan.FromString(raw)
    status = span.status
    return Parts(
        span.trace_id,
        span.span_id,
        span.parent_span_id,
        _text(span.name, loss),
        span.kind,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        status.code,
        _text(status.message, loss),
        span.flags,
        _text(span.trace_state, loss),
        _attributes(span.attributes, loss),
        [
            Event(
                min(event.time_unix_nano, MAX_BIGINT),
                _text(event.name, loss),
                _attributes(event.attributes, loss),
                event.dropped_attributes_count,
            )
            for event in span.events
        ],
        [
            Link(
                link.trace_id.hex(),
                link.span_id.hex(),
                _text(link.trace_state, loss),
                _attributes(link.attributes, loss),
                link.flags,
                link.dropped_attributes_count,
            )
            for link in span.links
        ],
        span.dropped_attributes_count,
        span.dropped_events_count,
        span.dropped_links_count,
    )


def span_ids(raw: bytes) -> tuple[bytes, bytes]:
    """(trace id, span id) of one span, cheaply: every official sender writes them first. Raises WireError."""
    if raw[:2] == b"\x0a\x10" and raw[18:20] == b"\x12\x08":
        return raw[2:18], raw[20:28]
    span = WireSpan.FromString(raw)
    return span.trace_id, span.span_id


def _text(raw: bytes, loss: Loss) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        loss.add("invalid_utf8")
        return raw.decode("utf-8", "replace")


def _key(raw: bytes, loss: Loss) -> str:
    key = stored_key(_text(raw, loss))
    if len(_keys) < _CACHED_KEYS and len(raw) <= _CACHED_KEY_BYTES and not loss.reasons:
        _keys[raw] = key
    return key


def _attributes(pairs: Any, loss: Loss, depth: int = 1) -> Attributes:
    """Key-value pairs as they are stored; of a key sent twice the last value, as jsonb would keep it."""
    if not pairs:
        return {}
    attributes: Attributes = {}
    keys = _keys
    for pair in pairs:
        raw_key = pair.key
        key = keys.get(raw_key)
        if key is None:
            key = _key(raw_key, loss)
        raw = pair.value
        # The two commonest forms first, read by hand: a string below 16 KiB and a small int (protobuf encoding guide).
        size = len(raw)
        if size >= 2 and raw[0] == 0x0A:
            if raw[1] < 0x80:
                text = raw[2:] if raw[1] == size - 2 else None
            elif size >= 3 and raw[2] < 0x80:
                text = raw[3:] if (raw[1] & 0x7F) | (raw[2] << 7) == size - 3 else None
            else:
                text = None
            if text is not None:
                try:
                    attributes[key] = text.decode()
                    continue
                except UnicodeDecodeError:
                    pass
        attributes[key] = _value(raw, loss, depth)
    if len(attributes) != len(pairs):
        loss.add("duplicate_key")
    if len(attributes) > MAX_KEYS:
        loss.add("too_many_keys")
        attributes = dict(list(attributes.items())[:MAX_KEYS])
    return attributes


def _value(raw: bytes, loss: Loss, depth: int) -> JsonValue:
    size = len(raw)
    if size == 0:
        return None
    tag = raw[0]
    if tag == 0x18 and size == 2 and raw[1] < 0x80:
        return raw[1]
    if tag == 0x10 and size == 2:
        return raw[1] != 0
    if tag == 0x21 and size == 9:
        double: float = _DOUBLE.unpack_from(raw, 1)[0]
        return stored_double(double)
    try:
        value = AnyValue.FromString(raw)
    except WireError:
        loss.add("invalid_value")
        return None
    which = value.WhichOneof("value")
    if which == "string_value":
        return _text(value.string_value, loss)
    if which == "int_value":
        number: int = value.int_value
        return number
    if which == "double_value":
        return stored_double(value.double_value)
    if which == "bool_value":
        return bool(value.bool_value)
    if which == "bytes_value":
        return stored_bytes(value.bytes_value)
    if which is None or which == "string_value_strindex":
        # An index into the string table of profiles: in traces to be treated as absent (OTLP 1.11).
        return None
    if depth >= MAX_DEPTH:
        loss.add("too_deep")
        return None
    if which == "array_value":
        return [_value(item, loss, depth + 1) for item in value.array_value.values]
    return dict(_attributes(value.kvlist_value.values, loss, depth + 1))
