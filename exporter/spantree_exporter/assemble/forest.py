"""Spans -> a forest of steps: parents found, cycles cut, clocks corrected, what is no step of its own folded.

Every span ends up in exactly one step, as its span or among those folded into it, whatever order or number of times
spans came in: all choices are made on a canonical order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spantree_exporter.assemble import folding, live_marks, parents, skew
from spantree_exporter.assemble.step import Step
from spantree_exporter.rows import SpanFacts

UNNAMED = "(unnamed)"


@dataclass(slots=True)
class Forest:
    """`roots` in order of start; `hosts` leads from every span id to the step that its span belongs to.

    `steps` are all, those that were folded into others too.
    """

    roots: list[Step]
    hosts: dict[int, Step]
    steps: list[Step]


def build(spans: Sequence[SpanFacts]) -> Forest:
    """The forest of `spans`, which must be canonical (`versions.one_of_each`)."""
    steps: list[Step] = []
    marks: list[SpanFacts] = []
    index = parents.SpanIndex()
    for order, span in enumerate(spans):
        if span.facts.get("fold") == "pending":
            marks.append(span)
            continue
        step = _step(span, order)
        steps.append(step)
        index.add(step)
    parent_ids = [parents.parent_id_of(step) for step in steps]
    if marks:
        live_marks.announce(marks, index, steps, parent_ids)
    below_calls: list[Step] = []
    calls = parents.find(steps, parent_ids, index, below_calls)
    parents.cut_cycles(steps)
    if below_calls:
        parents.leave_ended_calls(below_calls)
    parents_first = _parents_first(steps)
    skew.place_unknown(parents_first)
    if calls:
        skew.correct(parents_first, calls)
    hosts = folding.fold(parents_first)
    roots = [step for step in parents_first if step.parent is None and hosts[step] is step]
    return Forest(roots, _by_span_id(parents_first, hosts, marks), parents_first)


def _step(span: SpanFacts, order: int) -> Step:
    facts = span.facts
    end_ns = span.end_ns or None
    start_ns = span.start_ns
    if "began_ns" in facts:
        start_ns = min(facts["began_ns"], end_ns or start_ns)
    elif end_ns is not None and end_ns < start_ns:
        if skew.is_unknown(end_ns) and not skew.is_unknown(start_ns):
            end_ns = start_ns
        else:
            start_ns = end_ns
    step = Step(
        span.span_id,
        span,
        facts,
        facts.get("name") or span.name or UNNAMED,
        facts.get("kind") or "function",
        start_ns,
        end_ns,
        span.service,
        order,
        span.fingerprint,
    )
    if span.anomalies:
        step.anomalies = list(span.anomalies)
    if "anomalies" in facts:
        step.anomalies += facts["anomalies"]
    if "redacted" in facts:
        step.anomalies += [f"redacted:{note}" for note in facts["redacted"]]
    return step


def _parents_first(steps: list[Step]) -> list[Step]:
    """All steps, each after its parent; fills `children` in canonical order."""
    level: list[Step] = []
    for step in steps:  # in canonical order, live marks and stand-ins at the end
        if step.parent is not None:
            step.parent.children.append(step)
        else:
            level.append(step)
    ordered: list[Step] = []
    while level:
        ordered += level
        level = [child for step in level for child in step.children]
    return ordered


def _by_span_id(parents_first: list[Step], hosts: dict[Step, Step], marks: list[SpanFacts]) -> dict[int, Step]:
    found: dict[int, Step] = {}
    for step in parents_first:
        found.setdefault(step.span_id, hosts[step])
    for mark in marks:
        announced = live_marks.span_id_of(mark.facts.get("pending_of"))
        if announced is not None and announced in found:
            found.setdefault(mark.span_id, found[announced])
    return found
