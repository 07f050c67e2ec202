"""Vercel's AI SDK (scope `ai`, seen with version 6): `ai.*`."""

from __future__ import annotations

from spantree_exporter.facts.reading import Convention, put_preview, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import STATUS_UNSET, Span

_METADATA = "ai.telemetry.metadata."


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    operation = text_of(a.get("ai.operationId")) or span.name
    function = text_of(a.get("ai.telemetry.functionId"))
    for key in ("sessionId", "session_id", "conversationId", "threadId", "chatId"):
        if session := text_of(a.get(_METADATA + key)):
            facts.setdefault("conversation_id", session)
    for key in ("userId", "user_id"):
        if user := text_of(a.get(_METADATA + key)):
            facts.setdefault("user_id", user)
    if operation == "ai.toolCall":
        facts["kind"] = "tool"
        if tool := text_of(a.get("ai.toolCall.name")):
            facts["name"] = tool
        put_preview(facts, "input", a.get("ai.toolCall.args"))
        put_preview(facts, "output", a.get("ai.toolCall.result"))
        return
    inner = ".do" in operation
    embeds = operation.startswith(("ai.embed", "ai.embedMany"))
    if inner:
        facts["kind"] = "embedding" if embeds else "llm"
    elif operation.startswith("ai."):
        facts["kind"] = "embedding" if embeds else "agent"
        facts["boundary"] = "candidate"
        if function:
            facts["workflow_name"] = function
    put_preview(facts, "input", a.get("ai.prompt", a.get("ai.prompt.messages", a.get("ai.value"))))
    put_preview(facts, "output", a.get("ai.response.text", a.get("ai.response.toolCalls", a.get("ai.response.object"))))
    if span.status_code == STATUS_UNSET and a.get("ai.response.finishReason") == "error":
        facts.setdefault("weak_status", "failed")
    if model := text_of(a.get("ai.response.model")) or text_of(a.get("ai.model.id")):
        facts["model"] = model


CONVENTION = Convention("vercel_ai", _read, keys=("ai.operationId",))
