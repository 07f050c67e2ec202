"""RPC semantic conventions, old names and new: gRPC and what speaks its status codes (Connect, Twirp's names)."""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, first_text, text_of, whole_number
from spantree_exporter.facts.vocabulary import Facts, Status
from spantree_exporter.span import KIND_CLIENT, KIND_SERVER, STATUS_ERROR, STATUS_OK, STATUS_UNSET, Event, Span

# grpc/statuscodes.md, by number.
CODES: Final = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
_NUMBERS: Final = {name: number for number, name in enumerate(CODES)}
_STATUSES: Final[dict[str, Status]] = {"CANCELLED": "cancelled", "DEADLINE_EXCEEDED": "timed_out"}
# The codes that are a server's own failure; the others are an answer to a wrong request (semantic conventions, gRPC).
_OF_SERVER: Final = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
_CODE_KEYS: Final = (
    "rpc.response.status_code",
    "rpc.grpc.status_code",
    "rpc.connect_rpc.error_code",
    "rpc.connect_rpc.status_code",
    "grpc.status_code",
    "grpc.code",
)


# JSON-RPC's error object. Codes by which a server says that it was asked wrongly (jsonrpc.org/specification).
_JSON_CODE: Final = "rpc.jsonrpc.error_code"
_JSON_MESSAGE: Final = "rpc.jsonrpc.error_message"
_JSON_CODES: Final = (_JSON_CODE, "rpc.response.status_code")
_JSON_SYSTEMS: Final = ("rpc.system.name", "rpc.system")
_OF_CALLER: Final = frozenset({"-32700", "-32600", "-32601", "-32602"})
_MESSAGE_CHARS: Final = 1000


# gRPC's own spans of each attempt of a call (gRFC A72): how many there were before.
_PYTHON: Final = "opentelemetry.instrumentation.grpc"
_BEFORE: Final = "previous-rpc-attempts"


def _read(span: Span, facts: Facts) -> None:
    facts.setdefault("kind", "rpc")
    if span.kind == KIND_SERVER:
        facts.setdefault("entry", span.name)
    if _JSON_CODE in span.attributes or first_text(span, _JSON_SYSTEMS) == "jsonrpc":
        _put_json_error(span, facts)
        return
    code = _code_of(span)
    if (before := whole_number(span.attributes.get(_BEFORE))) is not None and before >= 0:
        facts.setdefault("attempt", before + 1)
        facts.setdefault("retry_expected", True)
        if code is None and (told := span.status_message.partition(",")[0]) in _NUMBERS:
            code = told
    if code is None or code == "OK":
        if span.kind == KIND_SERVER and span.status_code == STATUS_UNSET and _raised_in_python(span):
            facts.setdefault("weak_status", "failed")
        return
    # Many instrumentations leave the status as it was.
    failed = span.status_code == STATUS_ERROR
    if not failed and not (span.status_code == STATUS_UNSET and _is_failure(span, code)):
        return
    if (status := _STATUSES.get(code)) is not None:
        facts.setdefault("status", status)
    elif not failed:
        facts.setdefault("weak_status", "failed")
    # Where an exception was recorded, that says more than the code it was answered with.
    if not any(event.name == "exception" and not _is_abort(event) for event in span.events):
        facts.setdefault("error_type", code)
        words = f"{code} ({_NUMBERS[code]}): {code.lower().replace('_', ' ')}"
        said = span.status_message.removeprefix(f"StatusCode.{code}:")
        facts.setdefault("error_message", said or words)


def _put_json_error(span: Span, facts: Facts) -> None:
    """Put the error that a call of JSON-RPC was answered with, which most leave out of the status."""
    code = first_text(span, _JSON_CODES)
    if code in {None, "0", "OK"} or span.status_code == STATUS_OK:
        return
    if span.kind == KIND_SERVER and code in _OF_CALLER and span.status_code == STATUS_UNSET:
        facts.setdefault("status_reason", f"JSON-RPC {code}")
        return
    if span.status_code == STATUS_UNSET:
        facts.setdefault("weak_status", "failed")
    if not any(event.name == "exception" for event in span.events):
        facts.setdefault("error_type", code)
        told = first_text(span, (_JSON_MESSAGE,)) or span.status_message or f"JSON-RPC error {code}"
        facts.setdefault("error_message", told[:_MESSAGE_CHARS])


def _raised_in_python(span: Span) -> bool:
    """Whether a handler raised: Python's instrumentation tells the exception, and code 0 without a status."""
    return span.scope.name == _PYTHON and any(
        event.name == "exception" and not _is_abort(event) for event in span.events
    )


def _is_abort(event: Event) -> bool:
    """Whether it is what `context.abort` of grpc for Python raises to leave a handler: the code says why."""
    return event.attributes.get("exception.type") == "Exception" and not event.attributes.get("exception.message")


def _is_failure(span: Span, code: str) -> bool:
    return span.kind == KIND_CLIENT or (span.kind == KIND_SERVER and code in _OF_SERVER)


def _code_of(span: Span) -> str | None:
    """The name of the status code, by whichever name or number it was told; None if it is none of gRPC's."""
    a = span.attributes
    for key in (*_CODE_KEYS, "error.type"):
        told = text_of(a.get(key))
        if told is None:
            continue
        if told.isdigit():
            # `error.type` may be an HTTP status: no code of gRPC has more than two digits.
            number = int(told) if told.isascii() and len(told) <= 2 else len(CODES)
            if number < len(CODES):
                return CODES[number]
            continue
        name = told.rpartition(".")[2].upper()
        if name == "CANCELED":
            name = "CANCELLED"
        if name in _NUMBERS:
            return name
        # Java and .NET write `DeadlineExceeded`.
        for known in CODES:
            if known.replace("_", "") == name:
                return known
    return None


CONVENTION = Convention("rpc", _read, keys=("rpc.system", "rpc.system.name", _BEFORE, _JSON_CODE, *_CODE_KEYS))
