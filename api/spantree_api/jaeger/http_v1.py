"""Stored spans -> traces as Jaeger's HTTP API tells them (v1, `/api/traces`). Pure.

https://www.jaegertracing.io/docs/2.13/apis/: times in microseconds, attributes as typed tags, OTLP's own fields as tags
with the names of https://opentelemetry.io/docs/specs/otel/trace/sdk_exporters/jaeger/.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import orjson

from spantree_api.span_search.query import kind_name
from spantree_api.stored_rows import OtlpSpan, SpanRow
from spantree_exporter.ids import span_id_to_hex
from spantree_exporter.span import STATUS_ERROR, STATUS_OK, Attributes, JsonValue

# JavaScript's numbers are whole up to here.
_SAFE: Final = 2**53
_NS_PER_US: Final = 1_000


class JaegerTrace:
    """One trace in the making: spans name processes, which are told once all spans have been seen."""

    def __init__(self, trace_id: str) -> None:
        self._trace_id = trace_id
        self._processes: dict[int, str] = {}
        self._told: dict[str, Any] = {}
        self._begun = False

    def spans(self, spans: Sequence[OtlpSpan]) -> bytes:
        """The JSON of `spans`, after all that came before."""
        told = orjson.dumps([self._span(one.span) for one in spans])[1:-1]
        head = b"," if self._begun else orjson.dumps({"traceID": self._trace_id})[:-1] + b',"spans":['
        self._begun = True
        return head + told

    def end(self) -> bytes:
        """What comes after the last span."""
        return b'],"processes":' + orjson.dumps(self._told) + b',"warnings":null}'

    def _span(self, span: SpanRow) -> dict[str, Any]:
        references = list(_references(self._trace_id, span))
        return {
            "traceID": self._trace_id,
            "spanID": span_id_to_hex(span.span_id),
            "flags": span.flags & 0xFF,
            "operationName": span.name,
            "references": references,
            "startTime": span.start_ns // _NS_PER_US,
            "duration": max(0, span.end_ns - span.start_ns) // _NS_PER_US,
            "tags": [*tags_of(span.attributes), *_own_tags(span)],
            "logs": [_log(event) for event in span.events or ()],
            "processID": self._process(span),
            "warnings": None,
        }

    def _process(self, span: SpanRow) -> str:
        known = self._processes.get(span.resource_id)
        if known is None:
            known = self._processes[span.resource_id] = f"p{len(self._processes) + 1}"
            attributes = {key: value for key, value in span.resource_attributes.items() if key != "service.name"}
            service = span.resource_attributes.get("service.name")
            self._told[known] = {
                "serviceName": service if isinstance(service, str) else "",
                "tags": list(tags_of(attributes)),
            }
        return known


def tags_of(attributes: Attributes) -> Iterator[dict[str, Any]]:
    """Stored attributes as tags with types."""
    for key, value in attributes.items():
        yield _tag(key[1:] if key.startswith("$") else key, value)


def _tag(key: str, value: JsonValue) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"key": key, "type": "bool", "value": value}
    if isinstance(value, int):
        return {"key": key, "type": "int64", "value": value if abs(value) <= _SAFE else str(value)}
    if isinstance(value, float):
        return {"key": key, "type": "float64", "value": value}
    if isinstance(value, dict) and len(value) == 1:
        if isinstance(held := value.get("$b"), str):
            return {"key": key, "type": "binary", "value": held}
        if isinstance(held := value.get("$f"), str):
            return {"key": key, "type": "string", "value": held}
    if not isinstance(value, str):
        return {"key": key, "type": "string", "value": "" if value is None else orjson.dumps(value).decode()}
    return {"key": key, "type": "string", "value": value}


def _own_tags(span: SpanRow) -> Iterator[dict[str, Any]]:
    """What OTLP has fields for and Jaeger has not."""
    scope = span.scope or {}
    texts: list[tuple[str, str | None]] = [
        ("otel.scope.name", scope.get("name")),
        ("otel.scope.version", scope.get("version")),
        ("span.kind", kind_name(span.kind)),
        ("otel.status_description", span.status_message),
        ("w3c.tracestate", span.trace_state),
    ]
    if span.status_code in (STATUS_OK, STATUS_ERROR):
        texts.append(("otel.status_code", "OK" if span.status_code == STATUS_OK else "ERROR"))
    if span.status_code == STATUS_ERROR:
        yield {"key": "error", "type": "bool", "value": True}
    for key, text in texts:
        if text:
            yield {"key": key, "type": "string", "value": text}


def _references(trace_id: str, span: SpanRow) -> Iterable[dict[str, str]]:
    if span.parent_span_id is not None:
        parent = span_id_to_hex(span.parent_span_id)
        yield {"refType": "CHILD_OF", "traceID": trace_id, "spanID": parent}
    for link in span.links or ():
        if not link["trace_id"].strip("0"):
            continue  # of no trace: Jaeger's pages take it for a parent that is missing
        told = (link.get("attributes") or {}).get("opentracing.ref_type")
        reference = "CHILD_OF" if told == "child_of" else "FOLLOWS_FROM"
        yield {"refType": reference, "traceID": link["trace_id"], "spanID": link["span_id"]}


def _log(event: dict[str, Any]) -> dict[str, Any]:
    fields = list(tags_of(event.get("attributes") or {}))
    if event.get("name"):
        fields.insert(0, {"key": "event", "type": "string", "value": event["name"]})
    return {"timestamp": event["time_ns"] // _NS_PER_US, "fields": fields}
