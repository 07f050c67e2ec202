"""Tempo's HTTP API, as Grafana's Tempo data source calls it: traces, search by TraceQL and by tags, names and values.

https://grafana.com/docs/tempo/latest/api_docs/. Read-only; the same reads as Jaeger's. TraceQL: what Grafana's search
builder writes (traceql.py).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final
from urllib.parse import unquote
from uuid import UUID

import orjson
from fastapi import APIRouter, Request, Response
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from spantree_api.errors import InvalidParameter, NotFound
from spantree_api.http.any_text import any_text
from spantree_api.http.responses import json_answer, json_parts, sent_parts
from spantree_api.jaeger.chunks import chunks_of
from spantree_api.jaeger.http_params import length_ns, trace_id_of, whole
from spantree_api.reads.spans import SpanReads
from spantree_api.reads.spansets import SpansetReads
from spantree_api.service import Service, ServiceOf
from spantree_api.span_search.query import NS_MAX, SpanQuery
from spantree_api.span_search.tempo import trace_found
from spantree_api.span_search.traceql import TraceQuery, parse
from spantree_api.span_search.traceql_fields import OFFERED, Field, field_of
from spantree_exporter.otlp.protobuf_fields import varint_bytes
from spantree_exporter.span import JsonValue
from spantree_exporter.stored import otlp_value

BASE: Final = "/tempo"
router = APIRouter(prefix=BASE, include_in_schema=False)

_PROTOBUF: Final = "application/protobuf"
_NS_PER_S: Final = 1_000_000_000
_TRACES_DEFAULT, _TRACES_MAX = 20, 1_000
_SPANS_DEFAULT, _SPANS_MAX = 3, 100
_ENCODED_MAX: Final = 3
# Traces whose values are offered, of those that a form has narrowed down already.
_SAMPLED: Final = 100
_HOUR_NS: Final = 3_600 * _NS_PER_S
# What a trace that is told as JSON may have in protobuf; it is in memory as a whole, twice as large.
_JSON_BYTES: Final = 64 * 2**20
# What any trace may have: it is in memory as a whole.
_TRACE_BYTES: Final = 128 * 2**20
_TRACE_SPANS: Final = 200_000
_PAIR: Final = re.compile(r'\s*([^\s=]+)=("(?:[^"\\]|\\.)*"|\S*)')
# Where attributes are, by the names of TraceQL.
_SCOPES: Final = {"scope": "instrumentation"}
_PLACES: Final = ("resource.", "span.", "event.", "link.", "instrumentation.", ".")
# Names that newer forms have for the same.
_SHORT: Final = {
    "span:status": "status", "span:kind": "kind", "span:name": "name", "trace:rootName": "rootName",
    "trace:rootService": "rootServiceName",
}  # fmt: skip
_CONSTANTS: Final = {
    "status": ["error", "ok", "unset"],
    "kind": ["client", "consumer", "internal", "producer", "server", "unspecified"],
}


@router.get("/api/echo")
async def echo() -> Response:
    """What Grafana asks to see whether it is there."""
    return Response("echo", media_type="text/plain")


@router.get("/api/status/buildinfo")
async def build_info() -> Response:
    """The version of Tempo whose API this is, which decides what Grafana asks for."""
    return json_answer({"version": "2.6.0", "revision": "spantree", "branch": "", "buildDate": "", "goVersion": ""})


@router.get("/ready")
async def ready() -> Response:
    """What older Grafanas ask."""
    return Response("ready", media_type="text/plain")


@router.get("/api/traces/{trace_id}")
async def get_trace(service: ServiceOf, request: Request, trace_id: str) -> Response:
    """One trace."""
    parts = await _trace(service, trace_id)
    if _wants_protobuf(request):
        return sent_parts(parts, _PROTOBUF)
    return json_parts([b'{"batches":[', *await _json(parts), b"]}"])


@router.get("/api/v2/traces/{trace_id}")
async def get_trace_v2(service: ServiceOf, request: Request, trace_id: str) -> Response:
    """One trace, in an envelope."""
    parts = await _trace(service, trace_id)
    if _wants_protobuf(request):
        # TraceByIDResponse: the trace is its field 1.
        return sent_parts([b"\x0a" + varint_bytes(sum(map(len, parts))), *parts], _PROTOBUF)
    head, tail = b'{"trace":{"resourceSpans":[', b']},"metrics":{},"status":"COMPLETE"}'
    return json_parts([head, *await _json(parts), tail])


@router.get("/api/search")
async def search(service: ServiceOf, request: Request) -> Response:
    """Traces by TraceQL (`q`), or by `tags`, `minDuration` and `maxDuration`."""
    values = _values(request)
    limit = max(1, min(whole(values, "limit", _TRACES_DEFAULT), _TRACES_MAX))
    each = max(1, min(whole(values, "spss", _SPANS_DEFAULT), _SPANS_MAX))
    base = SpanQuery(**_range(values), limit=limit)
    text = request.query_params.get("q", "").strip()
    wanted = parse(text, base) if text else _of_tags(request, base)
    async with service.reader() as reader:
        reads = SpanReads(reader)
        traces = await SpansetReads(reads, wanted, each).found(limit)
    found = [trace_found(one.summary, one.sets, wanted.told, one.nested) for one in traces]
    done = 0 if reads.is_incomplete else 1
    return json_answer(
        {"traces": found, "metrics": {"inspectedTraces": len(found), "completedJobs": done, "totalJobs": 1}}
    )


@router.get("/api/search/tags")
async def tag_names(service: ServiceOf, request: Request) -> Response:
    """Names of attributes."""
    by_place = await _names(service, request)
    return json_answer({"tagNames": sorted({name for names in by_place.values() for name in names})})


@router.get("/api/v2/search/tags")
async def tag_names_v2(service: ServiceOf, request: Request) -> Response:
    """Names of attributes by where they are."""
    wanted = request.query_params.get("scope", "")
    by_place: dict[str, Sequence[str]] = {**await _names(service, request), "intrinsic": OFFERED}
    scopes = [
        {"name": place, "tags": list(names)} for place, names in by_place.items() if wanted in ("", place, "none")
    ]
    return json_answer({"scopes": scopes, "metrics": {}})


@router.get(f"/api/search/tag/{any_text('name')}/values")
async def tag_values(service: ServiceOf, request: Request, name: str) -> Response:
    """Values of an attribute."""
    return json_answer({"tagValues": [one["value"] for one in await _tag_values(service, request, name)]})


@router.get(f"/api/v2/search/tag/{any_text('name')}/values")
async def tag_values_v2(service: ServiceOf, request: Request, name: str) -> Response:
    """Values of an attribute with their types."""
    return json_answer({"tagValues": await _tag_values(service, request, name), "metrics": {}})


async def _trace(service: ServiceOf, trace_id: str) -> list[bytes]:
    wanted = trace_id_of(trace_id)
    parts: list[bytes] = []
    async with service.reader() as reader:
        reads = SpanReads(reader)
        days = await reads.days_of([wanted])
        if wanted in days:
            if await reads.span_count(wanted, days[wanted]) > _TRACE_SPANS:
                raise _too_large(wanted, f"{_TRACE_SPANS} spans")
            left_bytes = _TRACE_BYTES
            async with aclosing(reads.chunks(wanted, days[wanted])) as chunks:
                async for spans in chunks:
                    for part in chunks_of(spans):
                        parts.append(part)
                        left_bytes -= len(part)
                    if left_bytes < 0:
                        raise _too_large(wanted, f"{_TRACE_BYTES >> 20} MiB of spans")
    if not parts:
        raise NotFound(f"trace {wanted.hex} not found", {"trace_id": wanted.hex})
    return parts


def _too_large(wanted: UUID, most: str) -> InvalidParameter:
    return InvalidParameter(
        "trace_id",
        f"trace {wanted.hex} has more than {most}, too much for one answer of Tempo's kind: "
        f"/executions/{wanted.hex} draws any part of it, GET /api/v1/executions/{wanted.hex}/otlp has all spans",
    )


def _wants_protobuf(request: Request) -> bool:
    return _PROTOBUF in request.headers.get("accept", "")


async def _json(parts: Sequence[bytes]) -> list[bytes]:
    """The elements of a list of ResourceSpans in JSON, the commas between them included."""
    if sum(map(len, parts)) > _JSON_BYTES:
        raise InvalidParameter("accept", f"the trace is too large for JSON here: ask for {_PROTOBUF}")
    told: list[bytes] = []
    for part in parts:
        # In a thread, which lets other requests go on: half a second for each of up to 3 MiB.
        told += await asyncio.to_thread(_elements, part, after=bool(told))
    return told


def _elements(part: bytes, *, after: bool) -> list[bytes]:
    # As Tempo does, protobuf's own JSON: ids in base64, names for enums.
    found = MessageToDict(TracesData.FromString(part)).get("resourceSpans", [])
    return [(b"," if after or number else b"") + orjson.dumps(one) for number, one in enumerate(found)]


def _values(request: Request) -> Mapping[str, Sequence[str]]:
    return {name: [text] for name, text in request.query_params.items()}


def _range(values: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    start_s, end_s = whole(values, "start", 0), whole(values, "end", 0)
    return {
        "from_ns": min(start_s * _NS_PER_S, NS_MAX) if start_s > 0 else 0,
        "to_ns": min(end_s * _NS_PER_S, NS_MAX) if end_s > 0 else NS_MAX,
    }


def _of_tags(request: Request, base: SpanQuery) -> TraceQuery:
    """The search of the older form: `tags` in logfmt, and two durations."""
    given = request.query_params
    query = SpanQuery(
        from_ns=base.from_ns,
        to_ns=base.to_ns,
        limit=base.limit,
        min_duration_ns=length_ns("minDuration", given.get("minDuration")),
        max_duration_ns=length_ns("maxDuration", given.get("maxDuration")),
    )
    pairs = _PAIR.findall(given.get("tags", "")[:4_096])
    conditions = " && ".join(_condition(key, value) for key, value in pairs[:32])
    return parse("{" + conditions + "}", query)


def _condition(key: str, value: str) -> str:
    text = value if value.startswith('"') else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if key in ("status", "status.code", "error") and text.strip('"') in ("error", "true"):
        return "status=error"
    if key in ("name", "service.name"):
        return f"{'resource.' if key == 'service.name' else ''}{key}={text}"
    return '."' + key.replace("\\", "\\\\").replace('"', '\\"') + f'"={text}'


async def _names(service: ServiceOf, request: Request) -> dict[str, list[str]]:
    found = _recent(service, request)
    async with service.reader() as reader:
        rows = await SpanReads(reader).attributes(*found)
    by_place: dict[str, set[str]] = {"resource": set(), "span": set()}
    for row in rows:
        by_place.setdefault(_SCOPES.get(row.place, row.place), set()).add(row.key)
    return {place: sorted(names) for place, names in by_place.items()}


async def _tag_values(service: ServiceOf, request: Request, name: str) -> list[dict[str, str]]:
    # Grafana encodes names twice, and some versions once more on their way to here; a hostile one some thousand times.
    for _ in range(_ENCODED_MAX):
        name = unquote(name)
    name = _SHORT.get(name, name)
    place, _, key = name.partition(".") if name.startswith(_PLACES) else ("", "", name)
    if not place and key in _CONSTANTS:
        return [{"type": "keyword", "value": value} for value in _CONSTANTS[key]]
    async with service.reader() as reader:
        reads = SpanReads(reader)
        if (narrowed := _narrowed(service, request, name)) is not None:
            wanted, field = narrowed
            found = await SpansetReads(reads, wanted, _SPANS_MAX).found(_SAMPLED)
            spans = [span for trace in found for one in trace.sets for span in one.spans]
            return _values_told(value for span in spans if (value := span.value_of(field)) is not None)
        if key in ("service.name", "rootServiceName") and place != "span":
            return [{"type": "string", "value": value} for value in await reads.services()]
        if not place and key in ("name", "rootName"):
            names = {row.name for one in (await reads.services())[:50] for row in await reads.operations(one)}
            return [{"type": "string", "value": value} for value in sorted(names)[:1_000]]
        rows = await reads.attributes(*_recent(service, request), key)
    return _values_told(row.value for row in rows if place in ("", _SCOPES.get(row.place, row.place)))


def _narrowed(service: Service, request: Request, name: str) -> tuple[TraceQuery, Field] | None:
    """The search `q` that the values are to be of, as far as it is one: Grafana sends what has been chosen so far."""
    text = request.query_params.get("q", "").strip()
    from_ns, to_ns = _recent(service, request)
    try:
        wanted, field = parse(text, SpanQuery(from_ns=from_ns, to_ns=to_ns, limit=_SAMPLED)), field_of(name)
    except InvalidParameter:
        return None
    if not field.is_told or field.is_nested or all(one.query.is_of_any and not one.trace for one in wanted.leads()):
        return None
    return replace(wanted, told=(*wanted.told, field)), field


def _values_told(values: Iterable[JsonValue]) -> list[dict[str, str]]:
    found = {(kind.removesuffix("Value"), str(value)) for one in values for kind, value in otlp_value(one).items()}
    scalar = {"string": "string", "int": "int", "bool": "bool", "double": "float"}
    return [
        {"type": scalar[kind], "value": value.lower() if kind == "bool" else value}
        for kind, value in sorted(found)
        if kind in scalar
    ]


def _recent(service: ServiceOf, request: Request) -> tuple[int, int]:
    bounds = _range(_values(request))
    now_ns = service.clock()
    from_ns = bounds["from_ns"] or now_ns - _HOUR_NS
    return from_ns, min(bounds["to_ns"], now_ns + _HOUR_NS)
