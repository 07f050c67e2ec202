"""OpenTelemetry's GenAI conventions, old names and new (conventions.md 2.4 and 3).

Source: repository semantic-conventions-genai, and the names that semantic-conventions up to 1.36 had.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, first_text, put_preview, status_of, text_of, whole_number
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span

_KINDS: Final = {
    "chat": "llm",
    "generate_content": "llm",
    "text_completion": "llm",
    "completion": "llm",
    "embeddings": "embedding",
    "retrieval": "retriever",
    "execute_tool": "tool",
    "invoke_agent": "agent",
    "create_agent": "agent",
    "invoke_workflow": "workflow",
    "invoke_graph": "workflow",
    "invoke_swarm": "workflow",
    "execute_task": "step",
    "plan": "step",
}
_MODELS = ("gen_ai.response.model", "gen_ai.request.model")
_INPUT_TOKENS = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
_OUTPUT_TOKENS = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
_INPUTS = ("gen_ai.tool.call.arguments", "gen_ai.task.input", "gen_ai.input.messages", "gen_ai.prompt")
_OUTPUTS = ("gen_ai.tool.call.result", "gen_ai.task.output", "gen_ai.output.messages", "gen_ai.completion")


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    operation = a.get("gen_ai.operation.name")
    model = first_text(span, _MODELS)
    if isinstance(operation, str):
        kind = _KINDS.get(operation)
        if kind:
            facts.setdefault("kind", kind)
        if kind == "workflow":
            facts.setdefault("boundary", "run")
        elif kind == "agent":
            if operation == "create_agent":
                facts.setdefault("fold", "definition")
            else:
                facts.setdefault("boundary", "candidate")
        elif operation == "execute_task":
            facts.setdefault("step", True)
    elif model and "gen_ai.tool.name" not in a and span.kind == 3:
        facts.setdefault("kind", "llm")
    kind = facts.get("kind")
    if kind == "tool" and (tool := text_of(a.get("gen_ai.tool.name"))):
        facts.setdefault("name", tool)
    elif kind == "agent" and (agent := text_of(a.get("gen_ai.agent.name"))):
        facts.setdefault("name", agent)
    elif kind == "retriever" and isinstance(operation, str) and span.name.startswith(operation + " "):
        facts.setdefault("name", span.name[len(operation) + 1 :])
    elif task := text_of(a.get("gen_ai.task.name")):
        facts.setdefault("name", task)
    if workflow := text_of(a.get("gen_ai.workflow.name")):
        facts.setdefault("workflow_name", workflow)
        if kind == "workflow":
            facts.setdefault("name", workflow)
    if conversation := text_of(a.get("gen_ai.conversation.id")):
        facts.setdefault("conversation_id", conversation)
    if model and model != "unknown":
        facts.setdefault("model", model)
    for key in _INPUT_TOKENS:
        if (tokens := whole_number(a.get(key))) is not None:
            facts.setdefault("input_tokens", tokens)
    for key in _OUTPUT_TOKENS:
        if (tokens := whole_number(a.get(key))) is not None:
            facts.setdefault("output_tokens", tokens)
    if status := status_of(a.get("gen_ai.tool.status")):
        facts.setdefault("status", status)
    for key in _INPUTS:
        put_preview(facts, "input", a.get(key))
    for key in _OUTPUTS:
        put_preview(facts, "output", a.get(key))


CONVENTION = Convention(
    "genai",
    _read,
    scopes=("opentelemetry.instrumentation.genai", "opentelemetry.util.genai", "opentelemetry.instrumentation.openai"),
    keys=(
        "gen_ai.operation.name",
        "gen_ai.request.model",
        "gen_ai.response.model",
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.prompt_tokens",
        "gen_ai.tool.name",
        "gen_ai.conversation.id",
        "gen_ai.workflow.name",
        "gen_ai.task.name",
        "gen_ai.prompt",
        "gen_ai.completion",
    ),
)
