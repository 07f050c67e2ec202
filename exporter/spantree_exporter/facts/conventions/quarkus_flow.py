"""Quarkus Flow, CNCF's Serverless Workflow on Quarkus (quarkiverse/quarkus-flow, `SpanBuilderFactory`).

    workflow.execute <name>     the run
      task.execute <task>       a task; a span of its own for each attempt, which tells how often it was tried again

What is cancelled is ended as OK, with an event that says so. A task that failed within a `try` is caught there.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, text_of, whole_number
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import STATUS_OK, Span

_INSTANCE: Final = "flow.workflow.instance.id"
_TASK: Final = "flow.task.name"
_RUNS: Final = "workflow.execute"
# Of the specification's lifecycle events: `io.serverlessworkflow.task.cancelled.v1`.
_CANCELLED: Final = ".cancelled."


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    instance = text_of(a.get(_INSTANCE))
    if instance:
        facts.setdefault("run_id", instance)
    workflow = text_of(a.get("flow.workflow.name"))
    if workflow:
        facts.setdefault("workflow_name", workflow)
    task = text_of(a.get(_TASK))
    cancelled = any(_CANCELLED in event.name for event in span.events)
    if task is None:
        if span.name.startswith(_RUNS):
            facts.setdefault("boundary", "run")
            facts.setdefault("kind", "workflow")
            if workflow:
                facts.setdefault("name", workflow)
            if cancelled:
                facts.setdefault("run_status", "cancelled")
            elif span.status_code == STATUS_OK:
                facts.setdefault("run_status", "completed")
        return
    if cancelled:
        facts.setdefault("status", "cancelled")
    facts.setdefault("name", task)
    facts.setdefault("kind", "task")
    facts.setdefault("step", True)
    iteration = whole_number(a.get("flow.task.iteration"))
    if iteration is not None and iteration > 0:
        facts.setdefault("iteration", iteration)
    if instance and (task_id := text_of(a.get("flow.task.id"))):
        facts.setdefault("task_key", f"{instance}/{task_id}/{iteration or 0}")
    if (retries := whole_number(a.get("flow.task.retry_attempt"))) is not None and retries >= 0:
        facts.setdefault("attempt", retries + 1)
        if a.get("flow.task.retrying") is True:
            facts.setdefault("retry_expected", True)


CONVENTION = Convention("quarkus_flow", _read, keys=(_INSTANCE,))
