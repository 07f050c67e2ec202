"""Executions, nodes and spans as files: lines of JSON, CSV, OTLP; streamed, in constant memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from itertools import groupby
from typing import Annotated, Any, Final, Literal

from fastapi import Header, Query, Response
from fastapi.responses import StreamingResponse

from spantree_api.audit import AuditRow, audit_entry
from spantree_api.cursor import SpanCursor
from spantree_api.errors import InvalidParameter
from spantree_api.export_text import (
    AUDIT_COLUMNS,
    EXECUTION_COLUMNS,
    NODE_COLUMNS,
    SPAN_COLUMNS,
    csv_header,
    csv_lines,
    json_lines,
    node_line,
    span_line,
)
from spantree_api.filters import ExecutionFilter, search_query
from spantree_api.http.filter_params import FilterOf
from spantree_api.http.params import CursorQuery, TraceIdQuery, trace_id_of
from spantree_api.http.responses import error_answers
from spantree_api.otlp_protobuf import traces_data
from spantree_api.reads.audit import cursor_of
from spantree_api.reads.export import ExecutionsPiece, Export
from spantree_api.rendering import clock_of, effective_status, execution_answer
from spantree_api.routes.api_router import api_router
from spantree_api.routes.audit import AuditFilterOf
from spantree_api.service import ServiceOf
from spantree_api.stored_rows import together
from spantree_api.tree import node_answer
from spantree_exporter.otlp.encode_json import traces_lines

router = api_router("export")

NEXT_AFTER: Final = "x-spantree-next-after"
MEDIA_TYPES: Final = {
    "jsonl": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "otlp": "application/x-ndjson",
}
_PROTOBUF: Final = "application/x-protobuf"

Format = Literal["jsonl", "csv"]
SpanFormat = Literal["jsonl", "csv", "otlp"]
FormatQuery = Annotated[Format, Query(alias="format", description="lines of JSON, or CSV")]
SpanFormatQuery = Annotated[
    SpanFormat,
    Query(
        alias="format",
        description="lines of JSON, CSV, or OTLP: a TracesData in JSON on each line, as the Collector's file exporter "
        "writes it and `spantree import` reads it; one TracesData with `Accept: application/x-protobuf`",
    ),
]
AfterQuery = Annotated[
    TraceIdQuery, Query(description="go on after this execution; CSV then comes without its first line")
]
LimitQuery = Annotated[
    int | None,
    Query(ge=1, le=1000, description=f"executions at most; the header {NEXT_AFTER} then says what to go on after"),
]


def file_answers(*media_types: str) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI is told of a route whose answer is a file."""
    responses: dict[int | str, dict[str, Any]] = {
        200: {
            "description": "the rows, one a line",
            "headers": {
                NEXT_AFTER: {"description": "with `limit`: the value for `after`; absent where nothing is left"}
                | {"schema": {"type": "string"}}
            },
            "content": {media_type: {"schema": {"type": "string"}} for media_type in media_types},
        }
    }
    return {**responses, **error_answers(404, 422, 503)}


@router.get("/export/executions", response_class=Response, responses=file_answers("application/x-ndjson", "text/csv"))
async def export_executions(
    service: ServiceOf,
    wanted: FilterOf,
    form: FormatQuery = "jsonl",
    after: AfterQuery = None,
    limit: LimitQuery = None,
) -> Response:
    """Executions that match the filters of `GET /executions`, newest first, all of them."""
    export = Export(service.reader)
    lost_after_s = service.config.lost_after_s

    async def rows(piece: ExecutionsPiece) -> AsyncIterator[bytes]:
        answers = [execution_answer(row, piece.now_ns, lost_after_s, resumed=piece.resumed) for row in piece.rows]
        yield json_lines(answers) if form == "jsonl" else csv_lines(EXECUTION_COLUMNS, answers)

    return await _answer(export, wanted, after, limit, form, EXECUTION_COLUMNS, rows)


@router.get("/export/nodes", response_class=Response, responses=file_answers("application/x-ndjson", "text/csv"))
async def export_nodes(
    service: ServiceOf,
    wanted: FilterOf,
    form: FormatQuery = "jsonl",
    after: AfterQuery = None,
    limit: LimitQuery = None,
) -> Response:
    """The nodes of executions that match the filters of `GET /executions`: execution by execution, newest first."""
    export = Export(service.reader)
    lost_after_s = service.config.lost_after_s

    async def rows(piece: ExecutionsPiece) -> AsyncIterator[bytes]:
        clocks = {
            row.trace_id: clock_of(
                row.execution, effective_status(row.execution, piece.now_ns, lost_after_s), piece.now_ns
            )
            for row in piece.rows
        }
        async for nodes in export.nodes(piece.rows):
            answers = [node_line(one.trace_id.hex, node_answer(one.node, clocks[one.trace_id])) for one in nodes]
            yield json_lines(answers) if form == "jsonl" else csv_lines(NODE_COLUMNS, answers)

    return await _answer(export, wanted, after, limit, form, NODE_COLUMNS, rows)


@router.get(
    "/export/spans", response_class=Response, responses=file_answers("application/x-ndjson", "text/csv", _PROTOBUF)
)
async def export_spans(
    service: ServiceOf,
    wanted: FilterOf,
    form: SpanFormatQuery = "jsonl",
    after: AfterQuery = None,
    limit: LimitQuery = None,
    accept: Annotated[str, Header(description=f"with format=otlp: `{_PROTOBUF}` for protobuf")] = "*/*",
) -> Response:
    """The spans of executions that match the filters of `GET /executions`: execution by execution, newest first."""
    export = Export(service.reader)
    protobuf = form == "otlp" and (_PROTOBUF in accept or "application/protobuf" in accept)

    async def rows(piece: ExecutionsPiece) -> AsyncIterator[bytes]:
        async for spans in export.spans(piece.rows):
            if form == "jsonl":
                yield json_lines(span_line(one.span) for one in spans)
            elif form == "csv":
                yield csv_lines(SPAN_COLUMNS, (span_line(one.span) for one in spans))
            else:
                for _, of_trace in groupby(spans, key=lambda one: one.span.trace_id):
                    some = together(list(of_trace))
                    yield traces_data(some) if protobuf else traces_lines(some)

    media_type = _PROTOBUF if protobuf else None
    return await _answer(export, wanted, after, limit, form, SPAN_COLUMNS, rows, media_type)


@router.get("/export/audit", response_class=Response, responses=file_answers("application/x-ndjson", "text/csv"))
async def export_audit(
    service: ServiceOf, wanted: AuditFilterOf, form: FormatQuery = "jsonl", cursor: CursorQuery = None
) -> Response:
    """Entries of `GET /audit`, newest first, all of them; each has the `cursor` to go on after it."""
    pages = Export(service.reader).audit(wanted, None if cursor is None else SpanCursor.decode(cursor))
    first = await anext(pages)

    def told(rows: Sequence[AuditRow]) -> bytes:
        entries = [{**audit_entry(row), "cursor": cursor_of(row).encode()} for row in rows]
        return json_lines(entries) if form == "jsonl" else csv_lines(AUDIT_COLUMNS, entries)

    async def body() -> AsyncIterator[bytes]:
        if form == "csv" and cursor is None:
            yield csv_header(AUDIT_COLUMNS)
        yield told(first)
        async for rows in pages:
            yield told(rows)

    return StreamingResponse(body(), media_type=MEDIA_TYPES[form])


async def _answer(
    export: Export,
    wanted: ExecutionFilter,
    after: str | None,
    limit: int | None,
    form: SpanFormat,
    columns: Sequence[str],
    rows: Callable[[ExecutionsPiece], AsyncIterator[bytes]],
    media_type: str | None = None,
) -> Response:
    """The answer, once its first executions are read: what is refused until then has its status and shape.

    What fails later cuts the connection, so that nobody takes a part for the whole.
    """
    if wanted.q is not None and search_query(wanted.q) is None:
        raise InvalidParameter("q", "q holds no word: an export finds executions by the words that their index holds")
    start = None if after is None else await export.start_after(trace_id_of(after))
    pieces = export.executions(wanted, start, limit)
    known = [await anext(pieces)]
    if limit is not None:
        known += [piece async for piece in pieces]

    async def body() -> AsyncIterator[bytes]:
        if form == "csv" and after is None:
            yield csv_header(columns)
        for piece in known:
            async for part in rows(piece):
                yield part
        known.clear()
        async for piece in pieces:
            async for part in rows(piece):
                yield part

    return StreamingResponse(body(), media_type=media_type or MEDIA_TYPES[form], headers=_next_after(known, limit))


def _next_after(pieces: Sequence[ExecutionsPiece], limit: int | None) -> Mapping[str, str]:
    last = [row for piece in pieces for row in piece.rows][-1:]
    if limit is None or pieces[-1].following is None or not last:
        return {}
    return {NEXT_AFTER: last[0].trace_id.hex}
