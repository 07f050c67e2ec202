"""Spans that an instrumentation left beside the run whose steps made them."""

from __future__ import annotations

from heapq import heappop, heappush

from spantree_exporter.assemble.parents import PARENT_INFERRED
from spantree_exporter.assemble.step import WIRE_KINDS, Step, preorder
from spantree_exporter.facts.vocabulary import MODEL_CALLS

# More steps than this at one moment and a call cannot be told to be of one of them anyway.
_MAX_OPEN = 64
# Siblings of agents that are looked at, of a trace: agents that overlap have the same ones.
_MAX_LOOKED_AT = 200_000
_OF_AGENT = MODEL_CALLS | {"tool"}
# Runs within runs are looked into by each run around them, no deeper than this.
_MAX_NESTED = 16
# A tool, the call of the model that asked for it and its step may be between an agent and the one that called it.
_LEVELS_ABOVE = 4


def adopt_detached(roots: list[Step]) -> None:
    """Hang calls that were sent as siblings of a run below the one step of it that covers them in time.

    OpenInference does not attach its spans to the context, so that queries and requests made inside a LangGraph
    node come as siblings of the graph. Where several steps cover a call, or none, it stays.
    """
    ordered = preorder(roots)
    runs = [step for step in ordered if step.facts.get("detached")]
    beside: dict[Step, list[Step]] = {}
    for run in runs:
        if run.parent is not None and run.end_ns is not None:
            beside.setdefault(run.parent, []).append(run)
    if not beside:
        return
    depths: dict[Step, int] = {}  # how many runs are around each step
    for step in ordered:
        above = step.parent
        depths[step] = 0 if above is None else depths[above] + bool(above.facts.get("detached"))
    for parent, runs_beside in beside.items():
        calls = [c for c in parent.children if c.kind in WIRE_KINDS and not c.facts.get("detached")]
        if not calls or depths[runs_beside[0]] >= _MAX_NESTED:
            continue
        inner = [step for step in preorder(runs_beside) if step.facts.get("step") and not step.facts.get("detached")]
        _hang(_covering(calls, inner), parent)


def adopt_told_twice(roots: list[Step], steps: list[Step]) -> None:
    """Hang a model's call below the one that tells the same call from within the run beside it.

    LangChain's OpenInference spans are not attached to the context either: what the provider's client tells of the call
    is beside the chain that made it. It is the same call where that one covers it in time and both tell equal usage.
    So it is beside the call itself, where no chain is around that (openinference#1193, agentops#959).
    `steps`: those below `roots`, in any order, and others.
    """
    # Of most traces this is all there is to ask.
    with_calls = {s.parent for s in steps if s.kind in MODEL_CALLS and s.parent is not None and _only_asks(s)}
    for above in with_calls:
        _hang(_told_by_another(above.children), above)
    if not any(c.children and c.kind not in MODEL_CALLS for above in with_calls for c in above.children):
        return
    stack = list(reversed(roots))
    while stack:
        parent = stack.pop()
        calls = [c for c in parent.children if c.kind in MODEL_CALLS and _only_asks(c) and _usage_of(c) is not None]
        beside = [c for c in parent.children if c.kind not in MODEL_CALLS and c.children] if calls else []
        if not beside:
            stack.extend(reversed(parent.children))
            continue
        inner = [step for step in preorder(beside) if step.kind in MODEL_CALLS]
        _hang([pair for pair in _covering(calls, inner) if _tell_the_same(*pair)], parent)


def _told_by_another(siblings: list[Step]) -> list[tuple[Step, Step]]:
    """(call, the one beside it that tells the same call): of another name, one model, equal usage and more time.

    Spans of one instrumentation and one model have one name: what runs side by side under it are calls of their own.
    """
    calls = [call for call in siblings if call.kind in MODEL_CALLS]
    if len({call.name for call in calls}) < 2:
        return []
    alike: dict[tuple[object, ...], list[Step]] = {}
    for call in calls:
        if (usage := _usage_of(call)) is not None:
            alike.setdefault((call.kind, call.service, usage), []).append(call)
    found: list[tuple[Step, Step]] = []
    for same in alike.values():
        if not 1 < len(same) <= _MAX_OPEN:
            continue
        for call in same:
            around = [o for o in same if o.name != call.name and _is_around(o, call) and _is_of_its_model(o, call)]
            around.sort(key=lambda other: (other.last_ns - other.start_ns, -other.order))
            if around and _only_asks(call) and all(other.name != around[0].name for other in around[1:]):
                found.append((call, around[0]))
    return found


def adopt_of_agents(steps: list[Step]) -> None:
    """Hang below an agent the calls that were sent beside it, where they are the very calls that it sums up.

    Agent Framework's streams, and whoever starts an agent's span without attaching it (microsoft/agent-framework#5089).
    The calls are those in its service that it covers in time; tools between them are its own, too. Of an agent that a
    tool runs they may be further up: Vercel's AI SDK loses the context with each step but the first (vercel/ai#11720).
    `steps`: all.
    """
    agents = [s for s in steps if s.kind == "agent" and s.parent is not None and s.end_ns is not None and _usage_of(s)]
    looked_at = 0
    for agent in agents:
        below = preorder(agent.children)
        looked_at += len(below)
        if looked_at > _MAX_LOOKED_AT:
            return
        missing = _less(_usage_of(agent), below)
        level = agent
        for _ in range(_LEVELS_ABOVE):
            parent = level.parent
            if parent is None or missing is None or looked_at > _MAX_LOOKED_AT or level not in parent.children:
                break
            looked_at += len(parent.children)
            covered = [
                s
                for s in parent.children
                if s is not level and s.service == agent.service and _covers(agent, s) and s.kind in _OF_AGENT
            ]
            calls = [usage for s in covered if s.kind in MODEL_CALLS and (usage := _usage_of(s)) is not None]
            if calls and (sum(given for given, _ in calls), sum(made for _, made in calls)) == missing:
                _hang([(step, agent) for step in covered], parent)
                break
            level = parent


def _less(usage: tuple[int, int] | None, below: list[Step]) -> tuple[int, int] | None:
    """What of `usage` no call of `below` tells; None where that is nothing."""
    if usage is None:
        return None
    given, made = usage
    for step in below:
        if step.kind in MODEL_CALLS and (told := _usage_of(step)) is not None:
            given, made = given - told[0], made - told[1]
    return (given, made) if given > 0 and made >= 0 else None


def _covers(agent: Step, step: Step) -> bool:
    return step.end_ns is not None and agent.start_ns <= step.start_ns and step.end_ns <= agent.last_ns


def _is_around(other: Step, call: Step) -> bool:
    return _covers(other, call) and (not _covers(call, other) or other.order < call.order)


def _is_of_its_model(other: Step, call: Step) -> bool:
    """Whether both name one model, so far as they do: with its version and by way of whom, or without."""
    names = [step.facts["model"].rpartition("/")[2] for step in (other, call) if "model" in step.facts]
    return len(names) < 2 or names[0].startswith(names[1]) or names[1].startswith(names[0])


def _only_asks(call: Step) -> bool:
    # Below it is nothing, or the requests by which it asked, where the HTTP client is traced too.
    return all(below.kind in WIRE_KINDS for below in call.children)


def _hang(found: list[tuple[Step, Step]], parent: Step) -> None:
    """Hang each call, a child of `parent`, below the step that was found for it."""
    for call, step in found:
        call.parent = step
        step.children.append(call)
        call.anomalies.append(PARENT_INFERRED)
    if found:
        adopted = {call for call, _ in found}
        parent.children = [c for c in parent.children if c not in adopted]


def _tell_the_same(call: Step, other: Step) -> bool:
    return call.kind == other.kind and call.service == other.service and _usage_of(call) == _usage_of(other)


def _usage_of(step: Step) -> tuple[int, int] | None:
    """The call's tokens; None where it tells none of note."""
    given, made = step.facts.get("input_tokens", 0), step.facts.get("output_tokens", 0)
    return (given, made) if given > 0 else None


def _covering(calls: list[Step], inner: list[Step]) -> list[tuple[Step, Step]]:
    """(call, the only innermost step open during all of it) for each call that has one. One sweep over time."""
    found: list[tuple[Step, Step]] = []
    coming = sorted(inner, key=lambda s: (s.start_ns, s.order), reverse=True)
    still_open: list[tuple[int, int, int, Step]] = []  # a heap by end
    for call in sorted(calls, key=lambda s: (s.start_ns, s.order)):
        while coming and coming[-1].start_ns <= call.start_ns:
            step = coming.pop()
            heappush(still_open, (step.last_ns, step.order, len(coming), step))
        while still_open and still_open[0][0] < call.start_ns:
            heappop(still_open)
        if len(still_open) > _MAX_OPEN:
            continue
        covering = [step for last_ns, _, _, step in still_open if call.last_ns <= last_ns]
        innermost = [s for s in covering if not any(other.parent is s for other in covering)]
        if len(innermost) == 1:
            found.append((call, innermost[0]))
    return found
