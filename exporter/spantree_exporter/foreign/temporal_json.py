"""What stands in the events of Temporal's histories: names, times, payloads, failures, retry policies. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

import orjson

from spantree_exporter import attributes as names

_VALUE_CHARS: Final = 64 * 1024
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|[+]00:00)")
_SECONDS: Final = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)s")
# Temporal keeps a workflow open until somebody ends it: without a timeout of its own it is not lost for ten years.
_NEVER_LOST_S: Final = 315_360_000.0

Json = Mapping[str, Any]


def event_name(event: Json) -> str:
    """ACTIVITY_TASK_STARTED of EVENT_TYPE_ACTIVITY_TASK_STARTED and of ActivityTaskStarted, as older CLIs wrote."""
    told = str(event["eventType"])
    if told.isupper():
        return told.removeprefix("EVENT_TYPE_")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", told).upper()


def attributes_key(name: str) -> str:
    """The field of an event that holds what is special to its type."""
    first, *rest = name.lower().split("_")
    return first + "".join(word.title() for word in rest) + "EventAttributes"


def trace_id_of(run_id: str) -> str:
    """The trace of a root workflow: run ids are UUIDs, as long as a trace id."""
    try:
        return UUID(run_id).hex
    except ValueError:
        return sha256(run_id.encode()).hexdigest()[:32]


def span_id_of(run_id: str, event_id: str) -> str:
    """The id of the span that an event of a run begins, the same at every import."""
    return sha256(f"temporal/{run_id}/{event_id}".encode()).hexdigest()[:16]


def time_ns(text: str) -> int:
    """Nanoseconds since 1970 of a time in protobuf's JSON form. Raises ValueError."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:40]} is no time in UTC")
    whole = datetime.fromisoformat(match[1]).replace(tzinfo=UTC) - _EPOCH
    return (whole.days * 86_400 + whole.seconds) * 1_000_000_000 + int((match[2] or "0").ljust(9, "0"))


def lost_after_s(started: Json) -> float:
    """After how many seconds without news a run that began so counts as lost."""
    for key in ("workflowRunTimeout", "workflowExecutionTimeout"):
        match = _SECONDS.fullmatch(str(started.get(key) or ""))
        if match is not None and float(match[1]) > 0:
            return float(match[1]) + 3600.0
    return _NEVER_LOST_S


def type_name(told: Any) -> str:
    """The name of an activity's or a workflow's type."""
    name = told.get("name") if isinstance(told, Mapping) else told
    return str(name or "unnamed")


def enum_word(told: Any, prefix: str) -> str | None:
    """The word of an enum's value, without its prefix; None for none."""
    if not told:
        return None
    word = str(told)
    return word.removeprefix(prefix) if word.isupper() else re.sub(r"(?<=[a-z])(?=[A-Z])", "_", word).upper()


def retry_attributes(policy: Any, attempt: Any) -> dict[str, Any]:
    """What a retry policy says; no policy, no retries."""
    told: dict[str, Any] = {}
    if isinstance(policy, Mapping):
        most = int(policy.get("maximumAttempts") or 0)
        if most:
            told[names.RETRY_MAX_ATTEMPTS] = most
        told["temporal.retry_policy"] = orjson.dumps(dict(policy)).decode()
    if attempt and int(attempt) > 1:
        told[names.ATTEMPT] = int(attempt)
        told[names.RETRY_EXPECTED] = isinstance(policy, Mapping)
    return told


def failure_of(failure: Json) -> tuple[str, str, str]:
    """(type, message, stack trace) of what is behind a failure: activities and children only pass it on."""
    while isinstance(failure.get("cause"), Mapping) and (
        "activityFailureInfo" in failure or "childWorkflowExecutionFailureInfo" in failure
    ):
        failure = failure["cause"]
    message = str(failure.get("message") or "")
    stack = str(failure.get("stackTrace") or "")
    application = failure.get("applicationFailureInfo")
    if isinstance(application, Mapping) and application.get("type"):
        return str(application["type"]), message, stack
    if "timeoutFailureInfo" in failure:
        kind = enum_word((failure.get("timeoutFailureInfo") or {}).get("timeoutType"), "TIMEOUT_TYPE_")
        return "TimeoutError", message + (f" ({kind.lower().replace('_', ' ')})" if kind else ""), stack
    if "canceledFailureInfo" in failure:
        return "CancelledError", message, stack
    if "terminatedFailureInfo" in failure:
        return "TerminatedError", message, stack
    return "ApplicationError", message, stack


def is_timeout(failure: Json) -> bool:
    """Whether a failure is a time limit that was reached."""
    return "timeoutFailureInfo" in failure


def input_attributes(payloads: Any) -> dict[str, Any]:
    """What a step was given."""
    return some({names.INPUT: _value(payloads)})


def output_attributes(payloads: Any) -> dict[str, Any]:
    """What it gave."""
    return some({names.OUTPUT: _value(payloads)})


def _value(payloads: Any) -> str | None:
    """Payloads as JSON: one value as itself, several as a list."""
    if payloads is None:
        return None
    sent = payloads.get("payloads") if isinstance(payloads, Mapping) and "payloads" in payloads else payloads
    values = [_payload(one) for one in sent] if isinstance(sent, list) else [_payload(sent)]
    if not values:
        return None
    text = orjson.dumps(values[0] if len(values) == 1 else values).decode()
    return text if len(text) <= _VALUE_CHARS else text[:_VALUE_CHARS]


def _payload(payload: Any) -> Any:
    if not isinstance(payload, Mapping) or not isinstance(payload.get("metadata"), Mapping):
        return payload
    try:
        encoding = base64.b64decode(str(payload["metadata"].get("encoding", ""))).decode("ascii", "replace")
        data = base64.b64decode(str(payload.get("data", "")))
    except binascii.Error:
        return "(a payload that cannot be read)"
    if encoding == "binary/null":
        return None
    if encoding in ("json/plain", "json/protobuf"):
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError:
            pass
    return f"({encoding or 'payload'}, {len(data)} bytes)"


def some(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that there are."""
    return {key: value for key, value in values.items() if value not in (None, "", False)}
