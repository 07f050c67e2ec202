"""Values of nodes as people read them: JSON as a tree that folds, messages as a conversation. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

# What is folded out of one value at most; beyond, the text is shown as it came.
_ENTRIES_MAX = 2_000
_DEPTH_MAX = 24
_SUMMARY_CHARS = 80
_MESSAGES_MAX = 200
_PARTS_MAX = 2_000
_ROLES = ("system", "developer", "user", "human", "assistant", "ai", "model", "tool", "function")
# Types of parts of a message, as OpenTelemetry, OpenAI, Anthropic and the AI SDK name them; with "_" for "-".
_CALLS = ("tool_call", "tool_use", "function_call", "server_tool_call", "server_tool_use")
_RESULTS = (
    "tool_call_response",
    "tool_result",
    "function_call_output",
    "function_response",
    "server_tool_call_response",
)
_THOUGHTS = ("reasoning", "thinking")
_MEDIA = (
    "image", "image_url", "input_image", "audio", "input_audio", "video", "file", "input_file", "document", "blob",
    "uri", "media",
)  # fmt: skip
# Gemini's and Bedrock's parts have no type: key under which they hold what they are -> what that is.
_NAMED_BY_KEY = {
    "function_call": "call", "functionCall": "call", "toolUse": "call",
    "function_response": "result", "functionResponse": "result", "toolResult": "result",
    "inline_data": "media", "inlineData": "media", "file_data": "media",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """A value of JSON. `parts` are those of an object or a list, None for a plain value, whose text is `text`."""

    key: str | None
    kind: str
    text: str
    parts: list[Entry] | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """What a turn is made of. `kind`: text, thought, call (of a tool: name and arguments), result (of one), media."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation with a model. `role` is empty where nobody said it."""

    role: str
    parts: list[Part]


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
    found: list[Message] = []
    if isinstance(data, dict):
        found, data = _system_of(data), _turns_of(data)
    if isinstance(data, list) and len(data) == 1 and isinstance(data[0], list):
        data = data[0]  # one of a batch
    if not isinstance(data, list) or not data or len(data) > _MESSAGES_MAX:
        return None
    try:
        for one in data:
            message = _message(one)
            if message is None:
                return _alone(data)
            found.append(message)
    except orjson.JSONEncodeError:
        return None  # nested deeper than can be written again: the text is shown as it came
    return found if sum(len(one.parts) for one in found) <= _PARTS_MAX else None


def spoken(value: str, role: str) -> list[Message] | None:
    """The messages of `value` from the last one of `role` on; None where it holds none of it."""
    turns = messages(value) or []
    last = max((at for at, turn in enumerate(turns) if turn.role == role), default=None)
    return None if last is None else turns[last:]


def asked_text(value: str) -> str:
    """What the last message of a user in `value` says; of what is no conversation, itself."""
    turns = spoken(value, "user")
    said = "" if turns is None else " ".join(part.text for part in turns[0].parts if part.kind == "text")
    return said or value


def json_text(value: Any) -> str:
    """`value` as one line of JSON; of one that is nested too deeply for that, that it is."""
    try:
        return orjson.dumps(value, default=str).decode()
    except orjson.JSONEncodeError:
        return "nested too deeply to be shown here: the raw spans have it"


def _turns_of(data: Mapping[str, Any]) -> Any:
    """What of a request or an answer are its turns."""
    for name in ("messages", "choices", "generations", "contents"):
        if data.get(name):
            return data[name]
    if isinstance(data.get("content"), dict) and "role" in data["content"]:
        return [data["content"]]
    return [data] if "role" in data else None


def _system_of(data: Mapping[str, Any]) -> list[Message]:
    config = data.get("config")
    told = config.get("system_instruction") if isinstance(config, dict) else None
    return [Message("system", [Part("text", told)])] if isinstance(told, str) else []


def _message(one: Any) -> Message | None:
    for wrapped in ("message", "kwargs"):
        if isinstance(one, dict) and isinstance(one.get(wrapped), dict):
            one = one[wrapped]
    if not isinstance(one, dict):
        return None
    role = one.get("role") or one.get("type")
    if not isinstance(role, str):
        return None
    if "role" not in one and (part := _item(one)) is not None:
        return Message("tool" if part.kind == "result" else "assistant", [part])
    if role.lower() not in _ROLES:
        return None
    parts = _parts(one.get("content", one.get("parts")))
    asked = one.get("tool_calls")
    calls = [_call(call) for call in asked if isinstance(call, dict)] if isinstance(asked, list) else []
    return Message(role.lower(), parts + [call for call in calls if call not in parts])


def _item(one: Mapping[str, Any]) -> Part | None:
    """A call or a result that stands among messages by itself, as OpenAI's responses have them."""
    return _part(one) if _kind(one) in _CALLS + _RESULTS + _THOUGHTS else None


def _alone(data: Sequence[Any]) -> list[Message] | None:
    """Parts that nobody is named for: texts and nothing else, or calls."""
    if all(isinstance(one, dict) and _is_part(one) for one in data):
        return [Message("", [_part(one) for one in data])]
    return None


def _is_part(one: Mapping[str, Any]) -> bool:
    return (isinstance(one.get("text"), str) and one.keys() <= {"text", "type"}) or "toolCallId" in one


def _parts(content: Any) -> list[Part]:
    if content is None or content == "":
        return []
    if isinstance(content, list):
        return [_part(part) for part in content]
    return [Part("text", content if isinstance(content, str) else _indented(content))]


def _part(one: Any) -> Part:
    if not isinstance(one, dict):
        return Part("text", one if isinstance(one, str) else _indented(one))
    kind = _kind(one)
    for key, meaning in _NAMED_BY_KEY.items():
        if isinstance(one.get(key), dict) and (meaning == "media" or kind == ""):
            return (
                _call(one[key]) if meaning == "call" else _result(one[key]) if meaning == "result" else _media(one[key])
            )
    if kind in _CALLS or (kind == "" and "toolCallId" in one and "input" in one):
        return _call(one)
    if kind in _RESULTS:
        return _result(one)
    text = _first(one, "text", "content", "thinking")
    if kind in _THOUGHTS and isinstance(text, str):
        return Part("thought", text)
    if kind in _MEDIA:
        return _media(one)
    return Part("text", text if isinstance(text, str) else _indented(one))


def _kind(one: Mapping[str, Any]) -> str:
    kind = one.get("type")
    return kind.replace("-", "_").lower() if isinstance(kind, str) else ""


def _first(one: Mapping[str, Any], *names: str) -> Any:
    return next((one[name] for name in names if one.get(name) is not None), None)


def _call(call: Mapping[str, Any]) -> Part:
    function = call["function"] if isinstance(call.get("function"), dict) else call
    arguments = _first(function, "arguments", "args", "input")
    told = "" if arguments is None else arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()
    return Part("call", f"{_first(function, 'name', 'toolName') or 'call'}({told})")


def _result(one: Mapping[str, Any]) -> Part:
    result = _first(one, "response", "result", "output", "content")
    if isinstance(result, dict) and isinstance(result.get("type"), str) and "value" in result:
        result = result["value"]
    if isinstance(result, list):
        return Part("result", "\n".join(_text(part) for part in result))
    return Part("result", result if isinstance(result, str) else "" if result is None else _indented(result))


def _text(part: Any) -> str:
    """What a part of a result says; what is within it is not read further, for it may be deep."""
    text = _first(part, "text", "content") if isinstance(part, dict) else part
    return text if isinstance(text, str) else _indented(part)


def _media(one: Mapping[str, Any]) -> Part:
    """What it is, not what is in it."""
    told = _first(one, "mime_type", "mimeType", "media_type", "mediaType", "modality", "type")
    return Part("media", told if isinstance(told, str) else "media")


def _indented(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


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
