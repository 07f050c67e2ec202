"""Vercel's AI SDK: `ai.*` (scope `ai`, seen with version 6), and OpenTelemetry's names since 7 (scope `gen_ai`).

A stream that was aborted is ended without a word of how (`packages/otel/src/open-telemetry.ts`, onAbort); one that was
not tells its finish reason, whatever else may be recorded.
"""

from __future__ import annotations

import re
from typing import Final

from spantree_exporter.facts.reading import Convention, put_preview, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import STATUS_UNSET, Span

_METADATA: Final = ("ai.telemetry.metadata.", "ai.settings.context.")  # up to version 6, since 7
_STREAMS: Final = ("ai.streamText", "ai.streamObject")
# Of version 3 and later ones.
_FINISHED: Final = frozenset({"ai.response.finishReason", "ai.finishReason", "gen_ai.response.finish_reasons"})
_STEP: Final = re.compile(r"step (\d{1,6})\Z")


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    operation = text_of(a.get("ai.operationId")) or span.name
    function = text_of(a.get("ai.telemetry.functionId"))
    _put_whose(span, facts)
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
    if span.status_code == STATUS_UNSET:
        if a.get("ai.response.finishReason") == "error":
            facts.setdefault("weak_status", "failed")
        elif operation.startswith(_STREAMS) and _FINISHED.isdisjoint(a):
            facts.setdefault("weak_status", "cancelled")
    if model := text_of(a.get("ai.response.model")) or text_of(a.get("ai.model.id")):
        facts["model"] = model


def _put_whose(span: Span, facts: Facts) -> None:
    for metadata in _METADATA:
        for key in ("sessionId", "session_id", "conversationId", "threadId", "chatId"):
            if session := text_of(span.attributes.get(metadata + key)):
                facts.setdefault("conversation_id", session)
        for key in ("userId", "user_id"):
            if user := text_of(span.attributes.get(metadata + key)):
                facts.setdefault("user_id", user)


def _read_gen_ai(span: Span, facts: Facts) -> None:
    _put_whose(span, facts)
    operation = text_of(span.attributes.get("gen_ai.operation.name"))
    if operation == "agent_step":
        facts["kind"] = "turn"
        if step := _STEP.match(span.name):
            facts["name"] = "step"
            facts["iteration"] = int(step.group(1))
    elif (
        operation in {"invoke_agent", "chat"}
        and span.scope.name == "gen_ai"
        and span.status_code == STATUS_UNSET
        and _FINISHED.isdisjoint(span.attributes)
    ):
        facts.setdefault("weak_status", "cancelled")


CONVENTION = Convention("vercel_ai", _read, keys=("ai.operationId",))
GEN_AI = Convention("vercel_ai_gen_ai", _read_gen_ai, scopes=("gen_ai",))
