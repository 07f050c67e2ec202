"""Agents that write code (Gemini CLI, Qwen Code, Claude Code): what each of their spans says."""

from __future__ import annotations

import pytest
from tests.unit.facts.spans import span

from spantree_exporter.facts import Facts, read_facts
from spantree_exporter.span import (
    Attributes,
)


@pytest.mark.parametrize(
    ("operation", "kind"),
    [("user_prompt", "agent"), ("llm_call", "llm"), ("tool_call", "tool"), ("agent_call", "agent")],
)
def test_gemini_cli_operations(operation: str, kind: str) -> None:
    sent: Attributes = {"gen_ai.operation.name": operation, "gen_ai.agent.name": "gemini-cli"}
    assert read_facts(span(operation, sent, scope="gemini-cli"))["kind"] == kind


@pytest.mark.parametrize("program", ["qwen-code", "o1-code"])
def test_qwen_code_requests_tools_and_what_was_cancelled(program: str) -> None:
    def told(what: str, sent: Attributes) -> Facts:
        return read_facts(span(f"{program}.{what}", {"tool.call_id": "c-1", **sent}, scope=program))

    assert told("llm_request", {"success": True}) == {"kind": "llm", "name": "llm_request"}
    assert told("llm_request", {"success": False})["weak_status"] == "cancelled"
    assert told("tool.execution", {"execution_status": "cancelled"}) == {"fold": "inner", "weak_status": "cancelled"}
    assert told("tool", {"tool.failure_kind": "cancelled", "success": False})["weak_status"] == "cancelled"
    asked = told("tool.blocked_on_user", {"decision": "proceed_once"})
    assert asked == {"name": "permission", "status_reason": "proceed_once"}
    assert told("hook", {"hook_event": "PreToolUse"}) == {"name": "PreToolUse"}
    turn = told("interaction", {f"{program}.turn_status": "cancelled", "interaction.sequence": 1})
    assert turn == {"kind": "agent", "boundary": "candidate", "weak_status": "cancelled"}
    assert told("subagent", {f"{program}.subagent.status": "aborted"})["weak_status"] == "cancelled"
    assert read_facts(span("other.tool", {"tool.call_id": "c-1"}, scope=program)) == {}


CLAUDE_CODE = "com.anthropic.claude_code.tracing"


def test_claude_code_counts_what_was_cached_beside_its_input() -> None:
    attributes: Attributes = {
        "model": "claude-x",
        "gen_ai.request.model": "claude-x",
        "input_tokens": 10,
        "output_tokens": 200,
        "cache_read_tokens": 5000,
        "cache_creation_tokens": 300,
        "success": True,
    }
    assert read_facts(span("claude_code.llm_request", attributes, scope=CLAUDE_CODE)) == {
        "kind": "llm",
        "name": "llm_request",
        "model": "claude-x",
        "input_tokens": 5310,
        "output_tokens": 200,
        "cached_input_tokens": 5000,
        "cache_write_tokens": 300,
    }


def test_claude_code_tells_prompts_tools_and_permissions() -> None:
    asked = read_facts(span("claude_code.interaction", {"user_prompt": "fix it"}, scope=CLAUDE_CODE))
    assert asked == {"kind": "agent", "boundary": "candidate", "input": "fix it"}
    tool = read_facts(span("claude_code.tool", {"tool_name": "Bash", "tool_use_id": "t-1"}))
    assert tool == {"kind": "tool", "name": "Bash"}
    ran: Attributes = {"success": False, "error": "exit 1"}
    assert read_facts(span("claude_code.tool.execution", ran, scope=CLAUDE_CODE)) == {
        "fold": "inner",
        "weak_status": "failed",
        "error_message": "exit 1",
    }
    waited = read_facts(span("claude_code.tool.blocked_on_user", {"decision": "reject"}, scope=CLAUDE_CODE))
    assert waited == {"name": "permission", "status_reason": "reject"}
    assert read_facts(span("claude_codex", {"tool_use_id": "t-1"})) == {}
