"""What led to what: declared edges first, then links, then what the order of work lets one infer (conventions.md 4.5).

An edge says `declared` where the engine or the author named it (routers, triggers, static graphs, dependencies), `link`
where a span link did, `inferred` where only the clock did. Containment is not an edge here: the nodes' parents say it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from spantree_exporter.assemble.engine_order import connect_numbered
from spantree_exporter.assemble.step import WIRE_KINDS, Step, first_attempt, is_above, last_attempt
from spantree_exporter.rows import Edge

DECLARED, LINK, INFERRED = "declared", "link", "inferred"
# Two bands of parallel steps one after the other would give the product of their widths; beyond this many the last of
# the first band stands for all of it, so that a wide trace costs linear.
_MAX_PREDECESSORS = 16

# Facts that mean other steps by name.
_NAMING = frozenset({"condition_from", "depends_on", "sources", "handoff_from", "handoff_to"})


class StepIndex:
    """Steps by a name or key, to find the latest one before another without looking at all of them."""

    def __init__(self) -> None:
        self._all: dict[str, list[Step]] = {}
        self._beside: dict[tuple[str, Step | None], list[Step]] = {}

    def add(self, name: str, step: Step) -> None:
        """Add `step`; steps must be added in order of start."""
        self._all.setdefault(name, []).append(step)
        self._beside.setdefault((name, step.parent), []).append(step)

    def __contains__(self, name: str) -> bool:
        return name in self._all

    def named(self, name: str) -> list[Step]:
        """All steps of the name, in order of start."""
        return self._all.get(name, [])

    def latest_before(self, name: str, step: Step, beside: bool = False) -> Step | None:
        """The last of the name to have started before `step`: a sibling first, and nothing else if `beside`."""
        found = _latest(self._beside.get((name, step.parent), ()), step)
        if found is None and not beside:
            found = _latest(self._all.get(name, ()), step)
        return found


def _latest(by_start: Sequence[Step], step: Step) -> Step | None:
    place = bisect_right(by_start, step.start_ns, key=lambda s: s.start_ns)
    while place > 0:
        place -= 1
        if by_start[place] is not step:
            return by_start[place]
    return None


class EdgeSet:
    """Collects edges between steps; of two with the same ends and type the first stays, so the surest goes first."""

    def __init__(self) -> None:
        self._edges: dict[tuple[Step, Step, str], tuple[str | None, str]] = {}
        self._pairs: set[tuple[Step, Step]] = set()
        self._sources: dict[Step, list[Step]] = {}
        self._targets: dict[Step, list[Step]] = {}
        self.abroad: list[Edge] = []

    def add(
        self,
        start: Step,
        end: Step,
        kind: str,
        provenance: str,
        condition: str | None = None,
        *,
        told_once: bool = False,
    ) -> None:
        """Add an edge, unless it would lead from a step to itself or its own ancestor or descendant.

        Only a handoff may lead downwards: some agents run those that they hand over to within themselves.
        `told_once`: another edge says the same, so that this one makes nothing parallel or a join.
        """
        if start is end or (start, end) in self._pairs or is_above(end, start):
            return
        if kind != "handoff" and is_above(start, end):
            return
        self._pairs.add((start, end))
        self._edges[start, end, kind] = (condition, provenance)
        if kind not in {"retry", "resume"} and not told_once:
            self._sources.setdefault(end, []).append(start)
            self._targets.setdefault(start, []).append(end)

    def has_into(self, step: Step) -> bool:
        """Whether something already leads to `step`, retries aside."""
        return step in self._sources

    def leads(self, start: Step, end: Step) -> bool:
        """Whether an edge leads from the task of `start` to that of `end`."""
        return (last_attempt(start), first_attempt(end)) in self._pairs

    def sources_of(self, step: Step) -> list[Step]:
        """The steps that lead to `step`, retries aside, in the order their edges were found."""
        return list(self._sources.get(step, ()))

    def targets_of(self, step: Step) -> list[Step]:
        """The steps that `step` leads to, retries aside, in the order their edges were found."""
        return list(self._targets.get(step, ()))

    def rows(self) -> list[Edge]:
        """The rows, sorted by their key. A plain flow edge is a join, parallel or sequential by its company."""
        rows = {_key(edge): edge for edge in reversed(self.abroad)}
        joined = {end for end, sources in self._sources.items() if _places(sources) > 1}
        forked = {start for start, targets in self._targets.items() if _places(targets) > 1}
        for (start, end, kind), (condition, provenance) in self._edges.items():
            told = kind
            if kind == "flow":
                if end in joined:
                    told = "join"
                elif start in forked:
                    told = "parallel"
                else:
                    told = "sequential"
            row = Edge(start.span_id, start.ordinal, end.span_id, end.ordinal, told, condition, provenance)
            rows[_key(row)] = row
        return [rows[key] for key in sorted(rows)]


def _places(steps: list[Step]) -> int:
    """How many places in the engine's graph the steps have."""
    return 1 if len(steps) == 1 else len({_place(first_attempt(step)) for step in steps})


def _key(edge: Edge) -> tuple[int, int, int, int, str]:
    return edge.from_span_id, edge.from_ordinal, edge.to_span_id, edge.to_ordinal, edge.type


def connect(ordered: list[Step], hosts: dict[int, Step], trace_id: str) -> list[Edge]:
    """All edges of a trace. `ordered` is in sequence order, `hosts` leads from span ids to steps."""
    edges = EdgeSet()
    # Most traces speak of few of these things: what no span speaks of is not looked for.
    told = set().union(*(step.facts for step in ordered))
    for step in ordered:
        if step.next_attempt is not None:
            kind = "resume" if step.status == "waiting" else "retry"
            sure = step.task_key is not None or step.span is step.next_attempt.span
            edges.add(step, step.next_attempt, kind, DECLARED if sure else INFERRED)
    if not told.isdisjoint(_NAMING):
        _named(edges, ordered)
    for step in ordered:
        for prior in step.follows:
            edges.add(last_attempt(prior), first_attempt(step), "flow", DECLARED)
    if "emits" in told:
        _tokens(edges, ordered)
    groups = _sibling_groups(ordered)
    if "order" in told:
        for siblings in groups:
            connect_numbered(edges, siblings)
    linking = [step for step in ordered if step.span is not None and step.span.links]
    if linking:
        conditions = _carried_conditions(ordered)
        for step in linking:
            _links(edges, step, hosts, trace_id, conditions)
    if "graph" in told:
        _static_graphs(edges, ordered)
    for siblings in groups:
        _by_time(edges, siblings)
    if "transparent" in told:
        _through_transparent(edges, ordered)
    return edges.rows()


def _named(edges: EdgeSet, ordered: list[Step]) -> None:
    """Edges to and from steps that are meant by their names or task keys."""
    by_name, by_key = StepIndex(), StepIndex()
    for step in sorted(ordered, key=lambda s: (s.start_ns, s.order)):
        by_name.add(step.name, step)
        if step.task_key is not None:
            by_key.add(step.task_key, step)
    for step in ordered:
        _conditions(edges, step, by_name)
        _dependencies(edges, step, by_name, by_key)
        _handoffs(edges, step, by_name)


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


def _handoffs(edges: EdgeSet, step: Step, by_name: StepIndex) -> None:
    source, target = step.facts.get("handoff_from"), step.facts.get("handoff_to")
    if target is not None:
        # The step is the handing over itself: from the agent that it runs in to the next of that name.
        giver = _agent_above(step) or (by_name.latest_before(source, step) if source is not None else None)
        takers = [s for s in by_name.named(target) if s.kind == "agent" and s.start_ns >= step.start_ns]
        if giver is not None and takers:
            edges.add(giver, takers[0], "handoff", DECLARED)
    elif source is not None and step.kind == "handoff":
        giver = _agent_above(step)
        if giver is not None and giver.parent is not None:
            later = [s for s in giver.parent.children if s.kind == "agent" and s.start_ns >= giver.last_ns]
            if later:
                edges.add(giver, min(later, key=lambda s: (s.start_ns, s.order)), "handoff", DECLARED)
    elif source is not None and step.kind == "agent":
        giver = by_name.latest_before(source, step)
        if giver is not None:
            edges.add(giver, step, "handoff", DECLARED)


def _agent_above(step: Step) -> Step | None:
    above = step.parent
    while above is not None and above.kind != "agent":
        above = above.parent
    return above


def _tokens(edges: EdgeSet, ordered: list[Step]) -> None:
    """What one step gives out and another takes in."""
    given = StepIndex()
    taken: set[str] = set()
    by_start = sorted(ordered, key=lambda s: (s.start_ns, s.order))
    for step in by_start:
        for token in step.facts.get("emits", ()):
            given.add(token, step)
        taken.update(step.facts.get("consumes", ()))
    untold: list[Step] = []
    for step in ordered:
        tokens = step.facts.get("consumes", ())
        givers = [giver for token in tokens if (giver := given.latest_before(token, step)) is not None]
        for giver in givers:
            decision = giver.facts.get("decision")
            kind = "flow" if decision is None else "conditional"
            edges.add(last_attempt(giver), first_attempt(step), kind, DECLARED, decision)
        if tokens and not givers and step.previous_attempt is None:
            untold.append(step)
    _sent_unseen(edges, untold, [step for step in by_start if taken.isdisjoint(step.facts.get("emits", ()))])


def _sent_unseen(edges: EdgeSet, untold: list[Step], silent: list[Step]) -> None:
    """Let a step whose token nobody is seen to give follow the last before it whose own tokens nobody took.

    Further steps of its name come from where the first of them came from, however many ran in between.
    """
    givers: dict[tuple[Step | None, str], str] = {}
    engine_steps = StepIndex()
    for step in silent:
        if "consumes" in step.facts:
            engine_steps.add("", step)
            engine_steps.add(step.name, step)
    for step in sorted(untold, key=lambda s: (s.start_ns, s.order)):
        source = givers.get((step.parent, step.name), "")
        giver = engine_steps.latest_before(source, step, beside=True)
        if giver is not None and giver.name != step.name:
            givers[step.parent, step.name] = giver.name
            edges.add(last_attempt(giver), step, "flow", INFERRED)


def _sibling_groups(ordered: list[Step]) -> list[list[Step]]:
    """Steps that share a parent (or have none), in sequence order, groups of one left out."""
    groups: dict[Step | None, list[Step]] = {}
    for step in ordered:
        groups.setdefault(step.parent, []).append(step)
    return [group for group in groups.values() if len(group) > 1]


def _carried_conditions(ordered: list[Step]) -> dict[str, str]:
    """The condition under which a message was carried, by the hex id of the span that sent it."""
    conditions: dict[str, str] = {}
    for step in ordered:
        for carrier in step.carriers:
            condition = carrier.facts.get("condition")
            if condition is not None and carrier.span is not None:
                for _, span_id in carrier.span.links:
                    conditions[span_id] = condition
    return conditions


def _through_transparent(edges: EdgeSet, ordered: list[Step]) -> None:
    """What led to a step that only holds others led to them, and what it led to followed them."""
    for step in ordered:
        if step.facts.get("transparent") and step.children:
            for other in edges.sources_of(step):
                for child in step.children:
                    edges.add(other, child, "sequential", INFERRED, told_once=True)
            for other in edges.targets_of(step):
                for child in step.children:
                    edges.add(child, other, "sequential", INFERRED, told_once=True)


def _links(edges: EdgeSet, step: Step, hosts: dict[int, Step], trace_id: str, conditions: dict[str, str]) -> None:
    types = step.facts.get("link_types", {})
    for trace, span in step.span.links if step.span is not None else ():
        kind = types.get(span, "flow" if step.facts.get("flow_links") else "dependency")
        span_id = _span_id(span)
        if span_id is None:
            continue
        if trace != trace_id:
            abroad = "sequential" if kind == "flow" else kind
            edges.abroad.append(Edge(span_id, 0, step.span_id, step.ordinal, abroad, None, LINK, trace))
            continue
        other = hosts.get(span_id)
        if other is None or other.start_ns > step.start_ns:
            continue
        condition = conditions.get(span)
        if condition is not None:
            edges.add(last_attempt(other), first_attempt(step), "conditional", DECLARED, condition)
        else:
            edges.add(last_attempt(other), first_attempt(step), kind, LINK)


def _span_id(text: str) -> int | None:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        return None
    return int.from_bytes(raw, "big", signed=True) if len(raw) == 8 else None


def _static_graphs(edges: EdgeSet, ordered: list[Step]) -> None:
    """Edges of a declared graph between steps that ran and that nothing led to yet."""
    for owner in ordered:
        graph = owner.facts.get("graph")
        if not graph or not graph.get("edges"):
            continue
        names = set(graph.get("nodes", ()))
        inside = [s for s in owner.children if s.name in names] or [s for s in ordered if s.name in names]
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


def _by_time(edges: EdgeSet, siblings: list[Step]) -> None:
    """Each step follows those siblings that ended before it started with no other in between.

    Nothing is guessed about steps that an engine placed, about calls to databases and services, about what was skipped.
    Instances of one mapped task count as one: all of them were there from the start of the first, done with the last.
    """
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
        places.setdefault(_place(step), []).append(step)
    groups = list(places.values())
    starts = [min(step.ready_ns for step in group) for group in groups]
    done = [max(_stretch_end(step, asked_again).done_ns for step in group) for group in groups]
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
        found = [groups[other] for _, other in ends[low:count]] or [groups[ends[count - 1][1]]]
        before = [step for other in found for step in other]
        if len(before) > _MAX_PREDECESSORS:
            before = before[-1:]
        elif len(before) > 1:
            # What is known to lead to another of them comes before that one.
            before = [a for a in before if not any(edges.leads(a, b) for b in before)]
        for step in group:
            if edges.has_into(step):
                continue
            for other in before:
                decision = other.facts.get("decision")
                kind = "flow" if decision is None else "conditional"
                edges.add(_stretch_end(other, asked_again), step, kind, INFERRED, decision)


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
    """The last attempt of those that were made without anything in between."""
    while step.next_attempt is not None and step not in asked_again:
        step = step.next_attempt
    return step


def _place(step: Step) -> object:
    """The place of the step in its engine's graph: that of its task where it is one of several instances of it."""
    return (step.parent, step.name) if step.facts.get("mapped") else step
