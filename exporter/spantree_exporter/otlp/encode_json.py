"""Stored spans -> OTLP/JSON, equal to what came in but for the order of attributes, which jsonb does not keep. Pure.

A span whose stored form lost something has the request that it came in, alone, as `raw`: that is told instead, unless
it is protobuf that no JSON can hold (a string that is not UTF-8).

https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding: ids in hex, 64-bit integers as strings, enums as
numbers.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final, TypeVar

import orjson
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from spantree_exporter.ids import span_id_to_hex
from spantree_exporter.otlp.deep_json import dumps_any, loads_any
from spantree_exporter.otlp.rows import OtlpLog, OtlpSpan, SpanRow
from spantree_exporter.stored import otlp_attributes

_Row = TypeVar("_Row", OtlpSpan, OtlpLog)

# A text, as it is, or what stands outside of one.
_NO_NUMBERS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|(NaN|-?Infinity)')
_ID_FIELDS = frozenset({"traceId", "spanId", "parentSpanId"})


# Beside `resourceSpans` on a line of ours, which other readers of OTLP pass over: of each span, in the order of the
# line, what the collector made of it. jsonb does not keep the order of attributes, on which the fingerprint depends.
OURS: Final = "spantree"
FINGERPRINTS: Final = "fingerprints"
RECEIVED_NS: Final = "received_ns"
# A request with one span that no JSON can hold, as base64 of its protobuf; `resourceSpans` is empty then.
BYTES: Final = "protobuf"


def traces_lines(spans: Sequence[OtlpSpan]) -> bytes:
    """Lines of OTLP/JSON, each a TracesData, that `spantree import` reads back as exactly the spans that are stored.

    A span that is kept as the JSON that it came in is a line of its own, byte for byte; so is one that JSON cannot
    tell, in a way that only `spantree import` reads.
    """
    lines: list[bytes] = []
    others: list[OtlpSpan] = []
    for one in spans:
        if one.raw is not None and one.raw.startswith(b"{"):
            lines.append(one.raw[:-1] + b"," + ours([_came(one.span)]) + b"}\n")
        elif one.raw is not None and sent_alone(one.raw) is None:
            lines.append(b'{"resourceSpans":[],' + ours([_came(one.span)], one.raw) + b"}\n")
        else:
            others.append(one)
    if others:
        sent, plain = _divided(others)
        told = resource_spans(others)
        # In this order `resource_spans` tells them.
        in_order = [_came(span) for span in (*(one.span for one, _ in sent), *plain)]
        lines.append(b'{"resourceSpans":' + dumps_any(told) + b"," + ours(in_order) + b"}\n")
    return b"".join(lines)


def ours(came: Sequence[tuple[int, int]], raw: bytes | None = None) -> bytes:
    """The member of a line that is ours; `came` are (fingerprint, time of receipt) of what is on it, in its order."""
    told: dict[str, Any] = {
        FINGERPRINTS: [span_id_to_hex(fingerprint) for fingerprint, _ in came],
        RECEIVED_NS: [str(received_ns) for _, received_ns in came],
    }
    if raw is not None:
        told[BYTES] = base64.b64encode(raw).decode("ascii")
    return b'"' + OURS.encode() + b'":' + orjson.dumps(told)


def _came(span: SpanRow) -> tuple[int, int]:
    return span.fingerprint, span.received_ns


def resource_spans_json(spans: Sequence[OtlpSpan]) -> bytes:
    """The elements of `resource_spans` as JSON, as `elements_json` tells them."""
    return elements_json(spans, resource_spans)


def elements_json(rows: Sequence[_Row], told: Callable[[Sequence[_Row]], list[dict[str, Any]]]) -> bytes:
    """The elements that `told` makes of `rows` as JSON, the commas between them included, in another order.

    What is kept as the JSON that it came in is told without being read: that takes seconds where it nests deep.
    """
    texts: list[bytes] = []
    others: list[_Row] = []
    for row in rows:
        if row.raw is not None and row.raw.startswith(b"{"):
            texts.append(_elements_sent(row.raw))
        else:
            others.append(row)
    if others:
        texts.append(dumps_any(told(others))[1:-1])
    return b",".join(texts)


def _elements_sent(raw: bytes) -> bytes:
    """The elements of the one list in a request that is kept as JSON, as decode_json wrote it.

    Numbers that JSON has no word for, which Python's writer writes all the same, are texts, as protobuf has them.
    """
    elements = raw[raw.index(b"[") + 1 : -2]
    if b"NaN" not in elements and b"Infinity" not in elements:
        return elements
    return _NO_NUMBERS.sub(lambda found: b'"' + found[0] + b'"' if found[1] else found[0], elements)


def resource_spans(spans: Sequence[OtlpSpan]) -> list[dict[str, Any]]:
    """The ResourceSpans of `spans`; neighbours of one resource, and in it of one scope, share one."""
    sent, plain = _divided(spans)
    told = [entry for _, alone in sent for entry in alone]
    for _, of_resource in groupby(plain, key=lambda span: span.resource_id):
        rows = list(of_resource)
        resource: dict[str, Any] = {"attributes": list(otlp_attributes(rows[0].resource_attributes))}
        put(resource, "droppedAttributesCount", rows[0].resource_dropped_attributes_count)
        entry: dict[str, Any] = {"resource": resource, "scopeSpans": list(_scope_spans(rows))}
        put(entry, "schemaUrl", rows[0].resource_schema_url)
        told.append(entry)
    return told


def _divided(spans: Sequence[OtlpSpan]) -> tuple[list[tuple[OtlpSpan, list[dict[str, Any]]]], list[SpanRow]]:
    """(spans that are told by their own bytes, with what those say; all others)."""
    sent: list[tuple[OtlpSpan, list[dict[str, Any]]]] = []
    plain: list[SpanRow] = []
    for one in spans:
        alone = None if one.raw is None else sent_alone(one.raw)
        if alone is None:
            plain.append(one.span)
        else:
            sent.append((one, alone))
    return sent, plain


def sent_alone(raw: bytes) -> list[dict[str, Any]] | None:
    """The ResourceSpans of a request that is kept because storing lost something; None where JSON cannot tell it."""
    if raw.startswith(b"{"):
        [sent] = loads_any(raw).values()
        return sent  # type: ignore[no-any-return]  # as decode_json wrote it
    try:
        told = MessageToDict(TracesData.FromString(raw), use_integers_for_enums=True)
    except DecodeError:
        return None
    return [with_hex_ids(entry) for entry in told.get("resourceSpans", [])]


def span_json(span: SpanRow) -> dict[str, Any]:
    """One span; what has its default is left out, as the official exporters do."""
    told: dict[str, Any] = {"traceId": span.trace_id.hex, "spanId": span_id_to_hex(span.span_id)}
    put(told, "traceState", span.trace_state)
    if span.parent_span_id is not None:
        told["parentSpanId"] = span_id_to_hex(span.parent_span_id)
    put(told, "flags", span.flags)
    told |= {
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": str(span.start_ns),
        "endTimeUnixNano": str(span.end_ns),
        "attributes": list(otlp_attributes(span.attributes)),
    }
    put(told, "droppedAttributesCount", span.dropped_attributes_count)
    put(told, "events", [_event_json(event) for event in span.events or ()])
    put(told, "droppedEventsCount", span.dropped_events_count)
    put(told, "links", [_link_json(link) for link in span.links or ()])
    put(told, "droppedLinksCount", span.dropped_links_count)
    status: dict[str, Any] = {}
    put(status, "message", span.status_message)
    put(status, "code", span.status_code)
    told["status"] = status
    return told


def _scope_spans(rows: Iterable[SpanRow]) -> Iterator[dict[str, Any]]:
    for _, of_scope in groupby(rows, key=lambda span: span.scope):
        spans = list(of_scope)
        stored = spans[0].scope or {}
        scope: dict[str, Any] = {}
        put(scope, "name", stored.get("name"))
        put(scope, "version", stored.get("version"))
        put(scope, "attributes", list(otlp_attributes(stored.get("attributes") or {})))
        put(scope, "droppedAttributesCount", stored.get("dropped_attributes_count"))
        entry: dict[str, Any] = {"scope": scope, "spans": [span_json(span) for span in spans]}
        put(entry, "schemaUrl", stored.get("schema_url"))
        yield entry


def _event_json(event: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {"timeUnixNano": str(event["time_ns"]), "name": event["name"]}
    put(told, "attributes", list(otlp_attributes(event.get("attributes") or {})))
    put(told, "droppedAttributesCount", event.get("dropped_attributes_count"))
    return told


def _link_json(link: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {"traceId": link["trace_id"], "spanId": link["span_id"]}
    put(told, "traceState", link.get("trace_state"))
    put(told, "attributes", list(otlp_attributes(link.get("attributes") or {})))
    put(told, "droppedAttributesCount", link.get("dropped_attributes_count"))
    put(told, "flags", link.get("flags"))
    return told


def put(told: dict[str, Any], key: str, value: object) -> None:
    """Tell a value that is not its field's default."""
    if value:
        told[key] = value


def with_hex_ids(value: Any) -> Any:
    """What protobuf's own JSON form of a message is in OTLP's."""
    # protobuf's own JSON form writes bytes as base64; OTLP wants hex for ids and leaves bytesValue as it is.
    if isinstance(value, list):
        return [with_hex_ids(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: base64.b64decode(item).hex() if key in _ID_FIELDS and isinstance(item, str) else with_hex_ids(item)
        for key, item in value.items()
    }
