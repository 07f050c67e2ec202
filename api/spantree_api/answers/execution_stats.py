"""The figures of one execution: the shape of the answers."""

from __future__ import annotations

from typing import Literal, TypeAlias

from typing_extensions import TypedDict

from spantree_api.answers.executions import EdgeType, documented

StepSort: TypeAlias = Literal["self", "total", "count", "failed", "max", "tokens", "cost"]
FindingKind: TypeAlias = Literal["repeated_calls", "agent_loop"]


@documented
class StepSums(TypedDict):
    """The nodes of one name, kind and service."""

    name: str
    kind: str
    service: str
    count: int
    completed: int
    failed: int
    """failed for good or timed out"""
    retried: int
    """failed attempts that a later attempt of the same task followed"""
    skipped: int
    open: int
    """pending, running or waiting: in none of the times"""
    total_ms: float
    """durations added up, more than the execution lasted where nodes ran side by side or within one another"""
    self_ms: float
    """of that what no node below accounts for"""
    self_share: float | None
    """part of the self times of all nodes, from 0 to 1"""
    avg_ms: float | None
    """of those that were not skipped, as the percentiles"""
    p50_ms: float | None
    p95_ms: float | None
    max_ms: float | None
    slowest: str
    """id of the node that took longest"""
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None


@documented
class ModelSums(TypedDict):
    """The calls of one model; agents that only sum up calls are not counted beside these."""

    model: str
    calls: int
    failed: int
    retried: int
    total_ms: float
    p95_ms: float | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None


@documented
class Finding(TypedDict):
    """Something that is worth a look."""

    finding: FindingKind
    """`repeated_calls`: a step made the same query or request again and again, one after the other; `agent_loop`: a
    tool or model was asked the same again"""
    message: str
    """for people: what was found, what to do"""
    name: str
    kind: str
    service: str
    count: int
    total_ms: float
    first: str
    """id of the first of these nodes"""
    parent_id: str | None
    """the step that made the calls"""
    parent_name: str | None
    text: str | None
    """the query, or what was asked"""


# `from` is a word of Python's.
WaySums = TypedDict("WaySums", {"from": str, "to": str, "type": EdgeType, "count": int})
"""How often nodes of one name led to nodes of another."""


@documented
class ExecutionStats(TypedDict):
    """Where the time, the tokens and the failures of one execution are."""

    execution_id: str
    status: str
    duration_ms: float
    nodes: int
    names: int
    """how many there are in `steps` without a limit"""
    self_ms: float
    """of all nodes; more than `duration_ms` where they ran side by side"""
    steps: list[StepSums]
    models: list[ModelSums]
    findings: list[Finding]
    ways: list[WaySums]
    """the 2,000 most used"""
