"""Which steps are attempts of one task, and which are iterations of a loop (conventions.md 4.4)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import pairwise

from spantree_exporter.assemble.step import Step
from spantree_exporter.facts.vocabulary import AttemptFact

# Kinds of steps that are retried without an identity being sent: equal names in a row, all but the last failed.
_RETRIED_BY_NAME = frozenset({"step", "task", "function", "tool", "agent", "workflow", "http_client", "llm", "chain"})
_UNSUCCESSFUL = frozenset({"failed", "timed_out", "retried", "cancelled"})


def number_attempts(steps: list[Step]) -> list[Step]:
    """Number the attempts of each task and link them; returns `steps` and those that only events told of.

    A failed attempt that has a later one becomes `retried`. Attempts nested in each other become siblings.
    """
    told = [extra for step in steps if step.facts.get("attempts") for extra in _from_events(step)]
    by_key: dict[tuple[object, ...], list[Step]] = {}
    by_place: dict[tuple[object, ...], list[Step]] = {}
    for step in steps:
        key = step.facts.get("task_key")
        if key is None:
            if step.kind in _RETRIED_BY_NAME and step.previous_attempt is None:
                by_place.setdefault((step.parent, step.name, step.kind), []).append(step)
        else:
            step.task_key = key
            place = step.parent if step.facts.get("task_scope") == "parent" else None
            by_key.setdefault((key, place, step.name), []).append(step)
    for group in by_key.values():
        if len(group) > 1:
            _link(_in_order(group))
        elif "attempt" in group[0].facts:
            group[0].attempt = max(group[0].facts["attempt"], 1)
    for group in by_place.values():
        if len(group) > 1:
            for run in _runs_of_failures(sorted(group, key=_started)):
                _link(run)
        elif "attempt" in group[0].facts:
            group[0].attempt = max(group[0].facts["attempt"], 1)
    return steps + told


def number_iterations(steps: list[Step]) -> None:
    """Number the passes of loops: steps of one name and parent that ran one after another as tasks of their own."""
    groups: dict[tuple[object, ...], list[Step]] = {}
    for step in steps:
        if step.facts.get("iteration") is not None:
            step.iteration = step.facts["iteration"]
        elif step.is_step and step.previous_attempt is None:
            groups.setdefault((step.parent, step.name, step.facts.get("group")), []).append(step)
    for group in groups.values():
        if len(group) < 2:
            continue
        group.sort(key=_started)
        rounds = [step.facts["order"] for step in group if "order" in step.facts]
        # What an engine ran in one round are instances side by side, even if one took less time than the next to start.
        if len(set(rounds)) < len(rounds):
            continue
        if all(_last_attempt(a).last_ns <= b.start_ns for a, b in pairwise(group)):
            for number, first in enumerate(group, 1):
                attempt: Step | None = first
                while attempt is not None:
                    attempt.iteration = number
                    attempt = attempt.next_attempt


def _started(step: Step) -> tuple[int, int]:
    return step.start_ns, step.order


def _last_attempt(step: Step) -> Step:
    while step.next_attempt is not None:
        step = step.next_attempt
    return step


def _in_order(group: list[Step]) -> list[Step]:
    """Attempts by the number they declare, else by start."""
    if all("attempt" in step.facts for step in group):
        return sorted(group, key=lambda s: (s.facts["attempt"], *_started(s)))
    return sorted(group, key=_started)


def _runs_of_failures(group: list[Step]) -> Iterable[list[Step]]:
    """Of equal names in a row, each stretch of failures with what followed it, if they did not overlap."""
    run: list[Step] = []
    for step in group:
        if run and run[-1].last_ns <= step.start_ns and run[-1].status in _UNSUCCESSFUL:
            run.append(step)
        else:
            if len(run) > 1:
                yield run
            run = [step]
    if len(run) > 1:
        yield run


def _link(attempts: list[Step]) -> None:
    first = attempts[0]
    taken = 0
    previous: Step | None = None
    earlier: set[Step] = set()
    for step in attempts:
        nested = _is_nested(earlier, step)
        # Overlapping twins are not attempts of one another.
        if previous is not None and previous.last_ns > step.start_ns and not nested:
            step.attempt = max(step.facts.get("attempt", 1), 1)
            continue
        # What waited and was taken up again is no further attempt.
        more = 0 if previous is not None and previous.status == "waiting" else 1
        taken = max(taken + more, step.facts.get("attempt", 0))
        step.attempt = taken
        if previous is not None:
            if previous.next_attempt is None and step.previous_attempt is None:
                _chain(previous, step)
            if nested:
                _move_beside(step, first)
        earlier.add(step)
        previous = _last_attempt(step)


def _chain(before: Step, after: Step) -> None:
    # Attempts told by events come before the span that tells of them.
    head = after
    while head.previous_attempt is not None:
        head = head.previous_attempt
    before.next_attempt = head
    head.previous_attempt = before
    if before.status in _UNSUCCESSFUL:
        before.status = "retried"


def _is_nested(upper: set[Step], lower: Step) -> bool:
    step = lower.parent if upper else None
    while step is not None:
        if step in upper:
            return True
        step = step.parent
    return False


def _move_beside(step: Step, first: Step) -> None:
    if step.parent is not None:
        step.parent.children.remove(step)
    step.parent = first.parent
    if first.parent is not None:
        # Out of order for now: `timing.number` sorts, once.
        first.parent.children.append(step)


def _from_events(step: Step) -> list[Step]:
    """The attempts before the last that the span tells of in events, as steps of the same span id.

    Each has what started while it ran.
    """
    facts: list[AttemptFact] = step.facts.get("attempts", [])
    made: list[Step] = []
    began = step.start_ns
    previous: Step | None = None
    for number, fact in enumerate(facts, 1):
        ended = fact.get("at_ns", began)
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
        for key in ("attempts", "output", "input_tokens", "output_tokens", "error_type", "error_message"):
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
        previous, began = attempt, max(fact.get("next_ns", ended), ended)
    if previous is not None:
        previous.next_attempt, step.previous_attempt = step, previous
        step.attempt = previous.attempt + 1
        step.start_ns = min(began, step.last_ns)
        if step.parent is not None:
            place = step.parent.children.index(step)
            step.parent.children[place:place] = made
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
