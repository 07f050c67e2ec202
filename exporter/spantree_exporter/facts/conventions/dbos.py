"""DBOS Transact (Python and TypeScript), read from dbos 3.4: `dbos/_tracer.py`, `_core.py`, `_error.py`.

Attributes come in two spellings, by `telemetry.otel_attribute_format`: `operationUUID` (legacy, the default) or
`dbos.operation.workflow_id` (semconv). A step that DBOS retries is one span: each failed attempt but the last is an
event `Step attempt N failed`, N from 0. Spans record no exceptions, only a status message.
"""

from __future__ import annotations

import math
import re
from typing import Final

from spantree_exporter.facts.reading import Convention, first_text, text_of
from spantree_exporter.facts.vocabulary import AttemptFact, Facts
from spantree_exporter.span import STATUS_ERROR, JsonValue, Span

_WORKFLOW_ID = ("operationUUID", "dbos.operation.workflow_id")
_TYPE = ("operationType", "dbos.operation.type")
_QUEUE = ("queueName", "dbos.queue.name")
_USER = ("authenticatedUser", "dbos.user.name")

_ATTEMPT_FAILED = re.compile(r"Step attempt ([0-9]{1,9}) failed\Z")
_CODE = re.compile(r"DBOS Error ([0-9]{1,9}): ")
_MAX_RETRIES = re.compile(r"exceeded its maximum of ([0-9]{1,9}) retries")
# dbos/_error.py, DBOSErrorCode: the class that stands behind the number in a status message.
_CLASSES: Final = {
    "4": "DBOSWorkflowFunctionNotFoundError",
    "5": "DBOSNonExistentWorkflowError",
    "6": "MaxRecoveryAttemptsExceededError",
    "7": "DBOSMaxStepRetriesExceeded",
    "8": "DBOSNotAuthorizedError",
    "9": "DBOSConflictingWorkflowError",
    "10": "DBOSWorkflowCancelledError",
    "11": "DBOSUnexpectedStepError",
    "12": "DBOSQueueDeduplicatedError",
    "13": "DBOSAwaitedWorkflowCancelledError",
    "14": "DBOSAwaitedWorkflowMaxRecoveryAttemptsExceeded",
    "16": "DBOSStreamTimeoutError",
    "18": "DBOSStepTimeoutError",
    "26": "DBOSQueryTimeoutError",
}
_AWAITED_CANCELLED: Final = "13"
# What is longer is no interval between attempts.
_LONGEST_S: Final = 1e9


def _read(span: Span, facts: Facts) -> None:
    workflow_id = first_text(span, _WORKFLOW_ID)
    if workflow_id is None:
        return
    facts.setdefault("run_id", workflow_id)
    if first_text(span, _TYPE) == "workflow":
        facts.setdefault("boundary", "run")
        facts.setdefault("kind", "workflow")
        facts.setdefault("workflow_name", span.name)
        if queue := first_text(span, _QUEUE):
            facts.setdefault("entry", f"queue {queue}")
    else:
        # Steps, and what DBOS does itself without a type: sleep, recv, send.
        facts.setdefault("kind", "step")
        facts.setdefault("step", True)
    if user := first_text(span, _USER):
        facts.setdefault("user_id", user)
    if span.events and (attempts := _attempts(span)):
        facts.setdefault("attempts", attempts)
        facts.setdefault("retry_expected", True)
    if span.status_code == STATUS_ERROR:
        _put_error(span, facts, workflow_id)


def _attempts(span: Span) -> list[AttemptFact]:
    attempts: list[AttemptFact] = []
    for event in span.events:
        if not event.name.startswith("Step attempt "):
            continue
        match = _ATTEMPT_FAILED.match(event.name)
        if match is None:
            continue
        attempt: AttemptFact = {"attempt": int(match[1]) + 1, "at_ns": event.time_ns, "status": "retried"}
        if message := text_of(event.attributes.get("error")):
            attempt["error_message"] = message
        if (interval_s := _seconds(event.attributes.get("retryIntervalSeconds"))) is not None:
            attempt["next_ns"] = event.time_ns + round(interval_s * 1e9)
        attempts.append(attempt)
    return attempts


def _put_error(span: Span, facts: Facts, workflow_id: str) -> None:
    message = span.status_message
    if retries := _MAX_RETRIES.search(message):
        facts.setdefault("max_attempts", int(retries[1]))
    code = _CODE.match(message)
    if code is None:
        return
    if (name := _CLASSES.get(code[1])) is not None:
        facts.setdefault("error_type", name)
    if code[1] == _AWAITED_CANCELLED and f" {workflow_id} " not in message:
        # Another workflow, which this one awaited, was cancelled: that is this one's failure.
        facts.setdefault("status", "failed")


def _seconds(value: JsonValue) -> float | None:
    try:
        seconds = float(value) if isinstance(value, str | int | float) else math.nan
    except (ValueError, OverflowError):
        return None
    return seconds if 0 <= seconds < _LONGEST_S else None


CONVENTION = Convention("dbos", _read, scopes=("dbos-tracer",), keys=_WORKFLOW_ID)
