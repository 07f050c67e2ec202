"""Figures: the shape of the answers."""

from __future__ import annotations

from typing_extensions import TypedDict

from spantree_api.answers.executions import ExecutionAnswer, documented


@documented
class NodeStat(TypedDict):
    """How often one node of one workflow ran, and how it went."""

    workflow: str | None
    name: str
    kind: str
    total: int
    completed: int
    failed: int
    """failed for good or timed out"""
    retried: int
    """failed attempts that a later attempt of the same task followed; they do not count for the rate"""
    skipped: int
    cancelled: int
    timed_out: int
    """how many of `failed` timed out"""
    success_rate: float | None
    """completed / (completed + failed), from 0 to 1; null where there are none of them"""
    avg_ms: float | None
    """of those that ended and were not skipped, as the percentiles"""
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    last_failed_at: str | None


@documented
class NodeStats(TypedDict):
    """Figures of nodes, worst success rate first."""

    days: int
    since: str
    until: str | None
    """of the hours that are counted; null: no end"""
    nodes: list[NodeStat]


@documented
class WorkflowStat(TypedDict):
    """How often one workflow ran, and how it went."""

    name: str
    runs: int
    completed: int
    failed: int
    """failed or timed out"""
    partial: int
    timed_out: int
    """how many of `failed` timed out"""
    cancelled: int
    open: int
    """pending or running, lost ones included"""
    waited: int
    """stopped to wait, taken up since or not: what goes on with one is a run of its own"""
    success_rate: float | None
    """completed / (completed + failed + partial), from 0 to 1; null where there are none of them"""
    avg_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    last_started_at: str


@documented
class WorkflowStats(TypedDict):
    """Figures of workflows, most runs first."""

    days: int
    since: str
    until: str | None
    """of the hours that are counted; null: no end"""
    workflows: list[WorkflowStat]


class ErrorCount(TypedDict):
    """How many executions failed for one category."""

    category: str
    count: int


@documented
class WorkflowDetail(WorkflowStat):
    """Figures of one workflow, with what it does most and what came of it lately."""

    days: int
    since: str
    until: str | None
    """of the hours that are counted; null: no end"""
    errors: list[ErrorCount]
    most_used_node: str | None
    recent: list[ExecutionAnswer]
    """the ten newest"""
