"""GET /metrics: the API's own figures, and those of the database that people alert on."""

from __future__ import annotations

import asyncio
from typing import Final

from fastapi import APIRouter, Request, Response

from spantree_api.errors import Unavailable
from spantree_api.metrics import CONTENT_TYPE, ApiMetrics
from spantree_api.reads.health import figures
from spantree_api.service import Service, ServiceOf

router = APIRouter(tags=["health"])
# Several Prometheus servers, or an impatient one, cost the database no more than one.
_FRESH_NS: Final = 5_000_000_000
_WAIT_S: Final = 2.0


class DatabaseFigures:
    """Reads the database's figures, for one scrape at a time, and not again while they are fresh."""

    def __init__(self, metrics: ApiMetrics) -> None:
        self.metrics = metrics
        self._lock = asyncio.Lock()
        self._read_ns = -_FRESH_NS

    async def refresh(self, service: Service) -> None:
        """Bring `metrics` up to date; it tells when the database is away."""
        async with self._lock:
            now_ns = service.clock()
            if 0 <= now_ns - self._read_ns < _FRESH_NS:
                return
            try:
                async with service.database.snapshot(wait_s=_WAIT_S) as snapshot:
                    read = await figures(snapshot, service.config.tenant_id, now_ns)
            except Unavailable:
                self.metrics.away()
                return
            if read.backlog is not None:
                self.metrics.show(read.backlog, read.causes, read.runs, read.gathered)
            self._read_ns = now_ns


@router.get("/metrics", response_class=Response, include_in_schema=False)
async def get_metrics(request: Request, service: ServiceOf) -> Response:
    """Prometheus' text format."""
    figures: DatabaseFigures = request.app.state.figures
    await figures.refresh(service)
    return Response(figures.metrics.exposition(), headers={"content-type": CONTENT_TYPE})
