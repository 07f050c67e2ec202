"""Log records that belong to a span -> the span as if it had carried them itself. Pure.

OpenTelemetry moves span events to logs (OTEP 4430): exceptions come as records with `exception.*` attributes, and the
content of calls to models as events `gen_ai.*`, either one record with all messages
(`gen_ai.client.inference.operation.details`) or, until semantic conventions 1.36, one for each message. Everything
that is known about events and attributes of spans holds for them, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import orjson

from spantree_exporter.span import Attributes, Event, JsonValue, Span

# Of one span so many records are looked at: a loop that logs each turn says nothing new after some thousand.
MAX_RECORDS: Final = 1000
_EXCEPTION_KEYS: Final = ("exception.type", "exception.message")
_TELLING_KEYS: Final = (*_EXCEPTION_KEYS, "event.name")
# Attributes of a span that a record may tell in its stead.
_CONTENT: Final = (
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.system_instructions",
    "gen_ai.tool.call.arguments",
    "gen_ai.tool.call.result",
)
_ROLES: Final = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
_CHOICE: Final = "gen_ai.choice"


@dataclass(frozen=True, slots=True)
class SpanLog:
    """What of a log record concerns its span."""

    at_ns: int
    event_name: str
    body: JsonValue
    attributes: Attributes
    dropped_attributes_count: int = 0


def tells(event_name: str, attributes: Attributes) -> bool:
    """Whether such a record may say something about its span; what a service logs besides costs no projection."""
    return bool(event_name) or any(key in attributes for key in _TELLING_KEYS)


def event_of(log: SpanLog) -> Event:
    """The span event that `log` is: its name, and its attributes with those of a body that is a map."""
    attributes = dict(log.attributes)
    if isinstance(log.body, dict):
        for key, value in log.body.items():
            attributes.setdefault(key, value)
    elif log.body is not None:
        attributes.setdefault("body", log.body)
    name = log.event_name
    if not name and isinstance(told := attributes.get("event.name"), str):
        name = told
    if not name:
        name = "exception" if any(key in attributes for key in _EXCEPTION_KEYS) else "log"
    return Event(log.at_ns, name, attributes, log.dropped_attributes_count)


def with_logs(span: Span, logs: Sequence[SpanLog]) -> Span:
    """`span` with its log records as events, and what they say of inputs and outputs as attributes that it lacks."""
    events = sorted(
        (event_of(log) for log in logs),
        # Whatever order they were stored in.
        key=lambda event: (event.time_ns, event.name, orjson.dumps(event.attributes, option=orjson.OPT_SORT_KEYS)),
    )[:MAX_RECORDS]
    content = _content(events)
    return replace(
        span,
        events=sorted([*span.events, *events], key=lambda event: event.time_ns),
        attributes={**content, **span.attributes} if content else span.attributes,
    )


def _content(events: Sequence[Event]) -> Attributes:
    content: Attributes = {}
    inputs: list[JsonValue] = []
    outputs: list[JsonValue] = []
    for event in events:
        for key in _CONTENT:
            if (value := event.attributes.get(key)) is not None:
                content.setdefault(key, value)
        if role := _ROLES.get(event.name):
            inputs.append(_message(event.attributes, role))
        elif event.name == _CHOICE:
            message = event.attributes.get("message")
            outputs.append(_message(message if isinstance(message, dict) else event.attributes, "assistant"))
    if inputs:
        content.setdefault("gen_ai.input.messages", inputs)
    if outputs:
        content.setdefault("gen_ai.output.messages", outputs)
    return content


def _message(told: Attributes, role: str) -> JsonValue:
    message: dict[str, JsonValue] = {"role": told.get("role") or role}
    for key in ("content", "tool_calls", "id"):
        if (value := told.get(key)) is not None:
            message[key] = value
    return message
