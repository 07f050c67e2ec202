"""The rows of `execution`, `node` and `edge`, and what `assemble` is given.

Field order is column order of sql/migrations. Nothing here is frozen: a projection fills hundreds of thousands of
them, and assigning is what dataclasses do fastest; whoever gets one from `assemble` owns it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from spantree_exporter.facts.vocabulary import Facts

# Anomaly of an execution that is `running` only because its root has not come: nothing in it runs. Silent for longer
# than its threshold it counts as completed, where others count as lost.
ROOT_MISSING = "root_missing"
# Note of a node that tells of a call of a model what the node around it, or one in it, tells, too: under the model that
# other one counts. Statements that count models know it by this name.
MODEL_TOLD_ELSEWHERE = "model_told_elsewhere"


@dataclass(slots=True)
class SpanFacts:
    """All that `assemble` may know of one span."""

    span_id: int
    parent_span_id: int | None
    fingerprint: int
    name: str
    kind: int
    status_code: int
    status_message: str
    start_ns: int
    end_ns: int
    received_ns: int
    service: str
    links: list[tuple[str, str]]  # (trace id, span id) in hex
    facts: Facts
    anomalies: list[str] = field(default_factory=list)
    # What the execution is found by (search_text.py), of a root and nothing of others; `assemble` reads none of it.
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Execution:
    """One run of something: the row of one trace. Times are UTC nanoseconds, `ended_ns` None while it runs."""

    name: str
    workflow_name: str | None
    entry: str | None
    kind: str
    status: str
    started_ns: int
    ended_ns: int | None
    last_seen_ns: int
    root_span_id: int | None
    service: str
    services: list[str]
    run_id: str | None
    conversation_id: str | None
    user_id: str | None
    project: str | None
    input: str | None
    output: str | None
    error_summary: str | None
    error_category: str | None
    error_fingerprint: str | None
    first_failed_span_id: int | None
    first_failed_ordinal: int | None
    first_failed_name: str | None
    first_failed_error_type: str | None
    first_failed_error_message: str | None
    total_count: int
    completed_count: int
    failed_count: int
    retried_count: int
    skipped_count: int
    waiting_count: int
    running_count: int
    cancelled_count: int
    timed_out_count: int
    span_count: int
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    skipped_nodes: list[str]
    resumes: str | None
    lost_after_s: float | None
    hidden: bool
    anomalies: list[str]
    # Caller, called and number of calls of each pair of services, one after the other, in order of the names.
    calls: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Node:
    """One step. `(span_id, ordinal)` names it in its trace; `ordinal` is 0 but for further nodes of one span id."""

    span_id: int
    ordinal: int
    fingerprint: int | None  # of the span row that it stands for; None while only a live mark or a child told of it
    parent_span_id: int | None
    parent_ordinal: int | None
    name: str
    kind: str
    status: str
    status_reason: str | None
    started_ns: int
    ended_ns: int | None
    self_ns: int | None
    sequence: int  # 1-based, in order of start below each parent, depth first
    depth: int
    attempt: int  # 1-based
    max_attempts: int | None
    retry_expected: bool | None
    task_key: str | None
    iteration: int | None  # 1-based, only in loops
    error_type: str | None
    error_message: str | None
    error_category: str | None
    error_fingerprint: str | None
    model: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    input: str | None
    output: str | None
    service: str
    workflow_name: str | None
    run_id: str | None  # only where it is declared
    on_critical_path: bool
    folded_span_ids: list[int]  # spans that belong to this node and are no nodes of their own
    anomalies: list[str]
    declared: str | None = None  # JSON text of what its execution declared of it before it ran


@dataclass(slots=True)
class Edge:
    """What led to what. `from_trace_id` is None but for an edge that comes from another trace."""

    from_span_id: int
    from_ordinal: int
    to_span_id: int
    to_ordinal: int
    type: str
    condition: str | None
    provenance: str  # declared, link, inferred
    from_trace_id: str | None = None


@dataclass(slots=True)
class Assembled:
    """The projection of one trace: nodes in sequence order, edges sorted by their key."""

    execution: Execution
    nodes: list[Node]
    edges: list[Edge]
