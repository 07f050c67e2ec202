"""LangSmith's OpenTelemetry export (scope `langsmith`, conventions.md 2.3)."""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, put_preview, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span

_KINDS: Final = {
    "chain": "chain",
    "llm": "llm",
    "tool": "tool",
    "retriever": "retriever",
    "embedding": "embedding",
    "prompt": "prompt",
    "parser": "parser",
}


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    kind = a.get("langsmith.span.kind")
    if isinstance(kind, str):
        facts.setdefault("kind", _KINDS.get(kind, kind))
        if kind == "chain":
            facts.setdefault("boundary", "candidate")
    if thread := text_of(a.get("langsmith.metadata.thread_id")) or text_of(a.get("langsmith.metadata.session_id")):
        facts.setdefault("conversation_id", thread)
    if user := text_of(a.get("langsmith.metadata.user_id")):
        facts.setdefault("user_id", user)
    if project := text_of(a.get("langsmith.trace.session_name")):
        facts.setdefault("project", project)
    if model := text_of(a.get("langsmith.metadata.ls_model_name")):
        facts.setdefault("model", model)
    put_preview(facts, "input", a.get("gen_ai.prompt"))
    put_preview(facts, "output", a.get("gen_ai.completion"))


CONVENTION = Convention("langsmith", _read, scopes=("langsmith",), keys=("langsmith.span.kind",))
