"""Steps that an execution declared before they ran (docs/conventions.md, "Declared steps").

A declared step that has no span yet is a node all the same: `pending` while the run that declared it can still come to
it, `skipped` once that has ended. Steps of a static graph are so only while they are pending: of a run that has ended
the execution's row names them. A step that ran keeps what was declared of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

from spantree_exporter.assemble.step import Step, preorder
from spantree_exporter.facts.vocabulary import DeclaredStep, Facts

MAX_NODES: Final = 10_000
"""Nodes of one trace that are known by their declaration alone; what is beyond is not shown before it runs."""
_OPEN: Final = frozenset({"running", "waiting", "pending"})


def add_those_to_come(roots: list[Step], steps: list[Step]) -> None:
    """Hang a step below its declarer for each declared one that none ran of, and tell those that ran their plan.

    Attempts must be numbered. Cost: linear in the steps, and in what is declared.
    """
    declarers = {step for step in steps if "declared_steps" in step.facts or _tells_graph(step)}
    if not declarers:
        return
    ordered = preorder(roots)
    around: dict[Step, Step | None] = {}  # the nearest declarer above
    for step in ordered:
        above = step.parent
        around[step] = above if above is None or above in declarers else around[above]
    _tell_plans(ordered, around)
    after_all = max(step.order for step in ordered) + 1
    left = MAX_NODES
    names = {step.name for step in ordered}
    ran: dict[Step, set[str]] = {declarer: set() for declarer in declarers}
    still_open: set[Step] = set()
    for step in reversed(ordered):  # what is below a declarer comes before it
        outer = around[step]
        if step in ran:
            is_open = step.end_ns is None or step.status in _OPEN or step in still_open
            known = ran[step] if "declared_steps" in step.facts else names
            for place, declared in enumerate(_missing(step, known, is_open)[:left], after_all):
                _hang_below(step, declared, is_open, place)
                left -= 1
            if outer is not None:
                # The smaller into the larger: a chain of declarers within each other costs no square.
                small, large = sorted((ran[outer], ran[step]), key=len)
                large |= small
                ran[outer] = large
        if outer is not None:
            ran[outer].add(step.name)
            if step.task_key is not None:
                ran[outer].add(step.task_key)
            if step in still_open or (step.status in _OPEN and step.next_attempt is None):
                still_open.add(outer)


def leading_to(names: set[str], edges: Iterable[Iterable[str]]) -> set[str]:
    """The names from which `edges`, pairs of names, lead to one of `names`, directly or through others."""
    sources: dict[str, list[str]] = {}
    for start, end in edges:
        sources.setdefault(end, []).append(start)
    found: set[str] = set()
    frontier = list(names)
    while frontier:
        for start in sources.get(frontier.pop(), ()):
            if start not in found:
                found.add(start)
                frontier.append(start)
    return found


def _tells_graph(step: Step) -> bool:
    return "graph" in step.facts and (step.kind == "workflow" or step.parent is None or "boundary" in step.facts)


def _tell_plans(ordered: list[Step], around: dict[Step, Step | None]) -> None:
    """Give each step that ran what was declared of it, and the dependencies that it does not declare itself."""
    plans: dict[Step, dict[str, DeclaredStep]] = {}
    for step in ordered:
        if declared := step.facts.get("declared_steps"):
            plan = plans[step] = {said["name"]: said for said in reversed(declared)}
            plan.update((said["key"], said) for said in reversed(declared) if "key" in said)
        declarer = around[step]
        if declarer is None or declarer not in plans:
            continue
        plan = plans[declarer]
        found = plan.get(step.task_key or step.name) or plan.get(step.name)
        if found is not None:
            step.declared = found
            if "depends_on" in found and "depends_on" not in step.facts:
                step.facts = {**step.facts, "depends_on": found["depends_on"]}


def _missing(declarer: Step, ran: set[str], is_open: bool) -> list[DeclaredStep]:
    """What `declarer` declared and nothing below it is; each once.

    A run that takes up another does not come again to what led to the steps that it ran.
    """
    declared = list(declarer.facts.get("declared_steps", ()))
    edges = [[need, said["name"]] for said in declared for need in said.get("depends_on", ())]
    if is_open and (graph := declarer.facts.get("graph")) is not None:
        declared += [{"name": name} for name in graph.get("nodes", ())]
        edges += graph.get("edges", ())
    before = leading_to(ran, edges) if "resumes" in declarer.facts else set()
    missing: dict[str, DeclaredStep] = {}
    for said in declared:
        meant = {said["name"], said.get("key", said["name"])}
        if meant.isdisjoint(ran) and meant.isdisjoint(before):
            missing.setdefault(said.get("key", said["name"]), said)
    return list(missing.values())


def _hang_below(declarer: Step, said: DeclaredStep, is_open: bool, place: int) -> None:
    # It stands behind what is known of the run: it has not begun by then.
    at_ns = max((child.last_ns for child in declarer.children), default=declarer.start_ns)
    at_ns = max(at_ns, declarer.start_ns)
    facts: Facts = {"step": True}
    if "depends_on" in said:
        facts["depends_on"] = said["depends_on"]
    step = Step(
        _span_id_of(declarer, said.get("key", said["name"])),
        None,
        facts,
        said["name"],
        said.get("kind", "step"),
        at_ns,
        None if is_open else at_ns,
        declarer.service,
        place,
        parent=declarer,
        status="pending" if is_open else "skipped",
        task_key=said.get("key"),
        declared=said,
        never_began=True,
    )
    declarer.children.append(step)


def _span_id_of(declarer: Step, key: str) -> int:
    """An id of its own for a node without a span: equal at each projection, and no other span's by chance."""
    digest = blake2b(f"{declarer.span_id}/{key}".encode(errors="replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True) or 1
