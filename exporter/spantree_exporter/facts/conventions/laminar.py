"""Laminar's SDKs: `lmnr.span.type`, and values as JSON text. Models are told as Traceloop tells them, too."""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, put_preview, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span

_KINDS: Final = {"LLM": "llm", "TOOL": "tool", "EVALUATOR": "evaluator"}


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    if (kind := _KINDS.get(text_of(a.get("lmnr.span.type")) or "")) is not None:
        facts.setdefault("kind", kind)
    put_preview(facts, "input", a.get("lmnr.span.input"))
    put_preview(facts, "output", a.get("lmnr.span.output"))


CONVENTION = Convention("laminar", _read, keys=("lmnr.span.type", "lmnr.span.input", "lmnr.span.output"))
