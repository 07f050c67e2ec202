"""OpenTelemetry's GenAI conventions by their new and old names."""

from __future__ import annotations

import base64
import json

import pytest
from tests.unit.facts.spans import span

from spantree_exporter.facts import read_facts
from spantree_exporter.span import KIND_CLIENT, KIND_SERVER, STATUS_OK, STATUS_UNSET, Attributes, JsonValue

NEW: Attributes = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-x",
    "gen_ai.response.model": "gpt-x-2026",
    "gen_ai.usage.input_tokens": 12,
    "gen_ai.usage.output_tokens": 5,
    "gen_ai.conversation.id": "c-1",
    "gen_ai.input.messages": '[{"role":"user"}]',
    "gen_ai.output.messages": '[{"role":"assistant"}]',
}
OLD: Attributes = {
    "gen_ai.system": "openai",
    "gen_ai.request.model": "gpt-x",
    "gen_ai.usage.prompt_tokens": 12,
    "gen_ai.usage.completion_tokens": 5,
    "gen_ai.prompt": "hi",
    "gen_ai.completion": "bye",
}


def test_a_model_call_by_new_names() -> None:
    assert read_facts(span("chat gpt-x", NEW, kind=KIND_CLIENT)) == {
        "kind": "llm",
        "conversation_id": "c-1",
        "model": "gpt-x-2026",
        "input_tokens": 12,
        "output_tokens": 5,
        "input": '[{"role":"user"}]',
        "output": '[{"role":"assistant"}]',
    }


@pytest.mark.parametrize("key", ["gen_ai.conversation.id", "session.id"])
def test_a_response_is_no_conversation(key: str) -> None:
    """microsoft/agent-framework#5992: the id of the last response is told as the next turn's conversation."""
    sent: Attributes = {"gen_ai.operation.name": "invoke_agent", key: "resp_0abc"}
    assert "conversation_id" not in read_facts(span("invoke_agent a", sent))
    assert read_facts(span("invoke_agent a", {**sent, "gen_ai.session.id": "s-1"}))["conversation_id"] == "s-1"


def test_a_model_call_by_old_names() -> None:
    assert read_facts(span("openai.chat", OLD, kind=KIND_CLIENT)) == {
        "kind": "llm",
        "model": "gpt-x",
        "input_tokens": 12,
        "output_tokens": 5,
        "input": "hi",
        "output": "bye",
    }


@pytest.mark.parametrize(
    ("operation", "more", "told"),
    [
        ("text_completion", {}, {"kind": "llm"}),
        ("embeddings", {}, {"kind": "embedding"}),
        ("retrieval", {}, {"kind": "retriever", "name": "docs"}),
        ("execute_tool", {"gen_ai.tool.name": "weather"}, {"kind": "tool", "name": "weather"}),
        (
            "invoke_agent",
            {"gen_ai.agent.name": "clerk"},
            {"kind": "agent", "boundary": "candidate", "name": "clerk"},
        ),
        ("create_agent", {"gen_ai.agent.name": "clerk"}, {"kind": "agent", "fold": "definition", "name": "clerk"}),
        (
            "invoke_workflow",
            {"gen_ai.workflow.name": "triage"},
            {"kind": "workflow", "boundary": "run", "workflow_name": "triage", "name": "triage"},
        ),
        ("execute_task", {"gen_ai.task.name": "load"}, {"kind": "step", "step": True, "name": "load"}),
        ("image", {"gen_ai.request.model": "dall-e-3"}, {"kind": "llm", "model": "dall-e-3"}),
        ("text_to_speech", {"gen_ai.request.model": "tts-1"}, {"kind": "llm", "model": "tts-1"}),
        # Semantic Kernel's for Python
        ("chat.completions", {"gen_ai.request.model": "gpt-x"}, {"kind": "llm", "model": "gpt-x"}),
        ("chat.streaming_completions", {}, {"kind": "llm"}),
        ("text.streaming_completions", {}, {"kind": "llm"}),
        # Azure's agents
        ("responses", {"gen_ai.request.model": "gpt-x"}, {"kind": "llm", "model": "gpt-x"}),
        (
            "process_thread_run",
            {"gen_ai.agent.name": "clerk"},
            {"kind": "agent", "boundary": "candidate", "name": "clerk"},
        ),
        ("get_thread_run", {}, {"kind": "rpc"}),
        # Strands for TypeScript (strands-agents/harness-sdk#4166): its node failed although its span is OK.
        (
            "execute_node",
            {"gen_ai.agent.id": "broken", "gen_ai.agent.status": "FAILED"},
            {"kind": "step", "step": True, "name": "broken", "status": "failed"},
        ),
        ("memory.add", {}, {"kind": "chain"}),
    ],
)
def test_operations_are_kinds(operation: str, more: Attributes, told: dict[str, object]) -> None:
    name = "retrieval docs" if operation == "retrieval" else f"{operation} x"
    assert read_facts(span(name, {"gen_ai.operation.name": operation, **more})) == told


def test_a_client_that_was_answered_by_a_model_asked_it_by_whatever_name() -> None:
    sent: Attributes = {
        "gen_ai.operation.name": "converse",
        "gen_ai.request.model": "m",
        "gen_ai.usage.output_tokens": 5,
    }
    assert read_facts(span("converse m", sent, kind=KIND_CLIENT)) == {"kind": "llm", "model": "m", "output_tokens": 5}
    assert "kind" not in read_facts(span("loop", sent))
    assert "kind" not in read_facts(span("list", {"gen_ai.operation.name": "list_models"}, kind=KIND_CLIENT))


def test_what_an_agent_used_is_told_where_it_says_so() -> None:
    facts = read_facts(span("invoke_agent", {"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 40}))
    assert facts["input_tokens"] == 40


def test_an_unknown_model_is_none_and_a_models_attribute_alone_makes_no_tool_a_model() -> None:
    assert "model" not in read_facts(span("chat", {"gen_ai.operation.name": "chat", "gen_ai.request.model": "unknown"}))
    tool: Attributes = {"gen_ai.tool.name": "weather", "gen_ai.request.model": "gpt-x"}
    assert "kind" not in read_facts(span("weather", tool, scope="app"))


def test_what_was_looked_for_and_found_is_told() -> None:
    sent: Attributes = {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.retrieval.query.text": "what is a span?",
        "gen_ai.retrieval.documents": '[{"id": "d-1", "score": 0.5}]',
    }
    facts = read_facts(span("retrieval docs", sent))
    assert (facts["input"], facts["output"]) == ("what is a span?", '[{"id": "d-1", "score": 0.5}]')


def test_whose_a_call_is_by_what_traceloop_puts_on_the_spans_of_others() -> None:
    sent: Attributes = {
        "gen_ai.operation.name": "chat",
        "traceloop.association.properties.session_id": "s-1",
        "traceloop.association.properties.user_id": "u-1",
    }
    facts = read_facts(span("openai.chat", sent, scope="opentelemetry.instrumentation.openai.v1"))
    assert (facts["conversation_id"], facts["user_id"]) == ("s-1", "u-1")


def test_an_image_leaves_room_in_a_preview_for_what_is_said_about_it() -> None:
    image = base64.b64encode(bytes(range(256)) * 16).decode()
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}}
    content = json.dumps([part, part, {"type": "text", "text": "what is on these?"}])
    facts = read_facts(span("chat", {"gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": content}))
    shown = part | {"image_url": {"url": f"data:image/png;base64,<{len(image)} characters>"}}
    assert facts["input"] == json.dumps([shown, shown, {"type": "text", "text": "what is on these?"}])
    assert facts["input_digest"].endswith(f"-{len(content):x}")


@pytest.mark.parametrize("said", ["x" * 600, "7" * 600, "word " * 200, "Ab1/" * 30 + " and so on" * 60])
def test_long_words_and_numbers_are_previewed_as_they_are(said: str) -> None:
    assert read_facts(span("chat", {"gen_ai.prompt": said}))["input"] == said[:500]


@pytest.mark.parametrize(
    ("reasons", "status", "failed"),
    [
        (["error"], STATUS_UNSET, True),
        ('["error"]', STATUS_UNSET, True),
        (["stop"], STATUS_UNSET, False),
        (["error"], STATUS_OK, False),
    ],
)
def test_a_stream_that_broke_off_failed(reasons: JsonValue, status: int, failed: bool) -> None:
    """vercel/ai#20586, vercel/ai#4720: the error is told to who reads the stream, and not by the span's status."""
    sent: Attributes = {"gen_ai.operation.name": "chat", "gen_ai.response.finish_reasons": reasons}
    assert (read_facts(span("chat x", sent, status=status)).get("weak_status") == "failed") is failed


def test_what_has_a_model_and_its_answer_is_a_call_of_it_whatever_the_kind_of_its_span() -> None:
    sent: Attributes = {"gen_ai.request.model": "gpt-x", "gen_ai.completion.0.content": "bye"}
    assert read_facts(span("litellm_request", sent)) == {"kind": "llm", "model": "gpt-x", "output": "bye"}
    assert "kind" not in read_facts(span("run", {"gen_ai.request.model": "gpt-x"}))


def test_what_a_model_server_tells_of_a_request_is_a_call_of_the_model() -> None:
    """vLLM's `llm_request`, and what LiteLLM's proxy tells of a request; a web service's own is a request."""
    sent: Attributes = {"gen_ai.response.model": "qwen", "gen_ai.usage.completion_tokens": 5}
    told = {"kind": "llm", "model": "qwen", "output_tokens": 5}
    assert read_facts(span("llm_request", sent, kind=KIND_SERVER)) == told
    web: Attributes = {**sent, "http.request.method": "POST", "http.route": "/chat"}
    assert read_facts(span("POST /chat", web, kind=KIND_SERVER))["kind"] == "http_server"
    assert "kind" not in read_facts(span("llm_request", {"gen_ai.response.model": "qwen"}, kind=KIND_SERVER))


@pytest.mark.parametrize(
    ("operation", "kind"),
    [("search_memory", "retriever"), ("upsert_memory", "rpc"), ("fetch_response", "rpc"), ("teleport", None)],
)
def test_operations_on_memories_are_calls(operation: str, kind: str | None) -> None:
    assert read_facts(span(operation, {"gen_ai.operation.name": operation}, kind=KIND_CLIENT)).get("kind") == kind


def test_a_tool_that_is_called_over_mcp_is_one_call_and_its_server_a_request() -> None:
    called: Attributes = {
        "mcp.method.name": "tools/call",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "search",
    }
    assert read_facts(span("tools/call search", called, kind=KIND_CLIENT)) == {
        "kind": "tool",
        "name": "search",
        "fold": "nested",
    }
    assert read_facts(span("tools/call search", called, kind=KIND_SERVER)) == {
        "kind": "rpc",
        "entry": "tools/call search",
    }
    assert read_facts(span("tools/list", {"mcp.method.name": "tools/list"}, kind=KIND_CLIENT)) == {"kind": "rpc"}
