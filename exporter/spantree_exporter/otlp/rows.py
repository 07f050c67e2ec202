"""Rows of `span` and `log_record` with their resources, as they are read to be told as OTLP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from spantree_exporter.span import Attributes, JsonValue


@dataclass(frozen=True, slots=True)
class SpanRow:
    """A span as it is stored, with its resource's attributes."""

    trace_id: UUID
    span_id: int
    fingerprint: int
    parent_span_id: int | None
    kind: int
    status_code: int
    start_ns: int
    end_ns: int
    flags: int
    received_ns: int
    name: str
    status_message: str | None
    trace_state: str | None
    resource_id: int
    scope: dict[str, Any] | None
    attributes: Attributes
    events: list[dict[str, Any]] | None
    links: list[dict[str, Any]] | None
    dropped_attributes_count: int | None
    dropped_events_count: int | None
    dropped_links_count: int | None
    anomalies: list[str] | None
    raw_available: bool
    resource_attributes: Attributes
    resource_schema_url: str
    resource_dropped_attributes_count: int


@dataclass(frozen=True, slots=True)
class OtlpSpan:
    """A span, and the request with it alone where the stored form lost something."""

    span: SpanRow
    raw: bytes | None


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


@dataclass(frozen=True, slots=True)
class KeptLog:
    """A log record as an archive has it: with the time at which it was taken in."""

    log: OtlpLog
    received_ns: int
