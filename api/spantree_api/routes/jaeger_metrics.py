"""Jaeger's service performance metrics, over HTTP, for the page "Monitor": counted from the spans themselves."""

from __future__ import annotations

import asyncio
from typing import Final

from fastapi import APIRouter, Request, Response

from spantree_api.http.responses import json_answer
from spantree_api.jaeger.metrics import CallMetrics, What, metrics_params
from spantree_api.reads.counting import counted
from spantree_api.routes.jaeger import BASE, JaegerRoute, parameters_of
from spantree_api.service import ServiceOf

router = APIRouter(prefix=BASE, route_class=JaegerRoute, include_in_schema=False)

_MIN_STEP_MS: Final = 1_000


@router.get("/api/metrics/minstep")
async def min_step() -> Response:
    """The shortest step that makes sense, in ms."""
    return json_answer({"data": _MIN_STEP_MS, "total": 0, "limit": 0, "offset": 0, "errors": None})


@router.get("/api/metrics/calls")
async def calls(service: ServiceOf, request: Request) -> Response:
    """Calls of services a second."""
    return await _answer(service, request, "calls")


@router.get("/api/metrics/errors")
async def errors(service: ServiceOf, request: Request) -> Response:
    """Which part of the calls failed."""
    return await _answer(service, request, "errors")


@router.get("/api/metrics/latencies")
async def latencies(service: ServiceOf, request: Request) -> Response:
    """A quantile of how long calls took."""
    return await _answer(service, request, "latencies")


async def _answer(service: ServiceOf, request: Request, what: What) -> Response:
    params = metrics_params(what, parameters_of(request), service.clock())
    metrics = CallMetrics(params)
    await counted(service, params.search(), metrics.observe)
    # In a thread, which lets other requests go on.
    return json_answer(await asyncio.to_thread(metrics.family, what))
