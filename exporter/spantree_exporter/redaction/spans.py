"""Spans and log records in their stored form without secrets: made in this process, or stored already."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import orjson

from spantree_exporter.log_record import LogRecord
from spantree_exporter.otlp.build import build_resource, build_scope
from spantree_exporter.redaction.notes import REDACTED, Notes
from spantree_exporter.redaction.text import TextRedactor
from spantree_exporter.redaction.values import redacted_attributes, redacted_value
from spantree_exporter.span import Attributes, Event, Link, Resource, Scope, Span


def redacted_span(span: Span, redactor: TextRedactor, kinds: Counter[str]) -> Span | None:
    """`span` without secrets, its JSON to be made anew by `build.seal`; None where there are none.

    Its resource and scope are another's to look at: spans share them.
    """
    notes = Notes(kinds)
    name = _text(span.name, redactor, notes, "name")
    status_message = _text(span.status_message, redactor, notes, "status_message")
    trace_state = _text(span.trace_state, redactor, notes, "trace_state")
    attributes = redacted_attributes(span.attributes, redactor, notes, "attributes")
    events = [
        Event(
            event.time_ns,
            _text(event.name, redactor, notes, "events.name"),
            redacted_attributes(event.attributes, redactor, notes, "events.attributes"),
            event.dropped_attributes_count,
        )
        for event in span.events
    ]
    links = [
        replace_link(link, _text(link.trace_state, redactor, notes, "links.trace_state"),
                     redacted_attributes(link.attributes, redactor, notes, "links.attributes"))
        for link in span.links
    ]  # fmt: skip
    if not notes.changed:
        return None
    return replace(
        span,
        name=name,
        status_message=status_message,
        trace_state=trace_state,
        attributes=_marked(attributes, notes),
        events=events,
        links=links,
        anomalies=list(span.anomalies),
    )


def redacted_log(record: LogRecord, redactor: TextRedactor, kinds: Counter[str]) -> LogRecord | None:
    """As `redacted_span`, for a log record and log_record.seal_log."""
    notes = Notes(kinds)
    severity_text = _text(record.severity_text, redactor, notes, "severity_text")
    event_name = _text(record.event_name, redactor, notes, "event_name")
    body = redacted_value(record.body, redactor, notes, "body")
    attributes = redacted_attributes(record.attributes, redactor, notes, "attributes")
    if not notes.changed:
        return None
    return replace(
        record,
        severity_text=severity_text,
        event_name=event_name,
        body=body,
        attributes=_marked(attributes, notes),
        anomalies=list(record.anomalies),
    )


def redacted_resource(resource: Resource, redactor: TextRedactor, kinds: Counter[str]) -> Resource | None:
    """The resource without secrets, None where there are none."""
    notes = Notes(kinds)
    attributes = redacted_attributes(resource.attributes, redactor, notes, "resource.attributes")
    url, changed = _schema_url(resource.schema_url, redactor, kinds)
    if not notes.changed and not changed:
        return None
    return build_resource(_marked(attributes, notes), url, resource.dropped_attributes_count, [])


def redacted_scope(scope: Scope, redactor: TextRedactor, kinds: Counter[str]) -> Scope | None:
    """The scope without secrets, None where there are none."""
    stored: dict[str, Any] = orjson.loads(scope.json) if scope.json else {}
    notes = Notes(kinds)
    name = _text(scope.name, redactor, notes, "scope.name")
    version = _text(scope.version, redactor, notes, "scope.version")
    attributes = redacted_attributes(scope.attributes, redactor, notes, "scope.attributes")
    url, changed = _schema_url(stored.get("schema_url", ""), redactor, kinds)
    if not notes.changed and not changed:
        return None
    return build_scope(name, version, _marked(attributes, notes), url, stored.get("dropped_attributes_count", 0), [])


def replace_link(link: Link, trace_state: str, attributes: Attributes) -> Link:
    """`link` with these."""
    return Link(link.trace_id, link.span_id, trace_state, attributes, link.flags, link.dropped_attributes_count)


def _text(text: str, redactor: TextRedactor, notes: Notes, where: str) -> str:
    redacted, kinds = redactor.text(text, notes.effort)
    notes.add(kinds, where)
    return redacted


def _schema_url(url: str, redactor: TextRedactor, kinds: Counter[str]) -> tuple[str, bool]:
    # It stands beside what has the attribute with the notes: as on the wire, it is only counted.
    notes = Notes(kinds)
    return _text(url, redactor, notes, "schema_url"), notes.changed


def _marked(attributes: Attributes, notes: Notes) -> Attributes:
    if not notes.changed:
        return attributes
    told = attributes.get(REDACTED)
    notes.extend(told if isinstance(told, list) else ())
    texts: Any = notes.texts()
    # First, as on the wire.
    return {REDACTED: texts, **{key: value for key, value in attributes.items() if key != REDACTED}}
