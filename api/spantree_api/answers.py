"""The answers of the API: their shape is the contract, and OpenAPI is made from it.

Pure code fills them as plain dicts, so that an answer of 100,000 nodes costs no more than its JSON. Fields named
`_at` are RFC 3339 in UTC, `_ns` integers are nanoseconds since 1970, `_ms` are milliseconds.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

# The texts below fields become their descriptions in OpenAPI.
_documented = with_config(ConfigDict(use_attribute_docstrings=True))


@_documented
class ErrorBody(TypedDict):
    """What was found, what was wanted, what to do."""

    code: str
    """for programs: not_found, invalid_parameter, database_unavailable ..."""
    message: str
    """for people"""
    details: dict[str, Any]
    """what else is known, for example `parameter`, or `errors` with one entry for each wrong parameter"""


class ErrorAnswer(TypedDict):
    """The one shape of every 4xx and 5xx answer."""

    error: ErrorBody


@_documented
class Counts(TypedDict):
    """Nodes by status."""

    total: int
    completed: int
    failed: int
    retried: int
    """failed attempts that a later attempt of the same task followed"""
    skipped: int
    waiting: int
    running: int
    cancelled: int
    timed_out: int


class Tokens(TypedDict):
    """Tokens given to and taken from models; null where no span tells."""

    input: int | None
    output: int | None


class FirstFailedNode(TypedDict):
    """The node that failed first: the cause, not the messenger."""

    id: str
    name: str | None
    error_type: str | None
    error_message: str | None


@_documented
class ExecutionAnswer(TypedDict):
    """One run of something."""

    execution_id: str
    """the trace id: 32 hex digits"""
    trace_id: str
    name: str
    workflow_name: str | None
    entry: str | None
    """how it was called, for example `POST /chat`"""
    kind: str
    status: str
    """pending, running, waiting, completed, failed, partial (completed although steps failed), skipped, cancelled,
    timed_out, or lost (no end and no sign of life for longer than its threshold)"""
    started_at: str
    started_ns: int
    ended_at: str | None
    ended_ns: int | None
    duration_ms: float
    """until now while it has not ended, until the last sign of life when it is lost"""
    last_seen_at: str
    """when the collector took in its newest span, by the collector's clock"""
    service: str
    services: list[str]
    run_id: str | None
    conversation_id: str | None
    user_id: str | None
    project: str | None
    tenant: str
    input: str | None
    """a preview"""
    output: str | None
    """a preview"""
    error_summary: str | None
    error_category: str | None
    error_fingerprint: str | None
    """equal for failures of the same cause"""
    first_failed_node: FirstFailedNode | None
    counts: Counts
    tokens: Tokens
    cost_usd: float | None
    span_count: int
    resumes: str | None
    """run id, checkpoint or conversation that it took up again"""
    hidden: bool
    """a health check, probe, scrape or lone database call: left out of lists unless asked for"""
    anomalies: list[str]
    analysis: dict[str, Any] | None


@_documented
class SearchedAnswer(TypedDict):
    """How far a list has looked."""

    back_to: str | None
    """the start of the oldest executions that were looked at, where the time ran out: `next_cursor` goes on from
    there; null when all were"""
    text_back_to: str | None
    """how far back names, errors and span attributes were read for what the index of words does not hold; null when
    none were"""


@_documented
class ExecutionPage(TypedDict):
    """Executions, newest first."""

    executions: list[ExecutionAnswer]
    hidden_count: int | None
    """how many of the page's time were left out because they are hidden, 1,000 at most; null where filters other than
    `since` and `until` narrow the list, and with `hidden`"""
    next_cursor: str | None
    """give it as `cursor` for the next page; null on the last one"""
    searched: SearchedAnswer | None
    """null unless `q` was given or the list stopped before it had looked at everything"""


@_documented
class Retry(TypedDict):
    """What the declared retry policy says; nulls where none is known."""

    expected: bool | None
    max_attempts: int | None


@_documented
class NodeAnswer(TypedDict):
    """One step of an execution."""

    id: str
    """the span id; `.1`, `.2` ... follow it for further nodes of one span id"""
    span_id: str
    parent_id: str | None
    """`id` of the node it is a part of"""
    name: str
    kind: str
    status: str
    """pending, running, waiting, completed, failed, retried, skipped, cancelled, timed_out"""
    status_reason: str | None
    sequence: int
    """1-based position in the execution: depth first, siblings by start"""
    depth: int
    started_ns: int
    ended_ns: int | None
    duration_ms: float
    """until now while it has not ended"""
    self_ms: float | None
    """what no child accounts for"""
    attempt: int
    task_key: str | None
    """equal for all attempts of one task"""
    retry: Retry
    iteration: int | None
    """1-based turn of a loop"""
    error_type: str | None
    error_message: str | None
    error_category: str | None
    error_fingerprint: str | None
    input: str | None
    """a preview"""
    output: str | None
    """a preview"""
    model: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    service: str
    workflow_name: str | None
    run_id: str | None
    """only where the step declares one"""
    on_critical_path: bool
    folded_span_ids: list[str]
    """spans that belong to it and are no nodes of their own"""
    anomalies: list[str]
    children: NotRequired[list[dict[str, Any]]]
    """its child nodes, with `shape=nested` only"""
    trace_id: NotRequired[str]
    """with `/runs` only, where nodes of several traces stand in one tree"""


EdgeAnswer = TypedDict(
    "EdgeAnswer",
    {
        "from": Annotated[str, Field(description="`id` of the node it comes from")],
        "to": Annotated[str, Field(description="`id` of the node it leads to")],
        "type": Literal[
            "sequential", "conditional", "parallel", "join", "dependency", "handoff", "retry", "resume", "child"
        ],
        "condition": Annotated[str | None, Field(description="the value that was chosen")],
        "provenance": Literal["declared", "link", "inferred"],
        "from_trace_id": Annotated[str | None, Field(description="where `from` is a node of another execution")],
    },
)


@_documented
class Tree(TypedDict):
    """Nodes and what led to what."""

    roots: list[str]
    summary: Counts
    """of the whole execution, also where only a part of it is asked for"""
    failed_nodes: list[str]
    """names of nodes that failed or timed out, each once"""
    skipped_nodes: list[str]
    """names of nodes that were skipped, with and without a span"""
    nodes: list[NodeAnswer]
    """in sequence order; with `shape=nested` the roots, each with its `children`"""
    edges: list[EdgeAnswer]
    """those that lead to one of `nodes`; type `child` leads from parent to child"""
    next_cursor: str | None


class TreeAnswer(ExecutionAnswer):
    """An execution with its tree."""

    tree: Tree


@_documented
class NodePage(TypedDict):
    """Nodes of one execution in sequence order."""

    nodes: list[NodeAnswer]
    next_cursor: str | None


@_documented
class EventAnswer(TypedDict):
    """A span event."""

    name: str
    time_ns: int
    at: str
    attributes: dict[str, Any]
    dropped_attributes_count: int


@_documented
class LinkAnswer(TypedDict):
    """A span link."""

    trace_id: str
    span_id: str
    trace_state: str
    attributes: dict[str, Any]
    flags: int
    dropped_attributes_count: int


@_documented
class ResourceAnswer(TypedDict):
    """What sent the span."""

    attributes: dict[str, Any]
    schema_url: str


@_documented
class SpanAnswer(TypedDict):
    """What of the span itself a node does not say."""

    name: str
    kind: str
    """as OTLP names it: INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER, UNSPECIFIED"""
    status_code: str
    """UNSET, OK or ERROR, as sent"""
    status_message: str
    started_ns: int
    ended_ns: int
    trace_state: str
    flags: int
    received_at: str
    parent_span_id: str | None


@_documented
class NodeDetail(NodeAnswer):
    """A node with all that its span holds."""

    execution_id: str
    attributes: dict[str, Any]
    """bytes are written `{"$b": base64}`, doubles that JSON lacks `{"$f": "NaN"}`"""
    events: list[EventAnswer]
    links: list[LinkAnswer]
    resource: ResourceAnswer | None
    scope: dict[str, Any] | None
    traceback: str | None
    """of its exception event"""
    span: SpanAnswer | None
    """null while only a live mark or a child told of the node"""
    input_complete: bool
    """whether `input` is the whole value"""
    output_complete: bool
    raw_available: bool
    """whether the span's exact bytes are kept because the stored form lost something"""


@_documented
class FailureError(TypedDict):
    """The error of the node that failed first."""

    type: str | None
    message: str | None
    category: str | None
    fingerprint: str | None
    traceback: str | None


@_documented
class CascadeStep(TypedDict):
    """A node on the way from the cause up to the root."""

    id: str
    name: str
    kind: str
    status: str
    error_type: str | None
    error_message: str | None


@_documented
class Attempt(TypedDict):
    """One attempt of a task."""

    id: str
    name: str
    attempt: int
    status: str
    started_ns: int
    duration_ms: float
    error_type: str | None
    error_message: str | None


@_documented
class RetriedTask(TypedDict):
    """The attempts of one task."""

    task_key: str | None
    attempts: list[Attempt]
    expected: bool
    """whether a declared retry policy foresaw all of them"""
    max_attempts: int | None
    outcome: str
    """status of the last attempt"""


@_documented
class SameCause(TypedDict):
    """Another execution that failed for the same cause."""

    execution_id: str
    name: str
    status: str
    started_at: str


class FailedNode(TypedDict):
    """A node that failed."""

    id: str
    name: str
    status: str
    error_type: str | None
    error_message: str | None


@_documented
class FailureAnswer(TypedDict):
    """Why an execution failed."""

    execution_id: str
    name: str
    status: str
    first_failed_node: FirstFailedNode | None
    cascade: list[str]
    """ids from the cause up to the root"""
    cascade_nodes: list[CascadeStep]
    """the same with names and errors"""
    error: FailureError | None
    failed_by: str | None
    """`itself`: the outermost step that failed raised the error; `a step below`: it failed of the first failed node"""
    handled: list[FailedNode]
    """what failed below it before the first failed node did and was not what it failed of, 20 at most"""
    same_cause_count: int
    """other executions of the same fingerprint, from 30 days before this one on"""
    same_cause: list[SameCause]
    """the newest of them"""
    retries: list[RetriedTask]
    skipped_nodes: list[str]
    suggestion: str | None


@_documented
class FailedExecution(ExecutionAnswer):
    """An execution that failed; `input` is cut at 100 characters."""

    failed_nodes: list[FailedNode]
    """in the order they failed, 20 at most"""


@_documented
class FailurePage(TypedDict):
    """Failed, partial and timed out executions, newest first."""

    failures: list[FailedExecution]
    hours: int
    next_cursor: str | None


@_documented
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
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    last_failed_at: str | None


class NodeStats(TypedDict):
    """Figures of nodes, worst success rate first."""

    days: int
    nodes: list[NodeStat]


@_documented
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
    """pending, running or waiting"""
    success_rate: float | None
    """completed / (completed + failed + partial), from 0 to 1; null where there are none of them"""
    avg_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    last_started_at: str


class WorkflowStats(TypedDict):
    """Figures of workflows, most runs first."""

    days: int
    workflows: list[WorkflowStat]


class ErrorCount(TypedDict):
    """How many executions failed for one category."""

    category: str
    count: int


@_documented
class WorkflowDetail(WorkflowStat):
    """Figures of one workflow, with what it does most and what came of it lately."""

    days: int
    errors: list[ErrorCount]
    most_used_node: str | None
    recent: list[ExecutionAnswer]
    """the ten newest"""


@_documented
class StuckExecution(ExecutionAnswer):
    """An execution that is open for longer than its threshold."""

    threshold_s: float
    stuck_for_s: float
    """how long it is open, in seconds"""


class StuckAnswer(TypedDict):
    """Executions that are open for longer than their threshold, and lost ones; the longest first."""

    executions: list[StuckExecution]


class Part(TypedDict):
    """State of one part of the product."""

    status: Literal["ok", "degraded", "down", "unknown"]
    message: str


@_documented
class DeadLettersOfReason(TypedDict):
    """Dead letters for one kind of reason."""

    reason: str
    """unreadable (ids or bytes of a span), body (a whole request), refused (by PostgreSQL)"""
    letters: int
    """different ones"""
    count: int
    """how often they came"""


@_documented
class HealthAnswer(TypedDict):
    """State of the whole."""

    status: Literal["ok", "degraded", "down"]
    checked_at: str
    api: Part
    database: Part
    collector: Part
    projection: Part
    collector_last_seen_at: str | None
    """when a span was last taken in"""
    projection_lag_ms: float | None
    """age of the oldest spans that are stored and not yet projected; 0 when there are none"""
    pending_traces: int | None
    dead_letters: int | None
    """what was accepted and can never become a row; equal ones once"""
    dead_letters_by_reason: list[DeadLettersOfReason] | None
    executions_last_hour: int | None
    error_rate: float | None
    """share of the executions of the last hour that failed, are partial or timed out; null when there were none"""


class Liveness(TypedDict):
    """The process answers."""

    status: Literal["ok"]


class Readiness(TypedDict):
    """The database answers and holds a schema that can be read."""

    status: Literal["ready"]


@_documented
class RunHead(ExecutionAnswer):
    """One run over all its traces, told like one execution. `execution_id` is that of the first."""

    executions: list[ExecutionAnswer]
    """the executions that are the run, oldest first"""
    trace_ids: list[str]
    """every trace that has a part of it"""


class RunAnswer(RunHead):
    """A run with the tree over all its traces."""

    tree: Tree


@_documented
class DiffNode(TypedDict):
    """One step in two executions; pairs are (of a, of b), null where that one has no such step."""

    path: str
    """names from the root down, joined by ` > `; ` #2` tells siblings of one name apart"""
    a_id: str | None
    """`id` of the node in `a`: of the last attempt of its task"""
    b_id: str | None
    change: Literal["added", "removed", "changed", "same"]
    """`changed`: another status, error, number of attempts, or a duration half as long again and 50 ms apart"""
    status: list[str | None]
    duration_ms: list[float | None]
    attempts: list[int | None]
    error_type: list[str | None]
    slower_or_faster: bool
    """whether the duration counts as another one"""
    inputs_differ: bool
    """of the previews; never a change by itself"""


class DiffSummary(TypedDict):
    """Steps by what became of them."""

    added: int
    removed: int
    changed: int
    same: int


class FirstDifference(TypedDict):
    """The innermost step that went differently first."""

    path: str
    a_id: str | None
    b_id: str | None


@_documented
class DiffAnswer(TypedDict):
    """What went differently in two executions."""

    a: str
    b: str
    """its trace id, also where `last-good` was asked for"""
    summary: DiffSummary
    nodes: list[DiffNode]
    """in sequence order"""
    first_difference: FirstDifference | None
