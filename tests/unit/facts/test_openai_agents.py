"""OpenAI's Agents SDK through OpenInference, Logfire and Traceloop."""

from __future__ import annotations

import pytest
from tests.unit.facts.spans import span

from spantree_exporter.facts import read_facts
from spantree_exporter.span import STATUS_ERROR, STATUS_OK, Attributes

OPENINFERENCE = "openinference.instrumentation.openai_agents"
LOGFIRE = "logfire.openai_agents"
TRACELOOP = "opentelemetry.instrumentation.openai_agents"


def test_through_openinference() -> None:
    def facts(name: str, kind: str, more: Attributes | None = None, status: int = STATUS_OK) -> object:
        attributes: Attributes = {"openinference.span.kind": kind, **(more or {})}
        return read_facts(span(name, attributes, scope=OPENINFERENCE, status=status))

    assert facts("relay", "AGENT") == {"boundary": "run", "kind": "workflow"}
    again = {"kind": "chain", "boundary": "candidate"}
    assert facts("relay", "CHAIN") == {**again, "fold": "nested"}
    assert facts("Agent workflow", "CHAIN") == {**again, "fold": "inner"}
    clerk: Attributes = {"graph.node.id": "clerk", "graph.node.parent_id": "triage"}
    told = {"kind": "agent", "name": "clerk", "handoff_from": "triage", "boundary": "candidate"}
    assert facts("clerk", "AGENT", clerk) == told
    assert facts("clerk", "AGENT", clerk, STATUS_ERROR) == {**told, "breaks_run": True}
    assert facts("turn", "CHAIN") == {"kind": "turn", "boundary": "candidate"}
    given: Attributes = {"input.value": "triage", "output.value": "clerk"}
    assert facts("handoff to clerk", "TOOL", given) == {
        "kind": "handoff",
        "handoff_from": "triage",
        "handoff_to": "clerk",
        "input": "triage",
        "output": "clerk",
    }


@pytest.mark.parametrize(
    ("shown", "message"),
    [
        ("Error running tool: {'tool_name': 'refund', 'error': 'card expired'}", "card expired"),
        (
            "Error in agent run: {'error': \"Error running tool refund: it's gone\"}",
            "Error running tool refund: it's gone",
        ),
        ("Max turns exceeded: {'max_turns': 2}", "Max turns exceeded: {'max_turns': 2}"),
        ("Error: {'error': broken", "Error: {'error': broken"),
    ],
)
def test_through_openinference_the_error_is_behind_what_the_sdk_calls_it(shown: str, message: str) -> None:
    failed = span(
        "refund", {"openinference.span.kind": "TOOL"}, scope=OPENINFERENCE, status=STATUS_ERROR, message=shown
    )
    assert read_facts(failed) == {"kind": "tool", "error_message": message}


@pytest.mark.parametrize(
    ("template", "attributes", "told"),
    [
        (
            "OpenAI Agents trace: {name}",
            {"name": "relay", "group_id": "null", "logfire.msg": "OpenAI Agents trace: relay"},
            {"boundary": "run", "kind": "workflow", "name": "relay", "workflow_name": "relay"},
        ),
        (
            "Task: relay",
            {"name": "relay", "sdk_span_type": "task"},
            {"fold": "inner", "boundary": "run", "kind": "workflow", "name": "relay", "workflow_name": "relay"},
        ),
        ("Agent run: {name!r}", {"name": "clerk"}, {"kind": "agent", "name": "clerk"}),
        (
            "Turn {turn} for agent clerk",
            {"sdk_span_type": "turn", "turn": 2, "usage": '{"input_tokens":10,"output_tokens":3}'},
            {
                "kind": "turn",
                "name": "turn",
                "iteration": 2,
                "input_tokens": 10,
                "output_tokens": 3,
            },
        ),
        ("Function: {name}", {"name": "lookup", "input": "{}"}, {"kind": "tool", "name": "lookup", "input": "{}"}),
        (
            "Handoff: {from_agent} → {to_agent}",
            {"from_agent": "triage", "to_agent": "clerk"},
            {"kind": "handoff", "handoff_from": "triage", "handoff_to": "clerk", "name": "handoff to clerk"},
        ),
    ],
)
def test_through_logfire(template: str, attributes: Attributes, told: dict[str, object]) -> None:
    facts = read_facts(span(template, {"logfire.msg_template": template, **attributes}, scope=LOGFIRE))
    assert {key: value for key, value in facts.items() if key != "grouped_as"} == told


def test_through_logfire_an_agent_that_failed_breaks_its_run_and_says_why() -> None:
    attributes: Attributes = {
        "logfire.msg_template": "Agent run: {name!r}",
        "name": "clerk",
        "error": '{"message":"Error in agent run","data":{"error":"model is overloaded"}}',
    }
    facts = read_facts(span("Agent run: {name!r}", attributes, scope=LOGFIRE, status=STATUS_ERROR))
    assert (facts["breaks_run"], facts["error_message"]) == (True, "model is overloaded")


def test_through_traceloop() -> None:
    agent: Attributes = {
        "traceloop.span.kind": "agent",
        "gen_ai.agent.name": "clerk",
        "gen_ai.operation.name": "invoke_agent",
    }
    facts = read_facts(span("clerk.agent", agent, scope=TRACELOOP, status=STATUS_ERROR, message="Max turns exceeded"))
    assert facts == {
        "kind": "agent",
        "name": "clerk",
        "breaks_run": True,
        "boundary": "candidate",
        "error_message": "Max turns exceeded",
    }
    handoff: Attributes = {"traceloop.span.kind": "handoff", "gen_ai.handoff.from_agent": "triage"}
    assert read_facts(span("triage → unknown.handoff", handoff, scope=TRACELOOP)) == {
        "kind": "handoff",
        "handoff_from": "triage",
        "name": "handoff from triage",
    }


def test_through_opentelemetry_the_error_is_taken_out_of_what_python_shows() -> None:
    attributes: Attributes = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "clerk",
        "error.type": "_OTHER",
    }
    message = "{'message': 'Error in agent run', 'data': {'error': 'model is overloaded'}}"
    scope = "opentelemetry.instrumentation.genai.openai_agents"
    assert read_facts(span("invoke_agent clerk", attributes, scope=scope, status=STATUS_ERROR, message=message)) == {
        "kind": "agent",
        "name": "clerk",
        "breaks_run": True,
        "boundary": "candidate",
        "error_message": "model is overloaded",
    }
