"""The answers of the API: their shape is the contract, and OpenAPI is made from it.

Pure code fills them as plain dicts, so that an answer of 100,000 nodes costs no more than its JSON. Fields named
`_at` are RFC 3339 in UTC, `_ns` integers are nanoseconds since 1970, `_ms` are milliseconds.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, with_config
from typing_extensions import TypedDict

EdgeType: TypeAlias = Literal[
    "sequential", "conditional", "parallel", "join", "dependency", "handoff", "retry", "resume", "child"
]

# The texts below fields become their descriptions in OpenAPI.
documented = with_config(ConfigDict(use_attribute_docstrings=True))


class ErrorBody(BaseModel):
    """What was found, what was wanted, what to do."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    code: str
    """for programs: not_found, invalid_parameter, database_unavailable ..."""
    message: str
    """for people"""
    details: dict[str, Any]
    """what else is known, for example `parameter`, or `errors` with one entry for each wrong parameter"""


# Almost every route declares it, several times: pydantic reads a model once, a TypedDict each time.
class ErrorAnswer(BaseModel):
    """The one shape of every 4xx and 5xx answer."""

    error: ErrorBody


@documented
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


@documented
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
    resumed_by: str | None
    """the execution that went on with one that waits: the next of its run, or the next that resumes its conversation"""
    hidden: bool
    """a health check, probe, scrape or lone database call: left out of lists unless asked for"""
    anomalies: list[str]
    analysis: dict[str, Any] | None
    """what /executions/{id}/analysis answers; null where nothing was analysed, and in lists"""
    jaeger_url: NotRequired[str]
    """the trace in Jaeger, in answers about one execution; where SPANTREE_JAEGER_URL is set"""
    grafana_url: NotRequired[str]
    """the trace in Grafana, likewise; where SPANTREE_GRAFANA_URL is set"""
    last_good: NotRequired[str | None]
    """of an execution that failed, asked for by itself: the newest completed one of its workflow in the 30 days before;
    null where there is none"""


@documented
class SearchedAnswer(TypedDict):
    """How far a list has looked."""

    back_to: str | None
    """the start of the oldest executions that were looked at, where the time ran out: `next_cursor` goes on from
    there; null when all were"""
    text_back_to: str | None
    """how far back names, errors and span attributes were read for what the index of words does not hold; null when
    none were"""


@documented
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


@documented
class Retry(TypedDict):
    """What the declared retry policy says; nulls where none is known."""

    expected: bool | None
    max_attempts: int | None


@documented
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
    """until now while it has not ended; 0 of one that is pending"""
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
    declared: dict[str, Any] | None
    """what its execution declared of it before it ran: name, key, kind, depends_on, description, thought, action"""
    children: NotRequired[list[dict[str, Any]]]
    """its child nodes, with `shape=nested` only"""
    trace_id: NotRequired[str]
    """with `/runs` only, where nodes of several traces stand in one tree"""


EdgeAnswer = TypedDict(
    "EdgeAnswer",
    {
        "from": Annotated[str, Field(description="`id` of the node it comes from")],
        "to": Annotated[str, Field(description="`id` of the node it leads to")],
        "type": EdgeType,
        "condition": Annotated[str | None, Field(description="the value that was chosen")],
        "provenance": Literal["declared", "link", "inferred"],
        "from_trace_id": Annotated[str | None, Field(description="where `from` is a node of another execution")],
    },
)


@documented
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


@documented
class NodePage(TypedDict):
    """Nodes of one execution in sequence order."""

    nodes: list[NodeAnswer]
    next_cursor: str | None


@documented
class EventAnswer(TypedDict):
    """A span event."""

    name: str
    time_ns: int
    at: str
    attributes: dict[str, Any]
    dropped_attributes_count: int


@documented
class LinkAnswer(TypedDict):
    """A span link."""

    trace_id: str
    span_id: str
    trace_state: str
    attributes: dict[str, Any]
    flags: int
    dropped_attributes_count: int


@documented
class ResourceAnswer(TypedDict):
    """What sent the span."""

    attributes: dict[str, Any]
    schema_url: str


@documented
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


@documented
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


@documented
class RunHead(ExecutionAnswer):
    """One run over all its traces, told like one execution. `execution_id` is that of the first."""

    executions: list[ExecutionAnswer]
    """the executions that are the run, oldest first"""
    trace_ids: list[str]
    """every trace that has a part of it"""


class RunAnswer(RunHead):
    """A run with the tree over all its traces."""

    tree: Tree


@documented
class StreamPosition(TypedDict):
    """The number of the newest event of streams."""

    position: str
    """give it as `after` to a stream: what is loaded in between and what the stream tells leave nothing out"""
