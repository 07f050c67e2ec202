"""The one shape of a span between the wire and PostgreSQL.

Every value here is already in its stored form: strings that jsonb and text can hold, attributes as JSON values
(see `stored.py` for how bytes, NaN and the like are written). A span that came over OTLP, one that the exporter
in a process was given and one that was read back from the table are therefore equal, and so are their facts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

JsonValue: TypeAlias = "str | int | float | bool | list[JsonValue] | dict[str, JsonValue] | None"
Attributes: TypeAlias = "dict[str, JsonValue]"

# SpanKind and Status.StatusCode of opentelemetry/proto/trace/v1/trace.proto.
KIND_UNSPECIFIED, KIND_INTERNAL, KIND_SERVER, KIND_CLIENT, KIND_PRODUCER, KIND_CONSUMER = range(6)
STATUS_UNSET, STATUS_OK, STATUS_ERROR = range(3)


@dataclass(slots=True)
class Resource:
    """What produced the spans; shared by all spans of one ResourceSpans. `id` is a hash of its content."""

    id: int
    service_name: str
    attributes: Attributes
    attributes_json: bytes
    schema_url: str = ""
    dropped_attributes_count: int = 0


@dataclass(slots=True)
class Scope:
    """The instrumentation scope; shared by all spans of one ScopeSpans. `json` is its stored form, None when empty."""

    name: str
    version: str
    attributes: Attributes
    json: bytes | None


@dataclass(slots=True)
class Event:
    """A span event, attributes in their stored form."""

    time_ns: int
    name: str
    attributes: Attributes
    dropped_attributes_count: int = 0


@dataclass(slots=True)
class Link:
    """A span link. A linked id of a wrong length is kept as sent: `trace_id` and `span_id` are hex."""

    trace_id: str
    span_id: str
    trace_state: str
    attributes: Attributes
    flags: int = 0
    dropped_attributes_count: int = 0


@dataclass(slots=True)
class Span:
    """A span as sent, with all that its row holds.

    `fingerprint` is a hash of the content, equal for a re-sent span whatever the encoding. `raw` holds the
    span's exact bytes only where the stored form lost something; `anomalies` then says what.
    """

    trace_id: bytes
    span_id: int
    parent_span_id: int | None
    name: str
    kind: int
    start_ns: int
    end_ns: int
    status_code: int
    status_message: str
    flags: int
    trace_state: str
    resource: Resource
    scope: Scope
    attributes: Attributes
    attributes_json: bytes
    events: list[Event]
    events_json: bytes | None
    links: list[Link]
    links_json: bytes | None
    dropped_attributes_count: int
    dropped_events_count: int
    dropped_links_count: int
    received_ns: int
    fingerprint: int = 0
    raw: bytes | None = None
    anomalies: list[str] = field(default_factory=list)
