"""Mastra's exporter, by `mastra.span.type`: agents, models and tools as semantic conventions tell them, and workflows.

Source: @mastra/otel-exporter. What a model does within one generation (steps, chunks of its answer) has spans, too.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, put_preview, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span

# Named for the step itself, and by the type of its span where the step is told apart (`gen-ai-semantics.ts`).
_STEP: Final = ("workflow step ", "workflow_step ")
_WITHIN: Final = frozenset({"model_step", "model_inference", "processor_run"})
_TYPE_CHARS: Final = 64


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    what = (text_of(a.get("mastra.span.type")) or "")[:_TYPE_CHARS].lower()
    if what == "model_chunk":
        facts.setdefault("fold", "parent")
        return
    if what == "workflow_step":
        facts.setdefault("kind", "step")
        facts.setdefault("step", True)
        if span.name.startswith(_STEP):
            facts.setdefault("name", span.name.partition("step ")[2])
    elif what in _WITHIN:
        facts.setdefault("kind", "chain")
    put_preview(facts, "input", a.get(f"mastra.{what}.input"))
    put_preview(facts, "output", a.get(f"mastra.{what}.output"))


CONVENTION = Convention("mastra", _read, keys=("mastra.span.type",))
