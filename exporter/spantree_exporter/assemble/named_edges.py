"""Edges to and from steps that are meant by their names or task keys: conditions, dependencies, handoffs, graphs."""

from __future__ import annotations

from bisect import bisect_left
from itertools import islice

from spantree_exporter.assemble.edge_set import DECLARED, EdgeSet, StepIndex
from spantree_exporter.assemble.step import Step, last_attempt

# Facts that mean other steps by name.
NAMING = frozenset({"condition_from", "depends_on", "sources", "handoff_from", "handoff_to"})
# Who takes over is looked for among the next so many steps: an agent starts when it was handed to.
_LOOKED_AT = 256
# Graphs of runs inside runs, told by each again: so many of them are matched with all steps of the trace.
_FAR_GRAPHS = 16


def connect_named(edges: EdgeSet, ordered: list[Step]) -> None:
    """Edges to and from steps that are meant by their names or task keys."""
    by_name, by_key = StepIndex(), StepIndex()
    for step in sorted(ordered, key=lambda s: (s.start_ns, s.order)):
        by_name.add(step.name, step)
        if step.task_key is not None:
            by_key.add(step.task_key, step)
    agents: dict[Step, Step | None] = {}
    for step in ordered:
        above = step.parent
        agents[step] = above if above is None or above.kind == "agent" else agents[above]
    for step in ordered:
        if not step.facts:
            continue
        _conditions(edges, step, by_name)
        _dependencies(edges, step, by_name, by_key)
        _handoffs(edges, step, agents[step], by_name)


def _conditions(edges: EdgeSet, step: Step, by_name: StepIndex) -> None:
    source = step.facts.get("condition_from")
    if source is None or step.previous_attempt is not None:
        return
    chose = by_name.latest_before(source, step)
    if chose is not None:
        edges.add(last_attempt(chose), step, "conditional", DECLARED, step.facts.get("condition"))


def _dependencies(edges: EdgeSet, step: Step, by_name: StepIndex, by_key: StepIndex) -> None:
    if step.previous_attempt is not None:
        return
    for need in step.facts.get("depends_on", ()):
        found = (by_key if need in by_key else by_name).latest_before(need, step)
        if found is not None:
            edges.add(last_attempt(found), step, "dependency", DECLARED)
    for name in step.facts.get("sources", ()):
        found = by_name.latest_before(name, step, beside=True)
        if found is not None:
            edges.add(last_attempt(found), step, "flow", DECLARED)


def _handoffs(edges: EdgeSet, step: Step, agent: Step | None, by_name: StepIndex) -> None:
    """`agent` is the one that `step` ran in."""
    source, target = step.facts.get("handoff_from"), step.facts.get("handoff_to")
    if target is not None:
        # The step is the handing over itself: from the agent that it runs in to the next of that name.
        giver = agent or (by_name.latest_before(source, step) if source is not None else None)
        taker = _next_agent(by_name.named(target), step.start_ns)
        if giver is not None and taker is not None:
            edges.add(giver, taker, "handoff", DECLARED)
    elif source is not None and step.kind == "handoff":
        if agent is not None and agent.parent is not None:
            taker = _next_agent(agent.parent.children, agent.last_ns)
            if taker is not None:
                edges.add(agent, taker, "handoff", DECLARED)
    elif source is not None and step.kind == "agent":
        giver = by_name.latest_before(source, step)
        if giver is not None:
            edges.add(giver, step, "handoff", DECLARED)


def _next_agent(by_start: list[Step], from_ns: int) -> Step | None:
    place = bisect_left(by_start, from_ns, key=lambda s: s.start_ns)
    return next((s for s in islice(by_start, place, place + _LOOKED_AT) if s.kind == "agent"), None)


def connect_static_graphs(edges: EdgeSet, ordered: list[Step]) -> None:
    """Edges of a declared graph between steps that ran and that nothing led to yet."""
    far = 0
    for owner in ordered:
        graph = owner.facts.get("graph")
        if not graph or not graph.get("edges"):
            continue
        names = set(graph.get("nodes", ()))
        inside = [s for s in owner.children if s.name in names]
        if not inside and far < _FAR_GRAPHS:
            far += 1
            inside = [s for s in ordered if s.name in names]
        by_name = StepIndex()
        for step in sorted(inside, key=lambda s: (s.start_ns, s.order)):
            by_name.add(step.name, step)
        sources: dict[str, list[str]] = {}
        for start, end in graph["edges"]:
            sources.setdefault(end, []).append(start)
        for step in inside:
            if edges.has_into(step) or step.previous_attempt is not None:
                continue
            for name in sources.get(step.name, ()):
                found = by_name.latest_before(name, step)
                if found is not None and found.last_ns <= step.start_ns:
                    edges.add(last_attempt(found), step, "flow", DECLARED)
