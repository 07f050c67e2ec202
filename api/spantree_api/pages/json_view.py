"""Values of nodes as people read them: JSON as a tree that folds, messages as a conversation. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

# What is folded out of one value at most; beyond, the text is shown as it came.
_ENTRIES_MAX = 2_000
_DEPTH_MAX = 24
_SUMMARY_CHARS = 80
_MESSAGES_MAX = 200
_ROLES = ("system", "developer", "user", "human", "assistant", "ai", "model", "tool", "function")


@dataclass(frozen=True, slots=True)
class Entry:
    """A value of JSON. `parts` are those of an object or a list, None for a plain value, whose text is `text`."""

    key: str | None
    kind: str
    text: str
    parts: list[Entry] | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation with a model."""

    role: str
    text: str
    calls: list[str] = field(default_factory=list)


def parsed(text: str | None) -> Any:
    """The object or list that `text` is as JSON; None where it is none."""
    if text is None or not text.lstrip().startswith(("{", "[")):
        return None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict | list) else None


def folded(value: Any) -> Entry | None:
    """`value`, or the JSON that it is a text of, as a tree; None where it is a plain text or too large for one."""
    data = parsed(value) if isinstance(value, str) else value
    if not isinstance(data, dict | list):
        return None
    budget = [_ENTRIES_MAX]
    entry = _entry(None, data, 0, budget)
    return None if budget[0] < 0 else entry


def messages(value: Any) -> list[Message] | None:
    """The conversation that `value` is; None where it is none. Roles and contents as the usual clients write them."""
    data = parsed(value) if isinstance(value, str) else value
    if isinstance(data, dict):
        data = data.get("messages") or data.get("choices") or ([data] if "role" in data else None)
    if not isinstance(data, list) or not data or len(data) > _MESSAGES_MAX:
        return None
    found: list[Message] = []
    for one in data:
        try:
            message = _message(one)
        except orjson.JSONEncodeError:
            return None  # nested deeper than can be written again: the text is shown as it came
        if message is None:
            return None
        found.append(message)
    return found


def json_text(value: Any) -> str:
    """`value` as one line of JSON; of one that is nested too deeply for that, that it is."""
    try:
        return orjson.dumps(value, default=str).decode()
    except orjson.JSONEncodeError:
        return "nested too deeply to be shown here: the raw spans have it"


def _message(one: Any) -> Message | None:
    if isinstance(one, dict) and isinstance(one.get("message"), dict):
        one = one["message"]
    if not isinstance(one, dict):
        return None
    role = one.get("role") or one.get("type")
    if not isinstance(role, str) or role.lower() not in _ROLES:
        return None
    content = one.get("content", one.get("parts"))
    asked = one.get("tool_calls")
    calls = [_call(call) for call in asked if isinstance(call, dict)] if isinstance(asked, list) else []
    return Message(role.lower(), _content(content), calls)


def _content(content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part.get("text", part.get("content")) if isinstance(part, dict) else part for part in content]
        told = [text for text in texts if isinstance(text, str)]
        if len(told) == len(texts):
            return "\n".join(told)
    return orjson.dumps(content, option=orjson.OPT_INDENT_2).decode()


def _call(call: Mapping[str, Any]) -> str:
    function = call.get("function") if isinstance(call.get("function"), dict) else call
    assert isinstance(function, Mapping)  # noqa: S101  # one of two mappings
    arguments = function.get("arguments", function.get("args", ""))
    told = arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()
    return f"{function.get('name', 'call')}({told})"


def _entry(key: str | None, value: Any, depth: int, budget: list[int]) -> Entry:
    budget[0] -= 1
    if budget[0] < 0 or depth > _DEPTH_MAX:
        budget[0] = -1
        return Entry(key, "text", "…")
    if isinstance(value, dict):
        parts = [_entry(str(name), one, depth + 1, budget) for name, one in _some(value.items(), budget)]
        return Entry(key, "object", _summary("{", value, "}"), parts)
    if isinstance(value, list):
        parts = [_entry(str(at), one, depth + 1, budget) for at, one in _some(enumerate(value), budget)]
        return Entry(key, "list", f"[{len(value)}]", parts)
    if isinstance(value, str):
        return Entry(key, "text", value)
    return Entry(key, "literal", orjson.dumps(value).decode())


def _some(items: Iterable[tuple[Any, Any]], budget: Sequence[int]) -> Iterable[tuple[Any, Any]]:
    for item in items:
        if budget[0] < 0:
            return
        yield item


def _summary(opening: str, value: Mapping[str, Any], closing: str) -> str:
    names = ", ".join(map(str, list(value)[:8]))
    more = ", …" if len(value) > 8 else ""
    told = f"{opening}{names}{more}{closing}"
    return told if len(told) <= _SUMMARY_CHARS else f"{opening}{len(value)} keys{closing}"
