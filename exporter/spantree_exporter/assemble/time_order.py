"""Edges that only the order of work lets one infer, between steps that nothing else leads to."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from spantree_exporter.assemble.edge_set import INFERRED, EdgeSet, place_of
from spantree_exporter.assemble.step import WIRE_KINDS, Step, last_attempt
from spantree_exporter.span import KIND_PRODUCER

# Two bands of parallel steps one after the other would give the product of their widths; beyond this many the last of
# the first band stands for all of it, so that a wide trace costs linear.
_MAX_PREDECESSORS = 16


def connect_by_time(edges: EdgeSet, siblings: list[Step]) -> None:
    """Each step follows those siblings that ended before it started with no other in between.

    Nothing is guessed about steps that an engine placed, about calls to databases and services, about what was skipped,
    about who took one message off a queue, each for itself.
    Instances of one mapped task count as one: all of them were there from the start of the first, done with the last.
    """
    above = siblings[0].parent if siblings else None
    if above is not None and above.span is not None and above.span.kind == KIND_PRODUCER:
        return
    asked_again = _asked_again(siblings)
    tasks = [
        step
        for step in siblings
        if (step.previous_attempt is None or step.previous_attempt in asked_again)
        and step.kind not in WIRE_KINDS
        and step.status != "skipped"
    ]
    if len(tasks) < 2 or any("order" in step.facts for step in tasks):
        return
    places: dict[object, list[Step]] = {}
    for step in tasks:
        places.setdefault(place_of(step), []).append(step)
    groups = list(places.values())
    starts = [min(step.ready_ns for step in group) for group in groups]
    # The last attempt of those that were made without anything in between.
    stretch_ends = {step: _stretch_end(step, asked_again) for step in tasks if step.next_attempt is not None}
    done = [max(stretch_ends.get(step, step).done_ns for step in group) for group in groups]
    ends = sorted((done_ns, number) for number, done_ns in enumerate(done))
    end_times = [end for end, _ in ends]
    # latest_start[i]: the latest start among the i groups that end first.
    latest_start: list[int] = [-1]
    for _, number in ends:
        latest_start.append(max(latest_start[-1], starts[number]))
    for number, group in enumerate(groups):
        start_ns = starts[number]
        # What took no time would otherwise come before itself.
        instant = done[number] <= start_ns
        count = bisect_left(end_times, start_ns) if instant else bisect_right(end_times, start_ns)
        if count == 0:
            continue
        # A predecessor ended before this start, and no other that did so started after it had ended.
        low = bisect_left(end_times, latest_start[count] + 1) if latest_start[count] >= 0 else 0
        last_group = groups[ends[count - 1][1]]
        if low >= count:
            low = count - 1
        found = [groups[other] for _, other in ends[low:count]] if count - low <= _MAX_PREDECESSORS else []
        if not found or sum(map(len, found)) > _MAX_PREDECESSORS:
            before = last_group[-1:]
        else:
            before = [step for other in found for step in other]
            if len(before) > 1:
                # What is known to lead to another of them comes before that one.
                before = [a for a in before if not any(edges.leads(a, b) for b in before)]
        for step in group:
            if edges.has_into(step):
                continue
            for other in before:
                decision = other.facts.get("decision")
                kind = "flow" if decision is None else "conditional"
                edges.add(stretch_ends.get(other, other), step, kind, INFERRED, decision)


def _asked_again(siblings: list[Step]) -> set[Step]:
    """The calls of tools whose next attempt came of asking the model again: that attempt follows the model's answer."""
    answers = sorted(step.start_ns for step in siblings if step.kind == "llm")
    if not answers:
        return set()
    return {
        step
        for step in siblings
        if step.kind == "tool"
        and step.next_attempt is not None
        and bisect_left(answers, step.last_ns) < bisect_right(answers, step.next_attempt.start_ns)
    }


def _stretch_end(step: Step, asked_again: set[Step]) -> Step:
    if not asked_again:
        return last_attempt(step)
    while step.next_attempt is not None and step not in asked_again:
        step = step.next_attempt
    return step
