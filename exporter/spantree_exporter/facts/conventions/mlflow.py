"""MLflow's spans, exported by OTLP: `mlflow.*`, each value as JSON text (mlflow/tracing/constant.py).

Tokens and cost are read in `usage.py`, but for those of generations of the OpenAI Agents SDK: what it tells of them is
sent by its own names, `model` and `usage` (`openai/_agent_tracer.py`, _parse_span_data; mlflow#24059). A type of `null`
is what MLflow puts on spans of other instrumentations.
"""

from __future__ import annotations

from typing import Final

import orjson

from spantree_exporter.facts.conventions.usage import put_usage
from spantree_exporter.facts.reading import JSON_CHARS, Convention, put_preview, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import JsonValue, Span

_KINDS: Final = {
    "LLM": "llm",
    "CHAT_MODEL": "llm",
    "CHAIN": "chain",
    "AGENT": "agent",
    "WORKFLOW": "workflow",
    "TASK": "task",
    "TOOL": "tool",
    "RETRIEVER": "retriever",
    "EMBEDDING": "embedding",
    "RERANKER": "reranker",
    "PARSER": "parser",
    "GUARDRAIL": "guardrail",
    "EVALUATOR": "evaluator",
}
_RUNS: Final = frozenset({"CHAIN", "AGENT", "WORKFLOW"})
_CONVERSATION: Final = ("mlflow.trace.session", "session.id")
_USER: Final = ("mlflow.trace.user", "user.id")


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    kind = text_of(_told(a.get("mlflow.spanType")))
    if kind is not None and (known := _KINDS.get(kind.upper())) is not None:
        facts.setdefault("kind", known)
        if kind.upper() in _RUNS:
            facts.setdefault("boundary", "candidate")
    for key in _CONVERSATION:
        if conversation := text_of(_told(a.get(key))):
            facts.setdefault("conversation_id", conversation)
    for key in _USER:
        if user := text_of(_told(a.get(key))):
            facts.setdefault("user_id", user)
    if model := text_of(_told(a.get("mlflow.llm.model"))):
        facts.setdefault("model", model)
    if kind is not None and "mlflow.chat.tokenUsage" not in a and "usage" in a:
        put_usage(a["usage"], facts)
        if model := text_of(_told(a.get("model"))):
            facts.setdefault("model", model)
    put_preview(facts, "input", _told(a.get("mlflow.spanInputs")))
    put_preview(facts, "output", _told(a.get("mlflow.spanOutputs")))


def _told(value: JsonValue) -> JsonValue:
    """The text that `value` is JSON of, or nothing; any other JSON is told as it was sent."""
    if value == "null":
        return None
    if isinstance(value, str) and value[:1] == '"' and len(value) <= JSON_CHARS:
        try:
            told: JsonValue = orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
        return told
    return value


CONVENTION = Convention(
    "mlflow",
    _read,
    keys=("mlflow.spanType", "mlflow.spanInputs", "mlflow.spanOutputs", "mlflow.traceRequestId", *_CONVERSATION[:1]),
)
