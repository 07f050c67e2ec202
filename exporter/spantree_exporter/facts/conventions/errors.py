"""What went wrong: exception events, `error.type`, status messages, and exceptions that are no errors at all.

Several frameworks steer by raising: LangGraph interrupts, pydantic-ai asks for approval, asyncio cancels, Airflow
skips. Such an exception gives the step its status, whatever the span status says; what its message says never does.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.exception_types import (
    causes_in,
    class_of_code,
    grpc_error,
    is_cancellation,
    is_cancelled_query,
    is_go_deadline,
    is_plain_answer,
    leading_class,
    status_of_type,
)
from spantree_exporter.facts.reading import Convention, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import STATUS_ERROR, STATUS_OK, STATUS_UNSET, Event, Span

_MESSAGE_CHARS: Final = 1000
# OpenTracing's log of an error, which its receivers pass on as an event of this name.
_LOGGED: Final = "error"
_LOGGED_TYPES: Final = ("error.kind", "error.type")
_LOGGED_MESSAGES: Final = ("message", "error.message", "error.object", "error")
_LOGGED_LEVEL: Final = "ERROR"
_TRACED_MESSAGES: Final = ("error", "exception.message")
# Instrumentations put this where they know no class.
_NO_CLASS: Final = frozenset({"Exception", "BaseException", "_OTHER", "Error"})
# What OpenTelemetry's instrumentations for Python say of a server that raised before it had a code, and then the class.
_NO_CODE: Final = "Non-integer HTTP status: "
# Go's SDK records a panic that leaves a span (sdk/trace/span.go, `End`), without a status and later than its end.
# What the runtime panics with has a class of its own; texts and errors that programs panic with have not.
_GO_PANIC: Final = "runtime."
# By which Go's net/http is told to give up an answer; its reverse proxy does for clients that went away.
_GO_ABORT: Final = "net/http: abort Handler"
_HANDLED: Final = ("error.handled", "exception.handled")


def _read(span: Span, facts: Facts) -> None:
    failed = span.status_code == STATUS_ERROR or facts.get("weak_status") == "failed"
    last, error_type, message = _recorded(span, facts, failed) if span.events else (None, None, None)
    recorded = error_type is not None or message is not None
    if recorded and not failed and span.status_code == STATUS_UNSET and _is_panic(span, error_type, message, last):
        failed = True
        facts["weak_status"] = "failed"
    if not (failed or recorded):
        return
    stacktrace = _stacktrace(span, last, failed)
    error_type, message = _told(span, facts, error_type, message, stacktrace, failed)
    _put_status(span, facts, error_type, message, stacktrace)
    if message is not None:
        facts.setdefault("error_message", message[:_MESSAGE_CHARS])
    if error_type is not None:
        facts.setdefault("error_type", error_type)
    if not failed:
        if recorded:
            facts["error_handled"] = True
        return
    if stacktrace is not None and (causes := causes_in(stacktrace)):
        facts["caused_by"] = causes
    if _declared_handled(span, last):
        facts["declared_handled"] = True


def _recorded(span: Span, facts: Facts, failed: bool) -> tuple[Event | None, str | None, str | None]:
    """The exception that left the span, its type and message: of several the last."""
    attempts = facts.get("attempts")
    # What an earlier attempt in the same span raised is that attempt's error, not the span's.
    since_ns = attempts[-1].get("at_ns", 0) if attempts else 0
    last: Event | None = None
    error_type: str | None = None
    message: str | None = None
    for event in span.events:
        if (event.name == "exception" or "exception.type" in event.attributes) and event.time_ns > since_ns:
            last = event
            error_type = text_of(event.attributes.get("exception.type")) or error_type
            message = text_of(event.attributes.get("exception.message")) or message
        elif event.name == _LOGGED and failed and last is None:
            error_type = _first(event, _LOGGED_TYPES) or error_type
            message = _first(event, _LOGGED_MESSAGES) or message
        elif failed and last is None and event.attributes.get("level") == _LOGGED_LEVEL:
            # Rust's `tracing`: an error that is logged within a span makes it one, and is all that says why.
            message = _first(event, _TRACED_MESSAGES) or event.name or message
    return last, error_type, message


def _stacktrace(span: Span, last: Event | None, failed: bool) -> str | None:
    if last is not None:
        return text_of(last.attributes.get("exception.stacktrace"))
    return text_of(span.attributes.get("error.stack")) if failed else None


def _told(
    span: Span, facts: Facts, error_type: str | None, message: str | None, stacktrace: str | None, failed: bool
) -> tuple[str | None, str | None]:
    """Type and message, from beside the exception where it has none that says anything."""
    if error_type is not None and stacktrace is not None and error_type.isdigit():
        error_type = class_of_code(error_type, stacktrace)
    if message is None and failed:
        message = span.status_message or text_of(span.attributes.get("error.message"))
        if message is not None and error_type is not None and _tells_class_alone(message, error_type):
            message = None
    if error_type is None or error_type in _NO_CLASS:
        error_type = facts.get("error_type") or _type_beside(span, message) or error_type
    if error_type is not None and message is not None and (answer := grpc_error(error_type, message)) is not None:
        return answer
    return error_type, message


def _put_status(span: Span, facts: Facts, error_type: str | None, message: str | None, stacktrace: str | None) -> None:
    status = status_of_type(error_type, message or span.status_message, stacktrace)
    if status is None and is_plain_answer(facts.get("kind"), message):
        status = "completed"
    elif status is None and is_cancelled_query(facts.get("kind"), message):
        status = "cancelled"
    if status == "cancelled" and span.status_code == STATUS_OK and facts.get("weak_status") != "failed":
        # It had ended well: a status of OK is final. What came after was the end of a generator that nobody reads on.
        status = "completed"
    if status is not None:
        facts.setdefault("status", status)
    elif (error_type is not None and is_cancellation(error_type, message)) or is_go_deadline(error_type, message):
        facts["exception_type_class"] = "timeout"


def _is_panic(span: Span, error_type: str | None, message: str | None, last: Event | None) -> bool:
    """Whether a panic of Go is what left the span."""
    if error_type is not None and error_type.startswith(_GO_PANIC):
        return True
    if last is None or last.time_ns <= span.end_ns or message == _GO_ABORT:
        return False
    return span.resource.attributes.get("telemetry.sdk.language") == "go"


def _tells_class_alone(message: str, error_type: str) -> bool:
    """Whether the status says nothing but the class of an exception that has no message."""
    name = error_type.rpartition(".")[2]
    return message.strip().removesuffix(":") == name or message.startswith(_NO_CODE)


def _first(event: Event, keys: tuple[str, ...]) -> str | None:
    return next((text for key in keys if (text := text_of(event.attributes.get(key)))), None)


def _type_beside(span: Span, message: str | None) -> str | None:
    """The type that is told elsewhere than in an exception event."""
    told = text_of(span.attributes.get("error.type"))
    # Node.js' instrumentation of fetch tells the message as the type: a class has no spaces.
    if told is not None and told not in _NO_CLASS and " " not in told:
        return told
    return leading_class(span.status_message, message) if span.status_message else None


def _declared_handled(span: Span, exception: Event | None) -> bool:
    """Whether somebody said that the failure was dealt with.

    `exception.escaped` counts only as a boolean: Python's SDK writes the text "False" of every exception it records.
    """
    if exception is not None and exception.attributes.get("exception.escaped") is False:
        return True
    return any(span.attributes.get(key) is True for key in _HANDLED)


CONVENTION = Convention("errors", _read)
