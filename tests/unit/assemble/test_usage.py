"""Tokens and cost: what is said above and below each other counts once, each figure for itself."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.assemble.traces import TRACE, span

from spantree_exporter.assemble import assemble
from spantree_exporter.facts import Facts
from spantree_exporter.rows import MODEL_TOLD_ELSEWHERE, SpanFacts

NAMED: Facts = {"kind": "llm", "model": "m-1"}
FULL: Facts = {"kind": "llm", "model": "m-1", "input_tokens": 100, "output_tokens": 10}
Figures = tuple[int | None, int | None, float | None]


def total(*facts: tuple[int, int | None, Facts]) -> Figures:
    """(input, output, cost) of spans given as (id, parent, facts)."""
    spans = [span(number, parent, (number, 100 - number), facts=told) for number, parent, told in facts]
    execution = assemble(spans, TRACE).execution
    return execution.input_tokens, execution.output_tokens, execution.cost_usd


@pytest.mark.parametrize(
    ("agent", "calls", "expected"),
    [
        pytest.param({}, [{}, {}], (None, None, None), id="nobody says anything"),
        pytest.param({}, [{"input_tokens": 100}, {"input_tokens": 50}], (150, None, None), id="calls"),
        pytest.param(
            {"input_tokens": 150}, [{"input_tokens": 100}, {"input_tokens": 50}], (150, None, None), id="both"
        ),
        pytest.param({"input_tokens": 150}, [{"input_tokens": 100}, {}], (150, None, None), id="a part below"),
        pytest.param({"input_tokens": 20}, [{"input_tokens": 100}, {}], (100, None, None), id="less above than below"),
        pytest.param(
            {"cost_usd": 0.42}, [{"input_tokens": 100}, {"input_tokens": 100}], (200, None, 0.42), id="cost above alone"
        ),
        pytest.param(
            {"cost_usd": 0.42, "output_tokens": 9},
            [{"cost_usd": 0.25, "output_tokens": 4}, {"output_tokens": 5}],
            (None, 9, 0.42),
            id="each figure for itself",
        ),
        pytest.param({"input_tokens": 0}, [{}, {}], (0, None, None), id="nothing is a figure too"),
    ],
)
def test_a_total_above_and_parts_below_give_the_total(agent: Facts, calls: list[Facts], expected: Figures) -> None:
    assert total((1, None, {}), (2, 1, agent), (3, 2, calls[0]), (4, 2, calls[1])) == expected


def test_what_a_tool_used_within_a_call_of_a_model_is_no_part_of_that_call() -> None:
    """google/adk-python#2132: an agent behind a tool, whose span is below the call that asked for it."""
    call: Facts = {"kind": "llm", "input_tokens": 100, "output_tokens": 10, "cost_usd": 0.25}
    inner: Facts = {"kind": "llm", "input_tokens": 60, "output_tokens": 6, "cost_usd": 0.5}
    tool, helper, around = Facts(kind="tool"), Facts(kind="agent"), Facts(kind="function")
    assert total(
        (1, None, {"kind": "agent"}), (2, 1, call), (3, 2, around), (4, 3, tool), (5, 4, helper), (6, 5, inner)
    ) == (160, 16, 0.75)
    # The same call as its client tells it is one call, what the agent says of all of them their total.
    whole: Facts = {"kind": "agent", "input_tokens": 160}
    assert total((1, None, whole), (2, 1, call), (3, 2, call), (4, 3, tool), (5, 4, inner)) == (160, 16, 0.75)
    assert total((1, None, {}), (2, 1, call), (3, 2, around), (4, 3, call)) == (100, 10, 0.25)


def test_a_total_that_goes_back_beyond_its_span_counts_only_where_nothing_below_tells() -> None:
    """strands-agents/harness-sdk#2010: the third invocation of an agent told what all three had used."""
    agent: Facts = {"kind": "agent", "usage_accumulated": True, "input_tokens": 300, "output_tokens": 30}
    call: Facts = {"kind": "llm", "input_tokens": 100}
    assert total((1, None, agent), (2, 1, {"kind": "turn"}), (3, 2, call)) == (100, 30, None)
    assert total((1, None, agent), (2, 1, {"kind": "turn"}), (3, 2, {"kind": "llm"})) == (300, 30, None)


@pytest.mark.parametrize(
    ("calls", "depths", "given"),
    [
        pytest.param([("ChatOpenAI", (10, 90), 5), ("chat", (15, 80), 5)], [1, 2], 5, id="one within the other"),
        pytest.param([("chat", (10, 90), 5), ("ChatOpenAI", (10, 90), 5)], [1, 2], 5, id="at the same time"),
        pytest.param([("a", (10, 90), 5), ("b", (10, 90), 5), ("c", (10, 90), 5)], [1, 2, 3], 5, id="three tell it"),
        pytest.param([("a", (10, 40), 5), ("b", (15, 35), 5), ("a", (50, 90), 5), ("b", (55, 80), 5)],
                     [1, 2, 1, 2], 10, id="two calls in turn"),
        pytest.param([("chat", (10, 90), 5), ("chat", (15, 80), 5)], [1, 1], 10, id="side by side by one name"),
        pytest.param([("a", (10, 90), 5), ("a", (11, 89), 5), ("chat", (15, 80), 5)], [1, 1, 1], 15, id="of either"),
        pytest.param([("ask", (10, 90), 5), ("chat", (15, 80), 6)], [1, 1], 11, id="other usage"),
        pytest.param([("ask", (10, 90), 5), ("chat", (50, 95), 5)], [1, 1], 10, id="beyond its end"),
        pytest.param([("ask", (10, 90), 0), ("chat", (15, 80), 0)], [1, 1], 0, id="no usage"),
    ],
)  # fmt: skip
def test_a_call_that_two_tell_beside_each_other_counts_once(
    calls: list[tuple[str, tuple[int, int], int]], depths: list[int], given: int
) -> None:
    """Arize-ai/openinference#1193, AgentOps-AI/agentops#959: a framework's call and its client's, side by side."""
    spans = [span(1, None, (0, 100), "POST /chat", facts={"kind": "http_server"})]
    for number, (name, at, used) in enumerate(calls, 2):
        spans.append(span(number, 1, at, name, facts={**FULL, "input_tokens": used}))
    assembled = assemble(spans, TRACE)
    assert [node.depth for node in assembled.nodes[1:]] == depths
    assert assembled.execution.input_tokens == given


@pytest.mark.parametrize(
    ("models", "given"),
    [(("openai/gpt-x", "gpt-x-2026"), 5), (("gpt-x", None), 5), (("gpt-x", "gpt-y"), 10), (("gpt-x", "claude"), 10)],
)
def test_equal_answers_of_two_models_are_two_calls(models: tuple[str, str | None], given: int) -> None:
    used: Facts = {"kind": "llm", "input_tokens": 5, "output_tokens": 1}
    asked: list[Facts] = [used if model is None else {**used, "model": model} for model in models]
    spans = [
        span(1, None, (0, 100)),
        span(2, 1, (10, 90), "chat one", facts=asked[0]),
        span(3, 1, (11, 80), "chat other", facts=asked[1]),
    ]
    assert assemble(spans, TRACE).execution.input_tokens == given


def counted_elsewhere(*facts: tuple[int, int | None, Facts]) -> list[int]:
    """Spans that tell of a call that is counted under another one's model."""
    spans = [span(number, parent, (number, 100 - number), facts=told) for number, parent, told in facts]
    assembled = assemble(spans, TRACE)
    assert MODEL_TOLD_ELSEWHERE not in assembled.execution.anomalies, "it is nothing that is wrong with the run"
    return sorted(node.span_id for node in assembled.nodes if MODEL_TOLD_ELSEWHERE in node.anomalies)


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        pytest.param([(2, 1, FULL), (3, 2, FULL)], [2], id="both tell all"),
        pytest.param([(2, 1, NAMED), (3, 2, FULL)], [2], id="the provider's tells more"),
        pytest.param([(2, 1, FULL), (3, 2, NAMED)], [3], id="the framework's tells more"),
        pytest.param([(2, 1, FULL), (3, 2, NAMED), (4, 2, FULL)], [2], id="tried again"),
        pytest.param([(2, 1, FULL), (3, 2, {"kind": "http_client"}), (4, 3, FULL)], [2], id="by way of a gateway"),
        pytest.param([(2, 1, FULL), (3, 2, FULL), (4, 3, FULL)], [2, 3], id="three tell of it"),
        pytest.param([(2, 1, FULL), (3, 2, NAMED), (4, 3, FULL)], [3, 4], id="the outermost tells as much as any"),
        pytest.param([(2, 1, FULL), (3, 2, {"kind": "tool"}), (4, 3, FULL)], [], id="a tool's own call"),
        pytest.param([(2, 1, FULL), (3, 2, FULL | {"kind": "embedding"})], [], id="another kind of call"),
        pytest.param([(2, 1, {"kind": "llm"}), (3, 2, FULL)], [], id="the framework's names no model"),
        pytest.param([(2, 1, FULL | {"kind": "agent"}), (3, 2, FULL)], [], id="an agent sums up"),
    ],
)
def test_a_call_that_two_steps_tell_is_one_of_its_model(
    spans: list[tuple[int, int | None, Facts]], expected: list[int]
) -> None:
    assert counted_elsewhere((1, None, {}), *spans) == expected


def test_attempts_that_events_tell_of_have_no_usage() -> None:
    facts: Facts = {"cost_usd": 0.5, "input_tokens": 3, "attempts": [{"attempt": 1, "at_ns": 10, "status": "retried"}]}
    assert total((1, None, facts)) == (3, None, 0.5)


def test_a_sum_of_costs_is_as_exact_as_they_are() -> None:
    assert total((1, None, {}), (2, 1, {"cost_usd": 0.1}), (3, 1, {"cost_usd": 0.2})) == (None, None, 0.3)
    assert total((1, None, {"cost_usd": 0.000000123})) == (None, None, 0.000000123)


def test_a_sum_that_cannot_be_stored_is_cut_and_told() -> None:
    spans = [span(1, None, (0, 9)), *(span(n, 1, (1, 2), facts={"input_tokens": 2**62}) for n in (2, 3, 4))]
    execution = assemble(spans, TRACE).execution
    assert (execution.input_tokens, execution.anomalies) == (2**63 - 1, ["usage_clamped"])


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 8), st.integers(0, 100)), max_size=10))
def test_a_total_is_between_the_largest_figure_and_the_sum(said: list[tuple[int, int]]) -> None:
    spans: list[SpanFacts] = [span(1, None, (0, 100))]
    for number, (parent, tokens) in enumerate(said, 2):
        spans.append(span(number, min(parent, number - 1), (1, 2), facts={"input_tokens": tokens}))
    found = assemble(spans, TRACE).execution.input_tokens
    figures = [tokens for _, tokens in said]
    assert found is None if not figures else max(figures) <= (found or 0) <= sum(figures)
