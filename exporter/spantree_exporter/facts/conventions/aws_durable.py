"""AWS Lambda durable functions, by the `durable.*` attributes of its OpenTelemetry plugins; no recording has been seen.

`Workflow` (sent once, when the execution has ended) or `Invocation` -> an operation -> `<operation> attempt N`. An
operation that goes on in another invocation is sent again. Source: the SDK reference, "OpenTelemetry".
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, text_of, whole_number
from spantree_exporter.facts.vocabulary import Facts, Status
from spantree_exporter.span import Span

# Statuses of executions, operations and attempts, in lower case.
_STATUSES: Final[dict[str, Status]] = {
    "succeeded": "completed",
    "failed": "failed",
    "retrying": "retried",
    "timed_out": "timed_out",
    "stopped": "cancelled",
    "cancelled": "cancelled",
    "pending": "waiting",
    "started": "waiting",
    "ready": "waiting",
    "running": "running",
}


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    arn = text_of(a.get("durable.execution.arn"))
    function = _function_of(arn) if arn is not None else None
    if arn:
        facts.setdefault("run_id", arn)
    if function:
        facts.setdefault("workflow_name", function)
    operation = text_of(a.get("durable.operation.id"))
    if operation is not None:
        _put_operation(span, facts, f"{arn or ''}/{operation}")
    elif "durable.execution.status" in a:
        facts.setdefault("boundary", "run")
        facts.setdefault("kind", "workflow")
        if status := _status(a.get("durable.execution.status")):
            facts.setdefault("run_status", status)
        if function:
            facts.setdefault("name", function)
    elif "durable.invocation.status" in a:
        facts.setdefault("boundary", "candidate")
        facts.setdefault("kind", "function")


def _put_operation(span: Span, facts: Facts, task_key: str) -> None:
    a = span.attributes
    facts.setdefault("name", text_of(a.get("durable.operation.name")) or span.name)
    facts.setdefault("kind", "step")
    facts.setdefault("step", True)
    facts.setdefault("task_key", task_key)
    if "durable.operation.status" in a or "durable.attempt.number" not in a:
        # The number that an operation has is how many attempts it took.
        facts.setdefault("fold", "outer")
        if status := _status(a.get("durable.operation.status")):
            facts.setdefault("status", status)
        return
    if number := whole_number(a.get("durable.attempt.number")):
        facts.setdefault("attempt", number)
    if status := _status(a.get("durable.attempt.outcome")):
        facts.setdefault("status", status)


def _status(value: object) -> Status | None:
    return _STATUSES.get(value.lower()) if isinstance(value, str) else None


def _function_of(arn: str) -> str | None:
    """The function in `arn:aws:lambda:<region>:<account>:function:<name>:...`."""
    parts = arn.split(":")
    return parts[6] if len(parts) > 6 and parts[5] == "function" else None


CONVENTION = Convention("aws_durable", _read, keys=("durable.execution.arn", "durable.operation.id"))
