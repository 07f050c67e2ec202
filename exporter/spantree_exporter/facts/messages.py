"""Prompts and answers of models, where they are sent in parts: as indexed attributes or as events.

gen_ai.prompt.N.role|content, gen_ai.completion.N.content|tool_calls.M.name|arguments      Traceloop
llm.input_messages.N.message.role|content|contents.M.message_content.text, llm.output_messages.N...   OpenInference
llm.prompts.N.prompt.text, llm.choices.N.completion.text                                    OpenInference
events gen_ai.{system,user,assistant,tool}.message and gen_ai.choice                        semantic conventions
events gen_ai.content.prompt and gen_ai.content.completion                                  up to 1.26
event gen_ai.client.inference.operation.details                                             from 1.37
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import PREVIEW_CHARS, digest_of, json_of, json_text, put_preview, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Attributes, JsonValue, Span

# More than a preview can show is not put together.
_MESSAGES: Final = 32
_PARTS: Final = 8
# (before the index, after it): each form of messages, for prompts and for answers.
_PROMPTS: Final = (("gen_ai.prompt.", ""), ("llm.input_messages.", "message."), ("llm.prompts.", "prompt."))
_ANSWERS: Final = (("gen_ai.completion.", ""), ("llm.output_messages.", "message."), ("llm.choices.", "completion."))
# Attributes by which a span with such messages is recognised.
FIRST_KEYS: Final = tuple(
    f"{start}0.{middle}{field}"
    for start, middle in (*_PROMPTS, *_ANSWERS)
    for field in ("role", "content", "text", "finish_reason")
)
# Only a call of a model has an answer of its own.
FIRST_ANSWERS: Final = frozenset({"gen_ai.completion.0.role", "gen_ai.completion.0.content"})
_FIRST: Final = frozenset(
    {*FIRST_KEYS, *(f"{start}0.{middle}{rest}" for start, middle in (*_PROMPTS, *_ANSWERS) for rest in (
        "contents.0.message_content.text", "tool_calls.0.name", "tool_calls.0.tool_call.function.name"))}
)  # fmt: skip
_ROLES: Final = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
_CHOICE: Final = "gen_ai.choice"
# Events that hold all messages of one side under one name.
_WHOLE: Final = {
    "gen_ai.content.prompt": ("gen_ai.prompt", None),
    "gen_ai.content.completion": (None, "gen_ai.completion"),
    "gen_ai.client.inference.operation.details": ("gen_ai.input.messages", "gen_ai.output.messages"),
}


def put_messages(span: Span, facts: Facts) -> None:
    """Put `input` and `output`, so far as they are not there yet, from what is sent in parts."""
    if span.events:
        _put_events(span, facts)
    a = span.attributes
    if _FIRST.isdisjoint(a):
        return
    if "input" not in facts:
        _put(facts, "input", _indexed(a, _PROMPTS))
    if "output" not in facts:
        _put(facts, "output", _indexed(a, _ANSWERS))


def _put(facts: Facts, field: str, messages: list[JsonValue]) -> None:
    if not messages:
        return
    only = messages[0] if len(messages) == 1 else None
    # A single message is shown as what it says.
    content = only.get("content") if isinstance(only, dict) and "tool_calls" not in only else None
    shown = content if content is not None else messages
    if field == "output":
        put_preview(facts, "output", shown)
        return
    put_preview(facts, "input", shown)
    if len(messages) == _MESSAGES and (text := json_text(shown)) is not None and len(text) <= PREVIEW_CHARS:
        # What follows the last message that was read may differ.
        facts.setdefault("input_digest", digest_of(text))


def _indexed(a: Attributes, forms: tuple[tuple[str, str], ...]) -> list[JsonValue]:
    for start, middle in forms:
        messages: list[JsonValue] = []
        for number in range(_MESSAGES):
            message = _message(a, f"{start}{number}.{middle}")
            if not message:
                break
            messages.append(message)
        if messages:
            return messages
    return []


def _message(a: Attributes, prefix: str) -> dict[str, JsonValue]:
    message: dict[str, JsonValue] = {}
    if role := text_of(a.get(prefix + "role")):
        message["role"] = role
    content = a.get(prefix + "content")
    if content is None:
        content = a.get(prefix + "text")
    if content is None:
        texts = [
            text
            for part in range(_PARTS)
            if (text := text_of(a.get(f"{prefix}contents.{part}.message_content.text"))) is not None
        ]
        content = "\n".join(texts) or None
    if content is not None and content != "":
        message["content"] = content
    if calls := _tool_calls(a, prefix):
        message["tool_calls"] = calls
    elif "content" not in message and "role" not in message and (finish := text_of(a.get(prefix + "finish_reason"))):
        message["finish_reason"] = finish
    return message


def _tool_calls(a: Attributes, prefix: str) -> list[JsonValue]:
    calls: list[JsonValue] = []
    for number in range(_PARTS):
        for start, name, arguments in (
            (f"{prefix}tool_calls.{number}.", "name", "arguments"),
            (f"{prefix}tool_calls.{number}.tool_call.function.", "name", "arguments"),
        ):
            if called := text_of(a.get(start + name)):
                calls.append({"name": called, "arguments": a.get(start + arguments)})
                break
        else:
            break
    return calls


def _put_events(span: Span, facts: Facts) -> None:
    prompts: list[JsonValue] = []
    answers: list[JsonValue] = []
    for event in span.events:
        a = event.attributes
        if (keys := _WHOLE.get(event.name)) is not None:
            given, made = keys
            if given is not None:
                put_preview(facts, "input", a.get(given))
            if made is not None:
                put_preview(facts, "output", a.get(made))
        elif (role := _ROLES.get(event.name)) is not None and len(prompts) < _MESSAGES:
            if (content := _content(a)) is not None:
                prompts.append({"role": text_of(a.get("role")) or role, "content": content})
        elif event.name == _CHOICE and len(answers) < _MESSAGES and (content := _content(a)) is not None:
            answers.append({"role": "assistant", "content": content})
    if "input" not in facts:
        _put(facts, "input", prompts)
    if "output" not in facts:
        _put(facts, "output", answers)


def _content(a: Attributes) -> JsonValue:
    """What a message's event says: its content, or that of the message in it, or the calls of tools."""
    body = json_of(a.get("message"))
    held = body if isinstance(body, dict) else a
    for key in ("content", "gen_ai.event.content", "tool_calls", "message"):
        content = held.get(key)
        if content is not None and content != "":
            return content
    message = a.get("message")
    return message if isinstance(message, str) and body is None else None
