"""Vercel's Workflow DevKit: what its `workflow.*` and `step.*` attributes say beyond `workflow.py`.

Source: its module of semantic conventions; no recording of it has been seen. Names are paths that end in `//<name>`.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, first_text, status_of, text_of, whole_number
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span

_SUSPENDED: Final = "workflow_suspended"


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    if step := text_of(a.get("step.name")):
        facts.setdefault("name", _last(step))
        if a.get("step.skipped") is True:
            facts.setdefault("status", "skipped")
        elif a.get("step.retry.will_retry") is True:
            facts.setdefault("status", "retried")
            facts.setdefault("retry_expected", True)
        if (retries := whole_number(a.get("step.max_retries"))) is not None:
            facts.setdefault("max_attempts", retries + 1)
        run_id, step_id = text_of(a.get("workflow.run.id")), text_of(a.get("step.id"))
        if run_id and step_id:
            # Each attempt of a step may have its own trace.
            facts.setdefault("task_key", f"{run_id}/{step_id}")
            facts.setdefault("task_scope", "global")
    elif status := a.get("workflow.run.status"):
        facts.setdefault("boundary", "run")
        facts.setdefault("kind", "workflow")
        told = "waiting" if status == _SUSPENDED else status_of(status)
        if told is not None:
            facts.setdefault("run_status", told)
    if workflow := text_of(a.get("workflow.name")):
        facts.setdefault("workflow_name", _last(workflow))
    if error_type := first_text(span, ("step.error.name", "workflow.error.name")):
        facts.setdefault("error_type", error_type)
    if message := first_text(span, ("step.error.message", "workflow.error.message")):
        facts.setdefault("error_message", message)


def _last(path: str) -> str:
    return path.rpartition("//")[2] or path


CONVENTION = Convention(
    "vercel_workflow", _read, keys=("workflow.run.status", "step.max_retries", "step.retry.will_retry", "step.skipped")
)
