"""The neutral vocabulary: what one span says about its run, its step and what led to it, in our words.

`read_facts` translates a span of any convention into these keys; `assemble` knows nothing else. Facts are sparse:
a key that a span does not speak of is absent, and a plain span has few or none. They are stored as jsonb beside
the span, so every value is JSON.
"""

from __future__ import annotations

from typing import Final, Literal, TypedDict

# Statuses of nodes; an execution has the same without `retried`, and `partial`.
Status = Literal[
    "pending", "running", "waiting", "completed", "failed", "retried", "skipped", "cancelled", "timed_out", "partial"
]

MODEL_CALLS: Final = frozenset({"llm", "embedding"})
"""Kinds of single calls of a model: what they used is their own and no sum."""

# What becomes of a span that is no node of its own.
Fold = Literal[
    "pending",  # a live mark: announces the span `pending_of` as running
    "parent",  # noise: belongs to its parent's node and says nothing
    "event",  # a log or a marker: belongs to its parent's node, may carry a status for it
    "answer",  # told later what a call of the same input beside it was answered: belongs to that call, and ends it
    "router",  # chose the next step: becomes the condition of edges
    "producer",  # a message sent: belongs to the consumer's node where there is one, else to its parent's
    "inner",  # the same step seen from inside: its times, error and values complete the parent's node
    "outer",  # the same step seen from outside: its attempts inside, of the same name, are the nodes
    "container",  # a graph run within a step: the same step seen from inside, if it holds numbered steps or nothing
    "nested",  # the same call once more: belongs to its parent's node if that has the same name
    "carrier",  # carried a message from step to step: its links and its condition say more about the edge
    "definition",  # describes a static graph and is no step at all
]

# How sure a span is that it is the root of a run.
Boundary = Literal["run", "candidate"]


class AttemptFact(TypedDict, total=False):
    """One attempt that a span only tells of in an event."""

    attempt: int
    at_ns: int  # when it failed
    next_ns: int  # when the attempt after it began, where that is told
    status: Status
    error_type: str
    error_message: str


class GraphFact(TypedDict, total=False):
    """A static graph: what may run, and what may lead to what."""

    nodes: list[str]
    edges: list[list[str]]


class DeclaredStep(TypedDict, total=False):
    """A step that an execution declares before it runs; only `name` is always there."""

    name: str
    key: str  # the author's id of the task; what `depends_on` and task keys may name
    kind: str
    depends_on: list[str]  # names or keys
    description: str
    thought: str  # why it was planned
    action: str  # the type of action: tool, inference ...


class Facts(TypedDict, total=False):
    """What one span says. Grouped as `assemble` uses it."""

    # -- the run
    boundary: Boundary
    workflow_name: str  # the run's name, where the span is its root or names it
    grouped_as: str  # what its runs are grouped by, where their names differ from run to run
    entry: str  # how it was called: `POST /chat`, `run/task`
    run_id: str  # a declared id of the run; joins traces
    run_status: Status  # the run's own state, beats everything
    conversation_id: str
    user_id: str
    project: str
    lost_after_s: float
    resumes: str  # run id, checkpoint or conversation that this run takes up again
    breaks_run: bool  # a failure that the run did not survive, whatever its root says
    hidden: bool  # a request of no workflow: not listed unless asked for

    # -- the step
    name: str  # only where it differs from the span's name
    kind: str
    step: bool  # a step of a workflow in its own right, whose failure is the run's
    status: Status  # an engine's own state: beats the span status
    status_reason: str
    weak_status: Status  # a state that exceptions beat
    fold: Fold
    open_ended: bool  # goes on after its span ended, until a span that `closes` it is folded into it
    closes: bool  # ends the open-ended step that it is folded into, and is folded into no other
    unanswered: bool  # a request that goes on until somebody takes it up or the run around it ends
    began_ns: int  # when the work began, where that is later than the span
    covers_queue: bool  # its time includes queueing: the span folded into it as "inner" has that of the work
    names_outer: bool  # so folded, it has the name of it, too
    mapped: bool  # one of several instances of one task, which together have its place in the graph
    pending_of: str  # hex id of the span that a live mark announces; its own parent id in pending_parent
    pending_parent: str
    input: str  # previews
    output: str
    level: str  # warning, error: where a log level is sent

    # -- errors
    error_type: str
    error_message: str
    caused_by: list[str]  # `Class: message` of the exceptions that the span's was raised from
    exception_type_class: Literal["timeout"]  # a cancellation by its type that a time limit made
    error_handled: bool  # an exception was recorded although the span did not fail

    # -- attempts and iterations
    task_key: str  # equal for all attempts of one task
    task_scope: Literal["trace", "parent", "global"]
    attempt: int
    max_attempts: int
    retry_expected: bool
    sent_on: bool  # works on a message that a consumer above failed to work on and sent on, to be tried again
    attempts: list[AttemptFact]
    iteration: int
    group: str  # nodes that belong to one (sub)graph run share it
    order: int  # the engine's own step number, in `group`

    # -- edges
    condition: str  # the value that was chosen
    condition_from: str  # name of the node that chose
    decision: str  # the value that this step decided on
    routes: list[str]  # a router's choice: names of nodes
    depends_on: list[str]  # names or task keys
    sources: list[str]  # names of the nodes that triggered this one, as the engine declares them
    fan_out: bool  # started by a fan-out from the step before
    handoff_from: str
    handoff_to: str
    graph: GraphFact
    skipped_nodes: list[str]
    declared_steps: list[DeclaredStep]  # what is to run below this span: pending until it does
    transparent: bool  # only the place where its children run: what led to it led to them
    planned_by: str  # who laid out this step: below one laid out by the same, it follows it and is no part of it
    sent_by: str  # who set it going
    emits: list[str]  # tokens a step gives out and
    consumes: list[str]  # takes in: equal tokens make an edge
    flow_links: bool  # the span's links say what led to it, not just what it needs
    link_types: dict[str, str]  # by linked span id in hex: dependency, resume, retry, child_of (its parent)
    by_driver: bool  # a query that a library asks a driver: the driver may tell the same one beside it
    detached: bool  # what runs inside the steps of this run is sent as if it ran beside the run

    # -- usage
    model: str
    input_tokens: int
    output_tokens: int
    cost_usd: float  # what this span says of itself or of itself and all below it, as sent
    cost_estimated: bool  # cost_usd comes of a table of prices, nobody sent it
    cached_input_tokens: int  # of input_tokens
    cache_write_tokens: int
    reasoning_tokens: int  # of output_tokens
    embedding_tokens: int  # of input_tokens: those that were made vectors of
    usage_accumulated: bool  # these figures go back beyond this span: what is told below it counts instead

    # -- what tells a parent that is elsewhere, a failure that was handled, an attempt
    parent_remote: bool  # whether the parent is in another process; absent where the span does not say
    declared_handled: bool  # the failure was declared to be handled
    task_id: str  # the engine's own id of this run of the task: equal for its attempts
    retry_policy: bool  # it is tried again when it fails
    input_digest: str  # equal for equal inputs

    # -- what was redacted of the span, its resource and its scope: `kind:where` (redaction/)
    redacted: list[str]

    # -- what could not be stored as it was told (storable.py)
    anomalies: list[str]
