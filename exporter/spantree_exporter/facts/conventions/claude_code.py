"""Claude Code's traces (beta): `claude_code.interaction`, `.llm_request`, `.tool` and what is below a tool.

Source: its page "Monitoring"; no recording has been seen.

Tokens are told by plain names, as Anthropic counts them: what was read from the cache or written to it is no part of
`input_tokens` (claude-code#50776).

Qwen Code, and what was made of it, names its spans after these, `<scope>.interaction` and so on, with the conventions'
attributes (`packages/core/src/telemetry/session-tracing.ts`). What was cancelled has no status, and did not succeed.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, put_preview, text_of, whole_number
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import STATUS_UNSET, JsonValue, Span

_PREFIX: Final = "claude_code."
_MESSAGE_CHARS: Final = 1000
_CANCELLED: Final = frozenset({"cancelled", "aborted"})
_KINDS: Final = {"interaction": "agent", "llm_request": "llm", "subagent": "agent", "tool": "tool"}


def _read(span: Span, facts: Facts) -> None:
    if not span.name.startswith(_PREFIX):
        return
    a = span.attributes
    what = span.name[len(_PREFIX) :]
    if what == "interaction":
        facts.setdefault("kind", "agent")
        facts.setdefault("boundary", "candidate")
        put_preview(facts, "input", a.get("user_prompt"))
    elif what == "llm_request":
        facts.setdefault("name", what)
        facts.setdefault("kind", "llm")
        if model := text_of(a.get("model")):
            facts.setdefault("model", model)
        _put_usage(span, facts)
    elif what == "tool":
        facts.setdefault("kind", "tool")
        if tool := text_of(a.get("tool_name")):
            facts.setdefault("name", tool)
    elif what == "tool.execution":
        facts.setdefault("fold", "inner")
    elif what == "tool.blocked_on_user":
        facts.setdefault("name", "permission")
        if decision := text_of(a.get("decision")):
            facts.setdefault("status_reason", decision)
    if span.status_code == STATUS_UNSET and a.get("success") in (False, "false"):
        facts.setdefault("weak_status", "failed")
        if message := text_of(a.get("error")):
            facts.setdefault("error_message", message[:_MESSAGE_CHARS])


def _put_usage(span: Span, facts: Facts) -> None:
    a = span.attributes
    given = whole_number(a.get("input_tokens"))
    read = whole_number(a.get("cache_read_tokens"))
    written = whole_number(a.get("cache_creation_tokens"))
    if given is not None:
        facts.setdefault("input_tokens", given + (read or 0) + (written or 0))
    if (made := whole_number(a.get("output_tokens"))) is not None:
        facts.setdefault("output_tokens", made)
    if read is not None:
        facts.setdefault("cached_input_tokens", read)
    if written is not None:
        facts.setdefault("cache_write_tokens", written)


def _read_qwen(span: Span, facts: Facts) -> None:
    a = span.attributes
    program = span.scope.name
    if not program or not span.name.startswith(f"{program}."):
        return
    what = span.name[len(program) + 1 :]
    if kind := _KINDS.get(what):
        facts.setdefault("kind", kind)
        if kind == "agent":
            facts.setdefault("boundary", "candidate")
    if what == "llm_request":
        facts.setdefault("name", what)
    elif what == "tool.execution":
        facts.setdefault("fold", "inner")
    elif what == "tool.blocked_on_user":
        facts.setdefault("name", "permission")
        if decision := text_of(a.get("decision")):
            facts.setdefault("status_reason", decision)
    elif what == "hook" and (event := text_of(a.get("hook_event"))):
        facts.setdefault("name", event)
    if span.status_code == STATUS_UNSET and (
        _is_cancelled(a.get(f"{program}.turn_status"))
        or _is_cancelled(a.get(f"{program}.subagent.status"))
        or _is_cancelled(a.get("tool.failure_kind"))
        or _is_cancelled(a.get("execution_status"))
        or (what == "llm_request" and a.get("success") is False)
    ):
        facts.setdefault("weak_status", "cancelled")


def _is_cancelled(told: JsonValue) -> bool:
    return isinstance(told, str) and told in _CANCELLED


CONVENTION = Convention(
    "claude_code",
    _read,
    scopes=("com.anthropic.claude_code",),
    keys=("llm_request.context", "tool_use_id", "interaction.sequence", "user_prompt_length", "query_source"),
)
QWEN_CODE = Convention(
    "qwen_code",
    _read_qwen,
    scopes=("qwen-code",),
    keys=("interaction.sequence", "llm_request.context", "tool.call_id", "hook_event"),
)
