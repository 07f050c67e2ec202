"""Langfuse's SDK (scope `langfuse-sdk`, seen with 5): `langfuse.observation.*`, `langfuse.trace.*`."""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, put_preview, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import STATUS_ERROR, STATUS_UNSET, Span

_KINDS: Final = {
    "span": "function",
    "generation": "llm",
    "agent": "agent",
    "tool": "tool",
    "chain": "chain",
    "retriever": "retriever",
    "evaluator": "evaluator",
    "embedding": "embedding",
    "guardrail": "guardrail",
}
_O = "langfuse.observation."
# How an interrupt of LangGraph's is shown: the exception, or what it holds.
_INTERRUPTS: Final = ("(Interrupt(", "GraphInterrupt(", "NodeInterrupt(")


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    kind = a.get(_O + "type")
    if kind == "event":
        facts["fold"] = "event"
    elif isinstance(kind, str):
        facts["kind"] = _KINDS.get(kind, kind)
    if a.get("langfuse.internal.is_app_root") is True:
        facts["boundary"] = "run"
    if name := text_of(a.get("langfuse.trace.name")):
        facts["workflow_name"] = name
    put_preview(facts, "input", a.get(_O + "input"))
    put_preview(facts, "output", a.get(_O + "output"))
    if model := text_of(a.get(_O + "model.name")):
        facts["model"] = model
    if span.parent_span_id is None:
        put_preview(facts, "input", a.get("langfuse.trace.input"))
        put_preview(facts, "output", a.get("langfuse.trace.output"))
    level = text_of(a.get(_O + "level"))
    if level in {"WARNING", "ERROR"}:
        facts["level"] = "error" if level == "ERROR" else "warning"
        unset = span.status_code == STATUS_UNSET and level == "ERROR" and kind != "event"
        if unset:
            # How a failure is told to Langfuse; whoever tells it this way mostly leaves the status alone.
            facts.setdefault("weak_status", "failed")
        message = text_of(a.get(_O + "status_message"))
        if unset and message and message.startswith(_INTERRUPTS):
            facts["status"] = "waiting"
        if message and (unset or span.status_code == STATUS_ERROR):
            facts["error_message"] = message


CONVENTION = Convention(
    "langfuse",
    _read,
    scopes=("langfuse",),
    keys=(_O + "type", _O + "level", "langfuse.internal.is_app_root", "langfuse.trace.name"),
)
