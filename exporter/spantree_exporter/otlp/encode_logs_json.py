"""Stored log records -> OTLP/JSON, equal to what came in but for the order of attributes. Pure, as encode_json.py."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData

from spantree_exporter.ids import span_id_to_hex
from spantree_exporter.otlp.deep_json import dumps_any, loads_any
from spantree_exporter.otlp.encode_json import elements_json, ours, put, with_hex_ids
from spantree_exporter.otlp.rows import KeptLog, OtlpLog
from spantree_exporter.stored import otlp_attributes, otlp_value


def logs_lines(logs: Sequence[KeptLog]) -> bytes:
    """Lines of OTLP/JSON, each a LogsData, that `spantree import` reads back as the records that are stored."""
    lines: list[bytes] = []
    others: list[KeptLog] = []
    for one in logs:
        raw = one.log.raw
        if raw is not None and raw.startswith(b"{"):
            lines.append(raw[:-1] + b"," + ours([(one.log.fingerprint, one.received_ns)]) + b"}\n")
        else:
            others.append(one)
    # Those that are told by their own bytes come first, as `resource_logs` has them.
    others.sort(key=lambda one: one.log.raw is None or _alone_in_json(one.log.raw) is None)
    if others:
        told = dumps_any(resource_logs([one.log for one in others]))
        came = [(one.log.fingerprint, one.received_ns) for one in others]
        lines.append(b'{"resourceLogs":' + told + b"," + ours(came) + b"}\n")
    return b"".join(lines)


def resource_logs_json(logs: Sequence[OtlpLog]) -> bytes:
    """The elements of `resource_logs` as JSON, as `elements_json` tells them."""
    return elements_json(logs, resource_logs)


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
    for rows in by_resource(plain):
        resource: dict[str, Any] = {"attributes": list(otlp_attributes(rows[0].resource_attributes))}
        put(resource, "droppedAttributesCount", rows[0].resource_dropped_attributes_count)
        entry: dict[str, Any] = {
            "resource": resource,
            "scopeLogs": [_scope_json(of_scope) for of_scope in by_scope(rows)],
        }
        put(entry, "schemaUrl", rows[0].resource_schema_url)
        told.append(entry)
    return told


def by_resource(logs: Iterable[OtlpLog]) -> Iterator[list[OtlpLog]]:
    """Neighbours of one resource together."""
    for _, of_resource in groupby(logs, key=lambda log: log.resource_id):
        yield list(of_resource)


def by_scope(logs: Iterable[OtlpLog]) -> Iterator[list[OtlpLog]]:
    """Neighbours of one scope together."""
    for _, of_scope in groupby(logs, key=lambda log: log.scope):
        yield list(of_scope)


def _scope_json(logs: Sequence[OtlpLog]) -> dict[str, Any]:
    stored = logs[0].scope or {}
    scope: dict[str, Any] = {}
    put(scope, "name", stored.get("name"))
    put(scope, "version", stored.get("version"))
    put(scope, "attributes", list(otlp_attributes(stored.get("attributes") or {})))
    put(scope, "droppedAttributesCount", stored.get("dropped_attributes_count"))
    entry: dict[str, Any] = {"scope": scope, "logRecords": [_record_json(log) for log in logs]}
    put(entry, "schemaUrl", stored.get("schema_url"))
    return entry


def _record_json(log: OtlpLog) -> dict[str, Any]:
    told: dict[str, Any] = {}
    put(told, "timeUnixNano", log.time_ns and str(log.time_ns))
    put(told, "observedTimeUnixNano", log.observed_ns and str(log.observed_ns))
    put(told, "severityNumber", log.severity_number)
    put(told, "severityText", log.severity_text)
    if log.body is not None:
        told["body"] = otlp_value(log.body)
    put(told, "attributes", list(otlp_attributes(log.attributes)))
    put(told, "droppedAttributesCount", log.dropped_attributes_count)
    put(told, "flags", log.flags)
    told |= {"traceId": log.trace_id.hex, "spanId": span_id_to_hex(log.span_id)}
    put(told, "eventName", log.event_name)
    return told


def _alone_in_json(raw: bytes) -> list[dict[str, Any]] | None:
    if raw.startswith(b"{"):
        [sent] = loads_any(raw).values()
        return sent  # type: ignore[no-any-return]  # as decode_json wrote it
    try:
        told = MessageToDict(LogsData.FromString(raw), use_integers_for_enums=True)
    except DecodeError:
        return None
    return [with_hex_ids(entry) for entry in told.get("resourceLogs", [])]
