"""Order, depth and self time."""

from __future__ import annotations

from spantree_exporter.assemble.step import Step, number_places, preorder


def number(roots: list[Step]) -> list[Step]:
    """All steps in sequence order (parents first, siblings by start), numbered from 1, with their depth."""
    for step in preorder(roots):
        if len(step.children) > 1:
            step.children.sort(key=_started)
    ordered = preorder(roots)
    number_places(ordered)
    for step in ordered:
        step.depth = step.parent.depth + 1 if step.parent is not None else 0
    return ordered


def _started(step: Step) -> tuple[int, int, int]:
    return step.start_ns, step.order, step.attempt


def measure_self_time(steps: list[Step]) -> None:
    """Put each ended step's time outside its children; overlapping children count once, skewed clocks are clipped."""
    for step in steps:
        if step.end_ns is None:
            continue
        covered = 0
        reached = step.start_ns
        for child in step.children:  # by start, see `number`
            if child.never_began:
                continue
            start = max(child.start_ns, reached)
            end = min(child.end_ns if child.end_ns is not None else step.end_ns, step.end_ns)
            if end > start:
                covered += end - start
                reached = end
        step.self_ns = max(step.end_ns - step.start_ns - covered, 0)
