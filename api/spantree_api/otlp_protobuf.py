"""Stored spans -> OTLP/protobuf, equal to what came in but for the order of attributes. Pure.

Messages of one type laid end to end are one message with the fields of all, so an answer is simply its parts, and a
span whose stored form lost something is its own bytes, whatever is wrong with them.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span, TracesData

from spantree_api.stored_rows import OtlpSpan, SpanRow
from spantree_exporter.ids import span_id_to_bytes
from spantree_exporter.otlp.deep_json import dumps_any, loads_shallow
from spantree_exporter.span import Attributes, JsonValue

# Readers of protobuf follow a hundred messages inside each other; a span is the fourth of a request.
_MESSAGES_MAX = 85
_ID_FIELDS = frozenset({"traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id"})


def traces_data(spans: Sequence[OtlpSpan]) -> bytes:
    """A TracesData of `spans`; neighbours of one resource, and in it of one scope, share one message."""
    sent: list[bytes] = []
    plain: list[SpanRow] = []
    for one in spans:
        alone = None if one.raw is None else sent_alone(one.raw)
        if alone is None:
            plain.append(one.span)
        else:
            sent.append(alone)
    data = TracesData()
    for _, of_resource in groupby(plain, key=lambda span: span.resource_id):
        rows = list(of_resource)
        entry = data.resource_spans.add()
        entry.resource.CopyFrom(_resource(rows[0]))
        entry.schema_url = rows[0].resource_schema_url
        for _, of_scope in groupby(rows, key=lambda span: span.scope):
            _fill_scope_spans(entry.scope_spans.add(), list(of_scope))
    sent.append(data.SerializeToString())
    return b"".join(sent)


def sent_alone(raw: bytes) -> bytes | None:
    """A kept request as protobuf; None where it is JSON that protobuf cannot hold."""
    if not raw.startswith(b"{"):
        return raw
    try:
        message = ParseDict(with_base64_ids(loads_shallow(raw)), TracesData(), ignore_unknown_fields=True)
    except (ParseError, DecodeError, ValueError, RecursionError):
        return None
    return message.SerializeToString()


def any_value(value: JsonValue, messages: int = 0) -> AnyValue:
    """The AnyValue that `value` is the stored form of, inside of `messages` others.

    What is nested deeper than readers of protobuf follow is told as JSON text.
    """
    told = AnyValue()
    if messages > _MESSAGES_MAX and isinstance(value, list | dict):
        told.string_value = dumps_any(value).decode()
        return told
    if isinstance(value, bool):
        told.bool_value = value
    elif isinstance(value, str):
        told.string_value = value
    elif isinstance(value, int):
        told.int_value = value
    elif isinstance(value, float):
        told.double_value = value
    elif isinstance(value, list):
        told.array_value.SetInParent()
        told.array_value.values.extend(any_value(item, messages + 2) for item in value)
    elif isinstance(value, dict):
        if len(value) == 1 and isinstance(tagged := value.get("$b"), str):
            told.bytes_value = base64.b64decode(tagged)
        elif len(value) == 1 and isinstance(tagged := value.get("$f"), str):
            told.double_value = float(tagged)
        else:
            told.kvlist_value.SetInParent()
            told.kvlist_value.values.extend(key_values(value, messages + 2))
    return told


def key_values(attributes: Attributes, messages: int = 0) -> Iterable[KeyValue]:
    """The KeyValues of a stored set of attributes, in its order."""
    for key, value in attributes.items():
        yield KeyValue(key=key[1:] if key.startswith("$") else key, value=any_value(value, messages + 1))


def _resource(span: SpanRow) -> Resource:
    return Resource(
        attributes=key_values(span.resource_attributes),
        dropped_attributes_count=span.resource_dropped_attributes_count,
    )


def _fill_scope_spans(entry: ScopeSpans, spans: Sequence[SpanRow]) -> None:
    stored = spans[0].scope or {}
    # No scope and an empty one are the same to OTLP; most senders write it.
    entry.scope.name = stored.get("name", "")
    entry.scope.version = stored.get("version", "")
    entry.scope.attributes.extend(key_values(stored.get("attributes") or {}))
    entry.scope.dropped_attributes_count = stored.get("dropped_attributes_count", 0)
    entry.schema_url = stored.get("schema_url", "")
    entry.spans.extend(span_message(span) for span in spans)


def span_message(span: SpanRow) -> Span:
    """One span."""
    told = Span(
        trace_id=span.trace_id.bytes,
        span_id=span_id_to_bytes(span.span_id),
        trace_state=span.trace_state or "",
        parent_span_id=b"" if span.parent_span_id is None else span_id_to_bytes(span.parent_span_id),
        flags=span.flags,
        name=span.name,
        kind=span.kind,  # type: ignore[arg-type]  # a number that this version of OTLP has no name for stays itself
        start_time_unix_nano=span.start_ns,
        end_time_unix_nano=span.end_ns,
        attributes=key_values(span.attributes),
        dropped_attributes_count=span.dropped_attributes_count or 0,
        dropped_events_count=span.dropped_events_count or 0,
        dropped_links_count=span.dropped_links_count or 0,
    )
    for event in span.events or ():
        told.events.add(
            time_unix_nano=event["time_ns"],
            name=event["name"],
            attributes=key_values(event.get("attributes") or {}),
            dropped_attributes_count=event.get("dropped_attributes_count", 0),
        )
    for link in span.links or ():
        told.links.add(
            trace_id=bytes.fromhex(link["trace_id"]),
            span_id=bytes.fromhex(link["span_id"]),
            trace_state=link.get("trace_state", ""),
            attributes=key_values(link.get("attributes") or {}),
            dropped_attributes_count=link.get("dropped_attributes_count", 0),
            flags=link.get("flags", 0),
        )
    told.status.message = span.status_message or ""
    told.status.code = span.status_code  # type: ignore[assignment]  # as kind
    return told


def with_base64_ids(value: Any) -> Any:
    """What OTLP's JSON form of a message is in protobuf's own."""
    # The reverse of OTLP's exception for ids: protobuf's own JSON form wants base64 for all bytes.
    if isinstance(value, list):
        return [with_base64_ids(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: base64.b64encode(bytes.fromhex(item)).decode()
        if key in _ID_FIELDS and isinstance(item, str)
        else with_base64_ids(item)
        for key, item in value.items()
    }
