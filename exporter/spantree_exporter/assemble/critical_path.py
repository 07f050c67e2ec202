"""The critical path: the steps that the end of the execution waited for.

Backwards from the end: of the steps that were over by then the last one, then from its start on, and so within each. A
step is over when all below it is, so that work that outlives the step it hangs below is found; work that outlives
what came after it held up nobody.
"""

from __future__ import annotations

from spantree_exporter.assemble.step import Step


def mark_critical_path(roots: list[Step], ordered: list[Step]) -> None:
    """Mark the steps without whose time the execution would have ended earlier. `ordered` has parents first."""
    over: dict[Step, int] = {}
    for step in reversed(ordered):
        end_ns = over[step] = max(step.last_ns, over.get(step, step.last_ns))
        above = step.parent
        if above is not None and end_ns > over.get(above, end_ns - 1):
            over[above] = end_ns
    last_root = max(roots, key=lambda s: (over[s], s.end_ns is None, -s.start_ns, -s.order))
    seen = {last_root}
    stack = [(last_root, over[last_root])]
    while stack:
        step, until_ns = stack.pop()
        step.on_critical_path = True
        for prior in step.follows:
            # The steps before it in a plan may be roots of their own.
            if prior.parent is None and step.parent is None and prior not in seen:
                seen.add(prior)
                stack.append((prior, over[prior]))
        if not step.children:
            continue
        for child in sorted(step.children, key=lambda s: (over[s], s.start_ns, s.order), reverse=True):
            if child.never_began:
                continue
            if child.end_ns is None:
                end_ns = until_ns
            elif over[child] <= until_ns:
                end_ns = over[child]
            elif child.end_ns <= until_ns:
                end_ns = child.end_ns
            else:
                continue
            if child.start_ns < until_ns and end_ns > step.start_ns:
                stack.append((child, end_ns))
                until_ns = child.start_ns
