"""The span attributes that spantree gives a meaning to in people's own code.

``tracing`` writes them, ``facts`` reads them, and any other program may write them too: they are ordinary attributes of
ordinary spans. Where OpenTelemetry or its GenAI conventions have a name for something, that name is used and listed
here; ``spantree.`` names exist only for what no convention can say. docs/instrument.md has the same list for readers.
"""

from typing import Final

# -- execution: set on the span that is one run of something ---------------------------------------------------------
EXECUTION_NAME: Final = "spantree.execution.name"
"""string. Its presence makes the span an execution; nested below another execution it is a node of kind workflow."""
EXECUTION_STATUS: Final = "spantree.execution.status"
"""string, one of STATUSES: what the span status cannot say (waiting, cancelled, timed_out). Absent: derived."""
EXECUTION_STATUS_REASON: Final = "spantree.execution.status_reason"
"""string for people: what it waits for, why it was cancelled."""
WORKFLOW_NAME: Final = "spantree.workflow.name"
"""string. The definition this execution is a run of, where it differs from the execution's own name."""
RUN_ID: Final = "spantree.run.id"
"""string. Executions with equal run id (and equal name) are parts of one run, in as many traces as it takes."""
PROJECT: Final = "spantree.project"
"""string. A free grouping of workflows."""
RESUMES: Final = "spantree.resumes"
"""string. The run id of the waiting execution that this one takes up."""
LOST_AFTER_S: Final = "spantree.lost_after_s"
"""double, seconds without a sign of life after which an execution that has not ended counts as lost."""
SKIPPED_NODES: Final = "spantree.skipped_nodes"
"""string[]. Names of nodes that did not run and have no span. On an execution: its own; on a node: those that its
decision ruled out, siblings of the node itself."""

DECLARED_STEPS: Final = "spantree.steps"
"""string[]. The steps that are to run below this span, each a name or a JSON object: name (required), key, kind,
depends_on (names or keys), description, thought, action. One without a span is a node: pending, then skipped."""

# Standard names, on the execution (or any span of it).
CONVERSATION_ID: Final = "session.id"
USER_ID: Final = "user.id"

# -- node: set on the span that is one step ---------------------------------------------------------------------------
NODE_NAME: Final = "spantree.node.name"
"""string. Its presence makes the span a node that the author meant (a step, not incidental detail)."""
NODE_KIND: Final = "spantree.node.kind"
"""string, one of KINDS."""
NODE_STATUS: Final = "spantree.node.status"
"""string, one of STATUSES; set only where the span status cannot say it (waiting, skipped, cancelled, timed_out)."""
NODE_STATUS_REASON: Final = "spantree.node.status_reason"
"""string for people."""
TASK_KEY: Final = "spantree.task.key"
"""string. Spans of one trace with equal task key are attempts of one task."""
ATTEMPT: Final = "spantree.attempt"
"""int, 1 for the first attempt."""
RETRY_MAX_ATTEMPTS: Final = "spantree.retry.max_attempts"
"""int. How many attempts the policy allows altogether."""
RETRY_EXPECTED: Final = "spantree.retry.expected"
"""bool. True: a policy written in the code makes the attempts, so a failed one before another is planned for."""
ITERATION: Final = "spantree.iteration"
"""int, 1 for the first pass of a loop."""
DEPENDS_ON: Final = "spantree.depends_on"
"""string[] of node names or task keys whose results this node needs; one makes a dependency, several make a join."""
DECISION: Final = "spantree.decision"
"""string. On the node that chose a branch: the value it decided on."""
EDGE_FROM: Final = "spantree.edge.from"
"""string. On the node that was chosen: the name of the node that chose it (a conditional edge from there to here)."""
EDGE_CONDITION: Final = "spantree.edge.condition"
"""string. On the node that was chosen: the value that led here."""

# -- both -------------------------------------------------------------------------------------------------------------
INPUT: Final = "spantree.input"
"""string, JSON text; plain text where it was cut."""
OUTPUT: Final = "spantree.output"
"""string, JSON text; plain text where it was cut."""
INPUT_CUT_FROM_CHARS: Final = "spantree.input.cut_from_chars"
"""int. The length before the cut; absent when nothing was cut."""
OUTPUT_CUT_FROM_CHARS: Final = "spantree.output.cut_from_chars"
"""int. As for the input."""

# -- what was redacted before it was stored (redaction/) --------------------------------------------------------------
REDACTED: Final = "spantree.redacted"
"""string[], on a span, a log record, a resource or a scope: a kind of secret and where it was, as `cookie:name`."""

# -- links ------------------------------------------------------------------------------------------------------------
LINK_TYPE: Final = "spantree.link.type"
"""string on a span link, one of LINK_TYPES; dependency: the linked node's result is needed here; resume: the linked
waiting span is taken up here; retry: the linked span is the attempt before this one."""
LINK_DEPENDENCY: Final = "dependency"
LINK_RESUME: Final = "resume"
LINK_RETRY: Final = "retry"
LINK_TYPES: Final = frozenset({LINK_DEPENDENCY, LINK_RESUME, LINK_RETRY})

# -- live marks (LiveSpanProcessor) -----------------------------------------------------------------------------------
SPAN_TYPE: Final = "spantree.span_type"
"""string. PENDING_SPAN on a mark that a span has started; such a mark is never a node."""
PENDING_SPAN: Final = "pending_span"
NOTE_SPAN: Final = "note_span"
"""Value of SPAN_TYPE on a span that is no node: it carries DECLARED_STEPS for its parent, or only a sign of life."""
PENDING_PARENT_ID: Final = "spantree.pending_parent_id"
"""string, 16 hex digits. The parent of the real span, whose own id is the mark's parent id; 16 zeros: it is a root."""

OUTLIVES_PROCESS: Final = "spantree.outlives_process"
"""bool. True: another process goes on with the span under the same id, so the end of this one is not the span's."""

# -- the span of a process that `spantree run` started -----------------------------------------------------------------
PROCESS_COMMAND_LINE: Final = "process.command_line"
"""string, without what is named like a secret."""
PROCESS_EXIT_CODE: Final = "process.exit.code"
"""int."""
PROCESS_SIGNAL: Final = "spantree.process.signal"
"""string. The signal that ended it, such as SIGTERM."""
PROCESS_SERVES: Final = "spantree.process.serves"
"""bool. True: it began to listen, and the span ended there, since a server's would never end."""

# -- standard names that tracing writes -------------------------------------------------------------------------------
ERROR_TYPE: Final = "error.type"
GEN_AI_OPERATION_NAME: Final = "gen_ai.operation.name"
GEN_AI_REQUEST_MODEL: Final = "gen_ai.request.model"
GEN_AI_USAGE_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
GEN_AI_USAGE_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
GEN_AI_TOOL_NAME: Final = "gen_ai.tool.name"
GEN_AI_AGENT_NAME: Final = "gen_ai.agent.name"

# -- values -----------------------------------------------------------------------------------------------------------
WAITING: Final = "waiting"
SKIPPED: Final = "skipped"
CANCELLED: Final = "cancelled"
TIMED_OUT: Final = "timed_out"
COMPLETED: Final = "completed"
FAILED: Final = "failed"
STATUSES: Final = frozenset({WAITING, SKIPPED, CANCELLED, TIMED_OUT, COMPLETED, FAILED})

KINDS: Final = frozenset(
    {"step", "task", "tool", "llm", "agent", "retrieval", "embedding", "workflow", "router", "human"}
)
"""What a node may call itself. A reader takes any other word as it is."""
