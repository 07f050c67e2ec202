"""Figures -> the state of the parts. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from spantree_api.answers.health import CollectorState, HealthAnswer, Part, SpoolState, StorageAnswer, WorkState
from spantree_api.rendering import rfc3339
from spantree_api.stored_rows import HealthRow, ReplicationRow, StorageRow

# As people know it from pollers of jobs: one that was seen within five minutes is well (docs/features.md).
_COLLECTOR_QUIET_NS = 300_000_000_000
# A trace is projected a second after it went quiet, large ones later; a minute means that nobody projects.
_LAG_DEGRADED_NS = 60_000_000_000
# Certificates of six days exist, and are renewed with two to spare (Let's Encrypt, "shortlived").
_RENEWAL_DAYS = 1.0
_REPLICA_DEGRADED_S = 60.0
_NO_REPLICA: Final[Part] = {"status": "ok", "message": "none: reads come from the database that is written"}
_NO_COLLECTOR = "answers something else than a collector's /readyz"


@dataclass(frozen=True, slots=True)
class TlsState:
    """Of the API's own certificate; `problem` None: it is well."""

    days_left: float
    problem: str | None


def health_answer(
    row: HealthRow | None,
    database_error: str | None,
    now_ns: int,
    tls: TlsState | None = None,
    replication: ReplicationRow | None = None,
    collectors: list[CollectorState] | None = None,
) -> HealthAnswer:
    """The answer for the figures, or for a database that did not give any.

    `replication`: of a standby that is read; `collectors`: by their own word.
    """
    certificate = None if tls is None else _certificate(tls)
    days_left = None if tls is None else round(tls.days_left, 2)
    api: Part = {"status": "ok", "message": "answers"}
    if row is None:
        unknown: Part = {"status": "unknown", "message": "cannot be told without the database"}
        return {
            "status": "down",
            "checked_at": rfc3339(now_ns),
            "api": api,
            "database": {"status": "down", "message": database_error or "gave no answer"},
            "collector": unknown,
            "projection": unknown,
            "tls": certificate,
            "certificate_days_left": days_left,
            "collector_last_seen_at": None,
            "projection_lag_ms": None,
            "pending_traces": None,
            "dead_letters": None,
            "dead_letters_by_reason": None,
            "replica": unknown if replication is not None else _NO_REPLICA,
            "replication_lag_ms": None,
            "executions_last_hour": None,
            "error_rate": None,
            "collectors": collectors,
        }
    lag_ns = 0 if row.oldest_pending_ns is None else max(0, now_ns - row.oldest_pending_ns)
    # What is still to be projected has been received, too.
    seen = [ns for ns in (row.last_received_ns, row.oldest_pending_ns) if ns is not None]
    last_seen_ns = max(seen, default=None)
    projection = _projection(row, lag_ns)
    replica = _replica(replication)
    lag_s = None if replication is None or not replication.in_recovery else replication.lag_s
    states = [
        projection["status"],
        replica["status"],
        (certificate or api)["status"],
        *(one["status"] for one in collectors or ()),
    ]
    return {
        "status": "degraded" if "degraded" in states or "down" in states else "ok",
        "checked_at": rfc3339(now_ns),
        "api": api,
        "database": {"status": "ok", "message": "answers"},
        "collector": _collector(last_seen_ns, now_ns),
        "projection": projection,
        "tls": certificate,
        "certificate_days_left": days_left,
        "collector_last_seen_at": None if last_seen_ns is None else rfc3339(last_seen_ns),
        "projection_lag_ms": lag_ns / 1e6,
        "pending_traces": row.pending_traces,
        "dead_letters": row.dead_letters,
        "dead_letters_by_reason": [
            {"reason": of["reason"], "letters": of["letters"], "count": of["count"]}
            for of in row.dead_letters_by_reason
        ],
        "replica": replica,
        "replication_lag_ms": None if lag_s is None else max(0.0, lag_s) * 1000,
        "executions_last_hour": row.executions,
        "error_rate": row.failed_executions / row.executions if row.executions else None,
        "collectors": collectors,
    }


def collector_state(url: str, answer: object, fault: str) -> CollectorState:
    """What a collector's /readyz says; `fault` where it gave no answer, or one that is none."""
    told = answer if isinstance(answer, dict) else {}
    spool = told.get("spool")
    writers = told.get("writers")
    try:
        state: CollectorState = {
            "url": url,
            "status": "ok",
            "message": "",
            "spool": _spool(spool) if isinstance(spool, dict) and "bodies" in spool else None,
            "writers": [{"store": _work(one["store"]), "projector": _work(one["projector"])} for one in writers or ()],
        }
    except (TypeError, ValueError, KeyError, AttributeError):
        return {"url": url, "status": "down", "message": fault or _NO_COLLECTOR, "spool": None, "writers": []}
    status = told.get("status")
    # The API's own /readyz says ready, too, and knows no spool.
    if status not in ("ready", "full", "failed") or (status != "failed" and state["spool"] is None):
        state["status"], state["message"] = "down", fault or _NO_COLLECTOR
    elif status == "failed":
        state["status"], state["message"] = "down", "its spool failed: it takes in nothing"
    elif status == "full":
        state["status"], state["message"] = "degraded", "its spool is full: senders are asked to wait"
    else:
        works = [work for writer in state["writers"] for work in (writer["store"], writer["projector"])]
        bad = next((work for work in works if work["state"] not in ("ok", "starting")), None)
        state["status"] = "ok" if bad is None else "degraded"
        state["message"] = "takes in and writes" if bad is None else bad["message"] or f"a writer is {bad['state']}"
    return state


def _spool(spool: Mapping[str, Any]) -> SpoolState:
    return {
        "bodies": int(spool["bodies"]),
        "bytes": int(spool["bytes"]),
        "max_bytes": int(spool["max_bytes"]),
        "oldest_age_s": float(spool["oldest_age_s"]),
    }


def _work(work: Mapping[str, Any]) -> WorkState:
    return {"state": str(work["state"]), "message": str(work["message"]), "since_s": float(work["since_s"])}


def storage_answer(rows: Sequence[StorageRow]) -> StorageAnswer:
    """The answer for the tables that are partitioned by day; `rows` has at least one."""
    days = [day for row in rows for day in (row.first_day, row.last_day) if day is not None]
    return {
        "database_bytes": rows[0].database_bytes,
        "first_day": min(days).isoformat() if days else None,
        "last_day": max(days).isoformat() if days else None,
        "days": max(row.days for row in rows),
        "tables": [{"table": row.name, "partitions": row.partitions, "bytes": row.bytes} for row in rows],
    }


def _replica(replication: ReplicationRow | None) -> Part:
    if replication is None:
        return _NO_REPLICA
    if not replication.in_recovery:
        return {"status": "ok", "message": "SPANTREE_API_DATABASE_URL is no standby: nothing is stale"}
    if replication.lag_s is None:
        return {"status": "unknown", "message": "the standby has replayed nothing yet"}
    lag_s = max(0.0, replication.lag_s)
    if lag_s > _REPLICA_DEGRADED_S:
        return {"status": "degraded", "message": f"the standby is {lag_s:.0f} s behind: what is answered is as old"}
    return {"status": "ok", "message": f"a standby, {lag_s:.1f} s behind"}


def _collector(last_seen_ns: int | None, now_ns: int) -> Part:
    if last_seen_ns is None:
        return {"status": "unknown", "message": "no span came since yesterday"}
    quiet_ns = max(0, now_ns - last_seen_ns)
    if quiet_ns > _COLLECTOR_QUIET_NS:
        # Silence is no failure: there may be nothing to send. Whoever expects spans reads the age.
        return {"status": "unknown", "message": f"no span for {quiet_ns / 1e9:.0f} s"}
    return {"status": "ok", "message": f"took in a span {quiet_ns / 1e9:.0f} s ago"}


def _certificate(tls: TlsState) -> Part:
    if tls.problem is not None:
        return {"status": "degraded", "message": tls.problem}
    if tls.days_left < _RENEWAL_DAYS:
        return {"status": "degraded", "message": f"the certificate ends in {tls.days_left:.1f} days"}
    return {"status": "ok", "message": f"the certificate is good for {tls.days_left:.0f} days"}


def _projection(row: HealthRow, lag_ns: int) -> Part:
    if row.failing_projections:
        return {
            "status": "degraded",
            "message": f"{row.failing_projections} traces cannot be projected: pending_projection.error says why",
        }
    if lag_ns > _LAG_DEGRADED_NS:
        return {
            "status": "degraded",
            "message": f"{row.pending_traces} traces wait for projection, the oldest for {lag_ns / 1e9:.0f} s: "
            "is a collector running?",
        }
    return {"status": "ok", "message": f"{row.pending_traces} traces wait for projection"}
