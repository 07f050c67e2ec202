"""Pipecat (scopes `pipecat`, `pipecat.turn`, seen with 1.6): a conversation, its turns, what models heard and said.

Source: `utils/tracing/turn_trace_observer.py`, `service_attributes.py`. A turn that the end of the conversation cuts is
told as interrupted, too.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, put_preview, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import STATUS_UNSET, Span

_KINDS: Final = {"conversation": "agent", "turn": "turn", "llm_response": "llm"}
_TOOL: Final = "tool.function_name"


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    if (kind := _KINDS.get(span.name)) is not None:
        facts.setdefault("kind", kind)
    if kind == "agent":
        facts.setdefault("boundary", "candidate")
    elif kind == "turn":
        if a.get("turn.was_interrupted") is True and a.get("turn.ended_by_conversation_end") is not True:
            facts.setdefault("status_reason", "interrupted")
    elif tool := text_of(a.get(_TOOL)):
        facts.setdefault("kind", "tool")
        facts.setdefault("name", tool)
        put_preview(facts, "input", a.get("tool.arguments"))
        put_preview(facts, "output", a.get("tool.result"))
        if span.status_code == STATUS_UNSET and a.get("tool.result_status") == "error":
            facts.setdefault("weak_status", "failed")
    else:
        put_preview(facts, "input", a.get("input", a.get("text")))
        put_preview(facts, "output", a.get("output", a.get("transcript")))
        if a.get("tts.interrupted") is True:
            facts.setdefault("status_reason", "interrupted")


CONVENTION = Convention("pipecat", _read, scopes=("pipecat",))
