"""Temporal: the Python SDK's TracingInterceptor and OpenTelemetryPlugin (read from temporalio 1.35), and SDKs like it.

Spans are called `<What>:<name>`. The interceptor sends markers without duration, side by side below `StartWorkflow`:
`RunWorkflow`, `StartActivity` (around `RunActivity`, which has its real duration, one for each attempt, none with a
number), `HandleSignal`, `CompleteWorkflow` (status UNSET even where it carries the exception that failed the workflow).
The plugin (and the SDKs for Go and Java) sends a `RunWorkflow` of real duration with the rest nested below it, and no
`CompleteWorkflow`. The workflow's id is the run id: it is what a signal from another trace knows.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.exception_types import short_name, status_of_type
from spantree_exporter.facts.reading import Convention, text_of
from spantree_exporter.facts.vocabulary import Facts, Status
from spantree_exporter.span import STATUS_UNSET, Span

# Calls from outside that start a run; what answers is below them.
_STARTS: Final = frozenset({"StartWorkflow", "SignalWithStartWorkflow", "StartUpdateWithStartWorkflow"})
# Calls that a handler elsewhere takes up.
_SENT: Final = frozenset(
    {"SignalWorkflow", "QueryWorkflow", "StartWorkflowUpdate", "SignalChildWorkflow", "SignalExternalWorkflow"}
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
    workflow_id = text_of(a.get("temporalWorkflowID"))
    if what in _STARTS or what == "StartChildWorkflow":
        _put_workflow(facts, name)
        if what == "StartChildWorkflow":
            # The id on it is that of the parent.
            facts.setdefault("unanswered", True)
            return
    elif what == "RunWorkflow":
        _put_workflow(facts, name)
        facts.setdefault("fold", "inner")
        if span.end_ns > span.start_ns:
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
        if activity_id := text_of(a.get("temporalActivityID")):
            run = text_of(a.get("temporalRunID")) or ""
            facts.setdefault("task_key", f"{workflow_id or ''}/{run}/{activity_id}")
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
    scopes=("temporalio.contrib.opentelemetry", "temporal-sdk-go", "io.temporal"),
    keys=("temporalWorkflowID", "temporalActivityID", "temporalRunID"),
)
