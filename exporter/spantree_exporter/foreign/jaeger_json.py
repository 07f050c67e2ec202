"""Jaeger's JSON of a trace, as its UI downloads it, -> OTLP/JSON. Pure.

https://github.com/jaegertracing/jaeger-ui/blob/main/packages/jaeger-ui/src/types/trace.tsx has the shape; what OTLP
fields became tags on the way in (OpenTelemetry's "transformation to Jaeger") becomes fields again: span.kind,
otel.status_code, otel.status_description, error, otel.scope.name and .version (otel.library.* before), w3c.tracestate.

A trace that went to Jaeger as OTLP comes back with microseconds and without what Jaeger does not keep (schema URLs,
dropped counts, attributes of links); it is then another span than the one that was sent here directly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

_KINDS: Final = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
_STATUS_CODES: Final = {"OK": 1, "ERROR": 2}
_NS_PER_US: Final = 1000
_FIELDS: Final = frozenset(
    {
        "span.kind", "otel.status_code", "otel.status_description", "otel.scope.name", "otel.scope.version",
        "otel.library.name", "otel.library.version", "w3c.tracestate",
    }
)  # fmt: skip


# What reading a member of another type or size than Jaeger writes comes to; 1e400 is no integer.
_MALFORMED: Final = (AttributeError, KeyError, TypeError, ValueError, OverflowError)


def traces_of(trace: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """(the trace as a TracesData in OTLP/JSON, a sentence for each span or process that is none).

    Raises ValueError where `trace` is none of Jaeger's.
    """
    spans, processes = trace.get("spans"), trace.get("processes") or {}
    if not isinstance(spans, list) or not isinstance(processes, Mapping):
        raise ValueError("a trace of Jaeger's has spans, a list, and processes, an object")
    faults: list[str] = []
    by_sender: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for number, span in enumerate(spans):
        try:
            tags = _tags(span.get("tags") or ())
            scope = str(tags.get("otel.scope.name", tags.get("otel.library.name", "")))
            version = str(tags.get("otel.scope.version", tags.get("otel.library.version", "")))
            told = _span(span, tags, str(trace.get("traceID", "")))
        except _MALFORMED as error:
            faults.append(f"span {number}: {type(error).__name__}: {error}")
            continue
        by_sender.setdefault((str(span.get("processID", "")), scope, version), []).append(told)
    resource_spans = []
    for (process_id, scope, version), told_spans in by_sender.items():
        try:
            process = span_process(processes, process_id)
        except _MALFORMED as error:
            faults.append(f"process {process_id}: {type(error).__name__}: {error}; its spans have no resource")
            process = {}
        resource_spans.append(
            {
                "resource": {"attributes": _attributes(process)},
                "scopeSpans": [{"scope": {"name": scope, "version": version}, "spans": told_spans}],
            }
        )
    return {"resourceSpans": resource_spans}, faults


def span_process(processes: Mapping[str, Any], process_id: str) -> dict[str, Any]:
    """The resource attributes of a process; none where it is not there."""
    process = processes.get(process_id)
    if not isinstance(process, Mapping):
        return {}
    return {"service.name": str(process.get("serviceName", "")), **_tags(process.get("tags") or ())}


def _span(span: Mapping[str, Any], tags: Mapping[str, Any], trace_id: str) -> dict[str, Any]:
    own_trace = _id(span.get("traceID") or trace_id, 32)
    start_ns = int(span["startTime"]) * _NS_PER_US
    parent, links = None, []
    for reference in span.get("references") or ():
        linked = {"traceId": _id(reference["traceID"], 32), "spanId": _id(reference["spanID"], 16)}
        if parent is None and reference.get("refType") == "CHILD_OF" and linked["traceId"] == own_trace:
            parent = linked["spanId"]
        else:
            kind = str(reference.get("refType", "")).lower()
            links.append({**linked, "attributes": _attributes({"opentracing.ref_type": kind})})
    if parent is None and span.get("parentSpanID"):
        parent = _id(span["parentSpanID"], 16)
    code = _STATUS_CODES.get(str(tags.get("otel.status_code", "")).upper(), 0)
    if code == 0 and tags.get("error") in (True, "true"):
        code = _STATUS_CODES["ERROR"]
    attributes = {key: value for key, value in tags.items() if key not in _FIELDS}
    if warnings := span.get("warnings"):
        attributes["jaeger.warnings"] = [str(warning) for warning in warnings]
    return {
        "traceId": own_trace,
        "spanId": _id(span["spanID"], 16),
        **({} if parent is None else {"parentSpanId": parent}),
        "traceState": str(tags.get("w3c.tracestate", "")),
        "flags": int(span.get("flags") or 0) & 0xFF,
        "name": str(span.get("operationName", "")),
        "kind": _KINDS.get(str(tags.get("span.kind", "")).lower(), 0),
        "startTimeUnixNano": str(start_ns),
        "endTimeUnixNano": str(start_ns + int(span.get("duration") or 0) * _NS_PER_US),
        "attributes": _attributes(attributes),
        "events": [_event(log) for log in span.get("logs") or ()],
        "links": links,
        "status": {"code": code, "message": str(tags.get("otel.status_description", ""))},
    }


def _event(log: Mapping[str, Any]) -> dict[str, Any]:
    fields = _tags(log.get("fields") or ())
    name = str(fields.pop("event", "")) or "log"
    return {
        "timeUnixNano": str(int(log["timestamp"]) * _NS_PER_US),
        "name": name,
        "attributes": _attributes(fields),
    }


def _tags(tags: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Tags by key; a number comes as a number or, beyond what JavaScript holds, as text."""
    found: dict[str, Any] = {}
    for tag in tags:
        value = tag.get("value")
        match tag.get("type"):
            case "int64" if not isinstance(value, bool):
                value = int(value)  # type: ignore[arg-type]  # a wrong one is an error of its span
            case "float64":
                value = float(value)  # type: ignore[arg-type]
            case "bool":
                value = value in (True, "true")
        found[str(tag["key"])] = value
    return found


def _attributes(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in values.items()]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return {"arrayValue": {"values": [_value(item) for item in value]}}
    return {} if value is None else {"stringValue": str(value)}


def _id(text: Any, digits: int) -> str:
    """Jaeger leaves leading zeros of ids out."""
    found = str(text).lower()
    int(found, 16)
    if len(found) > digits:
        raise ValueError(f"the id {found[:40]} has more than {digits} digits")
    return found.rjust(digits, "0")
