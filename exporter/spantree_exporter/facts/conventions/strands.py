"""Strands Agents (scope `strands.telemetry.tracer`, seen with 1.62): inputs and outputs are in events.

In a graph each node is told what the nodes before it gave (`multiagent/graph.py`, _build_node_input): these are its
sources. In a swarm an agent hands over by calling a tool that names the next one (`multiagent/swarm.py`).
"""

from __future__ import annotations

import re
from typing import Final

from spantree_exporter.facts.reading import Convention, json_of, put_preview, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span

_INPUTS: Final = "Inputs from previous nodes:"
_FROM: Final = re.compile(r'"\\nFrom ([^"\n]+?):"')


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    operation = text_of(a.get("gen_ai.operation.name"))
    for event in span.events:
        if event.name in {"gen_ai.user.message", "gen_ai.tool.message"}:
            content = event.attributes.get("content")
            put_preview(facts, "input", content)
            if operation == "invoke_agent" and isinstance(content, str) and _INPUTS in content:
                facts["sources"] = _FROM.findall(content.partition(_INPUTS)[2])
            elif operation == "execute_tool" and a.get("gen_ai.tool.name") == "handoff_to_agent":
                arguments = json_of(content)
                if isinstance(arguments, dict) and (taker := text_of(arguments.get("agent_name"))):
                    facts["handoff_to"] = taker
        elif event.name == "gen_ai.choice":
            put_preview(facts, "output", event.attributes.get("message"))
    if operation in {"invoke_graph", "invoke_swarm"}:
        facts["boundary"] = "run"
        facts["kind"] = "workflow"
    elif operation == "execute_event_loop_cycle":
        facts["kind"] = "turn"
        facts["name"] = "cycle"
        if cycle := text_of(a.get("event_loop.cycle_id")):
            facts["task_key"] = cycle


CONVENTION = Convention("strands", _read, scopes=("strands.telemetry",))
