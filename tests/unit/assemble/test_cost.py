"""No shape of a trace costs more than its size: every loop over a trace is linear, and what is told of it bounded."""

from __future__ import annotations

import sys

import pytest
from benchmarks.assemble import SHAPES, TRACE, Shape, span
from tests.unit.assemble import traces

from spantree_exporter.assemble import assemble, budget
from spantree_exporter.facts import Facts


def calls_of(shape: Shape, size: int) -> int:
    """How many calls of functions and lines of Python assembling takes: a measure that no other process disturbs."""
    spans = [span(1, None, (0, 10**9), "root", False, {}), *(shape(n, size) for n in range(2, size))]
    count = 0

    def count_events(*_: object) -> object:
        nonlocal count
        count += 1
        return count_events

    before = sys.gettrace()
    sys.settrace(count_events)  # type: ignore[arg-type]
    try:
        assemble(spans, TRACE)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("name", SHAPES)
def test_four_times_the_spans_cost_about_four_times_the_work(name: str) -> None:
    small, large = calls_of(SHAPES[name], 300), calls_of(SHAPES[name], 1200)
    assert large / small < 6.5, f"{name}: {small} steps of work for 300 spans, {large} for 1,200"


def test_edges_beyond_the_budget_are_left_out_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "EDGES_A_NODE", 2)
    monkeypatch.setattr(budget, "EDGES_AT_LEAST", 10)
    needs: Facts = {"step": True, "depends_on": [f"t{n}" for n in range(40)]}
    spans = [traces.step(n + 2, 1, (n * 10, n * 10 + 5), f"t{n}", facts=needs) for n in range(40)]
    assembled = assemble([traces.span(1, None, (0, 10**6)), *spans], TRACE)
    assert len(assembled.edges) == 82
    assert assembled.execution.anomalies == [budget.EDGES_REDUCED]


def test_nodes_beyond_the_budget_stay_spans_and_failures_stay_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "MAX_NODES", 10)
    spans = [traces.span(n + 2, 1, (n * 10, n * 10 + 5), f"t{n}", failed=n == 90) for n in range(100)]
    assembled = assemble([traces.span(1, None, (0, 2000), "root"), *spans], TRACE)
    execution = assembled.execution
    assert (execution.total_count, execution.span_count, execution.anomalies) == (10, 101, [budget.NODES_REDUCED])
    assert (execution.status, execution.first_failed_name, execution.ended_ns) == ("partial", "t90", 2000)
