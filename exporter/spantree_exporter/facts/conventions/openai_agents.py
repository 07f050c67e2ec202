"""OpenAI's Agents SDK (0.24), through OpenInference (2.6), Logfire (5.2), Traceloop (0.62) and OpenTelemetry (1.3b0).

A run that raised leaves its root OK; only its last agent, or the last turn of it, says that it failed: what an agent
gets over fails no more than a tool. OpenInference sends no group id, Traceloop neither it, the workflow's name nor
guardrails, and of a handoff only the giver; OpenTelemetry's own no group id, handoff or guardrail.
"""

from __future__ import annotations

from spantree_exporter.facts.reading import Convention, json_of, literal_of, put_preview, text_of, whole_number
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import STATUS_ERROR, JsonValue, Span


def _read(span: Span, facts: Facts) -> None:
    if span.scope.name.startswith("openinference."):
        _openinference(span, facts)
        if span.status_code == STATUS_ERROR and (message := _message_behind(span.status_message)):
            facts["error_message"] = message
    elif span.scope.name.startswith("logfire."):
        _logfire(span, facts)
    else:
        _traceloop(span, facts)
        if span.status_code == STATUS_ERROR and (message := _inner_message(span.status_message)):
            facts["error_message"] = message


def _openinference(span: Span, facts: Facts) -> None:
    a = span.attributes
    kind = a.get("openinference.span.kind")
    if kind == "AGENT":
        if agent := text_of(a.get("graph.node.id")):
            facts["kind"] = "agent"
            facts["name"] = agent
            _put_end(span, facts)
            if giver := text_of(a.get("graph.node.parent_id")):
                facts["handoff_from"] = giver
        else:
            facts["boundary"] = "run"
            facts["kind"] = "workflow"
    elif kind == "CHAIN":
        if span.name == "turn":
            facts["kind"] = "turn"
            _put_end(span, facts)
        else:
            # The run of the first agent, called like the trace around it unless that was begun by hand; or one's own.
            facts["kind"] = "chain"
            facts["fold"] = "inner" if span.name == "Agent workflow" else "nested"
    elif kind == "TOOL" and span.name.startswith("handoff to "):
        facts["kind"] = "handoff"
        if (giver := text_of(a.get("input.value"))) and (taker := text_of(a.get("output.value"))):
            facts["handoff_from"] = giver
            facts["handoff_to"] = taker


def _traceloop(span: Span, facts: Facts) -> None:
    a = span.attributes
    kind = a.get("traceloop.span.kind")
    if kind == "agent" or (kind is None and a.get("gen_ai.operation.name") == "invoke_agent"):
        facts["kind"] = "agent"
        if agent := text_of(a.get("gen_ai.agent.name")):
            facts["name"] = agent
        _put_end(span, facts)
    elif kind == "handoff":
        facts["kind"] = "handoff"
        if giver := text_of(a.get("gen_ai.handoff.from_agent")):
            facts["handoff_from"] = giver
            facts["name"] = f"handoff from {giver}"
        if taker := text_of(a.get("gen_ai.handoff.to_agent")):
            facts["handoff_to"] = taker
            facts["name"] = f"handoff to {taker}"


def _put_end(span: Span, facts: Facts) -> None:
    if span.status_code == STATUS_ERROR:
        # The SDK marks an agent or a turn as failed only when the run could not go on.
        facts["breaks_run"] = True


def _logfire(span: Span, facts: Facts) -> None:
    a = span.attributes
    template = a.get("logfire.msg_template")
    template = template if isinstance(template, str) else span.name
    name = text_of(a.get("name"))
    put_preview(facts, "input", a.get("input"))
    put_preview(facts, "output", a.get("output"))
    if template.startswith("OpenAI Agents trace"):
        facts["boundary"] = "run"
        facts["kind"] = "workflow"
        if name:
            facts["name"] = name
            facts["workflow_name"] = name
    elif a.get("sdk_span_type") == "task":
        # A run that goes on after a person's answer has no trace of the SDK around it: then it is the run.
        facts["fold"] = "inner"
        facts["boundary"] = "run"
        facts["kind"] = "workflow"
        if name:
            facts["name"] = name
            facts["workflow_name"] = name
    elif template.startswith("Agent run"):
        facts["kind"] = "agent"
        if name:
            facts["name"] = name
        _put_end(span, facts)
        _error(span, facts)
    elif a.get("sdk_span_type") == "turn":
        facts["kind"] = "turn"
        facts["name"] = "turn"
        if (turn := whole_number(a.get("turn"))) is not None:
            facts["iteration"] = turn
        _put_usage(a.get("usage"), facts)
        _put_end(span, facts)
        _error(span, facts)
    elif template.startswith("Function:"):
        facts["kind"] = "tool"
        if name:
            facts["name"] = name
        _error(span, facts)
    elif template.startswith("Guardrail"):
        facts["kind"] = "guardrail"
        if name:
            facts["name"] = name
    elif template.startswith("Handoff"):
        facts["kind"] = "handoff"
        giver, taker = text_of(a.get("from_agent")), text_of(a.get("to_agent"))
        if giver and taker:
            facts["handoff_from"] = giver
            facts["handoff_to"] = taker
            facts["name"] = f"handoff to {taker}"
    elif "gen_ai.request.model" in a:
        facts["kind"] = "llm"
        facts["name"] = "generation"


def _inner_message(shown: str) -> str | None:
    """The error in the SDK's `{'message': ..., 'data': {'error': ...}}`, written as Python shows it."""
    if not shown.startswith("{"):
        return None
    error = literal_of(shown)
    if not isinstance(error, dict):
        return None
    detail = error.get("data")
    told = detail.get("error") if isinstance(detail, dict) else None
    return text_of(told) or text_of(error.get("message"))


def _message_behind(shown: str) -> str | None:
    """The error in OpenInference's `Error running tool: {'tool_name': ..., 'error': ...}` (`_get_span_status`).

    That is what the SDK calls it, then its data as Python shows them.
    """
    _, brace, rest = shown.partition(": {")
    data = literal_of("{" + rest) if brace else None
    return text_of(data.get("error")) if isinstance(data, dict) else None


def _put_usage(usage: JsonValue, facts: Facts) -> None:
    """What the turn's model calls took together; they say so themselves where the model's own spans are sent."""
    told = json_of(usage)
    if isinstance(told, dict):
        if (tokens := whole_number(told.get("input_tokens"))) is not None:
            facts["input_tokens"] = tokens
        if (tokens := whole_number(told.get("output_tokens"))) is not None:
            facts["output_tokens"] = tokens


def _error(span: Span, facts: Facts) -> None:
    error = json_of(span.attributes.get("error"))
    if span.status_code == STATUS_ERROR and isinstance(error, dict):
        detail = error.get("data")
        told = text_of(detail.get("error")) if isinstance(detail, dict) else None
        if message := told or text_of(error.get("message")):
            facts["error_message"] = message


CONVENTION = Convention(
    "openai_agents",
    _read,
    scopes=(
        "openinference.instrumentation.openai_agents",
        "logfire.openai_agents",
        "opentelemetry.instrumentation.openai_agents",
        "opentelemetry.instrumentation.genai.openai_agents",
    ),
)
