"""Jaeger's HTTP APIs, v1 (Grafana's data source, pages up to 2.19) and v3 (newer pages), from the same reads.

Read-only. Errors have Jaeger's own forms: v1 tells them in `errors` of its envelope, v3 in `error`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final
from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute

from spantree_api.errors import RETRY_AFTER_S, ApiError, InvalidParameter, NotFound, Unavailable
from spantree_api.http.any_text import any_text
from spantree_api.http.responses import json_answer, json_parts
from spantree_api.jaeger.http_params import trace_id_of, v1_query, v3_query, whole
from spantree_api.jaeger.http_v1 import JaegerTrace
from spantree_api.reads.span_rows import Summary
from spantree_api.reads.spans import INCOMPLETE_SEARCH, SpanReads
from spantree_api.service import ServiceOf
from spantree_api.span_search.query import kind_name, kind_number
from spantree_api.stored_rows import OtlpSpan
from spantree_exporter.otlp.encode_json import resource_spans_json

BASE: Final = "/jaeger"
# A search's answer is made in memory: it ends after the trace that goes beyond this. One trace alone may be larger.
_ANSWER_SPANS: Final = 50_000
# Of one trace: held whole, some 700 bytes each.
_TRACE_SPANS: Final = 200_000
_IDS_MAX: Final = 1_500
_DAY_MS: Final = 86_400_000


class JaegerRoute(APIRoute):
    """Answers refusals in the envelope of v1 and, beside it, in that of v3."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, with refusals answered here."""
        handle = super().get_route_handler()

        async def answering(request: Request) -> Response:
            try:
                return await handle(request)
            except ApiError as error:
                return _refusal(error)

        return answering


router = APIRouter(prefix=BASE, route_class=JaegerRoute, include_in_schema=False)


def _refusal(error: ApiError) -> Response:
    # Jaeger answers 400 to what it cannot read.
    status = 400 if isinstance(error, InvalidParameter) else error.status_code
    told: dict[str, Any] = _envelope(None, 0)
    told["errors"] = [{"code": status, "msg": str(error)}]
    told["error"] = {"httpCode": status, "message": str(error)}
    headers = {"retry-after": str(RETRY_AFTER_S)} if isinstance(error, Unavailable) else {}
    return json_answer(told, status, headers)


def _envelope(data: object, total: int) -> dict[str, Any]:
    return {"data": data, "total": total, "limit": 0, "offset": 0, "errors": None}


def parameters_of(request: Request) -> Mapping[str, Sequence[str]]:
    """What each parameter is given."""
    values: dict[str, list[str]] = {}
    for name, text in request.query_params.multi_items():
        values.setdefault(name, []).append(text)
    return values


# ---- v1 ----


@router.get("/api/services")
async def get_services(service: ServiceOf) -> Response:
    """The services."""
    async with service.reader() as reader:
        names = await SpanReads(reader).services()
    return json_answer(_envelope(names, len(names)))


@router.get(f"/api/services/{any_text('name')}/operations")
async def get_operations_of_service(service: ServiceOf, name: str) -> Response:
    """The names of a service's spans."""
    async with service.reader() as reader:
        rows = await SpanReads(reader).operations(name)
    names = list(dict.fromkeys(row.name for row in rows))
    return json_answer(_envelope(names, len(names)))


@router.get("/api/operations")
async def get_operations(service: ServiceOf, request: Request) -> Response:
    """The names and kinds of a service's spans."""
    found = await _operations(service, request, "service", "spanKind")
    return json_answer(_envelope(found, len(found)))


@router.get("/api/traces")
async def find_traces(service: ServiceOf, request: Request) -> Response:
    """Traces by what one of their spans is, or by their ids."""
    values = parameters_of(request)
    async with service.reader() as reader:
        reads = SpanReads(reader)
        ids = [trace_id_of(text) for text in values.get("traceID", ())[:_IDS_MAX] if text]
        if not ids:
            query = v1_query(values)
            ids = [one.trace_id for one in await reads.find(query)]
        parts, count = await _v1_traces(reads, list(dict.fromkeys(ids)))
    answer = json_parts([b'{"data":[', *parts, b'],"total":%d,"limit":0,"offset":0,"errors":null}' % count])
    return _of_search(answer, reads)


# Grafana 12.1 leaves the path of a data source's URL out where it searches, and only there:
# https://github.com/grafana/grafana/issues/108651
beside = APIRouter(route_class=JaegerRoute, include_in_schema=False)
beside.add_api_route("/api/traces", find_traces)


@router.get("/api/traces/{trace_id}")
async def get_trace(service: ServiceOf, trace_id: str) -> Response:
    """One trace."""
    async with service.reader() as reader:
        parts, count = await _v1_traces(SpanReads(reader), [trace_id_of(trace_id)])
    if not count:
        raise NotFound("trace not found", {"trace_id": trace_id})
    return json_parts([b'{"data":[', *parts, b'],"total":0,"limit":0,"offset":0,"errors":null}'])


@router.get("/api/dependencies")
async def get_dependencies(service: ServiceOf, request: Request) -> Response:
    """Which service called which, in the `lookback` ms before `endTs`."""
    values = parameters_of(request)
    end_ms = whole(values, "endTs", service.clock() // 1_000_000)
    lookback_ms = whole(values, "lookback", _DAY_MS)
    async with service.reader() as reader:
        rows = await SpanReads(reader).calls(max(0, end_ms - lookback_ms) * 1_000_000, end_ms * 1_000_000)
    told = [{"parent": row.parent, "child": row.child, "callCount": row.calls} for row in rows]
    return json_answer(_envelope(told, len(told)))


# ---- v3 ----


@router.get("/api/v3/services")
async def get_services_v3(service: ServiceOf) -> Response:
    """The services."""
    async with service.reader() as reader:
        return json_answer({"services": await SpanReads(reader).services()})


@router.get("/api/v3/operations")
async def get_operations_v3(service: ServiceOf, request: Request) -> Response:
    """The names and kinds of a service's spans."""
    found = await _operations(service, request, "service", "spanKind", "span_kind")
    # v3's own default for spans of no kind (jaeger-idl query_service.proto).
    return json_answer({"operations": [{**one, "spanKind": one["spanKind"] or "internal"} for one in found]})


@router.get("/api/v3/traces")
async def find_traces_v3(service: ServiceOf, request: Request) -> Response:
    """Traces by what one of their spans is, as OTLP/JSON."""
    query = v3_query(parameters_of(request))
    async with service.reader() as reader:
        reads = SpanReads(reader)
        parts = await _otlp_parts(reads, [one.trace_id for one in await reads.find(query)])
    if not parts and reads.is_incomplete:
        raise NotFound("No traces found until the search ended: ask for a shorter range")
    return _of_search(_otlp_answer(parts), reads)


@router.get("/api/v3/traces/{trace_id}")
async def get_trace_v3(service: ServiceOf, trace_id: str) -> Response:
    """One trace as OTLP/JSON."""
    async with service.reader() as reader:
        return _otlp_answer(await _otlp_parts(SpanReads(reader), [trace_id_of(trace_id)]))


@router.get("/api/v3/trace-summaries")
async def find_summaries(service: ServiceOf, request: Request) -> Response:
    """Traces in short, by what one of their spans is."""
    query = v3_query(parameters_of(request))
    async with service.reader() as reader:
        reads = SpanReads(reader)
        found = await reads.summaries([one.trace_id for one in await reads.find(query)])
    return _of_search(json_answer({"summaries": [_summary(one) for one in found]}), reads)


def _of_search(answer: Response, reads: SpanReads) -> Response:
    """`answer`, which says where not all was looked at."""
    if reads.is_incomplete:
        answer.headers[INCOMPLETE_SEARCH] = "incomplete"
    return answer


async def _operations(service: ServiceOf, request: Request, name: str, *kinds: str) -> list[dict[str, str]]:
    wanted = request.query_params.get(name)
    if not wanted:
        raise InvalidParameter(name, f"{name} is missing: wanted the name of a service")
    kind_text = next((text for one in kinds if (text := request.query_params.get(one))), "")
    kind = kind_number(kind_text) if kind_text else None
    if kind_text and kind is None:
        return []
    async with service.reader() as reader:
        rows = await SpanReads(reader).operations(wanted, kind)
    return [{"name": row.name, "spanKind": kind_name(row.kind)} for row in rows]


async def _whole_traces(reads: SpanReads, trace_ids: Sequence[UUID]) -> AsyncIterator[tuple[UUID, list[OtlpSpan]]]:
    """The chunks of each trace, until the answer is large enough. Raises InvalidParameter for one that is too large."""
    days = await reads.days_of(trace_ids)
    told = 0
    for trace_id in trace_ids:
        if trace_id not in days:
            continue
        if told >= _ANSWER_SPANS:
            return
        before = told
        # Known before anything is read, as a rule.
        if len(trace_ids) == 1 and await reads.span_count(trace_id, days[trace_id]) > _TRACE_SPANS:
            raise _too_large(trace_id)
        async with aclosing(reads.chunks(trace_id, days[trace_id])) as chunks:
            async for spans in chunks:
                told += len(spans)
                if told - before > _TRACE_SPANS and len(trace_ids) > 1:
                    # One that is too large keeps nobody from the others: it is told in part.
                    reads.is_incomplete = True
                    return
                if told - before > _TRACE_SPANS:
                    raise _too_large(trace_id)
                yield trace_id, spans


def _too_large(trace_id: UUID) -> InvalidParameter:
    return InvalidParameter(
        "traceID",
        f"trace {trace_id.hex} has more than {_TRACE_SPANS} spans, too many for one answer of Jaeger's kind: "
        f"/executions/{trace_id.hex} draws any part of it, GET /api/v1/executions/{trace_id.hex}/otlp has all spans",
    )


async def _v1_traces(reads: SpanReads, trace_ids: Sequence[UUID]) -> tuple[list[bytes], int]:
    parts: list[bytes] = []
    count = 0
    last: UUID | None = None
    trace = JaegerTrace("")
    async for trace_id, spans in _whole_traces(reads, trace_ids):
        if trace_id != last:
            if last is not None:
                parts += [trace.end(), b","]
            trace, last, count = JaegerTrace(trace_id.hex), trace_id, count + 1
        parts.append(trace.spans(spans))
    if last is not None:
        parts.append(trace.end())
    return parts, count


async def _otlp_parts(reads: SpanReads, trace_ids: Sequence[UUID]) -> list[bytes]:
    parts: list[bytes] = []
    async for _, spans in _whole_traces(reads, trace_ids):
        parts += [b",", resource_spans_json(spans)] if parts else [resource_spans_json(spans)]
    return parts


def _otlp_answer(parts: list[bytes]) -> Response:
    if not parts:
        raise NotFound("No traces found")
    return json_parts([b'{"result":{"resourceSpans":[', *parts, b"]}}"])


def _summary(summary: Summary) -> dict[str, Any]:
    parts = summary.parts
    return {
        "traceId": summary.root.trace_id.hex,
        "rootServiceName": summary.root.service,
        "rootOperationName": summary.root.name,
        "minStartTimeUnixNano": str(min(part.start_ns for part in parts)),
        "maxEndTimeUnixNano": str(max(part.end_ns for part in parts)),
        "spanCount": sum(part.spans for part in parts),
        "errorSpanCount": sum(part.errors for part in parts),
        "orphanSpanCount": sum(part.orphans for part in parts),
        "services": [{"name": part.service, "spanCount": part.spans, "errorSpanCount": part.errors} for part in parts],
    }
