"""Edges between steps that an engine numbered: it runs in rounds, and each round follows from the one before.

A round's steps say what they chose (routers, commands) and which of them a join waited for. What is left follows from
the static graph where it is known, else from the steps of the round before that chose nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from spantree_exporter.assemble.step import Step, last_attempt

_DECLARED, _INFERRED = "declared", "inferred"
# More predecessors than this and the last of them stands for all, so that a wide trace costs linear.
_MAX_PREDECESSORS = 16
# Two rounds with more pairs than this are wide: looking at each pair would cost their product.
_MAX_PAIRS = 10_000
_END = "__end__"

Rounds = Mapping[int, list[Step]]


class Edges(Protocol):
    """What edges are added to."""

    def add(self, start: Step, end: Step, kind: str, provenance: str, condition: str | None = None) -> None:
        """Add an edge."""

    def has_into(self, step: Step) -> bool:
        """Whether something already leads to `step`."""


def connect_numbered(edges: Edges, siblings: list[Step]) -> None:
    """Add the edges between those of `siblings` that an engine numbered, each of its graph runs for itself."""
    graphs: dict[str, dict[int, list[Step]]] = {}
    for step in siblings:
        number = step.facts.get("order")
        if number is not None and step.previous_attempt is None:
            graphs.setdefault(step.facts.get("group", ""), {}).setdefault(number, []).append(step)
    for rounds in graphs.values():
        _connect_rounds(edges, rounds, _successors(siblings[0].parent, rounds))


def _successors(owner: Step | None, rounds: Rounds) -> Mapping[str, set[str]] | None:
    """What may follow each step by the static graph of the nearest step around them that tells one; None if none."""
    ran = {step.name for steps in rounds.values() for step in steps}
    while owner is not None:
        graph = owner.facts.get("graph")
        if graph and ran.intersection(graph.get("nodes", ())):
            successors: dict[str, set[str]] = {name: set() for name in graph.get("nodes", ())}
            for start, end in graph.get("edges", ()):
                successors.setdefault(start, set()).add(end)
            return successors
        owner = owner.parent
    return None


def _connect_rounds(edges: Edges, rounds: Rounds, successors: Mapping[str, set[str]] | None) -> None:
    joined = {name for steps in rounds.values() for step in steps for name in step.facts.get("sources", ())}
    owed: dict[str, list[Step]] = {}
    previous: list[Step] = []
    for number in sorted(rounds):
        current = rounds[number]
        before = rounds.get(number - 1, previous)
        if successors is not None and before:
            _owe(owed, before, current, successors)
        choices = {step: routes for step in before if (routes := _choices(step)) is not None}
        _follow_choices(edges, choices, current, successors)
        open_ones = [step for step in current if not edges.has_into(step)]
        looked_at = _few(before, choices, len(open_ones))
        for step in open_ones:
            sources, sure = _sources(step, looked_at, choices, successors, joined)
            if step.name in owed:
                sources += [giver for giver in owed[step.name][-_MAX_PREDECESSORS:] if giver not in sources]
            if sure or len(before) == 1:
                kind, provenance = "flow", _DECLARED
            else:
                # One that follows all of several is a join; of several that follow several nobody knows which.
                plain = len(open_ones) == 1 or len(sources) == 1
                kind, provenance = ("flow" if plain else "sequential"), _INFERRED
                if len(sources) > _MAX_PREDECESSORS and len(open_ones) > 1:
                    sources = [max(sources, key=lambda s: (last_attempt(s).last_ns, s.order))]
            for source in sources:
                edges.add(last_attempt(source), step, kind, provenance)
        for step in current:
            owed.pop(step.name, None)
        previous = current


def _few(before: list[Step], choices: Mapping[Step, list[str]], followers: int) -> list[Step]:
    """Those of `before` to look at for each follower: of two wide rounds only the last of each name, or of all."""
    if len(before) * followers <= _MAX_PAIRS:
        return before
    by_end = sorted(before, key=lambda s: (s not in choices, last_attempt(s).last_ns, s.order))
    last_of_name = {step.name: step for step in by_end}
    if len(last_of_name) * followers <= _MAX_PAIRS:
        return list(last_of_name.values())
    return by_end[-1:]


def _choices(step: Step) -> list[str] | None:
    """What the step chose, by itself or by its routers; None if it did not choose."""
    last = last_attempt(step)
    chosen = [route for router in last.routers for route in router.get("routes", ())]
    chosen += last.facts.get("routes", ())
    return chosen if chosen or last.routers else None


def _follow_choices(
    edges: Edges, choices: Mapping[Step, list[str]], current: list[Step], successors: Mapping[str, set[str]] | None
) -> None:
    by_name: dict[str, list[Step]] = {}
    for step in current:
        by_name.setdefault(step.name, []).append(step)
    chosen: dict[str, list[Step]] = {}
    labelled: list[tuple[Step, str]] = []
    for source, routes in choices.items():
        for route in dict.fromkeys(routes):
            if route in by_name:
                chosen.setdefault(route, []).append(source)
            elif route != _END:
                labelled.append((source, route))
    for route, sources in chosen.items():
        targets = by_name[route]
        if len(sources) * len(targets) > _MAX_PAIRS:
            # Of two wide rounds the last to choose stands for all.
            sources = [max(sources, key=lambda s: (last_attempt(s).last_ns, s.order))]
        for source in sources:
            for target in targets:
                if target.facts.get("fan_out"):
                    edges.add(last_attempt(source), target, "flow", _DECLARED)
                else:
                    edges.add(last_attempt(source), target, "conditional", _DECLARED, route)
    # A choice that names no step is a label; it leads to what nothing else led to.
    if not labelled:
        return
    open_ones = [t for t in current if not edges.has_into(t) and not t.facts.get("sources")]
    if len(labelled) * len(open_ones) > _MAX_PAIRS:
        labelled = labelled[-1:]
    for source, label in labelled:
        targets = [t for t in open_ones if not edges.has_into(t)]
        if successors is not None:
            targets = [t for t in targets if t.name in successors.get(source.name, ())]
        for target in targets[:1] if len(labelled) >= len(targets) else targets:
            edges.add(last_attempt(source), target, "conditional", _DECLARED, label)


def _sources(
    step: Step,
    before: list[Step],
    choices: Mapping[Step, list[str]],
    successors: Mapping[str, set[str]] | None,
    joined: Iterable[str],
) -> tuple[list[Step], bool]:
    """(the steps of the round before that led to `step` without choosing it, whether that is sure)."""
    if successors is not None:
        known = [s for s in before if step.name in successors.get(s.name, ())]
        found = [s for s in known if s not in choices] or known
        if found:
            return found, True
    # What neither chose nor waits at a join went on; and nothing leads to itself without having chosen to.
    free = [s for s in before if s not in choices and s.name != step.name]
    return [s for s in free if s.name not in joined] or free or (before if len(before) == 1 else []), False


def _owe(
    owed: dict[str, list[Step]], before: list[Step], current: list[Step], successors: Mapping[str, set[str]]
) -> None:
    """Keep what a step must lead to and has not yet: the engine puts some steps off until all others are done."""
    names = {step.name for step in current}
    for step in before:
        follow = successors.get(step.name, set())
        last = last_attempt(step)
        if len(follow) == 1 and not follow & names and last.status == "completed" and _choices(step) is None:
            owed.setdefault(next(iter(follow)), []).append(step)
