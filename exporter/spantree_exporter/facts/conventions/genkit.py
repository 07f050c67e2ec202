"""Genkit (JavaScript, Go, Python), by `genkit:*`: flows, their steps, models, tools; source: its `docs/telemetry`.

What a model used is told in its output alone.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, json_of, put_preview, text_of, whole_number
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import STATUS_UNSET, JsonValue, Span

_KINDS: Final = {
    "flow": "workflow",
    "model": "llm",
    "background-model": "llm",
    "tool": "tool",
    "tool.v2": "tool",
    "agent": "agent",
    "retriever": "retriever",
    "reranker": "reranker",
    "embedder": "embedding",
    "evaluator": "evaluator",
    "prompt": "prompt",
    "executable-prompt": "prompt",
    "util": "chain",
}
_TYPES: Final = {"flowStep": "step", "promptTemplate": "prompt", "dotprompt": "prompt", "util": "chain"}


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    subtype, what = text_of(a.get("genkit:metadata:subtype")) or "", text_of(a.get("genkit:type")) or ""
    kind = _KINDS.get(subtype) or _TYPES.get(what)
    name = text_of(a.get("genkit:name"))
    if kind is not None:
        facts.setdefault("kind", kind)
    if name:
        facts.setdefault("name", name)
    if kind == "workflow":
        facts.setdefault("boundary", "run")
        if name:
            facts.setdefault("workflow_name", name)
    elif kind == "agent":
        facts.setdefault("boundary", "candidate")
    elif kind == "step":
        facts.setdefault("step", True)
    elif kind == "llm":
        if name:
            facts.setdefault("model", name.rpartition("/")[2])
        _put_usage(a.get("genkit:output"), facts)
    if session := text_of(a.get("genkit:sessionId")):
        facts.setdefault("conversation_id", session)
    put_preview(facts, "input", a.get("genkit:input"))
    put_preview(facts, "output", a.get("genkit:output"))
    if "genkit:metadata:interrupt" in a:
        # A tool that asks somebody.
        facts.setdefault("status", "waiting")
    elif span.status_code == STATUS_UNSET and a.get("genkit:state") == "error":
        facts.setdefault("weak_status", "failed")
        if message := text_of(a.get("genkit:error")):
            facts.setdefault("error_message", message[:1000])


def _put_usage(output: JsonValue, facts: Facts) -> None:
    answer = json_of(output)
    usage = answer.get("usage") if isinstance(answer, dict) else None
    if not isinstance(usage, dict):
        return
    if (given := whole_number(usage.get("inputTokens"))) is not None:
        facts.setdefault("input_tokens", given)
    if (made := whole_number(usage.get("outputTokens"))) is not None:
        facts.setdefault("output_tokens", made)
    if (thought := whole_number(usage.get("thoughtsTokens"))) is not None:
        facts.setdefault("reasoning_tokens", thought)
    if (cached := whole_number(usage.get("cachedContentTokens"))) is not None:
        facts.setdefault("cached_input_tokens", cached)


CONVENTION = Convention("genkit", _read, keys=("genkit:type", "genkit:name"))
