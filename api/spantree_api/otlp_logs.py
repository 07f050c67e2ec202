"""Stored log records -> OTLP, JSON and protobuf, equal to what came in but for the order of attributes. Pure.

As for spans (otlp_json.py, otlp_protobuf.py): a record whose stored form lost something is its own bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import DecodeError
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, LogsData

from spantree_api.otlp_protobuf import any_value, key_values, with_base64_ids
from spantree_api.stored_logs import OtlpLog
from spantree_exporter.deep_json import loads_any
from spantree_exporter.ids import span_id_to_bytes, span_id_to_hex
from spantree_exporter.otlp_json import with_hex_ids
from spantree_exporter.stored import otlp_attributes, otlp_value


def resource_logs(logs: Sequence[OtlpLog]) -> list[dict[str, Any]]:
    """The ResourceLogs of `logs` in OTLP/JSON; neighbours of one resource, and in it of one scope, share one."""
    told: list[dict[str, Any]] = []
    plain: list[OtlpLog] = []
    for log in logs:
        sent = None if log.raw is None else _alone_in_json(log.raw)
        if sent is None:
            plain.append(log)
        else:
            told.extend(sent)
    for rows in _by_resource(plain):
        resource: dict[str, Any] = {"attributes": list(otlp_attributes(rows[0].resource_attributes))}
        _put(resource, "droppedAttributesCount", rows[0].resource_dropped_attributes_count)
        entry: dict[str, Any] = {
            "resource": resource,
            "scopeLogs": [_scope_json(of_scope) for of_scope in _by_scope(rows)],
        }
        _put(entry, "schemaUrl", rows[0].resource_schema_url)
        told.append(entry)
    return told


def logs_data(logs: Sequence[OtlpLog]) -> bytes:
    """A LogsData of `logs`, in protobuf."""
    sent: list[bytes] = []
    plain: list[OtlpLog] = []
    for log in logs:
        alone = None if log.raw is None else _alone_in_protobuf(log.raw)
        if alone is None:
            plain.append(log)
        else:
            sent.append(alone)
    data = LogsData()
    for rows in _by_resource(plain):
        entry = data.resource_logs.add(schema_url=rows[0].resource_schema_url)
        entry.resource.attributes.extend(key_values(rows[0].resource_attributes))
        entry.resource.dropped_attributes_count = rows[0].resource_dropped_attributes_count
        for of_scope in _by_scope(rows):
            stored = of_scope[0].scope or {}
            scope_logs = entry.scope_logs.add(schema_url=stored.get("schema_url", ""))
            scope_logs.scope.name = stored.get("name", "")
            scope_logs.scope.version = stored.get("version", "")
            scope_logs.scope.attributes.extend(key_values(stored.get("attributes") or {}))
            scope_logs.scope.dropped_attributes_count = stored.get("dropped_attributes_count", 0)
            scope_logs.log_records.extend(_message(log) for log in of_scope)
    sent.append(data.SerializeToString())
    return b"".join(sent)


def _by_resource(logs: Iterable[OtlpLog]) -> Iterator[list[OtlpLog]]:
    for _, of_resource in groupby(logs, key=lambda log: log.resource_id):
        yield list(of_resource)


def _by_scope(logs: Iterable[OtlpLog]) -> Iterator[list[OtlpLog]]:
    for _, of_scope in groupby(logs, key=lambda log: log.scope):
        yield list(of_scope)


def _scope_json(logs: Sequence[OtlpLog]) -> dict[str, Any]:
    stored = logs[0].scope or {}
    scope: dict[str, Any] = {}
    _put(scope, "name", stored.get("name"))
    _put(scope, "version", stored.get("version"))
    _put(scope, "attributes", list(otlp_attributes(stored.get("attributes") or {})))
    _put(scope, "droppedAttributesCount", stored.get("dropped_attributes_count"))
    entry: dict[str, Any] = {"scope": scope, "logRecords": [_record_json(log) for log in logs]}
    _put(entry, "schemaUrl", stored.get("schema_url"))
    return entry


def _record_json(log: OtlpLog) -> dict[str, Any]:
    told: dict[str, Any] = {}
    _put(told, "timeUnixNano", log.time_ns and str(log.time_ns))
    _put(told, "observedTimeUnixNano", log.observed_ns and str(log.observed_ns))
    _put(told, "severityNumber", log.severity_number)
    _put(told, "severityText", log.severity_text)
    if log.body is not None:
        told["body"] = otlp_value(log.body)
    _put(told, "attributes", list(otlp_attributes(log.attributes)))
    _put(told, "droppedAttributesCount", log.dropped_attributes_count)
    _put(told, "flags", log.flags)
    told |= {"traceId": log.trace_id.hex, "spanId": span_id_to_hex(log.span_id)}
    _put(told, "eventName", log.event_name)
    return told


def _message(log: OtlpLog) -> LogRecord:
    return LogRecord(
        time_unix_nano=log.time_ns,
        observed_time_unix_nano=log.observed_ns,
        severity_number=log.severity_number,  # type: ignore[arg-type]  # a number without a name stays itself
        severity_text=log.severity_text or "",
        body=None if log.body is None else any_value(log.body),
        attributes=key_values(log.attributes),
        dropped_attributes_count=log.dropped_attributes_count or 0,
        flags=log.flags,
        trace_id=log.trace_id.bytes,
        span_id=span_id_to_bytes(log.span_id),
        event_name=log.event_name or "",
    )


def _alone_in_json(raw: bytes) -> list[dict[str, Any]] | None:
    if raw.startswith(b"{"):
        [sent] = loads_any(raw).values()
        return sent  # type: ignore[no-any-return]  # as decode_json wrote it
    try:
        told = MessageToDict(LogsData.FromString(raw), use_integers_for_enums=True)
    except DecodeError:
        return None
    return [with_hex_ids(entry) for entry in told.get("resourceLogs", [])]


def _alone_in_protobuf(raw: bytes) -> bytes | None:
    if not raw.startswith(b"{"):
        return raw
    try:
        message = ParseDict(with_base64_ids(loads_any(raw)), LogsData(), ignore_unknown_fields=True)
    except (ParseError, ValueError):
        return None
    return message.SerializeToString()


def _put(told: dict[str, Any], key: str, value: object) -> None:
    if value:
        told[key] = value
