"""Attempts that a span only tells of in events: steps of the same span id, each with what started while it ran."""

from __future__ import annotations

from bisect import bisect_right

from spantree_exporter.assemble.skew import moved
from spantree_exporter.assemble.step import Step
from spantree_exporter.assemble.usage import USAGE

# What only the last attempt has to say.
_OF_THE_LAST = ("attempts", "output", "error_type", "error_message", "cost_estimated", *USAGE)


def attempts_in_events(steps: list[Step]) -> list[Step]:
    """The attempts before the last of each of `steps`, in order, put beside it."""
    made: dict[Step, list[Step]] = {}
    for step in steps:
        attempts = _attempts_before(step)
        if attempts:
            made[step] = attempts
    for parent in {step.parent: None for step in made}:
        if parent is not None:
            parent.children = [one for child in parent.children for one in (*made.get(child, ()), child)]
    return [attempt for attempts in made.values() for attempt in attempts]


def _attempts_before(step: Step) -> list[Step]:
    made: list[Step] = []
    began = step.start_ns
    previous: Step | None = None
    for number, fact in enumerate(step.facts.get("attempts", ()), 1):
        ended = moved(fact["at_ns"], step.skew_ns) if "at_ns" in fact else began
        attempt = Step(
            step.span_id,
            step.span,
            {**step.facts},
            step.name,
            step.kind,
            began,
            ended,
            step.service,
            step.order,
            step.fingerprint,
            step.parent,
        )
        for key in _OF_THE_LAST:
            attempt.facts.pop(key, None)  # type: ignore[misc]
        if "error_type" in fact:
            attempt.facts["error_type"] = fact["error_type"]
        if "error_message" in fact:
            attempt.facts["error_message"] = fact["error_message"]
        attempt.status = fact.get("status", "retried")
        attempt.attempt = fact.get("attempt", number)
        attempt.task_key = step.facts.get("task_key")
        if previous is not None:
            previous.next_attempt, attempt.previous_attempt = attempt, previous
        made.append(attempt)
        previous = attempt
        began = max(moved(fact["next_ns"], step.skew_ns) if "next_ns" in fact else ended, ended)
    if previous is None:
        return made
    previous.next_attempt, step.previous_attempt = step, previous
    step.attempt = previous.attempt + 1
    step.start_ns = min(began, step.last_ns)
    for attempt in (*made, step):
        attempt.first_of_task, attempt.last_of_task = made[0], step
    _share_children(made, step)
    return made


def _share_children(before: list[Step], last: Step) -> None:
    """Give each attempt the children that started before the next attempt did."""
    begins = [attempt.start_ns for attempt in (*before[1:], last)]
    children, last.children = last.children, []
    for child in children:
        place = bisect_right(begins, child.start_ns)
        owner = before[place] if place < len(before) else last
        child.parent = owner
        owner.children.append(child)
