"""OpenInference's spans of no framework in particular."""

from __future__ import annotations

import pytest
from tests.unit.facts.spans import span

from spantree_exporter.facts import read_facts
from spantree_exporter.span import Attributes


def test_a_model_call_has_tokens_cost_values_and_whose_it_is() -> None:
    attributes: Attributes = {
        "openinference.span.kind": "LLM",
        "llm.model_name": "gpt-x",
        "llm.token_count.prompt": 12,
        "llm.token_count.completion": 5,
        "llm.cost.total": 0.25,
        "input.value": "hi",
        "output.value": "bye",
        "session.id": "s-1",
        "user.id": "u-1",
    }
    assert read_facts(span("ChatCompletion", attributes, scope="openinference.instrumentation.openai")) == {
        "kind": "llm",
        "model": "gpt-x",
        "input_tokens": 12,
        "output_tokens": 5,
        "cost_usd": 0.25,
        "input": "hi",
        "output": "bye",
        "conversation_id": "s-1",
        "user_id": "u-1",
    }


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("AGENT", {"kind": "agent", "boundary": "candidate"}),
        ("CHAIN", {"kind": "chain", "boundary": "candidate"}),
        ("RETRIEVER", {"kind": "retriever"}),
        ("EMBEDDING", {"kind": "embedding"}),
        ("GUARDRAIL", {"kind": "guardrail"}),
        ("SOMETHING_NEW", {"kind": "something_new"}),
    ],
)
def test_the_kind_is_the_span_kind(kind: str, told: dict[str, str]) -> None:
    assert read_facts(span("x", {"openinference.span.kind": kind})) == told


def test_a_tool_is_called_by_its_name() -> None:
    attributes: Attributes = {"openinference.span.kind": "TOOL", "tool.name": "weather", "input.value": "Oslo"}
    assert read_facts(span("run tool", attributes)) == {"kind": "tool", "name": "weather", "input": "Oslo"}


def test_what_is_announced_without_its_kind_may_be_the_run() -> None:
    attributes: Attributes = {"spantree.span_type": "pending_span", "spantree.pending_parent_id": "0" * 16}
    assert read_facts(span("LangGraph", attributes, parent=31, scope="openinference.instrumentation.langchain")) == {
        "fold": "pending",
        "pending_of": "000000000000001f",
        "boundary": "candidate",
    }


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        (
            {
                "openinference.span.kind": "RETRIEVER",
                "input.value": "what is a span?",
                "retrieval.documents.0.document.content": "a timed step",
                "retrieval.documents.1.document.content": "a part of a bridge",
            },
            {"kind": "retriever", "input": "what is a span?", "output": '["a timed step","a part of a bridge"]'},
        ),
        (
            {
                "openinference.span.kind": "RERANKER",
                "reranker.query": "what is a span?",
                "reranker.output_documents.0.document.content": "a timed step",
            },
            {"kind": "reranker", "input": "what is a span?", "output": '["a timed step"]'},
        ),
        (
            {"openinference.span.kind": "EMBEDDING", "embedding.embeddings.0.embedding.text": "a timed step"},
            {"kind": "embedding", "input": "a timed step"},
        ),
        (
            {"openinference.span.kind": "EMBEDDING", "embedding.text": "a timed step"},
            {"kind": "embedding", "input": "a timed step"},
        ),
        (
            {
                "openinference.span.kind": "RETRIEVER",
                "output.value": "said",
                "retrieval.documents.0.document.content": "x",
            },
            {"kind": "retriever", "output": "said"},
        ),
    ],
)
def test_what_is_found_kept_and_embedded_is_told(attributes: Attributes, told: dict[str, str]) -> None:
    assert read_facts(span("work", attributes, scope="openinference.instrumentation.llama_index")) == told
