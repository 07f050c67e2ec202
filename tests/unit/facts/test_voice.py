"""Agents that are spoken to: LiveKit's and Pipecat's."""

from __future__ import annotations

import pytest
from tests.unit.facts.spans import span

from spantree_exporter.facts import read_facts
from spantree_exporter.span import STATUS_ERROR, Attributes

LIVEKIT = "livekit-agents"
PIPECAT = "pipecat"


def test_livekit_requests_are_made_of_attempts() -> None:
    for name in ("llm_request_run", "tts_request_run"):
        for retries in (0, 2):
            facts = read_facts(span(name, {"lk.retry_count": retries}, scope=LIVEKIT))
            assert facts == {"attempt": retries + 1, "retry_expected": True}


def test_livekit_an_adapter_that_found_another_provider_handled_what_failed() -> None:
    assert read_facts(span("tts_fallback_adapter", scope=LIVEKIT)) == {"declared_handled": True}
    assert "declared_handled" not in read_facts(span("tts_fallback_adapter", scope=LIVEKIT, status=STATUS_ERROR))


def test_livekit_a_turn_of_a_realtime_model_is_a_call_of_it() -> None:
    sent: Attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-realtime",
        "lk.realtime_model_metrics": "{}",
        "gen_ai.usage.input_tokens": 207,
        "gen_ai.usage.output_tokens": 30,
        "gen_ai.usage.input_text_tokens": 7,
        "gen_ai.usage.input_audio_tokens": 200,
        "gen_ai.usage.input_cached_tokens": 100,
    }
    assert read_facts(span("agent_turn", sent, scope=LIVEKIT)) == {
        "kind": "llm",
        "model": "gpt-realtime",
        "input_tokens": 207,
        "output_tokens": 30,
        "cached_input_tokens": 100,
    }


def test_livekit_tells_what_was_heard_and_said() -> None:
    heard = read_facts(span("user_turn", {"lk.pii.user_transcript": "hello"}, scope=LIVEKIT))
    assert heard == {"kind": "turn", "output": "hello"}
    assert read_facts(span("tts_request", {"lk.pii.input_text": "hi"}, scope=LIVEKIT)) == {"input": "hi"}


def test_pipecat_conversations_and_turns() -> None:
    conversation: Attributes = {"conversation.id": "c-1", "conversation.type": "voice"}
    assert read_facts(span("conversation", conversation, scope="pipecat.turn")) == {
        "kind": "agent",
        "boundary": "candidate",
        "conversation_id": "c-1",
    }
    turn: Attributes = {"turn.number": 2, "turn.was_interrupted": True, "conversation.id": "c-1"}
    told = {"kind": "turn", "status_reason": "interrupted", "conversation_id": "c-1"}
    assert read_facts(span("turn", turn, scope="pipecat.turn")) == told
    cut = read_facts(span("turn", {**turn, "turn.ended_by_conversation_end": True}, scope="pipecat.turn"))
    assert cut == {"kind": "turn", "conversation_id": "c-1"}


def test_pipecat_models_tell_what_they_heard_and_said() -> None:
    llm: Attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o",
        "input": '[{"role":"user","content":"hello"}]',
        "output": "hi",
        "gen_ai.usage.input_tokens": 20,
        "gen_ai.usage.output_tokens": 3,
    }
    assert read_facts(span("llm", llm, scope=PIPECAT)) == {
        "input": '[{"role":"user","content":"hello"}]',
        "output": "hi",
        "kind": "llm",
        "model": "gpt-4o",
        "input_tokens": 20,
        "output_tokens": 3,
    }
    stt: Attributes = {"gen_ai.operation.name": "stt", "gen_ai.request.model": "nova", "transcript": "hello"}
    assert read_facts(span("stt", stt, scope=PIPECAT)) == {"output": "hello", "kind": "llm", "model": "nova"}
    tts: Attributes = {"gen_ai.operation.name": "tts", "gen_ai.request.model": "sonic", "text": "hi"}
    assert read_facts(span("tts", {**tts, "tts.interrupted": True}, scope=PIPECAT)) == {
        "input": "hi",
        "kind": "llm",
        "model": "sonic",
        "status_reason": "interrupted",
    }


@pytest.mark.parametrize(("said", "status"), [("error", "failed"), ("success", None)])
def test_pipecat_realtime_models_tell_their_tools_by_attributes(said: str, status: str | None) -> None:
    sent: Attributes = {"tool.function_name": "weather", "tool.result": "42", "tool.result_status": said}
    facts = read_facts(span("llm_tool_result", sent, scope=PIPECAT))
    assert (facts["kind"], facts["name"], facts["output"], facts.get("weak_status")) == (
        "tool",
        "weather",
        "42",
        status,
    )
