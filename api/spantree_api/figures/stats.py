"""Figures -> answers. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter

from spantree_api.answers.stats import NodeStat, WorkflowStat
from spantree_api.rendering import rfc3339
from spantree_api.stored_rows import BucketRow, NodeStatRow, WorkflowStatRow
from spantree_exporter.rollup import quantile_ns


class Durations:
    """Histograms of durations by workflow and name, from their parts in any order."""

    def __init__(self, rows: Iterable[BucketRow]) -> None:
        self._buckets: dict[tuple[str | None, str], tuple[list[int], list[int]]] = {}
        for row in sorted(rows, key=attrgetter("bucket")):
            buckets, counts = self._buckets.setdefault((row.workflow_name, row.name), ([], []))
            buckets.append(row.bucket)
            counts.append(row.count)

    def quantile_ms(
        self, workflow_name: str | None, name: str, quantile: float, avg_ms: float | None = None
    ) -> float | None:
        """At most 2 % off; None where nothing has ended. `avg_ms`: the mean, which of one duration is that one."""
        buckets, counts = self._buckets.get((workflow_name, name), ([], []))
        if avg_ms is not None and sum(counts) == 1:
            return avg_ms
        found_ns = quantile_ns(buckets, counts, quantile)
        return None if found_ns is None else found_ns / 1e6


def node_stat(row: NodeStatRow, durations: Durations) -> NodeStat:
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
        "p50_ms": durations.quantile_ms(row.workflow_name, row.name, 0.5, row.avg_ms),
        "p95_ms": durations.quantile_ms(row.workflow_name, row.name, 0.95, row.avg_ms),
        "p99_ms": durations.quantile_ms(row.workflow_name, row.name, 0.99, row.avg_ms),
        "last_failed_at": None if row.last_failed_ns is None else rfc3339(row.last_failed_ns),
    }


def workflow_stat(row: WorkflowStatRow, durations: Durations) -> WorkflowStat:
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
        "waited": row.waited,
        "success_rate": _rate(row.completed, ended),
        "avg_ms": row.avg_ms,
        "p50_ms": durations.quantile_ms(row.name, row.name, 0.5, row.avg_ms),
        "p95_ms": durations.quantile_ms(row.name, row.name, 0.95, row.avg_ms),
        "p99_ms": durations.quantile_ms(row.name, row.name, 0.99, row.avg_ms),
        "last_started_at": rfc3339(row.last_started_ns),
    }


def _rate(part: int, whole: int) -> float | None:
    return part / whole if whole else None
