"""Langfuse's SDK (scope `langfuse-sdk`, seen with 5): `langfuse.observation.*`, `langfuse.trace.*`.

Each number of its usage is priced by itself, so that `input` is what was neither cached nor told by another name
(`langchain/CallbackHandler.py`, _parse_usage_model); OpenAI's own counts are passed on as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Final

from spantree_exporter.facts.reading import Convention, json_of, put_preview, text_of, whole_number
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import STATUS_ERROR, STATUS_UNSET, JsonValue, Span

_KINDS: Final = {
    "span": "function",
    "generation": "llm",
    "agent": "agent",
    "tool": "tool",
    "chain": "chain",
    "retriever": "retriever",
    "evaluator": "evaluator",
    "embedding": "embedding",
    "guardrail": "guardrail",
}
_O = "langfuse.observation."
_USAGE: Final = _O + "usage_details"
# How an interrupt of LangGraph's is shown: the exception, or what it holds.
_INTERRUPTS: Final = ("(Interrupt(", "GraphInterrupt(", "NodeInterrupt(")

_OPENAI_INPUT: Final = "prompt_tokens"
_INPUT: Final = ("input", "input_tokens", _OPENAI_INPUT)
_OUTPUT: Final = ("output", "output_tokens", "completion_tokens")
_CACHED: Final = ("input_cached_tokens", "cache_read_input_tokens", "input_cache_read")
_WRITTEN: Final = ("cache_creation_input_tokens", "input_cache_creation")
_REASONED: Final = ("output_reasoning_tokens", "output_reasoning")
# OpenAI's details, which are parts of what is told beside them.
_INPUT_DETAILS: Final = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
_OUTPUT_DETAILS: Final = ("completion_tokens_details", "output_tokens_details", "output_token_details")


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    kind = a.get(_O + "type")
    if kind == "event":
        facts["fold"] = "event"
    elif isinstance(kind, str):
        facts["kind"] = _KINDS.get(kind, kind)
    if a.get("langfuse.internal.is_app_root") is True:
        facts["boundary"] = "run"
        if span.parent_span_id is not None:
            # Its SDK marks so what is below spans that it does not export (`span_processor.py`; langfuse#12984).
            facts["parent_remote"] = True
    if name := text_of(a.get("langfuse.trace.name")):
        facts["workflow_name"] = name
    put_preview(facts, "input", a.get(_O + "input"))
    put_preview(facts, "output", a.get(_O + "output"))
    if model := text_of(a.get(_O + "model.name")):
        facts["model"] = model
    if isinstance(usage := json_of(a.get(_USAGE)), dict):
        _put_usage(usage, facts)
    if span.parent_span_id is None:
        put_preview(facts, "input", a.get("langfuse.trace.input"))
        put_preview(facts, "output", a.get("langfuse.trace.output"))
    level = text_of(a.get(_O + "level"))
    if level in {"WARNING", "ERROR"}:
        facts["level"] = "error" if level == "ERROR" else "warning"
        unset = span.status_code == STATUS_UNSET and level == "ERROR" and kind != "event"
        if unset:
            # How a failure is told to Langfuse; whoever tells it this way mostly leaves the status alone.
            facts.setdefault("weak_status", "failed")
        message = text_of(a.get(_O + "status_message"))
        if unset and message and message.startswith(_INTERRUPTS):
            facts["status"] = "waiting"
        if message and (unset or span.status_code == STATUS_ERROR):
            facts["error_message"] = message


def _put_usage(usage: Mapping[str, JsonValue], facts: Facts) -> None:
    given, made = _first(usage, _INPUT), _first(usage, _OUTPUT)
    cached, written, reasoned = _first(usage, _CACHED), _first(usage, _WRITTEN), _first(usage, _REASONED)
    total = _first(usage, ("total", "total_tokens"))
    if total is not None or _OPENAI_INPUT not in usage:
        beside_input = (cached, written, *_others(usage, "input_", (*_INPUT, *_CACHED, *_WRITTEN)))
        beside_output = (reasoned, *_others(usage, "output_", (*_OUTPUT, *_REASONED)))
        # LiteLLM takes off the input what was read of the cache, and not what was written to it.
        for more_given, more_made in product(((), (cached,), beside_input), ((), beside_output)):
            whole = _sum(given, *more_given), _sum(made, *more_made)
            if (whole[0] or 0) + (whole[1] or 0) == total:
                break
        given, made = whole
    details = _of_details(usage, _INPUT_DETAILS)
    cached = _first(details, ("cached_tokens", "cache_read")) if cached is None else cached
    reasoned = (
        _first(_of_details(usage, _OUTPUT_DETAILS), ("reasoning_tokens", "reasoning")) if reasoned is None else reasoned
    )
    for fact, number in (
        ("input_tokens", given),
        ("output_tokens", made),
        ("cached_input_tokens", cached),
        ("cache_write_tokens", written),
        ("reasoning_tokens", reasoned),
    ):
        if number is not None:
            facts[fact] = number  # type: ignore[literal-required]


def _first(usage: Mapping[str, JsonValue], names: tuple[str, ...]) -> int | None:
    return next((number for name in names if (number := whole_number(usage.get(name))) is not None), None)


def _of_details(usage: Mapping[str, JsonValue], names: tuple[str, ...]) -> Mapping[str, JsonValue]:
    return next((details for name in names if isinstance(details := usage.get(name), dict)), {})


def _others(usage: Mapping[str, JsonValue], start: str, known: tuple[str, ...]) -> list[int]:
    """What else was told of one side, as audio and modalities; a tier is no part but another name of the whole."""
    return [
        number
        for name, value in usage.items()
        if name.startswith(start)
        and name not in known
        and not name.startswith(start + "priority")
        and (number := whole_number(value)) is not None
    ]


def _sum(*numbers: int | None) -> int | None:
    told = [number for number in numbers if number is not None]
    return sum(told) if told else None


CONVENTION = Convention(
    "langfuse",
    _read,
    scopes=("langfuse",),
    keys=(_O + "type", _O + "level", _USAGE, "langfuse.internal.is_app_root", "langfuse.trace.name"),
)
