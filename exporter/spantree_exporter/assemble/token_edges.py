"""Edges from what one step gives out to what another takes in."""

from __future__ import annotations

from spantree_exporter.assemble.edge_set import DECLARED, INFERRED, EdgeSet, StepIndex
from spantree_exporter.assemble.step import Step, first_attempt, last_attempt


def connect_tokens(edges: EdgeSet, ordered: list[Step]) -> None:
    """What one step gives out and another takes in."""
    given = StepIndex()
    taken: set[str] = set()
    by_start = sorted(ordered, key=lambda s: (s.start_ns, s.order))
    for step in by_start:
        for token in step.facts.get("emits", ()):
            given.add(token, step)
        taken.update(step.facts.get("consumes", ()))
    unseen: list[Step] = []
    for step in ordered:
        tokens = step.facts.get("consumes", ())
        givers = [giver for token in tokens if (giver := given.latest_before(token, step)) is not None]
        for giver in givers:
            decision = giver.facts.get("decision")
            kind = "flow" if decision is None else "conditional"
            edges.add(last_attempt(giver), first_attempt(step), kind, DECLARED, decision)
        if tokens and not givers and step.previous_attempt is None:
            unseen.append(step)
    _sent_unseen(edges, unseen, [step for step in by_start if taken.isdisjoint(step.facts.get("emits", ()))])


def _sent_unseen(edges: EdgeSet, unseen: list[Step], silent: list[Step]) -> None:
    """Let a step whose token nobody is seen to give follow the last before it whose own tokens nobody took.

    Further steps of its name come from where the first of them came from, however many ran in between.
    """
    givers: dict[tuple[Step | None, str], str] = {}
    engine_steps = StepIndex()
    for step in silent:
        if "consumes" in step.facts:
            engine_steps.add("", step)
            engine_steps.add(step.name, step)
    for step in sorted(unseen, key=lambda s: (s.start_ns, s.order)):
        source = givers.get((step.parent, step.name), "")
        giver = engine_steps.latest_before(source, step, beside=True)
        if giver is not None and giver.name != step.name:
            givers[step.parent, step.name] = giver.name
            edges.add(last_attempt(giver), step, "flow", INFERRED)
