"""The one shape of a log record that belongs to a span, between the wire and PostgreSQL. As in span.py, every value is
already in its stored form.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import orjson

from spantree_exporter.otlp.build import MAX_BIGINT, Envelope, SpanUnusable, check_ids, clamped_time, content_hash, note
from spantree_exporter.span import Attributes, JsonValue, Resource, Scope
from spantree_exporter.stored import NUL_SIGN, dump_json

_FIXED = struct.Struct(">qqqqiqI")


@dataclass(slots=True)
class LogRecord:
    """A log record as sent, with all that its row holds; `body_json` is None where there is no body.

    `fingerprint` is a hash of the content, equal for a re-sent record whatever the encoding. `raw` holds the exact
    bytes only where the stored form lost something; `anomalies` then says what.
    """

    trace_id: bytes
    span_id: int
    time_ns: int
    observed_ns: int
    severity_number: int
    severity_text: str
    event_name: str
    flags: int
    resource: Resource
    scope: Scope
    body: JsonValue
    body_json: bytes | None
    attributes: Attributes
    attributes_json: bytes
    dropped_attributes_count: int
    received_ns: int
    fingerprint: int = 0
    raw: bytes | None = None
    anomalies: list[str] = field(default_factory=list)

    @property
    def at_ns(self) -> int:
        """When it happened, as far as the sender tells; 0 where it tells nothing."""
        return self.time_ns or self.observed_ns


def check_context(trace_id: bytes, span_id: bytes) -> None:
    """Raise SpanUnusable where these are not the ids of a span that a log record may belong to."""
    if not trace_id.strip(b"\x00") or not span_id.strip(b"\x00"):
        missing = "trace id" if not trace_id.strip(b"\x00") else "span id"
        raise SpanUnusable(
            f"a log record has no {missing}: only records that belong to a span are taken; log within a span, or send "
            "these to a store of logs"
        )
    try:
        check_ids(trace_id, span_id)
    except SpanUnusable as error:
        raise SpanUnusable(f"a log record's {error}") from None


def seal_log(record: LogRecord, sent: Any, envelope: Envelope) -> LogRecord:
    """`record` with its JSON, its fingerprint and, if anything is lost, its bytes; as build.seal does for spans."""
    losses = record.anomalies
    nul = False
    record.attributes_json, changed = dump_json(record.attributes)
    if changed:
        nul, record.attributes = True, orjson.loads(record.attributes_json)
    if record.body is not None:
        record.body_json, changed = dump_json(record.body)
        if changed:
            nul, record.body = True, orjson.loads(record.body_json)
    if "\x00" in record.severity_text or "\x00" in record.event_name:
        nul = True
        record.severity_text = record.severity_text.replace("\x00", NUL_SIGN)
        record.event_name = record.event_name.replace("\x00", NUL_SIGN)
    if nul:
        note(losses, "nul")
    if record.time_ns > MAX_BIGINT or record.observed_ns > MAX_BIGINT:
        record.time_ns = clamped_time(record.time_ns, losses)
        record.observed_ns = clamped_time(record.observed_ns, losses)
    if losses:
        record.raw = envelope.alone(sent)
    record.fingerprint = content_hash(
        _FIXED.pack(
            record.span_id,
            record.resource.id,
            record.time_ns,
            record.observed_ns,
            record.severity_number,
            record.flags,
            record.dropped_attributes_count,
        ),
        record.severity_text.encode(),
        record.event_name.encode(),
        record.scope.json or b"",
        record.body_json or b"",
        record.attributes_json,
        record.raw or b"",
    )
    return record
