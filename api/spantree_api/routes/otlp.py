"""A trace and its log records as they came in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import Header, Response

from spantree_api.errors import NotFound
from spantree_api.http.params import TraceIdPath, trace_id_of
from spantree_api.http.responses import error_answers, sent_parts
from spantree_api.otlp_logs import logs_data
from spantree_api.otlp_protobuf import traces_data
from spantree_api.reads.otlp import log_chunks, span_chunks
from spantree_api.routes.api_router import api_router
from spantree_api.service import ServiceOf
from spantree_exporter.otlp.encode_json import resource_spans_json
from spantree_exporter.otlp.encode_logs_json import resource_logs_json

router = api_router("executions")
_JSON = "application/json"
_PROTOBUF = "application/x-protobuf"
_Row = TypeVar("_Row")
_Accept = Annotated[str, Header(description=f"`{_PROTOBUF}` for protobuf; JSON for anything else")]


def _answers(message: str, field: str) -> dict[int | str, dict[str, Any]]:
    schema = {"type": "object", "properties": {field: {"type": "array", "items": {"type": "object"}}}}
    content = {_JSON: {"schema": schema}, _PROTOBUF: {"schema": {"type": "string", "format": "binary"}}}
    return {200: {"description": message, "content": content}, **error_answers(404, 422, 503)}


@router.get(
    "/executions/{trace_id}/otlp",
    response_class=Response,
    responses=_answers("TracesData of opentelemetry/proto/trace/v1/trace.proto", "resourceSpans"),
)
async def get_otlp(service: ServiceOf, trace_id: TraceIdPath, accept: _Accept = _JSON) -> Response:
    """All spans of the trace as OTLP, equal to what came in but for the order of attributes."""
    wanted = trace_id_of(trace_id)
    async with service.reader(wanted) as reader:
        chunks = span_chunks(reader, reader.key(wanted))
        parts = await _parts(accept, chunks, traces_data, resource_spans_json)
    return _answer(parts, accept, "resourceSpans", f"no span of a trace {wanted.hex}", wanted)


@router.get(
    "/executions/{trace_id}/otlp/logs",
    response_class=Response,
    responses=_answers("LogsData of opentelemetry/proto/logs/v1/logs.proto", "resourceLogs"),
)
async def get_otlp_logs(service: ServiceOf, trace_id: TraceIdPath, accept: _Accept = _JSON) -> Response:
    """All log records of the trace as OTLP, equal to what came in but for the order of attributes."""
    wanted = trace_id_of(trace_id)
    async with service.reader() as reader:
        chunks = log_chunks(reader, wanted)
        parts = await _parts(accept, chunks, logs_data, resource_logs_json)
    return _answer(parts, accept, "resourceLogs", f"no log record of a trace {wanted.hex}", wanted)


async def _parts(
    accept: str,
    chunks: AsyncIterator[list[_Row]],
    as_protobuf: Callable[[Sequence[_Row]], bytes],
    as_json: Callable[[Sequence[_Row]], bytes],
) -> list[bytes]:
    """Each chunk as a message, or as elements of a list of JSON, the comma before them included."""
    parts: list[bytes] = []
    async for rows in chunks:
        if _wants_protobuf(accept):
            parts.append(as_protobuf(rows))
        else:
            # The brackets of the list are written once, around all chunks.
            parts += [b",", as_json(rows)] if parts else [as_json(rows)]
    return parts


def _answer(parts: list[bytes], accept: str, field: str, missing: str, trace_id: UUID) -> Response:
    if not parts:
        raise NotFound(missing, {"execution_id": trace_id.hex})
    if _wants_protobuf(accept):
        return sent_parts(parts, _PROTOBUF)
    return sent_parts([f'{{"{field}":['.encode(), *parts, b"]}"], _JSON)


def _wants_protobuf(accept: str) -> bool:
    return _PROTOBUF in accept or "application/protobuf" in accept
