"""Elsa Workflows 3 (.NET): a run and its activities, each time that the workflow gets on until it waits for something.

Read from `WorkflowInstrumentation` (source `Elsa.Workflows`, newer), whose spans are all called `workflow.execute` and
`activity.execute`, and whose `workflow.status` of a fault is `Finished`: the substatus counts. And from the module
`Elsa.OpenTelemetry`, which tells how it went by events. A run that waits goes on in another trace under its id.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, first_text, text_of
from spantree_exporter.facts.vocabulary import Facts, Status
from spantree_exporter.span import Span

_INSTANCE: Final = "workflow.instance.id"
_ACTIVITY: Final = ("workflow.activity.execution.id", "activity.instance.id")
_NAMES: Final = ("workflow.name", "workflow.definition.name", "workflow.definition.id")
_ACTIVITY_NAMES: Final = ("workflow.activity.name", "activity.name", "workflow.activity.type", "activity.type")
# `WorkflowSubStatus` and `ActivityStatus`; an activity that has ended its span and runs waits for a bookmark.
_STATES: Final[dict[str, Status]] = {
    "Faulted": "failed",
    "faulted": "failed",
    "Cancelled": "cancelled",
    "Canceled": "cancelled",
    "canceled": "cancelled",
    "Suspended": "waiting",
    "suspended": "waiting",
    "Finished": "completed",
    "finished": "completed",
    "Completed": "completed",
    "completed": "completed",
    "Running": "waiting",
    "Pending": "waiting",
    "pending": "waiting",
}


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    run_id = text_of(a.get(_INSTANCE))
    if run_id:
        facts.setdefault("run_id", run_id)
    if name := first_text(span, _NAMES):
        facts.setdefault("workflow_name", name)
    if any(key in a for key in _ACTIVITY):
        facts.setdefault("kind", "step")
        facts.setdefault("step", True)
        if title := first_text(span, _ACTIVITY_NAMES):
            facts.setdefault("name", title)
        if status := _state(span, "workflow.activity.status"):
            facts.setdefault("status", status)
        return
    if run_id is None:
        return
    facts.setdefault("boundary", "run")
    facts.setdefault("kind", "workflow")
    if name:
        facts.setdefault("name", name)
    if status := _state(span, "workflow.substatus"):
        facts.setdefault("run_status", status)
        facts.setdefault("status", status)


def _state(span: Span, key: str) -> Status | None:
    """The state that is told by an attribute, else by the last event that is one."""
    told = text_of(span.attributes.get(key))
    if told is not None:
        return _STATES.get(told)
    return next((_STATES[event.name] for event in reversed(span.events) if event.name in _STATES), None)


CONVENTION = Convention("elsa", _read, scopes=("Elsa.",))
