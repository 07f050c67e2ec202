"""Celery, as opentelemetry-instrumentation-celery 0.66b2 tells it: `apply_async/<task>` -> `run/<task>`.

A retry keeps the task id (`messaging.message.id`) and is nested below the attempt that asked for it; so is the next
task of a chain below the one before it, and the body of a chord below the last part. What tells a chain from a task
that called another: a signature of a chain keeps the `reply_to` of whoever laid the chain out, a call has the caller's
own. `celery.hostname` is the sender's. Revoked and expired tasks leave only their PRODUCER span.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, text_of, whole_number
from spantree_exporter.facts.vocabulary import Facts, Status
from spantree_exporter.span import KIND_CONSUMER, KIND_PRODUCER, Span

# celery/states.py.
_STATES: Final[dict[str, Status]] = {
    "SUCCESS": "completed",
    "FAILURE": "failed",
    "RETRY": "retried",
    "REVOKED": "cancelled",
    "REJECTED": "cancelled",
    "IGNORED": "completed",
}
# What Celery runs, over and over, to wait for the parts of a chord where the result backend cannot count them.
_CHORD_UNLOCK: Final = "celery.chord_unlock"


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    task = text_of(a.get("celery.task_name"))
    if task is None:
        # While a task runs, and where a worker died in it, only the span's name tells which it is.
        action, slash, rest = span.name.partition("/")
        if not slash or action not in {"run", "apply_async"}:
            return
        task = rest
    facts.setdefault("name", task)
    if task == _CHORD_UNLOCK:
        facts.setdefault("fold", "parent")
        return
    task_id = text_of(a.get("messaging.message.id"))
    if span.kind == KIND_PRODUCER:
        facts.setdefault("kind", "message")
        facts.setdefault("fold", "producer")
        return
    if span.kind != KIND_CONSUMER:
        return
    facts.setdefault("kind", "task")
    facts.setdefault("step", True)
    facts.setdefault("entry", span.name)
    if task_id:
        facts.setdefault("task_key", task_id)
    retries = whole_number(a.get("celery.retries"))
    facts.setdefault("attempt", 1 if retries is None else retries + 1)
    if retries:
        # Nobody but the task asks for another run that counts; only a run that is tried again tells the reason.
        facts.setdefault("retry_expected", True)
    state = a.get("celery.state")
    if isinstance(state, str) and (status := _STATES.get(state)) is not None:
        facts.setdefault("status", status)
        if state in {"IGNORED", "REJECTED"}:
            facts.setdefault("status_reason", state.lower())
    if reason := text_of(a.get("celery.retry.reason")):
        # The task itself asked for it.
        facts.setdefault("retry_expected", True)
        facts.setdefault("error_message", reason)
        if error_type := _class_in(reason):
            facts.setdefault("error_type", error_type)
    if span.links:
        # Instrumented with `use_span_links`: the publishing span is linked instead of being the parent.
        facts.setdefault("flow_links", True)
    if planner := text_of(a.get("celery.reply_to")):
        facts.setdefault("planned_by", planner)
    if sender := text_of(a.get("celery.hostname")):
        facts.setdefault("sent_by", sender)


def _class_in(reason: str) -> str | None:
    """The class in celery's `Retry in 0.2s: ConnectionError('...')`."""
    raised = reason.partition(": ")[2].partition("(")[0]
    return raised if raised.replace(".", "").isidentifier() else None


CONVENTION = Convention(
    "celery",
    _read,
    scopes=("opentelemetry.instrumentation.celery",),
    keys=("celery.task_name", "celery.action"),
)
