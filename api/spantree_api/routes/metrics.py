"""GET /metrics: the API's own figures, and those of the database that people alert on."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

from fastapi import APIRouter, Request, Response

from spantree_api.errors import Unavailable
from spantree_api.filters import moment_of
from spantree_api.metrics import CONTENT_TYPE, ApiMetrics, BacklogRow, CauseRow, RunsRow
from spantree_api.service import Service, ServiceOf
from spantree_api.stored_rows import records

router = APIRouter(tags=["health"])
_HOUR_NS: Final = 3_600_000_000_000
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
            today = moment_of(now_ns).date()
            parameters = {
                "tenant_id": service.config.tenant_id,
                "first_day": today - timedelta(days=1),
                "last_day": today + timedelta(days=1),
                "since_ns": now_ns - _HOUR_NS,
            }
            try:
                async with service.database.snapshot(wait_s=_WAIT_S) as snapshot:
                    backlog = await snapshot.first("backlog", parameters, records(BacklogRow))
                    causes = await snapshot.all("dead_letters_by_cause", parameters, records(CauseRow))
                    runs = await snapshot.all("recent_executions", parameters, records(RunsRow))
            except Unavailable:
                self.metrics.away()
                return
            if backlog is not None:
                self.metrics.show(backlog, causes, runs)
            self._read_ns = now_ns


@router.get("/metrics", response_class=Response, include_in_schema=False)
async def get_metrics(request: Request, service: ServiceOf) -> Response:
    """Prometheus' text format."""
    figures: DatabaseFigures = request.app.state.figures
    await figures.refresh(service)
    return Response(figures.metrics.exposition(), headers={"content-type": CONTENT_TYPE})
