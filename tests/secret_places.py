"""Requests with one secret in every place that text can be, and where it is looked for afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import psycopg
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from psycopg.sql import SQL, Identifier
from tests.otlp_requests import request, span, span_id, trace_id

SECRET: Final = "hunter2-kX93"
TEXT: Final = f"password={SECRET}"


def texts(*some: str) -> AnyValue:
    """A list of texts."""
    return AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=text) for text in some]))


def spans_with_secrets(trace: int = 1) -> ExportTraceServiceRequest:
    """One span: names, attributes, events, links, states, status, resource and scope tell the secret."""
    one = span(trace, 1, name=f"login {TEXT}")
    one.kind = one.SPAN_KIND_SERVER
    one.trace_state = f"x=token:{SECRET}"
    one.status.code = one.status.STATUS_CODE_ERROR
    one.status.message = f"failed: {TEXT}"
    nested = KeyValueList(
        values=[
            KeyValue(key="token", value=AnyValue(string_value=SECRET)),
            KeyValue(key="deeper", value=texts(TEXT)),
        ]
    )
    one.attributes.extend(
        [
            KeyValue(key="plain", value=AnyValue(string_value=TEXT)),
            KeyValue(key="db.password", value=AnyValue(string_value=SECRET)),
            KeyValue(key="http.request.header.cookie", value=texts(SECRET)),
            KeyValue(key="url.full", value=AnyValue(string_value=f"https://u:{SECRET}@h/x?token={SECRET}&n=1")),
            KeyValue(key="nested", value=AnyValue(kvlist_value=nested)),
            KeyValue(key="bytes", value=AnyValue(bytes_value=TEXT.encode())),
            KeyValue(key="secret", value=AnyValue(bytes_value=SECRET.encode())),
            KeyValue(key="pin.secret", value=AnyValue(int_value=123456)),
            KeyValue(key="argv", value=texts("--password", SECRET)),
            KeyValue(key=f"key {TEXT}", value=AnyValue(bool_value=True)),
            KeyValue(key="spantree.input", value=AnyValue(string_value=f'{{"api_key": "{SECRET}", "n": 1}}')),
            KeyValue(key="spantree.run.id", value=AnyValue(string_value=f"run {TEXT}")),
            KeyValue(key="spantree.execution.name", value=AnyValue(string_value=f"workflow {TEXT}")),
            KeyValue(key="kept", value=AnyValue(string_value="as it is")),
        ]
    )
    event = one.events.add(name="exception", time_unix_nano=one.end_time_unix_nano)
    event.attributes.add(key="exception.type").value.string_value = f"LoginError {TEXT}"
    event.attributes.add(key="exception.message").value.string_value = f'{{\\"secret\\": \\"{SECRET}\\"}}'
    one.events.add(name=f"event {TEXT}", time_unix_nano=one.end_time_unix_nano)
    link = one.links.add(trace_id=b"t" * 16, span_id=b"s" * 8, trace_state=f"x=token:{SECRET}")
    link.attributes.add(key="api_key").value.string_value = SECRET
    sent = request(one)
    of_resource = sent.resource_spans[0]
    of_resource.schema_url = f"https://x/?token={SECRET}"
    of_resource.resource.attributes.add(key="process.command_line").value.string_value = f"run --token {SECRET}"
    of_scope = of_resource.scope_spans[0]
    of_scope.schema_url = f"https://u:{SECRET}@x/"
    of_scope.scope.name = f"scope {TEXT}"
    of_scope.scope.version = TEXT
    of_scope.scope.attributes.add(key="authorization").value.string_value = SECRET
    return sent


def logs_with_secrets(trace: int = 1) -> ExportLogsServiceRequest:
    """One record of the span above."""
    sent = ExportLogsServiceRequest()
    of_resource = sent.resource_logs.add()
    of_resource.resource.attributes.add(key="service.name").value.string_value = f"service {TEXT}"
    record = of_resource.scope_logs.add().log_records.add(
        trace_id=trace_id(trace), span_id=span_id(1), severity_text=TEXT, event_name=f"event {TEXT}", severity_number=17
    )
    record.body.kvlist_value.values.add(key="password").value.string_value = SECRET
    record.body.kvlist_value.values.add(key="said").value.string_value = f'{{"api_key": "{SECRET}"}}'
    record.attributes.add(key="cookie").value.string_value = SECRET
    return sent


def tables_with(url: str, secret: str = SECRET) -> list[str]:
    """The tables that have a row with the secret in any column, as text, in bytes or in base64."""
    found = []
    # Of base64 as the stored form of bytes has it: whole, or behind what TEXT begins with.
    forms = [secret, secret.encode().hex(), *_base64(secret.encode()), *_base64(f"password={secret}".encode())]
    with psycopg.connect(url, autocommit=True) as connection:
        names = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'spantree'::regnamespace AND relkind IN ('r', 'p')"
            " AND NOT relispartition"
        ).fetchall()
        assert len(names) > 20
        for (name,) in names:
            rows = connection.execute(
                SQL("SELECT count(*) FROM spantree.{} AS row WHERE row::text LIKE ANY (%s)").format(Identifier(name)),
                [[f"%{form}%" for form in forms]],
            ).fetchone()
            if rows and rows[0]:
                found.append(name)
    return sorted(found)


def _base64(secret: bytes) -> list[str]:
    import base64

    return [base64.b64encode(secret).decode().rstrip("=")[:-1]]


def files_with(folder: Path, secret: str = SECRET) -> list[str]:
    """The files below a folder that hold the secret."""
    return [path.name for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


def everything(told: Any) -> str:
    """An answer as text."""
    return f"{told.status_code} {dict(told.headers)} {told.text}"
