"""LangSmith's OpenTelemetry export (scope `langsmith`; langsmith 0.15, _otel_exporter.py).

It records an exception only for a run that failed, as `Exception` whose message is the real one's `repr` and traceback;
the status of a run whose end came in a second batch stays OK even then.
"""

from __future__ import annotations

import re
from typing import Final

from spantree_exporter.facts.reading import Convention, literal_of, put_preview, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span

_KINDS: Final = {
    "chain": "chain",
    "llm": "llm",
    "tool": "tool",
    "retriever": "retriever",
    "embedding": "embedding",
    "prompt": "prompt",
    "parser": "parser",
}

_TRACEBACK: Final = "Traceback (most recent call last)"
# What is longer is told as it is shown.
_SHOWN_CHARS: Final = 16_384
_CLASS = re.compile(r"([A-Za-z_][\w.]{0,200})\(")
_WITH_TEXT = re.compile(r"[A-Za-z_][\w.]*\(((['\"]).*\2)\)\Z", re.DOTALL)


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    kind = a.get("langsmith.span.kind")
    if isinstance(kind, str):
        facts.setdefault("kind", _KINDS.get(kind, kind))
        if kind == "chain":
            facts.setdefault("boundary", "candidate")
    if thread := text_of(a.get("langsmith.metadata.thread_id")) or text_of(a.get("langsmith.metadata.session_id")):
        facts.setdefault("conversation_id", thread)
    if user := text_of(a.get("langsmith.metadata.user_id")):
        facts.setdefault("user_id", user)
    if project := text_of(a.get("langsmith.trace.session_name")):
        facts.setdefault("project", project)
    if model := text_of(a.get("langsmith.metadata.ls_model_name")):
        facts.setdefault("model", model)
    if span.events:
        _put_error(span, facts)
    put_preview(facts, "input", a.get("gen_ai.prompt"))
    put_preview(facts, "output", a.get("gen_ai.completion"))


def _put_error(span: Span, facts: Facts) -> None:
    for event in span.events:
        recorded = event.attributes.get("exception.message")
        if isinstance(recorded, str):
            facts["weak_status"] = "failed"
            shown = recorded.partition(_TRACEBACK)[0].strip()
            facts["error_message"] = _plain(shown)
            if (raised := _CLASS.match(shown)) is not None and raised[1] != "Exception":
                facts["error_type"] = raised[1]


def _plain(shown: str) -> str:
    """The message of an exception shown as `Class('message')`; `shown` where it is anything else."""
    found = _WITH_TEXT.match(shown) if len(shown) <= _SHOWN_CHARS else None
    if found is None:
        return shown
    text = literal_of(found.group(1))
    return text if isinstance(text, str) and text else shown


CONVENTION = Convention("langsmith", _read, scopes=("langsmith",), keys=("langsmith.span.kind",))
