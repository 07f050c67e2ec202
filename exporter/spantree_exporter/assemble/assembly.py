"""`assemble`, step by step: forest, statuses, attempts, order, edges, then the rows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from spantree_exporter.assemble import (
    attempts,
    budget,
    calls,
    declared_steps,
    edges,
    execution,
    forest,
    iterations,
    status,
    timing,
    usage,
    versions,
)
from spantree_exporter.assemble.chains import unnest_planned
from spantree_exporter.assemble.critical_path import mark_critical_path
from spantree_exporter.assemble.detached import adopt_detached, adopt_of_agents, adopt_told_twice
from spantree_exporter.assemble.row_of import execution_row, node_row
from spantree_exporter.assemble.step import Step, preorder, take_apart
from spantree_exporter.rows import Assembled, SpanFacts


def assemble(spans: Sequence[SpanFacts], trace_id: str) -> Assembled:
    """The projection of one trace: a pure function of the set of its spans.

    Order, repetition and batches of `spans` do not matter. `trace_id` (32 hex digits) tells links within the trace
    from those that lead out of it. Cost grows linearly with the spans, however deep or wide the tree.
    Raises ValueError for no spans.
    """
    if not spans:
        raise ValueError("assemble needs at least one span")
    distinct, stored = versions.one_of_each(spans)
    called = calls.calls_of(distinct)
    distinct, reduced = budget.within_nodes(distinct)
    found = forest.build(distinct)
    adopt_detached(found.roots)
    adopt_of_agents(found.steps)
    adopt_told_twice(found.roots, found.steps)
    steps = preorder(found.roots)
    status.settle_statuses(steps)
    steps = attempts.number_attempts(steps)
    unnest_planned(steps)
    roots = sorted((s for s in steps if s.parent is None), key=lambda s: (s.start_ns, s.order, s.attempt))
    iterations.number_iterations(steps)
    declared_steps.add_those_to_come(roots, steps)
    ordered = timing.number(roots)
    _number_twins(ordered)
    timing.measure_self_time(ordered)
    mark_critical_path(roots, ordered)
    keys_said: set[str] = set().union(*(step.facts for step in ordered if step.facts))
    usage.note_told_twice(ordered, keys_said)
    rows, thinned = edges.connect(ordered, found.hosts, trace_id, keys_said)
    anomalies = [budget.NODES_REDUCED] * reduced + [budget.EDGES_REDUCED] * thinned
    led = execution.led_to(roots, found.hosts, trace_id)
    summary = execution_row(spans, stored, roots, ordered, led, keys_said, anomalies)
    summary.calls = called
    workflow = summary.workflow_name
    assembled = Assembled(summary, [node_row(step, workflow) for step in ordered], rows)
    take_apart(chain(found.steps, ordered))
    return assembled


def _number_twins(ordered: list[Step]) -> None:
    """Give steps that share a span id ordinals, in order of start; the first has 0."""
    first: dict[int, Step] = {}
    shared: dict[int, list[Step]] = {}
    for step in ordered:
        known = first.setdefault(step.span_id, step)
        if known is not step:
            shared.setdefault(step.span_id, [known]).append(step)
    for twins in shared.values():
        # The last attempt is what links and children mean by the id.
        twins.sort(key=lambda s: (s.start_ns, s.order, s.attempt), reverse=True)
        for ordinal, twin in enumerate(twins):
            twin.ordinal = ordinal
