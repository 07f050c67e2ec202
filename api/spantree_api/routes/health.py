"""Is it alive, is it ready, and how is the whole doing."""

from __future__ import annotations

from datetime import timedelta

from fastapi import APIRouter, Response

from spantree_api.answers import HealthAnswer, Liveness, Readiness
from spantree_api.errors import Unavailable
from spantree_api.filters import moment_of
from spantree_api.health import health_answer
from spantree_api.responses import error_answers, json_answer
from spantree_api.service import ServiceOf
from spantree_api.stored_rows import CountRow, HealthRow, records

probes = APIRouter(tags=["health"])
router = APIRouter(tags=["health"])
# A probe has to be quicker than the second that orchestrators usually give it.
_PROBE_WAIT_S = 0.8
_HOUR_NS = 3_600_000_000_000


@probes.get("/healthz", response_model=Liveness)
async def healthz() -> Response:
    """The process answers; says nothing about the database."""
    answer: Liveness = {"status": "ok"}
    return json_answer(answer)


@probes.get("/readyz", response_model=Readiness, responses=error_answers(503))
async def readyz(service: ServiceOf) -> Response:
    """Requests can be answered: the database is there and holds the schema."""
    async with service.database.snapshot(wait_s=_PROBE_WAIT_S) as snapshot:
        await snapshot.first("ping", {}, records(CountRow))
    answer: Readiness = {"status": "ready"}
    return json_answer(answer)


@router.get("/health", response_model=HealthAnswer, responses=error_answers(503))
async def get_health(service: ServiceOf) -> Response:
    """State of the parts; 503 with the same state in the error's `details` when the database is away."""
    now_ns = service.clock()
    today = moment_of(now_ns).date()
    try:
        async with service.database.snapshot(wait_s=_PROBE_WAIT_S) as snapshot:
            row = await snapshot.first(
                "health",
                {
                    "tenant_id": service.config.tenant_id,
                    "first_day": today - timedelta(days=1),
                    "last_day": today + timedelta(days=1),
                    "since_ns": now_ns - _HOUR_NS,
                },
                records(HealthRow),
            )
    except Unavailable as error:
        error.details = dict(health_answer(None, str(error), now_ns))
        raise
    return json_answer(health_answer(row, None, now_ns))
