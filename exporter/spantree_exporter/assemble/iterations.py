"""Passes of loops: steps of one name and parent that ran one after another as tasks of their own."""

from __future__ import annotations

from itertools import pairwise

from spantree_exporter.assemble.step import Step, last_attempt


def number_iterations(steps: list[Step]) -> None:
    """Number the passes; all attempts of a task are of one pass. A pass that declares its number keeps it."""
    groups: dict[tuple[object, ...], list[Step]] = {}
    for step in steps:
        facts = step.facts
        if "iteration" in facts:
            step.iteration = facts["iteration"]
        elif step.previous_attempt is None and step.is_step:
            # Who takes one message off a queue does so for itself.
            taker = None if step.message is None else step.service
            groups.setdefault((step.parent, step.name, taker, facts.get("group")), []).append(step)
    for group in groups.values():
        if len(group) < 2:
            continue
        group.sort(key=lambda s: (s.start_ns, s.order))
        rounds = [step.facts["order"] for step in group if "order" in step.facts]
        # What an engine ran in one round are instances side by side, even if one took less time than the next to start.
        if len(set(rounds)) < len(rounds):
            continue
        if all(last_attempt(a).last_ns <= b.start_ns for a, b in pairwise(group)):
            for number, first in enumerate(group, 1):
                attempt: Step | None = first
                while attempt is not None:
                    attempt.iteration = number
                    attempt = attempt.next_attempt
