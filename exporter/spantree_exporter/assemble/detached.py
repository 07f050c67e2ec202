"""Spans that an instrumentation left beside the run whose steps made them."""

from __future__ import annotations

from spantree_exporter.assemble.step import WIRE_KINDS, Step, preorder

# More steps than this at one moment and a call cannot be told to be of one of them anyway.
_MAX_OPEN = 64


def adopt_detached(roots: list[Step]) -> None:
    """Hang calls that were sent as siblings of a run below the one step of it that covers them in time.

    OpenInference does not attach its spans to the context, so that queries and requests made inside a LangGraph
    node come as siblings of the graph (conventions.md 1.7). Where several steps cover a call, or none, it stays.
    """
    for run in [step for step in preorder(roots) if step.facts.get("detached")]:
        if run.parent is None or run.end_ns is None:
            continue
        calls = [c for c in run.parent.children if c is not run and c.kind in WIRE_KINDS]
        inner = [step for step in preorder([run]) if step is not run and step.facts.get("step")]
        adopted: set[Step] = set()
        for call, step in _covering(calls, inner):
            call.parent = step
            step.children.append(call)
            call.anomalies.append("parent_inferred")
            adopted.add(call)
        if adopted:
            run.parent.children = [c for c in run.parent.children if c not in adopted]


def _covering(calls: list[Step], inner: list[Step]) -> list[tuple[Step, Step]]:
    """(call, the only innermost step open during all of it) for each call that has one. One sweep over time."""
    found: list[tuple[Step, Step]] = []
    coming = sorted(inner, key=lambda s: (s.start_ns, s.order), reverse=True)
    open_steps: list[Step] = []
    for call in sorted(calls, key=lambda s: (s.start_ns, s.order)):
        while coming and coming[-1].start_ns <= call.start_ns:
            open_steps.append(coming.pop())
        open_steps = [s for s in open_steps if s.last_ns >= call.start_ns]
        if len(open_steps) > _MAX_OPEN:
            continue
        covering = [s for s in open_steps if call.last_ns <= s.last_ns]
        innermost = [s for s in covering if not any(other.parent is s for other in covering)]
        if len(innermost) == 1:
            found.append((call, innermost[0]))
    return found
