"""OTLP requests of log records, protobuf and JSON -> log records, each failing alone.

What belongs to no span is no log record here: it is rejected when the request comes, and not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from spantree_exporter.errors import MalformedRequest
from spantree_exporter.log_record import LogRecord, check_context, seal_log
from spantree_exporter.otlp import decode_json, decode_protobuf
from spantree_exporter.otlp.build import Envelope, SpanUnusable, build_resource, build_scope
from spantree_exporter.otlp.decode import DeadLetter, DeadLettersOfBody, Examined
from spantree_exporter.otlp.wire import LogsRequest, WireError, WireLogRecord

LOGS_PROTOBUF: Final = "logs-protobuf"
LOGS_JSON: Final = "logs-json"

# partial_success is for a person: the first few reasons, different ones, tell enough.
_REASONS_TOLD: Final = 5


@dataclass(frozen=True, slots=True)
class DecodedLogs:
    """The log records of a body in their order, and those that cannot be stored."""

    records: list[LogRecord]
    dead: list[DeadLetter]
    unkept: int = 0


@dataclass(frozen=True, slots=True)
class _Encoding:
    envelopes: Callable[[bytes], Iterator[Envelope]]
    read: Callable[[Any, Envelope, int], LogRecord]
    ids: Callable[[Any], tuple[bytes, bytes]]


def examine_logs(body: bytes, encoding: str, most_records: int | None = None) -> Examined:
    """Count the records of `body` and those that belong to no span; as decode.examine does for spans.

    Stops at the first record beyond `most_records`. Raises MalformedRequest.
    """
    reader = _ENCODINGS[encoding]
    records = rejected = 0
    reasons: dict[str, None] = {}
    for envelope in _envelopes(reader, body):
        for sent in envelope.spans:
            records += 1
            if most_records is not None and records > most_records:
                return Examined(records, rejected, "; ".join(reasons))
            try:
                check_context(*reader.ids(sent))
            except (WireError, SpanUnusable) as error:
                rejected += 1
                if len(reasons) < _REASONS_TOLD:
                    reasons[_reason(error)] = None
    return Examined(records, rejected, "; ".join(reasons))


def decode_logs(body: bytes, encoding: str, received_ns: int) -> DecodedLogs:
    """All records of `body` that belong to spans, in their order. Raises MalformedRequest."""
    reader = _ENCODINGS[encoding]
    records: list[LogRecord] = []
    dead = DeadLettersOfBody(encoding, received_ns)
    for envelope in _envelopes(reader, body):
        for sent in envelope.spans:
            if not _has_context(reader, sent):
                continue
            try:
                records.append(reader.read(sent, envelope, received_ns))
            except (WireError, SpanUnusable) as error:
                dead.add(_reason(error), envelope, sent)
    return DecodedLogs(records, dead.letters, dead.unkept)


def raw_logs(body: bytes, encoding: str, indexes: Collection[int]) -> Iterator[bytes]:
    """For each of `indexes`, in order, a request that holds only that record of `decode_logs(...).records`."""
    reader = _ENCODINGS[encoding]
    wanted = frozenset(indexes)
    last = max(wanted, default=-1)
    position = 0
    for envelope in _envelopes(reader, body):
        for sent in envelope.spans:
            if not _has_context(reader, sent):
                continue
            try:
                reader.read(sent, envelope, 0)
            except (WireError, SpanUnusable):
                continue
            if position in wanted:
                yield envelope.alone(sent)
            if position >= last:
                return
            position += 1


def _has_context(reader: _Encoding, sent: Any) -> bool:
    try:
        check_context(*reader.ids(sent))
    except (WireError, SpanUnusable):
        return False
    return True


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, SpanUnusable) else "a log record cannot be read as protobuf"


def _envelopes(reader: _Encoding, body: bytes) -> Iterator[Envelope]:
    try:
        yield from reader.envelopes(body)
    except WireError as error:
        raise MalformedRequest(f"the body is no ExportLogsServiceRequest in protobuf: {error}") from error
    except (TypeError, AttributeError, ValueError) as error:
        raise MalformedRequest(f"the body is no ExportLogsServiceRequest in JSON: {error}") from error


# ---- protobuf -------------------------------------------------------------------------------------------------------


def _protobuf_envelopes(body: bytes) -> Iterator[Envelope]:
    request = LogsRequest.FromString(body)
    for resource_logs in request.resource_logs:
        resource_losses: list[str] = []
        sent = resource_logs.resource
        resource = build_resource(
            decode_protobuf.attributes_of(sent.attributes, resource_losses),
            decode_protobuf.text_of(resource_logs.schema_url, resource_losses),
            sent.dropped_attributes_count,
            resource_losses,
        )
        for scope_logs in resource_logs.scope_logs:
            scope_losses: list[str] = []
            sent_scope = scope_logs.scope
            scope = build_scope(
                decode_protobuf.text_of(sent_scope.name, scope_losses),
                decode_protobuf.text_of(sent_scope.version, scope_losses),
                decode_protobuf.attributes_of(sent_scope.attributes, scope_losses),
                decode_protobuf.text_of(scope_logs.schema_url, scope_losses),
                sent_scope.dropped_attributes_count,
                scope_losses,
            )
            yield Envelope(
                resource,
                scope,
                scope_logs.log_records,
                [f"resource_{loss}" for loss in resource_losses] + [f"scope_{loss}" for loss in scope_losses],
                partial(_protobuf_alone, resource_logs, scope_logs),
            )


def _protobuf_alone(resource_logs: Any, scope_logs: Any, sent: bytes) -> bytes:
    request = LogsRequest()
    own_resource = request.resource_logs.add(schema_url=resource_logs.schema_url)
    if resource_logs.HasField("resource"):
        own_resource.resource.CopyFrom(resource_logs.resource)
    own_scope = own_resource.scope_logs.add(schema_url=scope_logs.schema_url, log_records=[sent])
    if scope_logs.HasField("scope"):
        own_scope.scope.CopyFrom(scope_logs.scope)
    serialized: bytes = request.SerializeToString()
    return serialized


def _protobuf_ids(sent: bytes) -> tuple[bytes, bytes]:
    record = WireLogRecord.FromString(sent)
    return record.trace_id, record.span_id


def _read_protobuf(sent: bytes, envelope: Envelope, received_ns: int) -> LogRecord:
    wire = WireLogRecord.FromString(sent)
    check_context(wire.trace_id, wire.span_id)
    losses = envelope.losses.copy()
    text = decode_protobuf.text_of
    record = LogRecord(
        wire.trace_id,
        int.from_bytes(wire.span_id, "big", signed=True),
        wire.time_unix_nano,
        wire.observed_time_unix_nano,
        wire.severity_number,
        text(wire.severity_text, losses),
        text(wire.event_name, losses),
        wire.flags,
        envelope.resource,
        envelope.scope,
        decode_protobuf.value_of(wire.body, losses),
        None,
        decode_protobuf.attributes_of(wire.attributes, losses),
        b"",
        wire.dropped_attributes_count,
        received_ns,
        anomalies=losses,
    )
    return seal_log(record, sent, envelope)


# ---- JSON -----------------------------------------------------------------------------------------------------------


def _json_envelopes(body: bytes) -> Iterator[Envelope]:
    return decode_json.envelopes_of(body, "resourceLogs", "scopeLogs", "logRecords")


def _json_ids(sent: object) -> tuple[bytes, bytes]:
    try:
        return decode_json.span_ids(sent)
    except SpanUnusable as error:
        raise SpanUnusable(f"a log record's {error}") from None


def _read_json(sent: Any, envelope: Envelope, received_ns: int) -> LogRecord:
    trace_id, span_id = _json_ids(sent)
    check_context(trace_id, span_id)
    losses = envelope.losses.copy()
    read = decode_json.FieldReader(sent, losses)
    try:
        record = LogRecord(
            trace_id,
            int.from_bytes(span_id, "big", signed=True),
            read.uint64("timeUnixNano"),
            read.uint64("observedTimeUnixNano"),
            read.severity("severityNumber"),
            read.text("severityText"),
            read.text("eventName"),
            read.uint32("flags"),
            envelope.resource,
            envelope.scope,
            read.value("body"),
            None,
            read.attributes("attributes"),
            b"",
            read.uint32("droppedAttributesCount"),
            received_ns,
            anomalies=losses,
        )
    except (TypeError, AttributeError, ValueError) as error:
        raise SpanUnusable(f"a log record's field has a wrong type: {error}") from error
    return seal_log(record, sent, envelope)


_ENCODINGS: Final = {
    LOGS_PROTOBUF: _Encoding(_protobuf_envelopes, _read_protobuf, _protobuf_ids),
    LOGS_JSON: _Encoding(_json_envelopes, _read_json, _json_ids),
}
