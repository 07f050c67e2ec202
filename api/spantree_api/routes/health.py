"""Is it alive, is it ready, and how is the whole doing."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from spantree_api.answers.health import HealthAnswer, Liveness, Readiness, StorageAnswer
from spantree_api.collectors import collector_states
from spantree_api.errors import Forbidden, Unavailable
from spantree_api.health import TlsState, health_answer, storage_answer
from spantree_api.http.responses import error_answers, json_answer
from spantree_api.reads import health
from spantree_api.replica import ReplicaWatch
from spantree_api.routes.api_router import api_router
from spantree_api.service import ServiceOf
from spantree_exporter.tls.certificate import ServerTls

probes = APIRouter(tags=["health"])
router = api_router("health")
# A probe has to be quicker than the second that orchestrators usually give it.
_PROBE_WAIT_S = 0.8
_BUSY = "PostgreSQL answers, but not in time: a lock keeps its tables, or it is overloaded; see pg_stat_activity"
# Whose installation it is: what is of all tenants is told to nobody else.
_FIRST_TENANT = 0


@probes.get("/healthz", response_model=Liveness)
async def healthz() -> Response:
    """The process answers; says nothing about the database."""
    answer: Liveness = {"status": "ok"}
    return json_answer(answer)


@probes.get("/readyz", response_model=Readiness, responses=error_answers(503))
async def readyz(service: ServiceOf) -> Response:
    """Requests can be answered: the database is there and holds the schema."""
    async with service.database.snapshot(wait_s=_PROBE_WAIT_S) as snapshot:
        await health.ping(snapshot)
    answer: Readiness = {"status": "ready"}
    return json_answer(answer)


@router.get("/health/storage", response_model=StorageAnswer, responses=error_answers(403, 503))
async def get_storage(service: ServiceOf) -> Response:
    """Days and bytes of what is kept, of all tenants: only the first tenant is told."""
    if service.config.tenant_id != _FIRST_TENANT:
        raise Forbidden("what all tenants together keep on disk is told to the first tenant only")
    async with service.database.snapshot() as snapshot:
        rows = await health.storage(snapshot)
    return json_answer(storage_answer(rows))


@router.get("/health", response_model=HealthAnswer, responses=error_answers(503))
async def get_health(request: Request, service: ServiceOf) -> Response:
    """State of the parts; 503 with the same state in the error's `details` when the database is away."""
    now_ns = service.clock()
    tls: ServerTls | None = request.app.state.tls
    certificate = None if tls is None else TlsState(tls.days_left, tls.problem)
    replica: ReplicaWatch = request.app.state.replica
    urls = service.config.collector_addresses
    collectors = None if not urls or service.config.tenant_id != _FIRST_TENANT else await collector_states(urls)
    try:
        async with service.database.snapshot(wait_s=_PROBE_WAIT_S) as snapshot:
            row = await health.health(snapshot, service.config.tenant_id, now_ns)
    except Unavailable as error:
        # Nothing of it could be narrowed down.
        refusal = Unavailable(error.code, _BUSY) if error.code == "query_timeout" else error
        refusal.details = dict(health_answer(None, str(refusal), now_ns, certificate, replica.state, collectors))
        raise refusal from None
    return json_answer(health_answer(row, None, now_ns, certificate, replica.state, collectors))
