"""LangWatch's SDKs: `langwatch.span.type`, values as `{"type": ..., "value": ...}`, usage as `langwatch.metrics`.

Source: `python-sdk/src/langwatch/telemetry/span.py`, `attributes.py`; the SDK for TypeScript has members in camelCase.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, amount_of, json_of, put_preview, text_of, whole_number
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import JsonValue, Span

_TYPE: Final = "langwatch.span.type"
_INPUT: Final = "langwatch.input"
_OUTPUT: Final = "langwatch.output"
_METRICS: Final = "langwatch.metrics"
_KINDS: Final = {
    "span": "function",
    "llm": "llm",
    "chain": "chain",
    "tool": "tool",
    "agent": "agent",
    "rag": "retriever",
    "guardrail": "guardrail",
    "evaluation": "evaluator",
    "workflow": "workflow",
    "component": "function",
    "module": "function",
    "task": "task",
    "prompt": "prompt",
}
_RUNS: Final = frozenset({"workflow", "agent", "chain"})
_CONVERSATION: Final = ("langwatch.thread.id", "langwatch.thread_id")
_USER: Final = ("langwatch.user.id", "langwatch.user_id")
_GIVEN: Final = ("prompt_tokens", "promptTokens")
_MADE: Final = ("completion_tokens", "completionTokens")


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    if (kind := _KINDS.get(text_of(a.get(_TYPE)) or "")) is not None:
        facts.setdefault("kind", kind)
        if kind in _RUNS:
            facts.setdefault("boundary", "candidate")
    put_preview(facts, "input", _value(a.get(_INPUT)))
    put_preview(facts, "output", _value(a.get(_OUTPUT)))
    for key in _CONVERSATION:
        if told := text_of(a.get(key)):
            facts.setdefault("conversation_id", told)
    for key in _USER:
        if told := text_of(a.get(key)):
            facts.setdefault("user_id", told)
    metrics = _value(a.get(_METRICS))
    if isinstance(metrics, dict):
        for name in _GIVEN:
            if (number := whole_number(metrics.get(name))) is not None:
                facts.setdefault("input_tokens", number)
        for name in _MADE:
            if (number := whole_number(metrics.get(name))) is not None:
                facts.setdefault("output_tokens", number)
        if (cost := amount_of(metrics.get("cost"))) is not None:
            facts.setdefault("cost_usd", cost)


def _value(told: JsonValue) -> JsonValue:
    """What a value holds below its type; the value itself where it has none."""
    parsed = json_of(told)
    if not isinstance(parsed, dict):
        return told
    return parsed["value"] if "type" in parsed and "value" in parsed else parsed


CONVENTION = Convention(
    "langwatch", _read, scopes=("langwatch",), keys=(_TYPE, _INPUT, _OUTPUT, _METRICS, *_CONVERSATION, *_USER)
)
