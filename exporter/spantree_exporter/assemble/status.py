"""The status of each step, from what its span says."""

from __future__ import annotations

from spantree_exporter.assemble.step import Step
from spantree_exporter.facts.exception_types import is_timeout
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import STATUS_ERROR


def own_status(step: Step) -> str:
    """What the step's own span says: an engine's word first, then control flow, then the span status.

    Control-flow exceptions are already in `status` of the facts, put by the convention that reads errors.
    """
    facts = step.facts
    if step.span is None or step.end_ns is None:
        return facts.get("status") or "running"
    status = facts.get("status") or facts.get("run_status")
    if status is not None:
        # A step does not complete in part; only a run does. A span that has ended runs no longer.
        return "completed" if status in {"partial", "running", "pending"} else status
    if step.span.status_code == STATUS_ERROR:
        return "failed"
    return facts.get("weak_status") or "completed"


def settle_statuses(steps: list[Step]) -> None:
    """Give each step its own status. What attempts and children change is settled later. Parents come first."""
    for step in steps:
        step.status = own_status(step)
    passed_on: set[Step] = set()
    for step in reversed(steps):
        if not step.failed:
            continue
        # Only the step that a timeout hit timed out: those around it failed by its exception.
        if step not in passed_on and "status" not in step.facts and _ran_out_of_time(step.facts):
            step.status = "timed_out"
        if step.parent is not None:
            passed_on.add(step.parent)


def _ran_out_of_time(facts: Facts) -> bool:
    error_type = facts.get("error_type")
    return facts.get("exception_type_class") == "timeout" or (error_type is not None and is_timeout(error_type))
