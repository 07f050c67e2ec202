"""OpenWorkflow (openworkflow.dev, its opentelemetry.mdx): each time that a run is taken up is a trace of its own.

    workflow_run.create             puts the run on the queue: belongs to the caller's trace
    workflow_run.execute            a pass, linked to it: suspended, to be tried again, or the end of the run
      step_attempt.execute          a try of a step; what was completed before is not run again

A try that failed stays marked as an error when a later one, in another trace, made it good.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, status_of, text_of
from spantree_exporter.facts.vocabulary import Facts, Status
from spantree_exporter.span import Span

_NAME: Final = "openworkflow.workflow.name"
_RUN: Final = "openworkflow.run.id"
_STEP: Final = "openworkflow.step.name"
_OUTCOME: Final = "openworkflow.execution.outcome"
_GOES_ON: Final[dict[str, Status]] = {"suspended": "waiting", "retrying": "waiting"}
# A branch went on after its pass had ended: it says nothing of the run.
_STALE: Final = "stale"


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    workflow, run_id, step = text_of(a.get(_NAME)), text_of(a.get(_RUN)), text_of(a.get(_STEP))
    if workflow:
        facts.setdefault("workflow_name", workflow)
    if span.name == "step_attempt.execute" and step:
        facts.setdefault("name", step)
        facts.setdefault("kind", "step")
        facts.setdefault("step", True)
        facts.setdefault("retry_expected", True)
        if run_id:
            facts.setdefault("run_id", run_id)
            facts.setdefault("task_key", f"{run_id}/{step}")
            facts.setdefault("task_scope", "global")
    elif span.name == "workflow_run.execute" and workflow:
        _put_pass(span, run_id, facts)
        facts.setdefault("name", workflow)
    elif span.name == "workflow_run.create" and workflow:
        facts.setdefault("name", f"create {workflow}")
        facts.setdefault("kind", "message")
    elif span.name == "signal.send" and (signal := text_of(a.get("openworkflow.signal.name"))):
        facts.setdefault("name", f"signal {signal}")
        facts.setdefault("kind", "message")


def _put_pass(span: Span, run_id: str | None, facts: Facts) -> None:
    facts.setdefault("boundary", "run")
    facts.setdefault("kind", "workflow")
    if run_id:
        facts.setdefault("run_id", run_id)
        facts.setdefault("task_key", run_id)
    outcome = text_of(span.attributes.get(_OUTCOME))
    if outcome is None or outcome == _STALE:
        return
    if (status := _GOES_ON.get(outcome) or status_of(outcome)) is not None:
        facts.setdefault("run_status", status)


CONVENTION = Convention("openworkflow", _read, keys=(_NAME, _RUN, "openworkflow.signal.name"))
