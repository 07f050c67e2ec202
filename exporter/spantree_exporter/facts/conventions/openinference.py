"""OpenInference (Arize): `openinference.span.kind`, `input.value`, `llm.*` (conventions.md 2.1)."""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, put_preview, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span

_KINDS: Final = {
    "CHAIN": "chain",
    "LLM": "llm",
    "TOOL": "tool",
    "RETRIEVER": "retriever",
    "EMBEDDING": "embedding",
    "AGENT": "agent",
    "RERANKER": "reranker",
    "GUARDRAIL": "guardrail",
    "EVALUATOR": "evaluator",
    "PROMPT": "prompt",
}


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    kind = a.get("openinference.span.kind")
    if isinstance(kind, str):
        facts.setdefault("kind", _KINDS.get(kind.upper(), kind.lower()))
        if kind in {"CHAIN", "AGENT"}:
            facts.setdefault("boundary", "candidate")
        elif kind == "TOOL" and (tool := text_of(a.get("tool.name"))):
            facts.setdefault("name", tool)
    elif "pending_of" in facts:
        # LangChain's says what a span is when it ends; the outermost is most likely what ends as CHAIN.
        facts.setdefault("boundary", "candidate")
    put_preview(facts, "input", a.get("input.value"))
    put_preview(facts, "output", a.get("output.value"))
    if model := text_of(a.get("llm.model_name")) or text_of(a.get("embedding.model_name")):
        facts.setdefault("model", model)


CONVENTION = Convention(
    "openinference",
    _read,
    scopes=("openinference.",),
    keys=("openinference.span.kind", "input.value", "output.value", "llm.model_name", "llm.token_count.prompt"),
)
