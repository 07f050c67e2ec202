"""OpenInference (Arize): `openinference.span.kind`, `input.value`, `llm.*`."""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, put_preview, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Attributes, JsonValue, Span

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
# (before the index, after it) of the texts that retrievers find, rerankers keep and embeddings are made of.
_FOUND: Final = ("retrieval.documents.", ".document.content")
_KEPT: Final = ("reranker.output_documents.", ".document.content")
_EMBEDDED: Final = ("embedding.embeddings.", ".embedding.text")
# More than a preview can show is not put together.
_TEXTS: Final = 16


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
    if kind == "RETRIEVER":
        put_preview(facts, "output", _texts(a, *_FOUND))
    elif kind == "RERANKER":
        put_preview(facts, "input", a.get("reranker.query"))
        put_preview(facts, "output", _texts(a, *_KEPT))
    elif kind == "EMBEDDING":
        texts = _texts(a, *_EMBEDDED)
        put_preview(facts, "input", texts[0] if texts and len(texts) == 1 else texts or a.get("embedding.text"))
    if model := text_of(a.get("llm.model_name")) or text_of(a.get("embedding.model_name")):
        facts.setdefault("model", model)


def _texts(a: Attributes, before: str, after: str) -> list[JsonValue] | None:
    """The texts under the indexes 0, 1, ... as far as there are any; None where there is none."""
    texts: list[JsonValue] = []
    while len(texts) < _TEXTS and (text := a.get(f"{before}{len(texts)}{after}")) is not None:
        texts.append(text)
    return texts or None


CONVENTION = Convention(
    "openinference",
    _read,
    scopes=("openinference.",),
    keys=("openinference.span.kind", "input.value", "output.value", "llm.model_name", "llm.token_count.prompt"),
)
