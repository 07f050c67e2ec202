"""LlamaIndex through OpenInference: workflows whose steps pass events, and calls that nest in themselves.

Its own tracing (scope `llamaindex.opentelemetry.tracer`) tells by events what a span does, and named spans by an id of
their own until it took that off (`observability/otel/base.py`).

A step's `output.value` is the repr of the event it returned, and the next step's `input.value` holds the same text as
`ev`: equal texts are an edge. One model call comes as up to three spans, one in another; what is prepared for it beside
(`OpenAI._prepare_chat_with_tools`, a span of the kind LLM) calls nothing. Cancelled ones say
so by an event (`_handler.py`).
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final

from spantree_exporter.facts.reading import Convention, json_of, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import STATUS_ERROR, Event, Span

_STEP_KINDS = frozenset({"CHAIN"})
_ID: Final = re.compile(r"-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_BEGUN: Final = {
    "LLMChatStartEvent": "llm",
    "LLMCompletionStartEvent": "llm",
    "EmbeddingStartEvent": "embedding",
    "RetrievalStartEvent": "retriever",
    "ReRankStartEvent": "reranker",
}
# A step or a run that was cancelled ends well, so that nobody takes it for an error (workflows/runtime).
_CANCELLED: Final = frozenset({"SpanCancelledEvent", "span.cancelled"})
_EVENTS: Final = 64
_PREPARES: Final = "_prepare"


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    owner, dot, method = span.name.rpartition(".")
    if not dot:
        return
    kind = text_of(a.get("openinference.span.kind"))
    received = json_of(a.get("input.value"))
    event = text_of(received.get("ev")) if isinstance(received, dict) else None
    if kind in _STEP_KINDS and event is not None:
        facts["name"] = method
        facts["kind"] = "step"
        facts["step"] = True
        facts["consumes"] = [token(event)]
        if returned := text_of(a.get("output.value")):
            facts["emits"] = [token(returned)]
    elif kind in _STEP_KINDS and method == "run":
        facts["boundary"] = "run"
        facts["kind"] = "workflow"
        facts["name"] = owner
        facts["workflow_name"] = owner
    elif kind in {"LLM", "EMBEDDING", "RETRIEVER", "RERANKER"}:
        facts["name"] = owner
        prepares = method.startswith(_PREPARES) and span.status_code != STATUS_ERROR
        facts["fold"] = "parent" if prepares else "nested"
    for ended in span.events[-_EVENTS:]:
        if ended.name in _CANCELLED:
            _put_cancelled(ended, facts)


def _read_own(span: Span, facts: Facts) -> None:
    name = _ID.sub("", span.name)
    if name and name != span.name:
        facts["name"] = name
    for event in span.events[:_EVENTS]:
        if event.name in _CANCELLED:
            _put_cancelled(event, facts)
            return
        if (kind := _BEGUN.get(event.name)) is not None:
            facts["kind"] = kind
            if model := text_of(event.attributes.get("model_dict.model")):
                facts["model"] = model
            return


def _put_cancelled(event: Event, facts: Facts) -> None:
    facts["status"] = "cancelled"
    if reason := text_of(event.attributes.get("reason")):
        facts["status_reason"] = reason


def token(text: str) -> str:
    """What stands for a passed value: short, and equal for equal texts."""
    return blake2b(text.encode(), digest_size=8).hexdigest()


CONVENTION = Convention("llama_index", _read, scopes=("openinference.instrumentation.llama_index",))
OWN = Convention("llama_index_own", _read_own, scopes=("llamaindex.opentelemetry",))
