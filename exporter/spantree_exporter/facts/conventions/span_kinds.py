"""Kinds of spans beside OpenTelemetry's operations: Alibaba's (LoongSuite, ARMS) and FutureAGI's (traceAI).

`gen_ai.span.kind`, `gen_ai.span_kind_name` or `fi.span.kind`, in capitals or not. A STEP is one round of a ReAct loop;
an ENTRY has the same name in all applications, so what it holds names the run.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, text_of, whole_number
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span

_KEYS: Final = ("gen_ai.span.kind", "gen_ai.span_kind_name", "fi.span.kind")
_KINDS: Final = {
    "agent": "agent",
    "chain": "chain",
    "embedding": "embedding",
    "entry": "function",
    "evaluator": "evaluator",
    "guardrail": "guardrail",
    "llm": "llm",
    "reranker": "reranker",
    "retriever": "retriever",
    "step": "turn",
    "task": "task",
    "tool": "tool",
    "workflow": "workflow",
}
_RUNS: Final = frozenset({"agent", "chain", "workflow"})
_ROUND: Final = "gen_ai.react.round"
_NAMES: Final = {"agent": ("gen_ai.agent.name",), "tool": ("gen_ai.tool.name", "tool.name")}


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    told = next((told.lower() for key in _KEYS if (told := text_of(a.get(key)))), None)
    kind = _KINDS.get(told or "")
    if kind is None or facts.setdefault("kind", kind) != kind:
        return
    if told in _RUNS:
        facts.setdefault("boundary", "candidate")
    if (number := whole_number(a.get(_ROUND))) is not None and kind == "turn":
        facts.setdefault("iteration", number)
    for key in _NAMES.get(kind, ()):
        if name := text_of(a.get(key)):
            facts.setdefault("name", name)


CONVENTION = Convention("span_kinds", _read, keys=_KEYS)
