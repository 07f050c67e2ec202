"""Stored log records -> OTLP/protobuf, equal to what came in but for the order of attributes. Pure.

As for spans (otlp_protobuf.py): a record whose stored form lost something is its own bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, LogsData

from spantree_api.otlp_protobuf import any_value, key_values, with_base64_ids
from spantree_api.stored_logs import OtlpLog
from spantree_exporter.ids import span_id_to_bytes
from spantree_exporter.otlp.deep_json import loads_shallow
from spantree_exporter.otlp.encode_logs_json import by_resource, by_scope


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
    for rows in by_resource(plain):
        entry = data.resource_logs.add(schema_url=rows[0].resource_schema_url)
        entry.resource.attributes.extend(key_values(rows[0].resource_attributes))
        entry.resource.dropped_attributes_count = rows[0].resource_dropped_attributes_count
        for of_scope in by_scope(rows):
            stored = of_scope[0].scope or {}
            scope_logs = entry.scope_logs.add(schema_url=stored.get("schema_url", ""))
            scope_logs.scope.name = stored.get("name", "")
            scope_logs.scope.version = stored.get("version", "")
            scope_logs.scope.attributes.extend(key_values(stored.get("attributes") or {}))
            scope_logs.scope.dropped_attributes_count = stored.get("dropped_attributes_count", 0)
            scope_logs.log_records.extend(_message(log) for log in of_scope)
    sent.append(data.SerializeToString())
    return b"".join(sent)


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


def _alone_in_protobuf(raw: bytes) -> bytes | None:
    if not raw.startswith(b"{"):
        return raw
    try:
        message = ParseDict(with_base64_ids(loads_shallow(raw)), LogsData(), ignore_unknown_fields=True)
    except (ParseError, DecodeError, ValueError, RecursionError):
        return None
    return message.SerializeToString()
