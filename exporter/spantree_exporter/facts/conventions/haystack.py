"""Haystack's own spans (its tracing through OpenTelemetry, seen with 2.20): pipelines, components, agents.

Source: `core/pipeline/base.py`, `components/agents/agent.py`, `tool_calling.py`. All components share a name of span,
and what each may be given is declared with who gives it. Values are sent only with HAYSTACK_CONTENT_TRACING_ENABLED,
and so is what a tool raised, which the model is told, and what a model used: it is told in the `meta` of its answer
(`dataclasses/chat_message.py`). A component that asks a model itself and answers with something else, as rankers and
evaluators do, has a span of that call in it (`components/generators/utils.py`, haystack#12075).
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.conventions.usage import put_usage
from spantree_exporter.facts.reading import Convention, json_of, put_preview, text_of, texts_of, whole_number
from spantree_exporter.facts.vocabulary import MODEL_CALLS, Facts
from spantree_exporter.span import STATUS_UNSET, JsonValue, Span

_PIPELINES: Final = frozenset({"haystack.pipeline.run", "haystack.async_pipeline.run"})
_COMPONENT: Final = "haystack.component.name"
_TOOL: Final = "haystack.tool.name"
_AGENT: Final = "haystack.agent.run"
_STEP: Final = "haystack.agent.step"
_LLM: Final = "haystack.agent.step.llm"
_ASKED: Final = "haystack.chat_generator.run"
_KINDS: Final = (("Generator", "llm"), ("Retriever", "retriever"), ("Embedder", "embedding"), ("Ranker", "reranker"))
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
        _put_answer(facts, a.get(_LLM + ".output"))
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
    kind = next((kind for suffix, kind in _KINDS if of_class.endswith(suffix)), "step")
    facts.setdefault("kind", kind)
    if span.name != _ASKED:
        facts.setdefault("step", True)
    gave = a.get("haystack.component.output")
    _put_values(facts, a.get("haystack.component.input"), gave)
    if kind in MODEL_CALLS:
        _put_answer(facts, gave)
    sockets = json_of(a.get("haystack.component.input_spec"))
    if isinstance(sockets, dict):
        senders: dict[str, None] = {}
        for socket in sockets.values():
            if isinstance(socket, dict) and len(senders) < _SENDERS:
                senders.update(dict.fromkeys(texts_of(socket.get("senders"))))
        if senders:
            facts.setdefault("depends_on", list(senders)[:_SENDERS])


def _put_answer(facts: Facts, gave: JsonValue) -> None:
    """Put model and usage of `gave`: a chat's replies have their own `meta`, what else models give has one beside."""
    answer = json_of(gave)
    if not isinstance(answer, dict):
        return
    replies = answer.get("replies")
    told: list[JsonValue] = (
        [reply.get("meta") for reply in replies if isinstance(reply, dict)] if isinstance(replies, list) else []
    )
    meta = answer.get("meta")
    # Several replies to one question tell the usage of all of them, each.
    for one in (*told, *(meta if isinstance(meta, list) else [meta])):
        if isinstance(one, dict) and isinstance(one.get("usage"), dict):
            put_usage(one["usage"], facts)
            if model := text_of(one.get("model")):
                facts.setdefault("model", model)
            break


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
