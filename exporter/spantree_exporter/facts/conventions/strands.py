"""Strands Agents (scope `strands.telemetry.tracer`, seen with 1.62): inputs and outputs are in events.

In a graph each node is told what the nodes before it gave (`multiagent/graph.py`, _build_node_input): these are its
sources. In a swarm an agent hands over by calling a tool that names the next one (`multiagent/swarm.py`). An agent's
usage is that of all its invocations so far, unless an option says otherwise (`telemetry/tracer.py`, end_agent_span).
"""

from __future__ import annotations

import re
from typing import Final

from spantree_exporter.facts.reading import Convention, json_of, put_preview, text_of
from spantree_exporter.facts.vocabulary import Facts, Status
from spantree_exporter.span import JsonValue, Span

_INPUTS: Final = "Inputs from previous nodes:"
_FROM: Final = re.compile(r'"\\nFrom ([^"\n]+?):"')
_NOTHING: Final = "[]"
# Why an agent stopped (`types/event_loop.py`), where that is no end of its work.
_STOPPED: Final[dict[str | None, Status]] = {"interrupt": "waiting", "checkpoint": "waiting", "cancelled": "cancelled"}


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    operation = text_of(a.get("gen_ai.operation.name"))
    asked = False
    for event in span.events:
        if event.name in {"gen_ai.user.message", "gen_ai.tool.message"}:
            content = event.attributes.get("content")
            asked = True
            put_preview(facts, "input", content)
            if operation == "invoke_agent" and isinstance(content, str) and _INPUTS in content:
                facts["sources"] = _FROM.findall(content.partition(_INPUTS)[2])
            elif operation == "execute_tool" and a.get("gen_ai.tool.name") == "handoff_to_agent":
                arguments = json_of(content)
                if isinstance(arguments, dict) and (taker := text_of(arguments.get("agent_name"))):
                    facts["handoff_to"] = taker
        elif event.name == "gen_ai.choice":
            put_preview(facts, "output", event.attributes.get("message"))
            if operation == "invoke_agent":
                _put_stop(facts, event.attributes.get("finish_reason"))
        elif event.name == "gen_ai.client.inference.operation.details" and operation == "invoke_agent":
            asked = asked or event.attributes.get("gen_ai.input.messages", _NOTHING) != _NOTHING
            messages = json_of(event.attributes.get("gen_ai.output.messages"))
            if isinstance(messages, list) and messages and isinstance(last := messages[-1], dict):
                _put_stop(facts, last.get("finish_reason"))
    if operation == "invoke_agent":
        if "gen_ai.usage.input_tokens" in a:
            facts["usage_accumulated"] = True
        if cancellation := text_of(a.get("strands.cancellation.type")):
            facts["status"] = "cancelled"
            facts["status_reason"] = cancellation
        if not asked and (session := text_of(a.get("session.id"))):
            # What was answered to an interrupt is no message.
            facts["resumes"] = session
    if operation in {"invoke_graph", "invoke_swarm"}:
        facts["boundary"] = "run"
        facts["kind"] = "workflow"
    elif operation == "execute_event_loop_cycle":
        facts["kind"] = "turn"
        facts["name"] = "cycle"
        if cycle := text_of(a.get("event_loop.cycle_id")):
            facts["task_key"] = cycle


def _put_stop(facts: Facts, reason: JsonValue) -> None:
    if status := _STOPPED.get(text_of(reason)):
        facts["status"] = status


CONVENTION = Convention("strands", _read, scopes=("strands.telemetry",))
