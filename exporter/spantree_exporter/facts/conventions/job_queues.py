"""Queues of jobs: BullMQ (JavaScript), Sidekiq, Resque, Delayed Job, Active Job (Ruby), Oban, Laravel, Hangfire and
Quartz.NET, arq, docket, Taskiq and Ray (Python).

A job is run once for each attempt, under one id. Instrumentations name its spans for the queue (`default process`),
which most often is the same for all: the job's own name is an attribute. BullMQ (read from bullmq 5) leaves the status
of a run that failed unset, for its worker goes on; the event `job failed` tells it.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, first_text, text_of, whole_number
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import (
    KIND_CLIENT,
    KIND_CONSUMER,
    KIND_INTERNAL,
    KIND_PRODUCER,
    STATUS_ERROR,
    STATUS_UNSET,
    Span,
)

_NAMES: Final = (
    "bullmq.job.name",
    "messaging.sidekiq.job_class",
    "messaging.resque.job_class",
    "messaging.delayed_job.name",
    "oban.job.worker",
    "messaging.message.job_name",
)
_IDS: Final = (
    "bullmq.job.id",
    "oban.job.job_id",
    "messaging.delayed_job.id",
    "messaging.message_id",
    "messaging.message.id",
)
_MOST: Final = ("oban.job.max_attempts", "messaging.message.max_tries")
_QUEUES: Final = ("bullmq.queue.name", "messaging.destination.name", "messaging.destination")
_ACTIVE_JOB: Final = "messaging.active_job.adapter.name"
_BULLMQ_QUEUE: Final = "bullmq.queue.name"
_ARQ_JOB: Final = "arq.job.id"
_FAILED: Final = "job failed"
# Hangfire's spans are of no kind, and are called for the method that is run.
_HANGFIRE: Final = "JOB "
_HANGFIRE_MADE: Final = "job.createdat"
_DOCKET_KEY: Final = "docket.key"
_TASKIQ_TASK: Final = "taskiq.task_name"
_RAY_FUNCTION: Final = "ray.function"
_QUARTZ_FIRED: Final = "fire.instance.id"
_QUARTZ_JOB: Final = "Quartz.Job.Execute"
_QUARTZ_STORE: Final = "Quartz.JobStore."
_RELEASED: Final = "messaging.message.released"
_MESSAGE_CHARS: Final = 1000


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    if span.name.startswith(_HANGFIRE) and _HANGFIRE_MADE in a:
        _put_hangfire(span, facts)
    elif _ARQ_JOB in a:
        _put_arq(span, facts)
    elif _DOCKET_KEY in a:
        _put_docket(span, facts)
    elif _TASKIQ_TASK in a:
        _put_taskiq(span, facts)
    elif _RAY_FUNCTION in a:
        _put_ray(span, facts)
    elif span.name.startswith("Quartz."):
        _put_quartz(span, facts)
    else:
        _put_job(span, facts)


def _put_task(span: Span, facts: Facts) -> None:
    facts.setdefault("kind", "task")
    facts.setdefault("step", True)
    facts.setdefault("entry", span.name)


def _put_attempts(task_key: str, facts: Facts) -> None:
    facts.setdefault("task_key", task_key)
    facts.setdefault("retry_expected", True)


def _put_job(span: Span, facts: Facts) -> None:
    """A job of a queue that tells its name by one of `_NAMES`, and what BullMQ's worker does beside."""
    a = span.attributes
    if span.kind == KIND_INTERNAL:
        if _BULLMQ_QUEUE in a and span.parent_span_id is None and span.status_code != STATUS_ERROR:
            # A worker looks for jobs, stalled ones and locks every few seconds, in a trace of its own each time.
            facts.setdefault("hidden", True)
        elif _BULLMQ_QUEUE in a and span.status_code != STATUS_ERROR:
            # Of a run it tells what it makes of the job (complete, delay, fail), which the run tells itself.
            facts.setdefault("fold", "parent")
        return
    name = first_text(span, _NAMES) or (text_of(a.get("code.namespace")) if _ACTIVE_JOB in a else None)
    if name is None:
        return
    facts.setdefault("name", name)
    if span.kind == KIND_PRODUCER:
        facts.setdefault("kind", "message")
    if span.kind != KIND_CONSUMER:
        return
    _put_task(span, facts)
    if job_id := first_text(span, _IDS):
        _put_attempts(f"{first_text(span, _QUEUES) or ''}/{job_id}", facts)
    if (attempt := whole_number(a.get("oban.job.attempt"))) is not None and attempt > 0:
        facts.setdefault("attempt", attempt)
    if (failed := whole_number(a.get("messaging.delayed_job.attempts"))) is not None and failed >= 0:
        facts.setdefault("attempt", failed + 1)
    if (before := whole_number(a.get("messaging.message.attempts"))) is not None and before > 0:
        # Only some of Laravel's queues count them in the message; of the others it is 0 in each attempt.
        facts.setdefault("attempt", before + 1)
    if (most := first_text(span, _MOST)) and (count := whole_number(most)) is not None and count > 0:
        facts.setdefault("max_attempts", count)
    if a.get(_RELEASED) is True:
        # Given back to the queue, by the job itself or for what it raised: Laravel will run it again.
        facts.setdefault("status", "retried")
    if span.links:
        facts.setdefault("flow_links", True)
    if span.status_code == STATUS_UNSET:
        for event in span.events:
            if event.name == _FAILED:
                facts.setdefault("weak_status", "failed")
                if reason := text_of(event.attributes.get("bullmq.job.failed.reason")):
                    facts.setdefault("error_message", reason[:_MESSAGE_CHARS])


def _put_hangfire(span: Span, facts: Facts) -> None:
    facts.setdefault("name", span.name.removeprefix(_HANGFIRE))
    _put_task(span, facts)
    if job_id := text_of(span.attributes.get("job.id")):
        _put_attempts(f"hangfire/{job_id}", facts)


def _put_arq(span: Span, facts: Facts) -> None:
    """A job as the instrumentation of arq tells it: what a server does for a client, which does not wait for it."""
    a = span.attributes
    if span.kind == KIND_CLIENT:
        facts.setdefault("kind", "message")
        return
    _put_task(span, facts)
    _put_attempts(f"arq/{text_of(a.get(_ARQ_JOB))}", facts)
    if (attempt := whole_number(a.get("arq.job.try"))) is not None and attempt > 0:
        facts.setdefault("attempt", attempt)


def _put_docket(span: Span, facts: Facts) -> None:
    a = span.attributes
    if span.kind != KIND_CONSUMER:
        facts.setdefault("kind", "message")
        return
    if name := text_of(a.get("docket.task")):
        facts.setdefault("name", name)
    _put_task(span, facts)
    # Its key is no task's own: one that goes on for ever keeps it from run to run.
    if (attempt := whole_number(a.get("docket.attempt"))) is not None and attempt > 0:
        facts.setdefault("attempt", attempt)
    if span.links:
        facts.setdefault("flow_links", True)


def _put_taskiq(span: Span, facts: Facts) -> None:
    """A task of Taskiq's middleware: `send/<task>` -> `execute/<task>`, each attempt below the one before it.

    An attempt that will be made again leaves its status unset, and so does the last one where none is left.
    """
    a = span.attributes
    name = text_of(a.get(_TASKIQ_TASK)) or span.name
    facts.setdefault("name", name)
    if span.kind == KIND_PRODUCER:
        facts.setdefault("kind", "message")
        facts.setdefault("fold", "producer")
        return
    if span.kind != KIND_CONSUMER:
        return
    _put_task(span, facts)
    _put_attempts(f"taskiq/{name}", facts)
    attempt = (whole_number(a.get("taskiq._retries")) or 0) + 1
    facts.setdefault("attempt", attempt)
    most = whole_number(a.get("taskiq.max_retries"))
    if most is not None and most > 0:
        facts.setdefault("max_attempts", most)
    if (reason := text_of(a.get("taskiq.retry.reason"))) is not None and span.status_code == STATUS_UNSET:
        facts.setdefault("error_message", reason[:_MESSAGE_CHARS])
        if most is not None and attempt < most:
            facts.setdefault("status", "retried")
        else:
            facts.setdefault("weak_status", "failed")


def _put_ray(span: Span, facts: Facts) -> None:
    """A task of Ray's: `<function> ray.remote` -> `<function> ray.remote_worker`, one for each attempt, of one id."""
    a = span.attributes
    if name := text_of(a.get(_RAY_FUNCTION)):
        facts.setdefault("name", name)
    if span.kind == KIND_PRODUCER:
        facts.setdefault("kind", "message")
        facts.setdefault("fold", "producer")
    elif span.kind == KIND_CONSUMER:
        _put_task(span, facts)
        if task_id := text_of(a.get("ray.task_id")):
            _put_attempts(f"ray/{task_id}", facts)


def _put_quartz(span: Span, facts: Facts) -> None:
    """A job of Quartz.NET's own tracing, whose spans are all called for what the scheduler does."""
    if span.name == _QUARTZ_JOB:
        _put_task(span, facts)
        if name := text_of(span.attributes.get("job.name")):
            facts.setdefault("name", name)
    elif span.name.startswith(_QUARTZ_STORE) and span.parent_span_id is None and span.status_code != STATUS_ERROR:
        # Looks for what is due, every few seconds.
        facts.setdefault("hidden", True)


CONVENTION = Convention(
    "job_queues",
    _read,
    scopes=("Quartz",),
    keys=(
        *_NAMES,
        _ACTIVE_JOB,
        _BULLMQ_QUEUE,
        _HANGFIRE_MADE,
        _ARQ_JOB,
        _DOCKET_KEY,
        _TASKIQ_TASK,
        _RAY_FUNCTION,
        _QUARTZ_FIRED,
    ),
)
