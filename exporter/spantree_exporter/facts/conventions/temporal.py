"""Temporal: the Python SDK's TracingInterceptor and OpenTelemetryPlugin (read from temporalio 1.35), and SDKs like it.

Spans are called `<What>:<name>`. The interceptor sends markers without duration, side by side below `StartWorkflow`:
`RunWorkflow`, `StartActivity` (around `RunActivity`, which has its real duration, one for each attempt, most without a
number), `HandleSignal`, `CompleteWorkflow` (status UNSET even where it carries the exception that failed the workflow).
The plugin (and the SDKs for Go, Java, .NET and TypeScript) sends a `RunWorkflow` of real duration with the rest nested
below it, and no `CompleteWorkflow`. The workflow's id is the run id: it is what a signal from another trace knows.
Go, Java and TypeScript tell no kind of a span; Java (through OpenTracing's shim) and TypeScript before 1.14 no id of an
activity, whose attempts are then what is below one `StartActivity`.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.exception_types import short_name, status_of_type
from spantree_exporter.facts.reading import Convention, first_text, text_of, whole_number
from spantree_exporter.facts.vocabulary import Facts, Status
from spantree_exporter.span import STATUS_UNSET, Span

# By language: Python, Go and .NET; TypeScript; what TypeScript copies from the workflow's own description, and Java.
_WORKFLOW_IDS: Final = ("temporalWorkflowID", "temporalWorkflowId", "workflowId")
_RUN_IDS: Final = ("temporalRunID", "run_id", "runId")
_ACTIVITY_IDS: Final = ("temporalActivityID", "temporalActivityId")
# Calls from outside that start a run; what answers is below them.
_STARTS: Final = frozenset(
    {"StartWorkflow", "SignalWithStartWorkflow", "StartUpdateWithStartWorkflow", "UpdateWithStartWorkflow"}
)
# Calls that a handler elsewhere takes up.
_SENT: Final = frozenset(
    {
        "SignalWorkflow",
        "QueryWorkflow",
        "StartWorkflowUpdate",
        "UpdateWorkflow",
        "SignalChildWorkflow",
        "SignalExternalWorkflow",
    }
)
_HANDLED: Final = frozenset({"HandleSignal", "HandleQuery", "HandleUpdate"})
# What the SDK raises around the cancellation of what the workflow waited for, and the text that it gives it then.
_WRAPPERS: Final = frozenset({"ActivityError", "ChildWorkflowError", "NexusOperationError"})
_CANCELLED_BELOW: Final = frozenset(
    {
        "Activity cancelled",
        "Child Workflow execution cancelled",
        "Child workflow cancelled",
        "Nexus operation cancelled",
    }
)
# What an activity raises to tell Temporal how it failed, by language.
_APPLICATION_ERRORS: Final = frozenset({"ApplicationError", "ApplicationFailure", "ApplicationFailureException"})
_NEXUS: Final = frozenset({"RunStartNexusOperationHandler", "RunCancelNexusOperationHandler"})


def _read(span: Span, facts: Facts) -> None:
    what, colon, name = span.name.partition(":")
    if not colon or not name:
        return
    a = span.attributes
    workflow_id = first_text(span, _WORKFLOW_IDS)
    if what in _STARTS or what == "StartChildWorkflow":
        _put_workflow(facts, name)
        if what == "StartChildWorkflow":
            # The id on it is that of the parent.
            facts.setdefault("unanswered", True)
            return
    elif what == "RunWorkflow":
        _put_workflow(facts, name)
        facts.setdefault("fold", "inner")
        if span.end_ns > span.start_ns and a.get("evicted") is not True:
            facts.setdefault("closes", True)
        else:
            facts.setdefault("open_ended", True)
    elif what == "CompleteWorkflow":
        facts.setdefault("name", name)
        facts.setdefault("kind", "workflow")
        facts.setdefault("fold", "event")
        facts.setdefault("closes", True)
        facts.setdefault("status", _outcome(span))
    elif what == "StartActivity":
        facts.setdefault("name", name)
        facts.setdefault("kind", "step")
        facts.setdefault("step", True)
        facts.setdefault("fold", "producer")
        facts.setdefault("unanswered", True)
    elif what == "RunActivity":
        facts.setdefault("name", name)
        facts.setdefault("kind", "step")
        facts.setdefault("step", True)
        facts.setdefault("retry_expected", True)
        if span.status_code == STATUS_UNSET and _is_benign(span):
            # Not to alert anybody: the attempt failed none the less, most often to be made again after a while.
            facts.setdefault("weak_status", "failed")
        activity_id = first_text(span, _ACTIVITY_IDS)
        if activity_id is None and span.parent_span_id is not None:
            activity_id = f"below {span.parent_span_id & 0xFFFFFFFFFFFFFFFF:016x}"
        if activity_id:
            run = first_text(span, _RUN_IDS) or ""
            facts.setdefault("task_key", f"{workflow_id or ''}/{run}/{activity_id}")
        if (attempt := whole_number(a.get("temporalActivityAttempt"))) is not None and attempt > 0:
            facts.setdefault("attempt", attempt)
    elif what in _SENT or what == "StartNexusOperation":
        facts.setdefault("name", name)
        facts.setdefault("kind", "message")
        facts.setdefault("fold", "producer")
    elif what in _HANDLED or what in _NEXUS:
        facts.setdefault("name", name)
        facts.setdefault("kind", "rpc" if what in _NEXUS else "signal")
        facts.setdefault("flow_links", True)
    elif what == "ValidateUpdate":
        facts.setdefault("fold", "parent")
    else:
        return
    if workflow_id:
        facts.setdefault("run_id", workflow_id)


def _is_benign(span: Span) -> bool:
    """Whether the activity raised an error that it calls benign: the SDKs record it and leave the status unset."""
    for event in span.events:
        error_type = text_of(event.attributes.get("exception.type")) if event.name == "exception" else None
        if error_type is not None and short_name(error_type) in _APPLICATION_ERRORS:
            return True
    return False


def _put_workflow(facts: Facts, name: str) -> None:
    facts.setdefault("boundary", "run")
    facts.setdefault("kind", "workflow")
    facts.setdefault("name", name)
    facts.setdefault("workflow_name", name)


def _outcome(span: Span) -> Status:
    """How the workflow ended: only an exception event tells that it failed."""
    for event in reversed(span.events):
        if event.name == "exception":
            message = text_of(event.attributes.get("exception.message"))
            error_type = text_of(event.attributes.get("exception.type"))
            if error_type and message in _CANCELLED_BELOW and short_name(error_type) in _WRAPPERS:
                return "cancelled"
            return status_of_type(error_type, message) or "failed"
    return "completed"


CONVENTION = Convention(
    "temporal",
    _read,
    scopes=(
        "temporalio.contrib.opentelemetry",
        "temporal-sdk-go",
        "io.temporal",
        "@temporalio/",
        "Temporalio.Extensions.OpenTelemetry",
        "opentracing-shim",
    ),
    keys=("temporalRunID", "temporalWorkflowID", "temporalWorkflowId", *_ACTIVITY_IDS),
)
