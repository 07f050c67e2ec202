"""A node and its spans -> all that is known of it. Pure.

Lists and trees show the first characters of a value. The whole of it is the attribute, of the node's span or of one
folded into it, or a part of one that is JSON, that begins with them: no rule about what an attribute means is needed
a second time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson

from spantree_api.answers.executions import EventAnswer, LinkAnswer, NodeDetail, SpanAnswer
from spantree_api.rendering import rfc3339
from spantree_api.stored_rows import NodeRow, SpanRow
from spantree_api.tree import node_answer
from spantree_exporter.facts.reading import PREVIEW_CHARS, json_text
from spantree_exporter.ids import span_id_to_hex
from spantree_exporter.rows import Node

# SpanKind and Status.StatusCode of opentelemetry/proto/trace/v1/trace.proto, by number.
_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_STATUS_CODES = ("UNSET", "OK", "ERROR")
# Where conventions keep a stack trace: exception events, and attributes of the span itself.
_TRACEBACK_KEYS = ("exception.stacktrace", "error.stack", "error.stack_trace", "code.stacktrace")
# How deep in JSON a value may stand: {"inputs": {"kwargs": ...}} is as deep as frameworks wrap it.
_JSON_LEVELS = 3


def node_detail(row: NodeRow, spans: Sequence[SpanRow], clock_ns: int) -> NodeDetail:
    """The node with its span's attributes, events, links and resource, and its values whole.

    `spans`: its own span first where that has come, then those folded into it.
    """
    node = row.node
    own = spans[0] if spans and is_own(spans[0], node) else None
    whole_input, input_complete = whole_value(node.input, spans)
    whole_output, output_complete = whole_value(node.output, spans)
    answer = node_answer(node, clock_ns)
    answer["input"] = whole_input
    answer["output"] = whole_output
    return {
        **answer,
        "execution_id": row.trace_id.hex,
        "attributes": {} if own is None else own.attributes,
        "events": [] if own is None else [event_answer(event) for event in own.events or ()],
        "links": [] if own is None else [_link_answer(link) for link in own.links or ()],
        "resource": None
        if own is None
        else {"attributes": own.resource_attributes, "schema_url": own.resource_schema_url},
        "scope": None if own is None else own.scope,
        "traceback": traceback_of(node, spans),
        "span": None if own is None else _span_answer(own),
        "input_complete": input_complete,
        "output_complete": output_complete,
        "raw_available": own is not None and own.raw_available,
    }


def is_own(span: SpanRow, node: Node) -> bool:
    """Whether the node stands for this span, and not only contains it."""
    return span.span_id == node.span_id and span.fingerprint == node.fingerprint


def whole_value(shown: str | None, spans: Iterable[SpanRow]) -> tuple[str | None, bool]:
    """(the value that `shown` is the beginning of, whether that is all of it)."""
    if shown is None or len(shown) < PREVIEW_CHARS:
        return shown, True
    texts = (text for span in spans for text in _texts_of(span) if text.startswith(shown))
    longest = max(texts, key=len, default=None)
    return (shown, False) if longest is None else (longest, True)


def traceback_of(node: Node, spans: Iterable[SpanRow]) -> str | None:
    """The stack trace of the node's error: of the event that tells this error, else the last one there is."""
    matching: str | None = None
    last: str | None = None
    for span in spans:
        for attributes in (span.attributes, *(event.get("attributes") or {} for event in span.events or ())):
            text = next((attributes[key] for key in _TRACEBACK_KEYS if attributes.get(key)), None)
            if not isinstance(text, str):
                continue
            last = text
            if node.error_message and attributes.get("exception.message") == node.error_message:
                matching = text
        if matching or last:
            # Spans further in tell of the same error again, or of another one.
            break
    return matching or last


def event_answer(event: dict[str, Any]) -> EventAnswer:
    """A stored event."""
    return {
        "name": event["name"],
        "time_ns": event["time_ns"],
        "at": rfc3339(event["time_ns"]),
        "attributes": event.get("attributes") or {},
        "dropped_attributes_count": event.get("dropped_attributes_count", 0),
    }


def _link_answer(link: dict[str, Any]) -> LinkAnswer:
    return {
        "trace_id": link["trace_id"],
        "span_id": link["span_id"],
        "trace_state": link.get("trace_state", ""),
        "attributes": link.get("attributes") or {},
        "flags": link.get("flags", 0),
        "dropped_attributes_count": link.get("dropped_attributes_count", 0),
    }


def _span_answer(span: SpanRow) -> SpanAnswer:
    return {
        "name": span.name,
        "kind": _name_of(span.kind, _KINDS),
        "status_code": _name_of(span.status_code, _STATUS_CODES),
        "status_message": span.status_message or "",
        "started_ns": span.start_ns,
        "ended_ns": span.end_ns,
        "trace_state": span.trace_state or "",
        "flags": span.flags,
        "received_at": rfc3339(span.received_ns),
        "parent_span_id": None if span.parent_span_id is None else span_id_to_hex(span.parent_span_id),
    }


def _name_of(number: int, names: Sequence[str]) -> str:
    # A later version of OTLP may know more; what was sent is told as its number.
    return names[number] if 0 <= number < len(names) else str(number)


def _texts_of(span: SpanRow) -> Iterator[str]:
    for attributes in (span.attributes, *(event.get("attributes") or {} for event in span.events or ())):
        for value in attributes.values():
            yield from _texts_in(value, _JSON_LEVELS)


def _texts_in(value: Any, levels: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
        if not levels or value[:1] not in {"{", "["}:
            return
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return
    elif isinstance(value, list | dict) and (text := json_text(value)) is not None:
        # As facts.reading.preview writes it, unless it nests too deep to be written.
        yield text
    if levels and isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts_in(item, levels - 1)
