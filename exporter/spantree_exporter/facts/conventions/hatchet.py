"""Hatchet, by the attribute names of its SDKs and its engine (`hatchet.*`); no recording of it has been seen.

Its span processor copies the attributes of a step run onto whatever runs inside, so that spans are told apart by name:
`hatchet.start_step_run`, or `hatchet.start_step_run.<action>` where the SDK for Python is asked for it.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, first_text, text_of, whole_number
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span

_STEP_NAMES: Final = ("hatchet.task_name", "hatchet.step_name", "hatchet.action_name", "hatchet.action_id")
_STEP_RUN: Final = "hatchet.start_step_run"
_CANCELS: Final = "hatchet.cancel_step_run"
_WORKFLOW_RUN: Final = "hatchet.engine.workflow_run"
# What the engine tells of the time around a step run.
_ENGINE: Final = "hatchet.engine."
_SENT: Final = frozenset(
    {"hatchet.run_workflow", "hatchet.run_workflows", "hatchet.schedule_workflow", "hatchet.push_event"}
)


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    workflow = text_of(a.get("hatchet.workflow_name"))
    run_id = text_of(a.get("hatchet.workflow_run_id"))
    if span.name.startswith(_STEP_RUN):
        # An action is called `<workflow>:<task>`.
        if name := first_text(span, _STEP_NAMES):
            facts.setdefault("name", name.rpartition(":")[2] or name)
        facts.setdefault("kind", "task")
        facts.setdefault("step", True)
        if step_run := text_of(a.get("hatchet.step_run_id")):
            facts.setdefault("task_key", step_run)
        facts.setdefault("attempt", (whole_number(a.get("hatchet.retry_count")) or 0) + 1)
    elif span.name == _WORKFLOW_RUN:
        facts.setdefault("boundary", "run")
        facts.setdefault("kind", "workflow")
        if workflow:
            facts.setdefault("name", workflow)
    elif span.name == _CANCELS:
        # A worker was told to stop a step run, in a trace of its own.
        facts.setdefault("kind", "signal")
        facts.setdefault("hidden", True)
        return
    elif span.name.startswith(_ENGINE):
        facts.setdefault("fold", "parent")
        return
    elif span.name in _SENT:
        facts.setdefault("kind", "message")
        facts.setdefault("fold", "producer")
        if workflow:
            facts.setdefault("name", workflow)
        return
    else:
        return
    if workflow:
        facts.setdefault("workflow_name", workflow)
    if run_id:
        facts.setdefault("run_id", run_id)


CONVENTION = Convention(
    "hatchet", _read, keys=("hatchet.workflow_run_id", "hatchet.workflow_name", "hatchet.step_run_id")
)
