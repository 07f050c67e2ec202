"""Log records as they are stored, and as events of the spans that they belong to. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from spantree_api.stored_rows import SpanRow
from spantree_exporter.facts.log_events import SpanLog, event_of
from spantree_exporter.otlp.rows import LogRow as LogRow
from spantree_exporter.otlp.rows import OtlpLog as OtlpLog


@dataclass(frozen=True, slots=True)
class LogDay:
    """A day that may hold records of a trace."""

    day: date


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
