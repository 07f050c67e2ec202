"""pydantic-ai's spans of agents, models and tools, in both generations of its attribute names."""

from __future__ import annotations

import pytest
from tests.unit.facts.spans import span

from spantree_exporter.facts import read_facts
from spantree_exporter.span import KIND_CLIENT, STATUS_ERROR, Attributes, Event

SCOPE = "pydantic-ai"
AGENT: Attributes = {
    "gen_ai.operation.name": "invoke_agent",
    "gen_ai.agent.name": "clerk",
    "gen_ai.agent.call.id": "call-1",
    "gen_ai.conversation.id": "c-1",
    "logfire.msg": "clerk run",
    "pydantic_ai.all_messages": '[{"role":"user","parts":[{"content":"hi"}]}]',
}
TOOL: Attributes = {
    "gen_ai.operation.name": "execute_tool",
    "gen_ai.tool.name": "find",
    "gen_ai.tool.call.arguments": '{"who":"x"}',
    "logfire.msg": "running tool: find",
}


def test_an_agents_run() -> None:
    attributes: Attributes = {
        **AGENT,
        "final_result": "hello",
        "gen_ai.aggregated_usage.input_tokens": 20,
        "gen_ai.aggregated_usage.output_tokens": 6,
    }
    assert read_facts(span("invoke_agent clerk", attributes, scope=SCOPE)) == {
        "kind": "agent",
        "boundary": "candidate",
        "name": "clerk",
        "workflow_name": "clerk",
        "grouped_as": "invoke_agent clerk",
        "run_id": "call-1",
        "conversation_id": "c-1",
        "input": '[{"role":"user","parts":[{"content":"hi"}]}]',
        "output": "hello",
        "input_tokens": 20,
        "output_tokens": 6,
        "usage_accumulated": True,
    }


@pytest.mark.parametrize(
    ("result", "messages", "status"),
    [
        ("hello", '[{"parts":[{"content":"hi"}]}]', None),
        ('{"calls":[],"approvals":[{"tool_name":"pay"}]}', '[{"parts":[{"content":"hi"}]}]', "waiting"),
        (None, '[{"parts":[{"content":"hi"}]}]', "cancelled"),
        (None, "[]", "cancelled"),
        # A setting keeps what is said out of the spans: then there is no result either.
        (None, '[{"parts":[{"type":"text"}]}]', None),
    ],
)
def test_how_a_run_ended_is_in_its_result(result: str | None, messages: str, status: str | None) -> None:
    attributes: Attributes = {**AGENT, "pydantic_ai.all_messages": messages}
    if result is not None:
        attributes["final_result"] = result
    assert read_facts(span("invoke_agent clerk", attributes, scope=SCOPE)).get("run_status") == status


def test_the_older_names_say_the_same() -> None:
    agent: Attributes = {"agent_name": "clerk", "final_result": "hello", "all_messages_events": "[]"}
    facts = read_facts(span("agent run", agent, scope=SCOPE))
    assert (facts["name"], facts["kind"], facts["output"]) == ("clerk", "agent", "hello")
    tool: Attributes = {"gen_ai.tool.name": "find", "tool_arguments": "{}", "tool_response": "bob"}
    facts = read_facts(span("running tool", tool, scope=SCOPE))
    assert (facts["name"], facts["kind"], facts["input"], facts["output"]) == ("find", "tool", "{}", "bob")
    assert read_facts(span("running tools", {}, scope=SCOPE))["fold"] == "parent"


def test_a_model_call_is_the_step_model_and_one_without_an_answer_was_cancelled() -> None:
    asked: Attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-x"}
    told = {"kind": "llm", "name": "model", "model": "gpt-x"}
    answered = {**asked, "gen_ai.response.model": "gpt-x"}
    assert read_facts(span("chat gpt-x", answered, scope=SCOPE, kind=KIND_CLIENT)) == told
    facts = read_facts(span("chat gpt-x", asked, scope=SCOPE, kind=KIND_CLIENT))
    assert facts["status"] == "cancelled"
    failed = span("chat gpt-x", asked, scope=SCOPE, kind=KIND_CLIENT, status=STATUS_ERROR, message="503")
    assert "status" not in read_facts(failed)


def test_a_tool_that_may_be_tried_again_says_which_attempt_it_was() -> None:
    attributes: Attributes = {
        **TOOL,
        "pydantic_ai.tool.retry.attempt": 1,
        "pydantic_ai.tool.retry.max_retries": 2,
        "pydantic_ai.tool.retry.cause": "model_retry",
    }
    event = Event(
        1_500,
        "exception",
        {"exception.type": "pydantic_ai.exceptions.ToolRetryError", "exception.message": "no such person"},
    )
    facts = read_facts(span("execute_tool find", attributes, scope=SCOPE, status=STATUS_ERROR, events=[event]))
    keys = ("name", "attempt", "max_attempts", "retry_expected", "error_type", "error_message")
    assert {key: facts.get(key) for key in keys} == {
        "name": "find",
        "attempt": 1,
        "max_attempts": 3,
        "retry_expected": True,
        "error_type": "ModelRetry",
        "error_message": "no such person",
    }


def test_a_tool_that_gave_up_says_why() -> None:
    traceback = (
        "Traceback (most recent call last):\n  ...\npydantic_ai.exceptions.ModelRetry: not like this\n\n"
        "The above exception was the direct cause of the following exception:\n\n"
        "pydantic_ai.exceptions.UnexpectedModelBehavior: Tool 'find' exceeded max retries count of 1\n"
    )
    event = Event(
        1_500,
        "exception",
        {
            "exception.type": "pydantic_ai.exceptions.UnexpectedModelBehavior",
            "exception.message": "Tool 'find' exceeded max retries count of 1",
            "exception.stacktrace": traceback,
        },
    )
    facts = read_facts(span("execute_tool find", TOOL, scope=SCOPE, status=STATUS_ERROR, events=[event]))
    assert (facts["error_type"], facts["error_message"]) == ("ModelRetry", "not like this")


def test_a_tool_that_needs_an_approval_waits() -> None:
    facts = read_facts(
        span("execute_tool find", {**TOOL, "pydantic_ai.tool.deferral.name": "ApprovalRequired"}, scope=SCOPE)
    )
    assert (facts["status"], facts["status_reason"]) == ("waiting", "ApprovalRequired")
