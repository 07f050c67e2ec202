"""Haystack's own spans (its tracing through OpenTelemetry, seen with 2.20): pipelines, components, agents.

Source: `core/pipeline/base.py`, `components/agents/agent.py`, `tool_calling.py`. All components share a name of span,
and what each may be given is declared with who gives it. Values are sent only with HAYSTACK_CONTENT_TRACING_ENABLED,
and so is what a tool raised, which the model is told.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, json_of, put_preview, text_of, texts_of, whole_number
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import STATUS_UNSET, JsonValue, Span

_PIPELINES: Final = frozenset({"haystack.pipeline.run", "haystack.async_pipeline.run"})
_COMPONENT: Final = "haystack.component.name"
_TOOL: Final = "haystack.tool.name"
_AGENT: Final = "haystack.agent.run"
_STEP: Final = "haystack.agent.step"
_LLM: Final = "haystack.agent.step.llm"
_SENDERS: Final = 256
_MESSAGE_CHARS: Final = 1000


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    name = span.name
    if name in _PIPELINES:
        facts.setdefault("kind", "workflow")
        facts.setdefault("boundary", "candidate")
        metadata = json_of(a.get("haystack.pipeline.metadata"))
        named = text_of(metadata.get("name")) if isinstance(metadata, dict) else None
        facts.setdefault("name", named or text_of(a.get("haystack.pipeline.name")) or "pipeline")
        _put_values(facts, a.get("haystack.pipeline.input_data"), a.get("haystack.pipeline.output_data"))
    elif name == _AGENT:
        facts.setdefault("kind", "agent")
        facts.setdefault("boundary", "candidate")
        facts.setdefault("name", "agent")
        _put_values(facts, a.get("haystack.agent.input"), a.get("haystack.agent.output"))
    elif name == _STEP:
        facts.setdefault("kind", "turn")
        facts.setdefault("name", "step")
        if (number := whole_number(a.get(_STEP))) is not None and number >= 0:
            facts.setdefault("iteration", number + 1)
    elif name == _LLM:
        facts.setdefault("kind", "llm")
        facts.setdefault("name", "llm")
        _put_values(facts, a.get(_LLM + ".input"), a.get(_LLM + ".output"))
    elif tool := text_of(a.get(_TOOL)):
        _put_tool(span, facts, tool)
    elif component := text_of(a.get(_COMPONENT)):
        _put_component(span, facts, component)


def _put_values(facts: Facts, given: JsonValue, gave: JsonValue) -> None:
    put_preview(facts, "input", given)
    put_preview(facts, "output", gave)


def _put_tool(span: Span, facts: Facts, tool: str) -> None:
    facts.setdefault("kind", "tool")
    facts.setdefault("name", tool)
    gave = span.attributes.get("haystack.agent.step.tool.output")
    _put_values(facts, span.attributes.get("haystack.agent.step.tool.input"), gave)
    result = json_of(gave)
    if span.status_code == STATUS_UNSET and isinstance(result, dict) and list(result) == ["error"]:
        facts.setdefault("weak_status", "failed")
        if message := text_of(result["error"]):
            facts.setdefault("error_message", message[:_MESSAGE_CHARS])


def _put_component(span: Span, facts: Facts, component: str) -> None:
    a = span.attributes
    facts.setdefault("name", component)
    of_class = text_of(a.get("haystack.component.type")) or ""
    if of_class.endswith("Generator"):
        facts.setdefault("kind", "llm")
    elif of_class.endswith("Retriever"):
        facts.setdefault("kind", "retriever")
    else:
        facts.setdefault("kind", "step")
    facts.setdefault("step", True)
    _put_values(facts, a.get("haystack.component.input"), a.get("haystack.component.output"))
    sockets = json_of(a.get("haystack.component.input_spec"))
    if isinstance(sockets, dict):
        senders: dict[str, None] = {}
        for socket in sockets.values():
            if isinstance(socket, dict) and len(senders) < _SENDERS:
                senders.update(dict.fromkeys(texts_of(socket.get("senders"))))
        if senders:
            facts.setdefault("depends_on", list(senders)[:_SENDERS])


CONVENTION = Convention(
    "haystack",
    _read,
    keys=(
        _COMPONENT,
        _TOOL,
        "haystack.pipeline.max_runs_per_component",
        "haystack.pipeline.metadata",
        "haystack.agent.max_steps",
        _STEP,
    ),
    scopes=("haystack",),
)
