"""OpenTelemetry's GenAI conventions, old names and new.

Source: repository semantic-conventions-genai, and the names that semantic-conventions up to 1.36 had.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.conventions.identity import RESPONSE_ID
from spantree_exporter.facts.messages import FIRST_ANSWERS, FIRST_KEYS, put_messages
from spantree_exporter.facts.reading import Convention, first_text, put_preview, status_of, text_of, texts_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import KIND_CLIENT, KIND_SERVER, STATUS_UNSET, JsonValue, Span

_KINDS: Final = {
    "chat": "llm",
    "generate_content": "llm",
    "text_completion": "llm",
    "completion": "llm",
    # Semantic Kernel's for Python (`model_diagnostics/decorators.py`), and what Azure's SDKs call an answer.
    **dict.fromkeys(
        (
            "chat.completions",
            "chat.streaming_completions",
            "text.completions",
            "text.streaming_completions",
            "responses",
        ),
        "llm",
    ),
    "embeddings": "embedding",
    "fetch_response": "rpc",
    # Azure's agents (`telemetry/_ai_agents_instrumentor.py`): a run is the agent's, which the service holds.
    **dict.fromkeys(("start_thread_run", "process_thread_run"), "agent"),
    **dict.fromkeys(
        (
            "create_thread",
            "create_message",
            "create_conversation",
            "get_thread_run",
            "list_conversation_items",
            "list_messages",
            "list_run_steps",
            "submit_tool_outputs",
        ),
        "rpc",
    ),
    "retrieval": "retriever",
    "search_memory": "retriever",
    **dict.fromkeys(
        (
            "create_memory",
            "update_memory",
            "upsert_memory",
            "delete_memory",
            "create_memory_store",
            "delete_memory_store",
        ),
        "rpc",
    ),
    # Calls of models that hear, speak and draw, by OpenLIT's names and Pipecat's.
    **dict.fromkeys(
        (
            "audio",
            "image",
            "model_request",
            "speech_to_text",
            "speech_to_text_translate",
            "stt",
            "text_to_speech",
            "translate",
            "tts",
        ),
        "llm",
    ),
    "rerank": "reranker",
    "execute_tool": "tool",
    "invoke_agent": "agent",
    "create_agent": "agent",
    "invoke_workflow": "workflow",
    "invoke_graph": "workflow",
    "invoke_swarm": "workflow",
    "execute_task": "step",
    # Strands for TypeScript: nodes of its graphs, and what it does with memories.
    "execute_node": "step",
    "memory.search": "retriever",
    **dict.fromkeys(("memory.add", "memory.extract", "memory.inject"), "chain"),
    # Gemini CLI's.
    "agent_call": "agent",
    "llm_call": "llm",
    "tool_call": "tool",
    "user_prompt": "agent",
    "plan": "step",
}
# Traceloop's word for it, where no operation is told.
_REQUESTS: Final[dict[JsonValue, str]] = {
    "chat": "llm",
    "completion": "llm",
    "embedding": "embedding",
    "rerank": "reranker",
}
_FAILED: Final = frozenset({"failed", "cancelled", "timed_out"})
_INVOKES: Final = "invoke_workflow"
_MODELS = ("gen_ai.response.model", "gen_ai.request.model")
_MADE: Final = frozenset({"gen_ai.usage.completion_tokens", "gen_ai.usage.output_tokens"})
_WIRE: Final = frozenset({"http.method", "http.request.method", "rpc.system", "rpc.system.name"})
_INPUTS = (
    "gen_ai.tool.call.arguments",
    "gen_ai.task.input",
    "gen_ai.input.messages",
    "gen_ai.prompt",
    "gen_ai.retrieval.query.text",
)
_OUTPUTS = (
    "gen_ai.tool.call.result",
    "gen_ai.task.output",
    "gen_ai.output.messages",
    "gen_ai.completion",
    "gen_ai.retrieval.documents",
)


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    operation = text_of(a.get("gen_ai.operation.name"))
    model = first_text(span, _MODELS)
    if isinstance(operation, str):
        kind = _KINDS.get(operation)
        if kind is None and span.kind == KIND_CLIENT and model and not _MADE.isdisjoint(a):
            # By whatever name a client asks it: that of a provider's method, most often.
            kind = "llm"
        if kind:
            facts.setdefault("kind", kind)
        if kind == "workflow":
            facts.setdefault("boundary", "run")
        elif kind == "agent":
            if operation == "create_agent":
                facts.setdefault("fold", "definition")
            else:
                facts.setdefault("boundary", "candidate")
        elif operation in {"execute_task", "execute_node"}:
            facts.setdefault("step", True)
            if operation == "execute_node" and (node := text_of(a.get("gen_ai.agent.id"))):
                facts.setdefault("name", node)
    elif (request := text_of(a.get("llm.request.type"))) in _REQUESTS:
        facts.setdefault("kind", _REQUESTS[request])
    elif model and "gen_ai.tool.name" not in a and _is_call(span):
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
    elif operation == _INVOKES and span.name.startswith(f"{_INVOKES} "):
        # Where the attribute is missing, the span is named for it none the less.
        facts.setdefault("workflow_name", span.name.removeprefix(f"{_INVOKES} "))
        facts.setdefault("name", facts["workflow_name"])
    if (conversation := text_of(a.get("gen_ai.conversation.id"))) and not conversation.startswith(RESPONSE_ID):
        facts.setdefault("conversation_id", conversation)
    if model and model != "unknown":
        facts.setdefault("model", model)
    if status := status_of(a.get("gen_ai.tool.status")):
        facts.setdefault("status", status)
    if (status := status_of(a.get("gen_ai.agent.status"))) in _FAILED:
        # Strands for TypeScript ends what failed well, but says so.
        facts.setdefault("status", status)
    if span.status_code == STATUS_UNSET and "error" in texts_of(a.get("gen_ai.response.finish_reasons")):
        # A stream that broke off: whoever reads it learns of the error, its span often does not.
        facts.setdefault("weak_status", "failed")
    for key in _INPUTS:
        if key in a:
            put_preview(facts, "input", a[key])
    for key in _OUTPUTS:
        if key in a:
            put_preview(facts, "output", a[key])
    if "input" not in facts or "output" not in facts:
        put_messages(span, facts)


def _is_call(span: Span) -> bool:
    """Whether a span with a model, and without an operation, is a call of it: its client's, or its server's (vLLM).

    A request over HTTP or RPC that tells what was used to answer it is none.
    """
    a = span.attributes
    if span.kind == KIND_CLIENT or not FIRST_ANSWERS.isdisjoint(a):
        return True
    return span.kind == KIND_SERVER and not _MADE.isdisjoint(a) and _WIRE.isdisjoint(a)


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
        "gen_ai.response.finish_reasons",
        "gen_ai.prompt",
        "gen_ai.completion",
        "gen_ai.system",
        "gen_ai.provider.name",
        "llm.request.type",
        *FIRST_KEYS,
    ),
)
