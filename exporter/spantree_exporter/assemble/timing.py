"""Order, depth, self time and the critical path."""

from __future__ import annotations

from spantree_exporter.assemble.step import Step, preorder


def number(roots: list[Step]) -> list[Step]:
    """All steps in sequence order (parents first, siblings by start), numbered from 1, with their depth."""
    for step in preorder(roots):
        step.children.sort(key=lambda s: (s.start_ns, s.order, s.attempt))
    ordered = preorder(roots)
    for place, step in enumerate(ordered, 1):
        step.sequence = place
        step.depth = step.parent.depth + 1 if step.parent is not None else 0
        step.last_below = place
    for step in reversed(ordered):
        if step.parent is not None and step.last_below > step.parent.last_below:
            step.parent.last_below = step.last_below
    return ordered


def measure_self_time(steps: list[Step]) -> None:
    """Put each ended step's time outside its children; overlapping children count once, skewed clocks are clipped."""
    for step in steps:
        if step.end_ns is None:
            continue
        covered = 0
        reached = step.start_ns
        for child in step.children:  # by start, see `number`
            start = max(child.start_ns, reached)
            end = min(child.end_ns if child.end_ns is not None else step.end_ns, step.end_ns)
            if end > start:
                covered += end - start
                reached = end
        step.self_ns = max(step.end_ns - step.start_ns - covered, 0)


def mark_critical_path(root: Step | None) -> None:
    """Mark the steps without whose time the root would have ended earlier.

    From a step's end backwards: of the children that ended by then the last one to end, then from its start on.
    """
    if root is None:
        return
    stack = [root]
    while stack:
        step = stack.pop()
        step.on_critical_path = True
        cursor = step.last_ns if step.end_ns is not None else max((c.last_ns for c in step.children), default=0)
        for child in sorted(step.children, key=lambda s: (s.last_ns, s.start_ns, s.order), reverse=True):
            end = child.last_ns if child.end_ns is not None else cursor
            # A child that outlives its parent (fire and forget, skewed clocks) held the parent up to the parent's end.
            if child.start_ns < cursor and min(end, cursor) > step.start_ns and (end <= cursor or child.end_ns is None):
                stack.append(child)
                cursor = child.start_ns
