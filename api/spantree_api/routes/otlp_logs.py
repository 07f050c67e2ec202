"""The log records of a trace as they came in."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Response

from spantree_api.errors import NotFound
from spantree_api.otlp_logs import logs_data
from spantree_api.params import TraceIdPath, trace_id_of
from spantree_api.reads.otlp import log_chunks
from spantree_api.responses import error_answers, sent_parts
from spantree_api.service import ServiceOf
from spantree_exporter.deep_json import dumps_any
from spantree_exporter.otlp_logs_json import resource_logs

router = APIRouter(tags=["executions"])
_JSON = "application/json"
_PROTOBUF = "application/x-protobuf"
_SCHEMA = {"type": "object", "properties": {"resourceLogs": {"type": "array", "items": {"type": "object"}}}}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "LogsData of opentelemetry/proto/logs/v1/logs.proto",
        "content": {_JSON: {"schema": _SCHEMA}, _PROTOBUF: {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.get(
    "/executions/{trace_id}/otlp/logs", response_class=Response, responses={**_ANSWERS, **error_answers(404, 422, 503)}
)
async def get_otlp_logs(
    service: ServiceOf,
    trace_id: TraceIdPath,
    accept: Annotated[str, Header(description=f"`{_PROTOBUF}` for protobuf; JSON for anything else")] = _JSON,
) -> Response:
    """All log records of the trace as OTLP, equal to what came in but for the order of attributes."""
    wanted = trace_id_of(trace_id)
    protobuf = _PROTOBUF in accept or "application/protobuf" in accept
    parts: list[bytes] = []
    async with service.reader() as reader:
        async for logs in log_chunks(reader, wanted):
            if protobuf:
                parts.append(logs_data(logs))
            else:
                # The brackets of the list of ResourceLogs are written once, around all chunks.
                parts.append((b"," if parts else b"") + dumps_any(resource_logs(logs))[1:-1])
    if not parts:
        raise NotFound(f"no log record of a trace {wanted.hex}", {"execution_id": wanted.hex})
    if protobuf:
        return sent_parts(parts, _PROTOBUF)
    return sent_parts([b'{"resourceLogs":[', *parts, b"]}"], _JSON)
