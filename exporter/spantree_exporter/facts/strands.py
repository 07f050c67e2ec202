"""Strands Agents (scope `strands.telemetry.tracer`, seen with 1.62): inputs and outputs are in events."""

from __future__ import annotations

from spantree_exporter.facts.reading import Convention, put_preview, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    operation = a.get("gen_ai.operation.name")
    for event in span.events:
        if event.name in {"gen_ai.user.message", "gen_ai.tool.message"}:
            put_preview(facts, "input", event.attributes.get("content"))
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
