"""Strands Agents: inputs and outputs in events, graphs and swarms."""

from __future__ import annotations

import json

import pytest
from tests.unit.facts.spans import span

from spantree_exporter.facts import read_facts
from spantree_exporter.span import KIND_CLIENT, STATUS_OK, Attributes, Event

SCOPE = "strands.telemetry.tracer"


def test_an_agents_values_are_in_events() -> None:
    attributes: Attributes = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "clerk",
        "gen_ai.usage.input_tokens": 20,
    }
    events = [
        Event(1_100, "gen_ai.user.message", {"content": '[{"text": "hi"}]'}),
        Event(1_900, "gen_ai.choice", {"message": "bye"}),
    ]
    assert read_facts(span("invoke_agent clerk", attributes, scope=SCOPE, events=events)) == {
        "input": '[{"text": "hi"}]',
        "output": "bye",
        "kind": "agent",
        "boundary": "candidate",
        "name": "clerk",
        "input_tokens": 20,
        "usage_accumulated": True,
    }


@pytest.mark.parametrize(
    ("reason", "status"),
    [("interrupt", "waiting"), ("checkpoint", "waiting"), ("cancelled", "cancelled"), ("end_turn", None)],
)
def test_an_agent_that_was_interrupted_waits(reason: str, status: str | None) -> None:
    """Its span is OK; why it stopped is told by an event, of either form."""
    agent: Attributes = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "clerk"}
    messages = json.dumps([{"role": "assistant", "parts": [], "finish_reason": reason}])
    for event in (
        Event(1_900, "gen_ai.choice", {"message": "", "finish_reason": reason}),
        Event(1_900, "gen_ai.client.inference.operation.details", {"gen_ai.output.messages": messages}),
    ):
        facts = read_facts(span("invoke_agent clerk", agent, scope=SCOPE, status=STATUS_OK, events=[event]))
        assert facts.get("status") == status
    call: Attributes = {"gen_ai.operation.name": "chat"}
    stopped = Event(1_900, "gen_ai.choice", {"message": "", "finish_reason": reason})
    assert "status" not in read_facts(span("chat", call, scope=SCOPE, events=[stopped]))


def test_an_agent_that_was_asked_nothing_takes_its_session_up_again() -> None:
    agent: Attributes = {"gen_ai.operation.name": "invoke_agent", "session.id": "s-1"}
    details = "gen_ai.client.inference.operation.details"
    asked = Event(1_100, "gen_ai.user.message", {"content": "[]"})
    nothing = Event(1_100, details, {"gen_ai.input.messages": "[]"})
    something = Event(1_100, details, {"gen_ai.input.messages": '[{"role": "user"}]'})
    assert [
        read_facts(span("invoke_agent clerk", agent, scope=SCOPE, events=events)).get("resumes")
        for events in ([], [nothing], [asked], [something])
    ] == ["s-1", "s-1", None, None]


def test_a_node_of_a_graph_names_what_it_got_its_inputs_from() -> None:
    content = (
        '[{"text": "Original Task: go"}, {"text": "\\nInputs from previous nodes:"}, '
        '{"text": "\\nFrom left:"}, {"text": "  - Agent: \\nFrom x: done\\n"}, {"text": "\\nFrom right side:"}]'
    ).replace("\n", "\\n")
    events = [Event(1_100, "gen_ai.user.message", {"content": content})]
    facts = read_facts(span("invoke_agent join", {"gen_ai.operation.name": "invoke_agent"}, scope=SCOPE, events=events))
    assert facts["sources"] == ["left", "right side"]


def test_a_swarm_hands_over_by_a_tool() -> None:
    attributes: Attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "handoff_to_agent"}
    events = [Event(1_100, "gen_ai.tool.message", {"content": '{"agent_name": "bob", "message": "take it"}'})]
    facts = read_facts(span("execute_tool handoff_to_agent", attributes, scope=SCOPE, events=events))
    assert (facts["kind"], facts["handoff_to"]) == ("tool", "bob")


def test_graphs_and_swarms_are_runs_and_cycles_turns() -> None:
    for operation in ("invoke_graph", "invoke_swarm"):
        facts = read_facts(span(operation, {"gen_ai.operation.name": operation}, scope=SCOPE, kind=KIND_CLIENT))
        assert facts == {"boundary": "run", "kind": "workflow"}
    attributes: Attributes = {
        "gen_ai.operation.name": "execute_event_loop_cycle",
        "event_loop.cycle_id": "c-1",
    }
    assert read_facts(span("execute_event_loop_cycle", attributes, scope=SCOPE)) == {
        "kind": "turn",
        "name": "cycle",
        "task_key": "c-1",
    }


def test_an_agent_that_was_cancelled_says_so_by_an_attribute() -> None:
    left: Attributes = {"gen_ai.operation.name": "invoke_agent", "strands.cancellation.type": "CancelledError"}
    facts = read_facts(span("invoke_agent clerk", left, scope="strands.telemetry.tracer"))
    assert (facts["status"], facts["status_reason"]) == ("cancelled", "CancelledError")
