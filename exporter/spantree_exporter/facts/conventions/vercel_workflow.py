"""Vercel's Workflow DevKit: what its `workflow.*` and `step.*` attributes say beyond `workflow.py`.

Read from @workflow/core 4.8; no recording of it has been seen. Names are paths that end in `//<name>`.
Scope `workflow`:

    workflow.start <path>         puts the run on a queue
      WORKFLOW <path>             a pass: what is known is replayed until something has to be waited for; below what
                                  set it going, the start or the step that was waited for
        workflow.replay ...       how
        STEP <path> (CONSUMER)    an attempt of a step; the status of its span is OK whatever became of it
          WORKFLOW <path>         the next pass

A pass that stops to wait says `workflow_suspended`; the one that completed or failed the run says so.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, first_text, status_of, text_of, whole_number
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span

_SCOPE: Final = "workflow"
_KEYS: Final = ("workflow.run.status", "step.max_retries", "step.retry.will_retry", "step.skipped")
_SUSPENDED: Final = "workflow_suspended"
_PASSES: Final = "WORKFLOW "
_START: Final = "workflow.start "
_RUNS: Final = "workflow.run "
# How a pass and a step are made; somebody's own tracer of that name would say of which step they are.
_DETAILS: Final = frozenset(
    {"workflow.replay", "workflow.loadEvents", "step.hydrate", "step.execute", "step.dehydrate", "queue.publish"}
)
_NAMED: Final = frozenset({"workflow.name", "step.id", "task.id"})
_PATH: Final = "//"


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    run_id = first_text(span, ("workflow.run.id",))
    step = text_of(a.get("step.name"))
    if step and (_PATH in step or any(key in a for key in _KEYS)):
        _put_step(span, run_id, step, facts)
    elif span.scope.name == _SCOPE and _is_detail(span):
        facts.setdefault("fold", "parent")
        return
    elif run_id and span.name.startswith((_PASSES, _START)) and _PATH in span.name:
        _put_pass(span, run_id, facts)
    elif status := a.get("workflow.run.status"):
        facts.setdefault("boundary", "run")
        facts.setdefault("kind", "workflow")
        told = "waiting" if status == _SUSPENDED else status_of(status)
        if told is not None:
            facts.setdefault("run_status", told)
    else:
        return
    if workflow := text_of(a.get("workflow.name")):
        facts.setdefault("workflow_name", _last(workflow))
    if error_type := first_text(span, ("step.error.name", "workflow.error.name")):
        facts.setdefault("error_type", error_type)
    if message := first_text(span, ("step.error.message", "workflow.error.message")):
        facts.setdefault("error_message", message)


def _is_detail(span: Span) -> bool:
    if span.name.startswith(_RUNS):
        return _PATH in span.name
    return span.name in _DETAILS and _NAMED.isdisjoint(span.attributes)


def _put_pass(span: Span, run_id: str, facts: Facts) -> None:
    facts.setdefault("boundary", "run")
    facts.setdefault("kind", "workflow")
    facts.setdefault("task_key", run_id)
    if workflow := text_of(span.attributes.get("workflow.name")):
        facts.setdefault("name", _last(workflow))
    if span.name.startswith(_START):
        facts.setdefault("fold", "outer")
        facts.setdefault("unanswered", True)
        return
    status = span.attributes.get("workflow.run.status")
    told = "waiting" if status == _SUSPENDED else status_of(status)
    if told is not None:
        facts.setdefault("run_status", told)


def _put_step(span: Span, run_id: str | None, path: str, facts: Facts) -> None:
    a = span.attributes
    facts.setdefault("name", _last(path))
    will_retry = a.get("step.retry.will_retry") is True
    if a.get("step.skipped") is True:
        facts.setdefault("status", "skipped")
    elif will_retry:
        facts.setdefault("status", "retried")
        facts.setdefault("retry_expected", True)
    if span.scope.name == _SCOPE and "step.status" not in a and not will_retry and "step.retry.timeout_seconds" in a:
        # It came before the time that it was to be tried again at, and was put back.
        facts.setdefault("fold", "parent")
    elif span.scope.name == _SCOPE and a.get("step.skip_reason") == "completed":
        # It came once more.
        facts.setdefault("fold", "parent")
    if (retries := whole_number(a.get("step.max_retries"))) is not None:
        facts.setdefault("max_attempts", retries + 1)
    step_id = text_of(a.get("step.id"))
    if run_id and step_id:
        # Each attempt of a step may have its own trace.
        facts.setdefault("task_key", f"{run_id}/{step_id}")
        facts.setdefault("task_scope", "global")


def _last(path: str) -> str:
    return path.rpartition(_PATH)[2] or path


CONVENTION = Convention(
    "vercel_workflow",
    _read,
    scopes=(_SCOPE,),
    keys=_KEYS,
)
