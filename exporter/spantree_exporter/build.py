"""From the parts of a span, whatever encoding they came in, to the `Span` that is stored.

Both decoders end here, so that a span has one stored form and one fingerprint whether it came as protobuf or JSON.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from hashlib import blake2b

import orjson

from spantree_exporter.span import Attributes, Event, Link, Resource, Scope, Span
from spantree_exporter.stored import NUL_SIGN, dump_json

MAX_BIGINT = 2**63 - 1
# protocol.md section 4: what is deeper or wider is cut in the stored form; the exact bytes are kept beside it.
MAX_DEPTH = 64
MAX_KEYS = 2000

_FIXED = struct.Struct(">qqBBqqIQIII")


class SpanUnusable(ValueError):
    """This one span can never be stored; its text says why. Others of its request are not touched."""


@dataclass(slots=True)
class Loss:
    """Notes what the stored form of one span loses, in order of first notice."""

    reasons: list[str] = field(default_factory=list)

    def add(self, reason: str) -> None:
        """Note `reason` once."""
        if reason not in self.reasons:
            self.reasons.append(reason)


@dataclass(slots=True)
class Parts:
    """A span's fields as the wire had them; ids are bytes, times unsigned."""

    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    name: str
    kind: int
    start_ns: int
    end_ns: int
    status_code: int
    status_message: str
    flags: int
    trace_state: str
    attributes: Attributes
    events: list[Event]
    links: list[Link]
    dropped_attributes_count: int
    dropped_events_count: int
    dropped_links_count: int


def content_hash(*parts: bytes) -> int:
    """A signed 64-bit hash, the same on every machine; parts are told apart by their lengths."""
    digest = blake2b(digest_size=8)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return int.from_bytes(digest.digest(), "big", signed=True)


def build_resource(attributes: Attributes, schema_url: str, dropped: int) -> Resource:
    """The resource; its id is a hash of all it holds."""
    text, _ = dump_json(attributes)
    service = attributes.get("service.name")
    return Resource(
        id=content_hash(text, schema_url.encode(), dropped.to_bytes(4, "big")),
        service_name=without_nul_text(service) if isinstance(service, str) else "",
        attributes=attributes,
        attributes_json=text,
        schema_url=without_nul_text(schema_url),
        dropped_attributes_count=dropped,
    )


def build_scope(name: str, version: str, attributes: Attributes, schema_url: str, dropped: int) -> Scope:
    """The scope; `json` is None when the sender named none."""
    stored: dict[str, object] = {}
    if name:
        stored["name"] = name
    if version:
        stored["version"] = version
    if attributes:
        stored["attributes"] = attributes
    if schema_url:
        stored["schema_url"] = schema_url
    if dropped:
        stored["dropped_attributes_count"] = dropped
    return Scope(name, version, attributes, dump_json(stored)[0] if stored else None)


def without_nul_text(text: str) -> str:
    """`text` with U+2400 for each NUL."""
    return text.replace("\x00", NUL_SIGN) if "\x00" in text else text


def build_span(parts: Parts, resource: Resource, scope: Scope, received_ns: int, loss: Loss, raw: bytes) -> Span:
    """The span in its stored form. `raw` is kept only if `loss` notes something, or something is lost here.

    Raises SpanUnusable where the ids are not those of a span (OTLP: all zero or of a wrong length is invalid).
    """
    trace_id, span_id = parts.trace_id, parts.span_id
    if len(trace_id) != 16 or len(span_id) != 8 or not any(trace_id) or not any(span_id):
        raise SpanUnusable(unusable_ids(trace_id, span_id))
    parent: int | None = None
    if parts.parent_span_id:
        if len(parts.parent_span_id) == 8:
            parent = int.from_bytes(parts.parent_span_id, "big", signed=True) or None
        else:
            loss.add("parent_id_invalid")

    attributes_json, attributes_changed = dump_json(parts.attributes)
    attributes = orjson.loads(attributes_json) if attributes_changed else parts.attributes
    events_json = links_json = None
    changed = attributes_changed
    if parts.events:
        events_json, events_changed = dump_json(
            [
                {"time_ns": e.time_ns, "name": e.name, "attributes": e.attributes}
                if not e.dropped_attributes_count
                else {
                    "time_ns": e.time_ns,
                    "name": e.name,
                    "attributes": e.attributes,
                    "dropped_attributes_count": e.dropped_attributes_count,
                }
                for e in parts.events
            ]
        )
        if events_changed:
            changed = True
            parts.events = events_from_json(events_json)
    if parts.links:
        links_json, links_changed = dump_json([_stored_link(link) for link in parts.links])
        if links_changed:
            changed = True
            parts.links = links_from_json(links_json)
    name, message, state = parts.name, parts.status_message, parts.trace_state
    if "\x00" in name or "\x00" in message or "\x00" in state:
        changed = True
        name, message, state = without_nul_text(name), without_nul_text(message), without_nul_text(state)
    if changed:
        loss.add("nul")
    start_ns, end_ns = parts.start_ns, parts.end_ns
    if start_ns > MAX_BIGINT or end_ns > MAX_BIGINT:
        loss.add("time_out_of_range")
        start_ns, end_ns = min(start_ns, MAX_BIGINT), min(end_ns, MAX_BIGINT)

    kept_raw = raw if loss.reasons else None
    anomalies = loss.reasons
    if 0 < end_ns < start_ns:
        loss.add("end_before_start")
    if start_ns == 0:
        loss.add("no_start_time")
    span = Span(
        trace_id,
        int.from_bytes(span_id, "big", signed=True),
        parent,
        name,
        parts.kind,
        start_ns,
        end_ns,
        parts.status_code,
        message,
        parts.flags,
        state,
        resource,
        scope,
        attributes,
        attributes_json,
        parts.events,
        events_json,
        parts.links,
        links_json,
        parts.dropped_attributes_count,
        parts.dropped_events_count,
        parts.dropped_links_count,
        received_ns,
        0,
        kept_raw,
        anomalies,
    )
    span.fingerprint = fingerprint(span)
    return span


def fingerprint(span: Span) -> int:
    """A signed 64-bit hash of what the span says and where it came from, not of when or how it came."""
    tail = b"\x00".join(
        (
            span.name.encode(),
            span.status_message.encode(),
            span.trace_state.encode(),
            span.scope.json or b"",
            span.events_json or b"",
            span.links_json or b"",
            span.attributes_json,
        )
    )
    fixed = _FIXED.pack(
        span.parent_span_id or 0,
        span.resource.id,
        span.kind & 0xFF,
        span.status_code & 0xFF,
        span.start_ns,
        span.end_ns,
        span.flags,
        len(span.raw) if span.raw else 0,
        span.dropped_attributes_count,
        span.dropped_events_count,
        span.dropped_links_count,
    )
    digest = blake2b(fixed, digest_size=8)
    digest.update(tail)
    if span.raw:
        digest.update(span.raw)
    return int.from_bytes(digest.digest(), "big", signed=True)


def unusable_ids(trace_id: bytes, span_id: bytes) -> str:
    """Why these ids are not those of a span, for the sender."""
    if len(trace_id) != 16 or not any(trace_id):
        return f"trace id {trace_id.hex() or '(empty)'}: wanted 16 bytes that are not all zero, got {len(trace_id)}"
    return f"span id {span_id.hex() or '(empty)'}: wanted 8 bytes that are not all zero, got {len(span_id)}"


def _stored_link(link: Link) -> dict[str, object]:
    stored: dict[str, object] = {"trace_id": link.trace_id, "span_id": link.span_id}
    if link.attributes:
        stored["attributes"] = link.attributes
    if link.trace_state:
        stored["trace_state"] = link.trace_state
    if link.flags:
        stored["flags"] = link.flags
    if link.dropped_attributes_count:
        stored["dropped_attributes_count"] = link.dropped_attributes_count
    return stored


def events_from_json(text: bytes) -> list[Event]:
    """The events that `text`, their stored form, holds, in its order."""
    return [
        Event(e["time_ns"], e["name"], e.get("attributes") or {}, e.get("dropped_attributes_count", 0))
        for e in orjson.loads(text)
    ]


def links_from_json(text: bytes) -> list[Link]:
    """The links that `text`, their stored form, holds, in its order."""
    return [
        Link(
            link["trace_id"],
            link["span_id"],
            link.get("trace_state", ""),
            link.get("attributes") or {},
            link.get("flags", 0),
            link.get("dropped_attributes_count", 0),
        )
        for link in orjson.loads(text)
    ]
