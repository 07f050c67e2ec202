"""Traceloop / OpenLLMetry: `traceloop.*`, its LangGraph spans, its SDK's decorators."""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, json_of, put_preview, text_of, texts_of
from spantree_exporter.facts.vocabulary import Facts, GraphFact
from spantree_exporter.span import JsonValue, Span

_KINDS: Final = {"workflow": "workflow", "task": "task", "agent": "agent", "tool": "tool"}
_PROPERTIES = "traceloop.association.properties."
_CONVERSATION = ("session_id", "thread_id", "conversation_id", "chat_id", "sessionId")
_USER = ("user_id", "userId")


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    kind = a.get("traceloop.span.kind")
    name = text_of(a.get("gen_ai.task.name")) or text_of(a.get("traceloop.entity.name"))
    operation = text_of(a.get("gen_ai.operation.name"))
    if nodes := texts_of(a.get("gen_ai.workflow.nodes")):
        # `invoke_agent X` wraps `X.workflow`, the run itself: two roots of one thing.
        # Within a node of another graph it stands, empty, beside the span that its nodes are below.
        facts["boundary"] = "run"
        facts["fold"] = "container"
        facts["kind"] = "workflow"
        graph: GraphFact = {"nodes": nodes, "edges": []}
        for edge in texts_of(a.get("gen_ai.workflow.edges")):
            start, arrow, end = edge.partition(" -> ")
            if arrow:
                graph["edges"].append([start, end])
        facts["graph"] = graph
        facts.setdefault("name", text_of(a.get("gen_ai.agent.name")) or span.name)
        facts.setdefault("workflow_name", facts["name"])
    if kind == "workflow":
        facts["boundary"] = "run"
        facts.setdefault("kind", "workflow")
        facts.setdefault("workflow_name", text_of(a.get("traceloop.workflow.name")) or name or span.name)
        if a.get("gen_ai.provider.name") == "langgraph" and span.parent_span_id is not None:
            facts["fold"] = "inner"
    elif isinstance(kind, str):
        if operation is None or operation == "execute_task":
            facts.setdefault("kind", _KINDS.get(kind, kind))
            if kind in {"task", "agent", "tool"}:
                facts.setdefault("step", kind != "tool")
        elif operation == "vector_db_retrieve":
            facts.setdefault("kind", "retriever")
    if kind != "workflow" and (workflow := text_of(a.get("traceloop.workflow.name"))):
        # The workflow's own span may not come: one that failed was not sent (traceloop/openllmetry#2076).
        facts.setdefault("workflow_name", workflow)
    if name:
        facts.setdefault("name", name)
    elif span.scope.name.endswith("langchain") and span.name.endswith(".chat"):
        facts.setdefault("name", span.name[: -len(".chat")])
    facts_of_properties(span, facts)
    put_preview(facts, "input", unwrapped(a.get("traceloop.entity.input"), ("inputs", "args", "input_str", "query")))
    put_preview(facts, "output", unwrapped(a.get("traceloop.entity.output"), ("outputs", "output")))
    if a.get("gen_ai.task.status") == "failure":
        facts.setdefault("weak_status", "failed")


def facts_of_properties(span: Span, facts: Facts) -> None:
    """Put the conversation and the user that association properties name."""
    a = span.attributes
    for key in _CONVERSATION:
        if value := text_of(a.get(_PROPERTIES + key)):
            facts.setdefault("conversation_id", value)
            break
    for key in _USER:
        if value := text_of(a.get(_PROPERTIES + key)):
            facts.setdefault("user_id", value)
            break


def unwrapped(value: JsonValue, keys: tuple[str, ...]) -> JsonValue:
    """What an entity's input or output holds below its envelope; the value itself where it has none."""
    parsed = json_of(value)
    if isinstance(parsed, dict):
        for key in keys:
            if parsed.get(key):
                return parsed[key]
    return value


CONVENTION = Convention(
    "traceloop",
    _read,
    scopes=("traceloop.", "opentelemetry.instrumentation.langchain"),
    keys=("traceloop.span.kind", "traceloop.entity.name", "traceloop.workflow.name", "gen_ai.workflow.nodes"),
)
