"""Spring AI's observations, by `spring.ai.kind`: its client, which runs tools, advisors around the model, tools.

All but calls of models are told as the operation `framework`, which no convention knows, until 2.0 tools, too.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, put_preview, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span

_KINDS: Final = {
    "chat_client": "agent",
    "advisor": "chain",
    "tool_call": "tool",
    "vector_store": "retriever",
}


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    kind = _KINDS.get(text_of(a.get("spring.ai.kind")) or "")
    if kind is None:
        return
    facts.setdefault("kind", kind)
    if kind == "agent":
        facts.setdefault("boundary", "candidate")
        if session := text_of(a.get("spring.ai.chat.client.conversation.id")):
            facts.setdefault("conversation_id", session)
    elif kind == "chain" and (advisor := text_of(a.get("spring.ai.advisor.name"))):
        facts.setdefault("name", advisor)
    elif kind == "tool" and (tool := text_of(a.get("spring.ai.tool.definition.name"))):
        facts.setdefault("name", tool)
        put_preview(facts, "input", a.get("spring.ai.tool.call.arguments"))
        put_preview(facts, "output", a.get("spring.ai.tool.call.result"))


CONVENTION = Convention("spring_ai", _read, keys=("spring.ai.kind",))
