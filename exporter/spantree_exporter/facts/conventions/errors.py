"""What went wrong: exception events, `error.type`, status messages, and exceptions that are no errors at all.

Several frameworks steer by raising: LangGraph interrupts, pydantic-ai asks for approval, asyncio cancels, Airflow
skips. Such an exception gives the step its status, whatever the span status says (conventions.md 4.3, second rule).
"""

from __future__ import annotations

import re
from typing import Final

from spantree_exporter.facts.reading import Convention, text_of
from spantree_exporter.facts.vocabulary import Facts, Status
from spantree_exporter.span import STATUS_ERROR, Span

# Class name, without module, of exceptions that say something else than "failed".
CONTROL_FLOW: Final[dict[str, Status]] = {
    "GraphInterrupt": "waiting",
    "NodeInterrupt": "waiting",
    "CallDeferred": "waiting",
    "ApprovalRequired": "waiting",
    "GraphBubbleUp": "completed",
    "ParentCommand": "completed",
    "Command": "completed",
    "CancelledError": "cancelled",
    "KeyboardInterrupt": "cancelled",
    "GeneratorExit": "cancelled",
    "AirflowSkipException": "skipped",
    "StopIteration": "completed",
    "StopAsyncIteration": "completed",
}
_CLASS = re.compile(r"\s*((?:[A-Za-z_][\w]*\.)*[A-Z]\w*)\s*[(:]")
_CANCELLED = re.compile(r"\b(?:was|is|been) cancell?ed\b", re.IGNORECASE)
_MESSAGE_CHARS = 1000
# Instrumentations put this where they know no class.
_NO_CLASS = frozenset({"Exception", "BaseException", "_OTHER", "Error"})


def _read(span: Span, facts: Facts) -> None:
    failed = span.status_code == STATUS_ERROR
    error_type: str | None = None
    message: str | None = None
    attempts = facts.get("attempts")
    # What an earlier attempt in the same span raised is that attempt's error, not the span's.
    since_ns = attempts[-1].get("at_ns", 0) if attempts else 0
    for event in span.events:
        if event.time_ns <= since_ns:
            continue
        # Of several the last is what left the span.
        if event.name == "exception" or "exception.type" in event.attributes:
            error_type = text_of(event.attributes.get("exception.type")) or error_type
            message = text_of(event.attributes.get("exception.message")) or message
    recorded = error_type is not None or message is not None
    if not (failed or recorded):
        return
    if message is None and failed:
        message = span.status_message or None
    if error_type is None or error_type in _NO_CLASS:
        error_type = _class_in(message) or _class_in(span.status_message) or error_type
    if error_type is None and failed:
        told = text_of(span.attributes.get("error.type"))
        error_type = None if told in _NO_CLASS else told
    control = control_status(error_type, message or span.status_message)
    if control is not None:
        facts.setdefault("status", control)
    if message is not None:
        facts.setdefault("error_message", message[:_MESSAGE_CHARS])
    if error_type is not None:
        facts.setdefault("error_type", error_type)
    if recorded and not failed:
        facts["error_handled"] = True


def control_status(error_type: str | None, message: str | None) -> Status | None:
    """The status that an exception means where it means another than failed."""
    if error_type is not None:
        control = CONTROL_FLOW.get(error_type.rpartition(".")[2])
        if control is not None:
            return control
    if message is not None and len(message) < _MESSAGE_CHARS and _CANCELLED.search(message):
        return "cancelled"
    return None


def _class_in(message: str | None) -> str | None:
    if message:
        match = _CLASS.match(message)
        if match and match.group(1).rpartition(".")[2] not in _NO_CLASS:
            return match.group(1)
    return None


CONVENTION = Convention("errors", _read)
