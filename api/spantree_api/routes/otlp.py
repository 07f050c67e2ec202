"""A trace and its log records as they came in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Annotated, Any, Final, TypeVar
from uuid import UUID

from fastapi import Header, Response
from fastapi.responses import StreamingResponse

from spantree_api.errors import InvalidParameter, NotFound
from spantree_api.http.params import TraceIdPath, trace_id_of
from spantree_api.http.responses import error_answers, sent_parts
from spantree_api.otlp_logs import logs_data
from spantree_api.otlp_protobuf import traces_data
from spantree_api.reads.export import Export
from spantree_api.reads.otlp import log_chunks, span_chunks
from spantree_api.routes.api_router import api_router
from spantree_api.service import ServiceOf
from spantree_api.stored_rows import OtlpSpan, together
from spantree_exporter.otlp.encode_json import resource_spans_json
from spantree_exporter.otlp.encode_logs_json import resource_logs_json

router = api_router("executions")
_JSON = "application/json"
_PROTOBUF = "application/x-protobuf"
# More is not held: it is read again, a piece at a time, and sent as it is read.
_WHOLE_BYTES: Final = 32 * 2**20
# Records have no key to go on after.
_LOG_BYTES: Final = 256 * 2**20
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
    async with service.reader(wanted) as reader, aclosing(span_chunks(reader, reader.key(wanted))) as chunks:
        parts = await _parts(accept, chunks, traces_data, resource_spans_json, most_bytes=_WHOLE_BYTES)
    if parts is None:
        pieces = Export(service.reader).spans_of([wanted])
        return StreamingResponse(_streamed(accept, pieces), media_type=_PROTOBUF if _wants_protobuf(accept) else _JSON)
    return _answer(parts, accept, "resourceSpans", f"no span of a trace {wanted.hex}", wanted)


@router.get(
    "/executions/{trace_id}/otlp/logs",
    response_class=Response,
    responses=_answers("LogsData of opentelemetry/proto/logs/v1/logs.proto", "resourceLogs"),
)
async def get_otlp_logs(service: ServiceOf, trace_id: TraceIdPath, accept: _Accept = _JSON) -> Response:
    """All log records of the trace as OTLP, equal to what came in but for the order of attributes."""
    wanted = trace_id_of(trace_id)
    async with service.reader() as reader, aclosing(log_chunks(reader, wanted)) as chunks:
        parts = await _parts(accept, chunks, logs_data, resource_logs_json, most_bytes=_LOG_BYTES)
    if parts is None:
        raise InvalidParameter(
            "trace_id",
            f"trace {wanted.hex} has more than {_LOG_BYTES >> 20} MiB of log records, too much for one answer",
        )
    return _answer(parts, accept, "resourceLogs", f"no log record of a trace {wanted.hex}", wanted)


async def _parts(
    accept: str,
    chunks: AsyncIterator[list[_Row]],
    as_protobuf: Callable[[Sequence[_Row]], bytes],
    as_json: Callable[[Sequence[_Row]], bytes],
    *,
    most_bytes: int,
) -> list[bytes] | None:
    """Each chunk as a message, or as elements of a list of JSON, the comma before them included.

    None for what is too large to be held whole.
    """
    parts: list[bytes] = []
    left_bytes = most_bytes
    async for rows in chunks:
        if _wants_protobuf(accept):
            parts.append(as_protobuf(rows))
        else:
            # The brackets of the list are written once, around all chunks.
            parts += [b",", as_json(rows)] if parts else [as_json(rows)]
        left_bytes -= len(parts[-1])
        if left_bytes < 0:
            return None
    return parts


async def _streamed(accept: str, pieces: AsyncIterator[list[OtlpSpan]]) -> AsyncIterator[bytes]:
    """The same as it is read, a piece at a time, each in a transaction of its own."""
    if _wants_protobuf(accept):
        async for spans in pieces:
            yield traces_data(together(spans))
        return
    between = b'{"resourceSpans":['
    async for spans in pieces:
        yield between + resource_spans_json(together(spans))
        between = b","
    yield b"]}"


def _answer(parts: list[bytes], accept: str, field: str, missing: str, trace_id: UUID) -> Response:
    if not parts:
        raise NotFound(missing, {"execution_id": trace_id.hex})
    if _wants_protobuf(accept):
        return sent_parts(parts, _PROTOBUF)
    return sent_parts([f'{{"{field}":['.encode(), *parts, b"]}"], _JSON)


def _wants_protobuf(accept: str) -> bool:
    return _PROTOBUF in accept or "application/protobuf" in accept
