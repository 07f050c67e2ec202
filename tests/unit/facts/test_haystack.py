"""Haystack's own spans: pipelines whose components share a name of span, and agents."""

from __future__ import annotations

import json

import pytest
from tests.unit.assemble.traces import TRACE
from tests.unit.assemble.traces import span as facts_of_span
from tests.unit.facts.spans import span

from spantree_exporter.assemble import assemble
from spantree_exporter.facts import Facts, read_facts
from spantree_exporter.span import Attributes, JsonValue

SCOPE = "haystack"


def component(name: str, of_class: str, senders: dict[str, list[str]], **more: str) -> Facts:
    sent: Attributes = {
        "haystack.component.name": name,
        "haystack.component.type": of_class,
        "haystack.component.input_spec": json.dumps(
            {socket: {"type": "str", "senders": told} for socket, told in senders.items()}
        ),
        "haystack.component.visits": 1,
        **{f"haystack.component.{key}": value for key, value in more.items()},
    }
    return read_facts(span("haystack.component.run", sent, scope=SCOPE))


def test_a_component_has_its_own_name_and_comes_after_who_gives_it_something() -> None:
    assert component("docs", "InMemoryBM25Retriever", {"query": []}, input='{"query":"x"}', output="[]") == {
        "name": "docs",
        "kind": "retriever",
        "step": True,
        "input": '{"query":"x"}',
        "output": "[]",
    }
    assert component("prompt", "PromptBuilder", {"documents": ["docs"], "query": [], "more": ["docs", "web"]}) == {
        "name": "prompt",
        "kind": "step",
        "step": True,
        "depends_on": ["docs", "web"],
    }
    assert component("answer", "OpenAIChatGenerator", {"messages": ["prompt"]})["kind"] == "llm"
    assert component("embed", "OpenAITextEmbedder", {})["kind"] == "embedding"
    assert component("rank", "LLMRanker", {})["kind"] == "reranker"


_META: JsonValue = {
    "model": "gpt-x",
    "usage": {
        "prompt_tokens": 12,
        "completion_tokens": 5,
        "total_tokens": 17,
        "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 0},
    },
}
_USED: Facts = {"model": "gpt-x", "input_tokens": 12, "output_tokens": 5, "reasoning_tokens": 3}


@pytest.mark.parametrize(
    ("of_class", "gave", "used"),
    [
        # Each of several replies to one question tells the usage of all.
        ("OpenAIChatGenerator", {"replies": [{"role": "assistant", "meta": _META}] * 2}, _USED),
        ("OpenAIGenerator", {"replies": ["hi"], "meta": [_META]}, _USED),
        (
            "OpenAITextEmbedder",
            {"embedding": [0.5], "meta": {"model": "ada", "usage": {"prompt_tokens": 4, "total_tokens": 4}}},
            {"model": "ada", "input_tokens": 4},
        ),
        ("OpenAIChatGenerator", {"replies": "none", "meta": {"usage": "much"}}, {}),
        ("PromptBuilder", {"replies": [{"meta": _META}]}, {}),
    ],
)
def test_what_a_model_used_is_told_by_its_answer(of_class: str, gave: JsonValue, used: Facts) -> None:
    """Arize-ai/openinference#2322, deepset-ai/haystack#12075."""
    facts = component("answer", of_class, {}, output=json.dumps(gave))
    assert {key: facts[key] for key in facts if key not in {"name", "kind", "step", "output"}} == used  # type: ignore[literal-required]


def test_a_model_that_a_component_asks_itself_is_no_step() -> None:
    """deepset-ai/haystack#12075: rankers and evaluators answer with something else than the model."""
    sent: Attributes = {
        "haystack.component.name": "chat_generator",
        "haystack.component.type": "OpenAIChatGenerator",
        "haystack.component.output": json.dumps({"replies": [{"meta": _META}]}),
    }
    facts = read_facts(span("haystack.chat_generator.run", sent, scope=SCOPE))
    assert facts == {**_USED, "name": "chat_generator", "kind": "llm", "output": sent["haystack.component.output"]}


def test_a_pipeline_is_a_run() -> None:
    sent: Attributes = {
        "haystack.pipeline.input_data": '{"docs":{"query":"x"}}',
        "haystack.pipeline.output_data": '{"answer":{}}',
        "haystack.pipeline.metadata": '{"name":"ask"}',
        "haystack.pipeline.max_runs_per_component": 100,
    }
    told = {"kind": "workflow", "boundary": "candidate", "input": '{"docs":{"query":"x"}}', "output": '{"answer":{}}'}
    assert read_facts(span("haystack.pipeline.run", sent, scope=SCOPE)) == {**told, "name": "ask"}
    unnamed: Attributes = {**sent, "haystack.pipeline.metadata": "{}"}
    assert read_facts(span("haystack.pipeline.run", unnamed, scope=SCOPE)) == {**told, "name": "pipeline"}


def test_edges_lead_to_a_component_from_those_that_ran() -> None:
    run: Facts = {"kind": "workflow", "boundary": "candidate", "name": "ask"}
    assembled = assemble(
        [
            facts_of_span(1, None, (0, 100), facts=run),
            facts_of_span(2, 1, (10, 20), facts=component("docs", "Retriever", {"query": []})),
            facts_of_span(3, 1, (30, 40), facts=component("prompt", "PromptBuilder", {"d": ["docs", "web"]})),
        ],
        TRACE,
    )
    names = {node.span_id: node.name for node in assembled.nodes}
    assert [(names[e.from_span_id], names[e.to_span_id], e.type, e.provenance) for e in assembled.edges] == [
        ("docs", "prompt", "dependency", "declared")
    ]


def test_an_agents_steps_are_turns_and_its_tools_tell_what_they_raised() -> None:
    agent = read_facts(span("haystack.agent.run", {"haystack.agent.max_steps": 10}, scope=SCOPE))
    assert agent == {"kind": "agent", "boundary": "candidate", "name": "agent"}
    step = read_facts(span("haystack.agent.step", {"haystack.agent.step": 1}, scope=SCOPE))
    assert step == {"kind": "turn", "name": "step", "iteration": 2}
    llm: Attributes = {"haystack.agent.step.llm.input": "[1]", "haystack.agent.step.llm.output": "[2]"}
    assert read_facts(span("haystack.agent.step.llm", llm, scope=SCOPE)) == {
        "kind": "llm",
        "name": "llm",
        "input": "[1]",
        "output": "[2]",
    }
    tool: Attributes = {"haystack.tool.name": "weather", "haystack.agent.step.tool.input": "{}"}
    told = {"kind": "tool", "name": "weather", "input": "{}"}
    good: Attributes = {**tool, "haystack.agent.step.tool.output": '{"error":"none","t":3}'}
    assert read_facts(span("haystack.agent.step.tool", good, scope=SCOPE)) == {
        **told,
        "output": '{"error":"none","t":3}',
    }
    bad: Attributes = {**tool, "haystack.agent.step.tool.output": '{"error":"no such city"}'}
    assert read_facts(span("haystack.agent.step.tool", bad, scope=SCOPE)) == {
        **told,
        "output": '{"error":"no such city"}',
        "weak_status": "failed",
        "error_message": "no such city",
    }
