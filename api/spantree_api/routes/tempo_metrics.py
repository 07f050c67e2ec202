"""Tempo's metrics of TraceQL, over HTTP: samples of a range, and one of all of it.

https://grafana.com/docs/tempo/latest/api_docs/#traceql-metrics. Spans are counted one by one, as they are stored: what
takes longer than that may take is refused, never told short.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from spantree_api.errors import InvalidParameter
from spantree_api.http.responses import json_answer
from spantree_api.jaeger.http_params import length_ns, moment_ns
from spantree_api.reads.counting import counted
from spantree_api.routes.tempo import BASE
from spantree_api.service import ServiceOf
from spantree_api.span_search.query import NS_MAX, SpanQuery
from spantree_api.span_search.traceql_metrics import Intervals, Labels, Metrics, Series, parse_metrics
from spantree_exporter.stored import otlp_value

router = APIRouter(prefix=BASE, include_in_schema=False)

_NS_PER_S: Final = 10**9
_HOUR_NS: Final = 3_600 * _NS_PER_S
# Numbers beyond this are nanoseconds: as seconds they would be the year 33,000 and later.
_SECONDS_MAX: Final = 10**12
_SAMPLES_WANTED: Final = 240
_STEPS_NS: Final = tuple(seconds * _NS_PER_S for seconds in (3_600, 300, 60, 15, 5, 1))
_SHORTEST_STEP_NS: Final = 50_000_000


@router.get("/api/metrics/query_range")
async def query_range(service: ServiceOf, request: Request) -> Response:
    """Samples of each series over a range."""
    from_ns, to_ns = _range(request.query_params, service.clock())
    step_ns = _step_ns(request.query_params.get("step"), to_ns - from_ns)
    found = await _series(service, request, Intervals.of_range(from_ns, to_ns, step_ns))
    return json_answer(
        {"series": [one for one in found if one["samples"]], "metrics": {"completedJobs": 1, "totalJobs": 1}}
    )


@router.get("/api/metrics/query")
async def query(service: ServiceOf, request: Request) -> Response:
    """One value of each series for a whole range."""
    from_ns, to_ns = _range(request.query_params, service.clock())
    found = await _series(service, request, Intervals(from_ns, to_ns - from_ns, 1))
    told = [{"labels": one["labels"], "value": one["samples"][0]["value"]} for one in found if one["samples"]]
    return json_answer({"series": told, "metrics": {"completedJobs": 1, "totalJobs": 1}})


async def _series(service: ServiceOf, request: Request, intervals: Intervals) -> list[dict[str, Any]]:
    base = SpanQuery(from_ns=intervals.start_ns + 1, to_ns=min(intervals.end_ns, NS_MAX))
    wanted = parse_metrics(request.query_params.get("q", "").strip(), base)
    metrics = Metrics(wanted, intervals)
    await counted(service, wanted.search, metrics.observe)
    return await asyncio.to_thread(_told, metrics, intervals)


def _told(metrics: Metrics, intervals: Intervals) -> list[dict[str, Any]]:
    return [_one_told(one, intervals) for one in metrics.series()]


def _one_told(series: Series, intervals: Intervals) -> dict[str, Any]:
    samples = [
        {"timestampMs": str((intervals.start_ns + (number + 1) * intervals.step_ns) // 1_000_000), "value": value}
        for number, value in enumerate(series.samples)
        if value is not None
    ]
    return {"labels": _labels(series.labels), "samples": samples}


def _labels(labels: Labels) -> list[dict[str, Any]]:
    return [{"key": name, "value": otlp_value(value)} for name, value in labels]


def _range(given: Mapping[str, str], now_ns: int) -> tuple[int, int]:
    if since := given.get("since"):
        return now_ns - (length_ns("since", since) or 0), now_ns
    to_ns = _moment_ns("end", given.get("end"), now_ns)
    from_ns = _moment_ns("start", given.get("start"), to_ns - _HOUR_NS)
    if not 0 < from_ns < to_ns:
        raise InvalidParameter("start", "start is not before end: wanted seconds since 1970 or times in RFC 3339")
    return from_ns, to_ns


def _moment_ns(name: str, text: str | None, default_ns: int) -> int:
    if not text or text == "0":
        return default_ns
    if text.isascii() and text.isdigit() and len(text) <= 19:
        number = int(text)
        return min(number if number > _SECONDS_MAX else number * _NS_PER_S, NS_MAX)
    return moment_ns(name, text)


def _step_ns(text: str | None, range_ns: int) -> int:
    """The step that is asked for, or one that has some 240 samples, as Tempo chooses it."""
    if text:
        if text.isascii() and text.isdigit() and len(text) <= 9:
            text += "s"
        step_ns = length_ns("step", text)
        if not step_ns or step_ns < 1_000_000:
            raise InvalidParameter("step", f"step is {text[:40]!r}: wanted a length of time from 1ms on, such as 15s")
        return step_ns
    wanted_ns = range_ns // _SAMPLES_WANTED
    if range_ns < 60 * _NS_PER_S:
        return max(_SHORTEST_STEP_NS, wanted_ns - wanted_ns % _SHORTEST_STEP_NS)
    return next((wanted_ns - wanted_ns % one for one in _STEPS_NS if wanted_ns > one), _NS_PER_S)
