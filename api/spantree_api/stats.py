"""Figures -> answers. Pure."""

from __future__ import annotations

from spantree_api.answers import NodeStat, WorkflowStat
from spantree_api.stored_rows import NodeStatRow, WorkflowStatRow
from spantree_api.told import rfc3339


def node_stat(row: NodeStatRow) -> NodeStat:
    """One node's figures. Retried attempts are neither a success nor a failure: their task's last attempt is."""
    return {
        "workflow": row.workflow_name,
        "name": row.name,
        "kind": row.kind,
        "total": row.total,
        "completed": row.completed,
        "failed": row.failed,
        "retried": row.retried,
        "skipped": row.skipped,
        "cancelled": row.cancelled,
        "timed_out": row.timed_out,
        "success_rate": _rate(row.completed, row.completed + row.failed),
        "avg_ms": row.avg_ms,
        "p50_ms": row.p50_ms,
        "p95_ms": row.p95_ms,
        "p99_ms": row.p99_ms,
        "last_failed_at": None if row.last_failed_ns is None else rfc3339(row.last_failed_ns),
    }


def workflow_stat(row: WorkflowStatRow) -> WorkflowStat:
    """One workflow's figures."""
    ended = row.completed + row.failed + row.partial
    return {
        "name": row.name,
        "runs": row.runs,
        "completed": row.completed,
        "failed": row.failed,
        "partial": row.partial,
        "timed_out": row.timed_out,
        "cancelled": row.cancelled,
        "open": row.open,
        "success_rate": _rate(row.completed, ended),
        "avg_ms": row.avg_ms,
        "p50_ms": row.p50_ms,
        "p95_ms": row.p95_ms,
        "p99_ms": row.p99_ms,
        "last_started_at": rfc3339(row.last_started_ns),
    }


def _rate(part: int, whole: int) -> float | None:
    return part / whole if whole else None
