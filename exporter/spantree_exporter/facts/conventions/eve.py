"""Vercel's eve (scope `eve.agent`): turns of a session as agents, their steps, actions and approvals.

Source: `packages/eve/src/tracing/agent-otel-provider.ts`, `agent-action-instrumentation.ts`,
`agent-approval-instrumentation.ts`. Its older instrumentation sends `ai.eve.turn` around the AI SDK's own spans.
`agent.usage.*` repeats what the calls of models below tell, or what a sub-agent used, whose trace tells it.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, put_preview, text_of, whole_number
from spantree_exporter.facts.vocabulary import Facts, Status
from spantree_exporter.span import STATUS_ERROR, JsonValue, Span

_CONTEXT: Final = "ai.settings.context.eve.session.id"
# The session at the root of sub-agents' before their own.
_CONVERSATION: Final = ("agent.root.session.id", "agent.session.id", "eve.session.id", _CONTEXT)
_FRAMEWORK: Final = "agent.framework.name"
_TURNS: Final = frozenset({"ai.eve.turn", "agent.turn"})
_CALLS_OF_AGENTS: Final = frozenset({"subagent-call", "remote-agent-call"})
_ENDED: Final[dict[str, Status]] = {"cancelled": "cancelled", "abandoned": "cancelled", "expired": "timed_out"}


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    for key in _CONVERSATION:
        if session := text_of(a.get(key)):
            facts.setdefault("conversation_id", session)
    if span.name in _TURNS:
        facts.setdefault("kind", "agent")
        facts.setdefault("boundary", "candidate")
        if agent := text_of(a.get("agent.name")) or text_of(a.get("ai.telemetry.functionId")):
            facts.setdefault("name", agent)
    _put_outcome(span, a.get("agent.turn.outcome"), facts)
    if a.get(_FRAMEWORK) != "eve":
        if span.scope.name == "eve.agent" and a.get("gen_ai.operation.name") == "execute_tool":
            facts.setdefault("fold", "nested")
        return
    if user := text_of(a.get("agent.principal.current.id")):
        facts.setdefault("user_id", user)
    if span.name == "agent.step":
        _put_step(span, facts)
    elif span.name == "agent.approval":
        facts.setdefault("kind", "step")
        facts.setdefault("name", "approval")
        put_preview(facts, "input", a.get("agent.approval.request"))
        put_preview(facts, "output", a.get("agent.approval.response", a.get("agent.approval.outcome")))
        _put_outcome(span, a.get("agent.approval.outcome"), facts)
    elif action := text_of(a.get("agent.action.name")):
        facts["kind"] = "agent" if a.get("agent.action.kind") in _CALLS_OF_AGENTS else "tool"
        facts["name"] = action
        put_preview(facts, "input", a.get("gen_ai.tool.call.arguments"))
        put_preview(facts, "output", a.get("gen_ai.tool.call.result"))
        _put_outcome(span, a.get("agent.action.outcome"), facts)


def _put_step(span: Span, facts: Facts) -> None:
    """One turn of the loop; a worker that was lost has all of it done again."""
    a = span.attributes
    facts.setdefault("kind", "turn")
    facts.setdefault("name", "step")
    if (index := whole_number(a.get("agent.step.index"))) is not None and index >= 0:
        facts.setdefault("iteration", index + 1)
        if (attempt := whole_number(a.get("agent.step.attempt"))) is not None and attempt >= 0:
            facts.setdefault("task_key", f"{text_of(a.get('agent.turn.id'))}:{index}")
            facts.setdefault("task_scope", "parent")
            facts.setdefault("attempt", attempt + 1)


def _put_outcome(span: Span, outcome: JsonValue, facts: Facts) -> None:
    if span.status_code != STATUS_ERROR and isinstance(outcome, str) and (status := _ENDED.get(outcome)) is not None:
        facts.setdefault("weak_status", status)


CONVENTION = Convention("eve", _read, scopes=("eve.agent",), keys=(_FRAMEWORK, *_CONVERSATION))
