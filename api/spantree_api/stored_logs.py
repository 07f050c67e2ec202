"""Log records as they are stored, and as events of the spans that they belong to. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any
from uuid import UUID

from spantree_api.stored_rows import SpanRow
from spantree_exporter.facts.log_events import SpanLog, event_of
from spantree_exporter.span import Attributes, JsonValue


@dataclass(frozen=True, slots=True)
class LogDay:
    """A day that may hold records of a trace."""

    day: date


@dataclass(frozen=True, slots=True)
class LogRow:
    """A log record without its resource."""

    trace_id: UUID
    span_id: int
    fingerprint: int
    time_ns: int
    observed_ns: int
    severity_number: int
    severity_text: str | None
    event_name: str | None
    flags: int
    resource_id: int
    scope: dict[str, Any] | None
    body: JsonValue
    attributes: Attributes
    dropped_attributes_count: int | None


@dataclass(frozen=True, slots=True)
class OtlpLog(LogRow):
    """A log record with its resource, and the request with it alone where the stored form lost something."""

    raw: bytes | None
    resource_attributes: Attributes
    resource_schema_url: str
    resource_dropped_attributes_count: int


def with_log_events(spans: Sequence[SpanRow], logs: Sequence[LogRow]) -> list[SpanRow]:
    """`spans` with their log records among their events, in order of time."""
    events: dict[int, list[dict[str, Any]]] = {}
    for log in logs:
        event = event_of(
            SpanLog(
                log.time_ns or log.observed_ns,
                log.event_name or "",
                log.body,
                log.attributes,
                log.dropped_attributes_count or 0,
            )
        )
        stored: dict[str, Any] = {"time_ns": event.time_ns, "name": event.name, "attributes": event.attributes}
        if event.dropped_attributes_count:
            stored["dropped_attributes_count"] = event.dropped_attributes_count
        events.setdefault(log.span_id, []).append(stored)
    return [
        replace(span, events=sorted([*(span.events or ()), *of_span], key=lambda event: int(event["time_ns"])))
        if (of_span := events.get(span.span_id))
        else span
        for span in spans
    ]
