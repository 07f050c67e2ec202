"""A trace as it came in."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Response

from spantree_api.errors import NotFound
from spantree_api.otlp_protobuf import traces_data
from spantree_api.params import TraceIdPath, trace_id_of
from spantree_api.reads.otlp import span_chunks
from spantree_api.responses import error_answers, sent_parts
from spantree_api.service import ServiceOf
from spantree_exporter.deep_json import dumps_any
from spantree_exporter.otlp_json import resource_spans

router = APIRouter(tags=["executions"])
_JSON = "application/json"
_PROTOBUF = "application/x-protobuf"
_SCHEMA = {"type": "object", "properties": {"resourceSpans": {"type": "array", "items": {"type": "object"}}}}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "TracesData of opentelemetry/proto/trace/v1/trace.proto",
        "content": {_JSON: {"schema": _SCHEMA}, _PROTOBUF: {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.get(
    "/executions/{trace_id}/otlp", response_class=Response, responses={**_ANSWERS, **error_answers(404, 422, 503)}
)
async def get_otlp(
    service: ServiceOf,
    trace_id: TraceIdPath,
    accept: Annotated[str, Header(description=f"`{_PROTOBUF}` for protobuf; JSON for anything else")] = _JSON,
) -> Response:
    """All spans of the trace as OTLP, equal to what came in but for the order of attributes."""
    wanted = trace_id_of(trace_id)
    protobuf = _PROTOBUF in accept or "application/protobuf" in accept
    parts: list[bytes] = []
    async with service.reader(wanted) as reader:
        async for spans in span_chunks(reader, reader.key(wanted)):
            if protobuf:
                parts.append(traces_data(spans))
            else:
                # The brackets of the list of ResourceSpans are written once, around all chunks.
                parts.append((b"," if parts else b"") + dumps_any(resource_spans(spans))[1:-1])
    if not parts:
        raise NotFound(f"no span of a trace {wanted.hex}", {"execution_id": wanted.hex})
    if protobuf:
        return sent_parts(parts, _PROTOBUF)
    return sent_parts([b'{"resourceSpans":[', *parts, b"]}"], _JSON)
