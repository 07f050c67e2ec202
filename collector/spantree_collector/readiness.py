"""What a running collector tells of itself: the answer of /readyz, and the gauges of /metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

from spantree_collector.metrics import CollectorMetrics
from spantree_collector.receive.intake import Intake
from spantree_collector.spool.spool import Spool, SpoolFailed
from spantree_collector.write.retrying_store import StoreHealth, StoreState
from spantree_collector.write.writers import SpoolWriter, worst
from spantree_exporter.tls.certificate import ServerTls


def readiness(spool: Spool, writers: Sequence[SpoolWriter], tls: ServerTls | None) -> tuple[bool, dict[str, Any]]:
    """Ready means that requests are taken. PostgreSQL is reported, not required: the spool is there for its absence."""
    try:
        stats = spool.stats()
    except SpoolFailed as failure:
        return False, {"status": "failed", "spool": {"message": str(failure)}}
    ready = spool.has_room
    details = {
        "status": "ready" if ready else "full",
        "spool": {
            "bodies": stats.bodies,
            "bytes": stats.bytes,
            "max_bytes": stats.max_bytes,
            "oldest_age_s": round(_age_s(stats.oldest_received_ns), 3),
        },
        "store": _health_json(_store(writers)),
        "projector": _health_json(_projector(writers)),
        "writers": [{"store": _health_json(one.store), "projector": _health_json(one.projector)} for one in writers],
    }
    if tls is not None:
        # Whatever it says, requests are taken with the certificate that is in use.
        details["tls"] = {
            "certificate_expires_at": f"{tls.not_after:%Y-%m-%dT%H:%M:%SZ}",
            "days_left": round(tls.days_left, 2),
            "problem": tls.problem,
        }
    if spool.failure is not None:
        details["status"] = "failed"
    return ready, details


def _age_s(received_ns: int | None) -> float:
    """How long a body has waited; 0 for none, and by a clock that was set back."""
    return 0.0 if received_ns is None else max(time.time_ns() - received_ns, 0) / 1e9


def _store(writers: Sequence[SpoolWriter]) -> StoreHealth:
    return worst([writer.store for writer in writers])


def _projector(writers: Sequence[SpoolWriter]) -> StoreHealth:
    return worst([writer.projector for writer in writers])


def _health_json(health: StoreHealth) -> dict[str, Any]:
    return {"state": health.state.value, "message": health.message, "since_s": round(time.time() - health.since_s, 1)}


def spool_ages(spool: Spool) -> Callable[[Collection[int]], dict[int, float]]:
    """How many seconds the oldest body of each of some tenants has waited."""

    def ages_s(tenant_ids: Collection[int]) -> dict[int, float]:
        return {tenant_id: _age_s(received_ns) for tenant_id, received_ns in spool.oldest_of(tenant_ids).items()}

    return ages_s


def add_gauges(
    metrics: CollectorMetrics, spool: Spool, intake: Intake, writers: Sequence[SpoolWriter], tls: ServerTls | None
) -> None:
    """Have /metrics show what these parts are like at each scrape."""

    def stat(name: str) -> Callable[[], float]:
        return lambda: float(getattr(spool.stats(), name) or 0)

    def oldest_age_s() -> float:
        return _age_s(spool.stats().oldest_received_ns)

    def is_well(report: Callable[[Sequence[SpoolWriter]], StoreHealth]) -> Callable[[], float]:
        return lambda: float(report(writers).state is StoreState.OK)

    metrics.gauge("spantree_collector_spool_bodies", "Requests that wait for PostgreSQL.", stat("bodies"))
    metrics.gauge("spantree_collector_spool_bytes", "Bytes that wait for PostgreSQL.", stat("bytes"))
    metrics.gauge("spantree_collector_spool_max_bytes", "Most bytes that may wait.", stat("max_bytes"))
    metrics.gauge("spantree_collector_spool_file_bytes", "Size of the spool's file.", stat("file_bytes"))
    metrics.gauge(
        "spantree_collector_spool_oldest_age_seconds", "How long the oldest request has waited.", oldest_age_s
    )
    metrics.gauge("spantree_collector_in_flight_bytes", "Bytes being received.", lambda: float(intake.in_flight.bytes))
    metrics.gauge("spantree_collector_store_ok", "1 while PostgreSQL takes spans.", is_well(_store))
    metrics.gauge("spantree_collector_writers", "Writers that there are to be.", lambda: float(len(writers)))
    metrics.gauge(
        "spantree_collector_writers_ok",
        "Writers whose last attempt PostgreSQL took.",
        lambda: float(sum(writer.store.state is StoreState.OK for writer in writers)),
    )
    metrics.gauge("spantree_collector_projector_ok", "1 while PostgreSQL projects traces.", is_well(_projector))
    if tls is not None:
        metrics.gauge(
            "spantree_collector_certificate_days_left",
            "Days until the certificate in use ends.",
            lambda: tls.days_left,
        )
        metrics.gauge(
            "spantree_collector_certificate_ok",
            "1 while what is in the certificate's files is in use and good.",
            lambda: float(tls.problem is None),
        )
