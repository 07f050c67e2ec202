"""Spans that an instrumentation left beside the run whose steps made them."""

from __future__ import annotations

from spantree_exporter.assemble.step import WIRE_KINDS, Step, preorder


def adopt_detached(roots: list[Step]) -> None:
    """Hang calls that were sent as siblings of a run below the one step of it that covers them in time.

    OpenInference does not attach its spans to the context, so that queries and requests made inside a LangGraph
    node come as siblings of the graph (conventions.md 1.7). Where several steps cover a call, or none, it stays.
    """
    for run in [step for step in preorder(roots) if step.facts.get("detached") and step.parent is not None]:
        if run.parent is None or run.end_ns is None:
            continue
        inner = [step for step in preorder([run]) if step is not run and step.facts.get("step")]
        for call in [c for c in run.parent.children if c is not run and c.kind in WIRE_KINDS]:
            covering = [s for s in inner if s.start_ns <= call.start_ns and call.last_ns <= s.last_ns]
            innermost = [s for s in covering if not any(o.parent is s for o in covering)]
            if len(innermost) == 1:
                run.parent.children.remove(call)
                call.parent = innermost[0]
                innermost[0].children.append(call)
                call.anomalies.append("parent_inferred")
