"""The AI SDK of Vercel, and eve, which is made of it: what each of their spans says."""

from __future__ import annotations

import pytest
from tests.unit.facts.spans import span

from spantree_exporter.facts import read_facts
from spantree_exporter.span import (
    STATUS_ERROR,
    Attributes,
)


def test_vercel_ai_calls_tools_and_their_usage() -> None:
    outer: Attributes = {
        "ai.operationId": "ai.generateText",
        "ai.telemetry.functionId": "assistant",
        "ai.telemetry.metadata.sessionId": "s-1",
        "ai.telemetry.metadata.userId": "u-1",
        "ai.model.id": "gpt-x",
        "ai.usage.inputTokens": 20,
        "ai.usage.outputTokens": 6,
        "ai.response.text": "bye",
    }
    assert read_facts(span("ai.generateText", outer, scope="ai")) == {
        "conversation_id": "s-1",
        "user_id": "u-1",
        "kind": "agent",
        "boundary": "candidate",
        "workflow_name": "assistant",
        "output": "bye",
        "model": "gpt-x",
        "input_tokens": 20,
        "output_tokens": 6,
    }
    tool: Attributes = {"ai.operationId": "ai.toolCall", "ai.toolCall.name": "weather", "ai.toolCall.args": "{}"}
    assert read_facts(span("ai.toolCall", tool, scope="ai")) == {"kind": "tool", "name": "weather", "input": "{}"}
    inner: Attributes = {"ai.operationId": "ai.generateText.doGenerate", "ai.usage.inputTokens": 20}
    assert read_facts(span("ai.generateText.doGenerate", inner, scope="ai")) == {"kind": "llm", "input_tokens": 20}


def test_vercel_ai_a_stream_that_broke_off_failed() -> None:
    sent: Attributes = {"ai.operationId": "ai.streamText", "ai.response.finishReason": "error"}
    assert read_facts(span("ai.streamText", sent)) == {
        "kind": "agent",
        "boundary": "candidate",
        "weak_status": "failed",
    }
    assert "weak_status" not in read_facts(span("ai.streamText", {**sent, "ai.response.finishReason": "stop"}))


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("ai.streamText", {"ai.operationId": "ai.streamText"}),
        ("ai.streamText.doStream", {"ai.operationId": "ai.streamText.doStream", "ai.response.msToFirstChunk": 3.0}),
        ("ai.streamObject.doStream", {"ai.operationId": "ai.streamObject.doStream"}),
        ("chat gpt-5", {"gen_ai.operation.name": "chat"}),
        ("invoke_agent gpt-5", {"gen_ai.operation.name": "invoke_agent"}),
    ],
)
def test_vercel_ai_a_stream_that_tells_no_end_was_aborted(name: str, sent: Attributes) -> None:
    scope = "ai" if "ai.operationId" in sent else "gen_ai"
    assert read_facts(span(name, sent, scope=scope))["weak_status"] == "cancelled"
    ends: tuple[Attributes, ...] = (
        {"ai.response.finishReason": "stop"},
        {"ai.finishReason": "stop"},
        {"gen_ai.response.finish_reasons": ["stop"]},
    )
    for end in ends:
        assert "weak_status" not in read_facts(span(name, {**sent, **end}, scope=scope))
    assert "weak_status" not in read_facts(span(name, sent, scope=scope, status=STATUS_ERROR))
    assert "weak_status" not in read_facts(span(name, {"gen_ai.operation.name": "chat"}, scope="gen_ai.client"))


def test_vercel_ai_steps_are_turns_of_one_loop() -> None:
    facts = read_facts(span("step 12", {"gen_ai.operation.name": "agent_step"}, scope="gen_ai"))
    assert facts == {"kind": "turn", "name": "step", "iteration": 12}


@pytest.mark.parametrize("name", ["chat gpt", "invoke_agent a"])
def test_vercel_ai_the_context_of_a_run_tells_whose_it_is(name: str) -> None:
    sent: Attributes = {
        "gen_ai.operation.name": name.split()[0],
        "gen_ai.response.finish_reasons": '["stop"]',
        "ai.settings.context.sessionId": "s-1",
        "ai.settings.context.userId": "ann",
    }
    facts = read_facts(span(name, sent, scope="gen_ai"))
    assert (facts["conversation_id"], facts["user_id"]) == ("s-1", "ann")


_EVE: Attributes = {"agent.framework.name": "eve", "agent.turn.id": "turn_0", "gen_ai.conversation.id": "c-1"}


def test_eve_steps_actions_and_approvals() -> None:
    step: Attributes = {**_EVE, "agent.step.index": 1, "agent.step.attempt": 2, "agent.usage.input_tokens": 10}
    assert read_facts(span("agent.step", step, scope="eve.agent")) == {
        "kind": "turn",
        "name": "step",
        "iteration": 2,
        "attempt": 3,
        "task_key": "turn_0:1",
        "task_scope": "parent",
        "conversation_id": "c-1",
    }
    action: Attributes = {
        **_EVE,
        "agent.action.name": "weather",
        "agent.action.kind": "tool-call",
        "agent.action.outcome": "completed",
        "gen_ai.tool.call.arguments": '{"city":"Bern"}',
        "gen_ai.tool.call.result": "sunny",
        "agent.principal.current.id": "ann",
    }
    assert read_facts(span("agent.action", action, scope="eve.agent")) == {
        "kind": "tool",
        "name": "weather",
        "input": '{"city":"Bern"}',
        "output": "sunny",
        "conversation_id": "c-1",
        "user_id": "ann",
    }
    tool: Attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "weather"}
    told = read_facts(span("execute_tool weather", tool, scope="eve.agent"))
    assert (told["kind"], told["name"], told["fold"]) == ("tool", "weather", "nested")
    approval: Attributes = {**_EVE, "agent.action.name": "weather", "agent.approval.outcome": "approved"}
    assert read_facts(span("agent.approval", approval, scope="eve.agent")) == {
        "kind": "step",
        "name": "approval",
        "output": "approved",
        "conversation_id": "c-1",
    }


@pytest.mark.parametrize(("outcome", "status"), [("cancelled", "cancelled"), ("abandoned", "cancelled")])
def test_eve_what_was_given_up_is_cancelled(outcome: str, status: str) -> None:
    called: Attributes = {
        **_EVE,
        "agent.action.name": "research",
        "agent.action.kind": "subagent-call",
        "agent.action.outcome": outcome,
    }
    facts = read_facts(span("agent.action", called, scope="eve.agent"))
    assert (facts["kind"], facts["weak_status"]) == ("agent", status)
    turn: Attributes = {**_EVE, "gen_ai.operation.name": "invoke_agent", "agent.turn.outcome": outcome}
    assert read_facts(span("invoke_agent a", turn, scope="eve.agent"))["weak_status"] == status


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("ai.eve.turn", {"eve.session.id": "s-1", "ai.telemetry.functionId": "my-agent"}),
        ("agent.turn", {"agent.session.id": "s-2", "agent.root.session.id": "s-1", "agent.name": "my-agent"}),
    ],
)
def test_eve_older_turns_are_agents_of_their_session(name: str, sent: Attributes) -> None:
    assert read_facts(span(name, sent, scope="eve")) == {
        "kind": "agent",
        "boundary": "candidate",
        "name": "my-agent",
        "conversation_id": "s-1",
    }
