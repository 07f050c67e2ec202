"""LiveKit's agents, by `lk.*`: a session, its turns, calls of models, tools, which tell an error as an attribute.

A request to a model, to speech or from it is made of attempts (`llm/llm.py`, `tts/tts.py`); an adapter that falls back
on others ended well if one of them did. A realtime model tells what it used on its turn (`telemetry/utils.py`).
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, first_text, put_preview, text_of, whole_number
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import STATUS_ERROR, STATUS_UNSET, Span

_KINDS: Final = {
    "agent_session": "agent",
    "agent_turn": "turn",
    "user_turn": "turn",
    "llm_request": "llm",
    "function_tool": "tool",
}
_RETRIES: Final = "lk.retry_count"
_REALTIME: Final = "lk.realtime_model_metrics"
_FALLS_BACK: Final = "_fallback_adapter"
_TOOL: Final = "lk.function_tool.name"
# Newer names tell that the value is of a person.
_ARGUMENTS: Final = ("lk.pii.function_tool.arguments", "lk.function_tool.arguments")
_RESULTS: Final = ("lk.pii.function_tool.output", "lk.function_tool.output")
_ASKED: Final = ("lk.pii.user_input", "lk.user_input", "lk.pii.input_text", "lk.input_text")
_ANSWERED: Final = ("lk.pii.response.text", "lk.response.text", "lk.pii.user_transcript", "lk.user_transcript")
_MESSAGE_CHARS: Final = 1000


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    kind = "llm" if _REALTIME in a else _KINDS.get(span.name)
    if kind is not None:
        facts.setdefault("kind", kind)
    if (retries := whole_number(a.get(_RETRIES))) is not None and retries >= 0:
        facts.setdefault("attempt", retries + 1)
        facts.setdefault("retry_expected", True)
    elif span.name.endswith(_FALLS_BACK) and span.status_code != STATUS_ERROR:
        facts.setdefault("declared_handled", True)
    if kind == "agent":
        facts.setdefault("boundary", "candidate")
    elif kind == "tool":
        result = first_text(span, _RESULTS)
        if tool := text_of(a.get(_TOOL)):
            facts.setdefault("name", tool)
        put_preview(facts, "input", first_text(span, _ARGUMENTS))
        put_preview(facts, "output", result)
        if span.status_code == STATUS_UNSET and a.get("lk.function_tool.is_error") is True:
            facts.setdefault("weak_status", "failed")
            if result:
                facts.setdefault("error_message", result[:_MESSAGE_CHARS])
        return
    put_preview(facts, "input", first_text(span, _ASKED))
    put_preview(facts, "output", first_text(span, _ANSWERED))
    if a.get("lk.interrupted") is True:
        facts.setdefault("status_reason", "interrupted")


CONVENTION = Convention(
    "livekit", _read, scopes=("livekit",), keys=(_TOOL, _RETRIES, "lk.job_id", "lk.room_name", "lk.interrupted")
)
