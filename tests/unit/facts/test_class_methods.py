"""Haystack's and DSPy's spans, named for a class and a method."""

from __future__ import annotations

from tests.unit.facts.spans import span

from spantree_exporter.facts import read_facts
from spantree_exporter.facts.conventions.llama_index import token
from spantree_exporter.span import STATUS_ERROR, Attributes

HAYSTACK = "openinference.instrumentation.haystack"
DSPY = "openinference.instrumentation.dspy"
CHAIN: Attributes = {"openinference.span.kind": "CHAIN"}


def test_a_pipeline_is_a_run_and_a_component_a_step_named_for_its_role() -> None:
    assert read_facts(span("Pipeline.run", CHAIN, scope=HAYSTACK)) == {
        "name": "Pipeline",
        "boundary": "run",
        "kind": "workflow",
    }
    retriever = span("InMemoryBM25Retriever.run", {"openinference.span.kind": "RETRIEVER"}, scope=HAYSTACK)
    assert read_facts(retriever) == {"name": "retriever", "step": True, "kind": "retriever"}
    own = read_facts(span("Fallback.run", CHAIN, scope=HAYSTACK))
    assert (own["name"], own["step"]) == ("Fallback", True)


def test_what_a_component_gave_and_was_given_are_tokens_unless_they_are_short() -> None:
    attributes: Attributes = {
        **CHAIN,
        "input.value": '{"template": null, "top_k": 3, "kwargs": {"text": "where is my order?"}}',
        "output.value": '{"prompt": "Answer: where is my order?", "meta": []}',
    }
    facts = read_facts(span("PromptBuilder.run", attributes, scope=HAYSTACK))
    assert (facts["consumes"][-1], facts["emits"]) == (
        token("where is my order?"),
        [token("Answer: where is my order?")],
    )


def test_a_router_decided_on_its_one_output() -> None:
    attributes: Attributes = {**CHAIN, "output.value": '{"no_docs": []}'}
    assert read_facts(span("ConditionalRouter.run", attributes, scope=HAYSTACK))["decision"] == "no_docs"
    attributes = {**CHAIN, "output.value": '{"a": [], "b": []}'}
    assert "decision" not in read_facts(span("ConditionalRouter.run", attributes, scope=HAYSTACK))


def test_a_call_of_a_signature_may_be_the_call_around_it() -> None:
    facts = read_facts(span("Predict(StringSignature).forward", CHAIN, scope=DSPY))
    assert (facts["name"], facts["fold"]) == ("Predict", "nested")
    assert "fold" not in read_facts(span("TwoStep.forward", CHAIN, scope=DSPY))


def test_an_agent_of_agno_is_the_same_however_it_is_asked() -> None:
    agno = "openinference.instrumentation.agno"
    agent: Attributes = {"openinference.span.kind": "AGENT"}
    names = ("clerk.run", "clerk.arun", "clerk.continue_run", "clerk.acontinue_run")
    assert {read_facts(span(name, agent, scope=agno))["name"] for name in names} == {"clerk"}


def test_an_adapter_that_fails_is_the_business_of_the_predictor_that_asked_by_it() -> None:
    told = {"name": "ChatAdapter", "kind": "chain", "boundary": "candidate"}
    assert read_facts(span("ChatAdapter.__call__", CHAIN, scope=DSPY)) == told
    failed = span("ChatAdapter.__call__", CHAIN, scope=DSPY, status=STATUS_ERROR)
    assert read_facts(failed) == {**told, "declared_handled": True}
