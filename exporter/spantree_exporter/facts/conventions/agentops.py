"""AgentOps' SDK: `agentops.span.kind`, and values under the name of that kind.

Source: `agentops/sdk/decorators/utility.py`, `agentops/semconv/span_kinds.py`. Its names are `answer.agent`.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, put_preview, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span

_KIND: Final = "agentops.span.kind"
_KINDS: Final = {
    "session": "workflow",
    "workflow": "workflow",
    "task": "task",
    "operation": "function",
    "agent": "agent",
    "tool": "tool",
    "llm": "llm",
    "chain": "chain",
    "guardrail": "guardrail",
}
_RUNS: Final = frozenset({"workflow", "agent", "chain"})


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    told = text_of(a.get(_KIND))
    if told is None:
        return
    if (kind := _KINDS.get(told)) is not None:
        facts.setdefault("kind", kind)
        if kind in _RUNS:
            facts.setdefault("boundary", "candidate")
    name = text_of(a.get("agentops.entity.name")) or text_of(a.get("operation.name"))
    if name is None and span.name.endswith(f".{told}"):
        name = span.name.removesuffix(f".{told}")
    if name:
        facts.setdefault("name", name)
    for entity in (told, "entity"):
        put_preview(facts, "input", a.get(f"agentops.{entity}.input"))
        put_preview(facts, "output", a.get(f"agentops.{entity}.output"))


CONVENTION = Convention("agentops", _read, keys=(_KIND,))
