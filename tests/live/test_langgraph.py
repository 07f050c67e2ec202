"""LangGraph under three instrumentations: some forty runs of every shape, told as they happened."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.live.account import Json, differences
from tests.live.conftest import Spantree

# Of these the spans do not tell which step led to which: no static graph is sent, and nothing names the source.
_GRAPH_UNKNOWN = {
    "uneven": ["edge long_1 -> meet was not", "edge short -> long_2 was not"],
    "defer": [
        "edge long_1 -> long_2 is ['join'], was sequential",
        "edge short -> long_2 was not",
        "edge short -> meet is not told, was join",
    ],
    "mixed": [
        "edge plain_one -> after_plain is ['parallel'], was sequential",
        "edge plain_one -> always was not",
        "edge routed -> always is not told, was parallel",
    ],
}
# A branch that no run of the workflow ever took is known from a static graph only.
_NEVER_TAKEN = {
    "goto": ["technical was skipped"],
    "choices": ["never was skipped", "no was skipped"],
    "entry_router": ["cheap was skipped"],
    "parallel_routers": ["left_b was skipped", "right_a was skipped"],
    "mixed": ["other was skipped"],
    "subgraph_fails": ["finish was skipped"],
    "parallel_failure": ["meet was skipped"],
    "supervised": ["researcher was skipped"],
    "router_fails": ["left was skipped", "right was skipped"],
    "spaces": ["File it was skipped"],
}
UNTOLD = {
    "traceloop": {},
    "openinference": {
        name: sorted(_GRAPH_UNKNOWN.get(name, []) + _NEVER_TAKEN.get(name, []))
        for name in _GRAPH_UNKNOWN.keys() | _NEVER_TAKEN.keys()
    },
}
UNTOLD["langsmith"] = UNTOLD["openinference"]


@pytest.mark.parametrize("instrumentation", ["openinference", "traceloop", "langsmith"])
def test_what_is_told_is_what_happened(
    instrumentation: str, spantree: Spantree, observed: Callable[..., list[Json]]
) -> None:
    runs = observed("langgraph_runs.py", instrumentation)
    assert len(runs) > 40
    told = {run["name"]: differences(run, map(spantree.tree, run["trace_ids"])) for run in runs}
    assert {name: found for name, found in told.items() if found} == UNTOLD[instrumentation]
