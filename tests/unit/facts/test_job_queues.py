"""Queues of background jobs: named for the job, one task for all runs of one id, failed where their events say so."""

from __future__ import annotations

import pytest
from tests.unit.facts.spans import span

from spantree_exporter.facts import Facts, read_facts
from spantree_exporter.span import (
    KIND_CLIENT,
    KIND_CONSUMER,
    KIND_INTERNAL,
    KIND_PRODUCER,
    KIND_SERVER,
    STATUS_ERROR,
    Attributes,
    Event,
)

BULLMQ: Attributes = {"bullmq.queue.name": "mail", "bullmq.job.id": "42", "bullmq.job.name": "send-mail"}
SIDEKIQ: Attributes = {
    "messaging.system": "sidekiq",
    "messaging.sidekiq.job_class": "MailJob",
    "messaging.message_id": "jid1",
    "messaging.destination": "default",
}
TASK: Facts = {"kind": "task", "step": True, "retry_expected": True}


def test_a_run_of_a_bullmq_job_failed_where_its_event_says_so() -> None:
    failed = Event(1_500, "job failed", {"bullmq.job.failed.reason": "smtp refused"})
    done = Event(1_500, "job completed", {"bullmq.job.result": "{}"})
    told: Facts = {**TASK, "name": "send-mail", "entry": "process mail", "task_key": "mail/42"}
    assert read_facts(span("process mail", BULLMQ, kind=KIND_CONSUMER, events=[done])) == told
    assert read_facts(span("process mail", BULLMQ, kind=KIND_CONSUMER, events=[failed])) == {
        **told,
        "weak_status": "failed",
        "error_message": "smtp refused",
    }


def test_what_a_bullmq_worker_does_between_jobs_is_hidden_unless_it_failed() -> None:
    idle: Attributes = {"bullmq.queue.name": "mail", "bullmq.queue.operation": "getNextJob"}
    assert read_facts(span("getNextJob mail", idle, kind=KIND_INTERNAL, parent=None)) == {"hidden": True}
    assert "hidden" not in read_facts(
        span("getNextJob mail", idle, kind=KIND_INTERNAL, parent=None, status=STATUS_ERROR)
    )
    assert read_facts(span("complete mail", idle, kind=KIND_INTERNAL)) == {"fold": "parent"}


def test_a_job_of_arq_is_told_as_a_server_and_is_a_task() -> None:
    job: Attributes = {"arq.job.id": "17df", "arq.job.name": "pack", "arq.job.try": 2}
    assert read_facts(span("pack", job, kind=KIND_CLIENT)) == {"kind": "message"}
    assert read_facts(span("pack", job, kind=KIND_SERVER)) == {
        **TASK,
        "entry": "pack",
        "task_key": "arq/17df",
        "attempt": 2,
    }


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        (SIDEKIQ, {**TASK, "name": "MailJob", "task_key": "default/jid1"}),
        (
            {
                "messaging.system": "oban",
                "messaging.destination.name": "events",
                "messaging.message.id": 7,
                "oban.job.job_id": 7,
                "oban.job.worker": "MailJob",
                "oban.job.attempt": 3,
                "oban.job.max_attempts": 20,
            },
            {**TASK, "name": "MailJob", "task_key": "events/7", "attempt": 3, "max_attempts": 20},
        ),
        (
            {
                "messaging.system": "delayed_job",
                "messaging.destination": "default",
                "messaging.delayed_job.name": "Mailer#deliver",
                "messaging.delayed_job.id": 5,
                "messaging.delayed_job.attempts": 2,
            },
            {**TASK, "name": "Mailer#deliver", "task_key": "default/5", "attempt": 3},
        ),
        (
            {
                "messaging.system": "active_job",
                "messaging.destination": "default",
                "messaging.active_job.adapter.name": "async",
                "messaging.message.id": "u-1",
                "code.namespace": "MailJob",
            },
            {**TASK, "name": "MailJob", "task_key": "default/u-1"},
        ),
    ],
)
def test_a_job_has_its_own_name_and_not_its_queues(attributes: Attributes, told: Facts) -> None:
    assert read_facts(span("default process", attributes, kind=KIND_CONSUMER)) == {**told, "entry": "default process"}


def test_putting_a_job_on_a_queue_is_a_message() -> None:
    assert read_facts(span("default publish", SIDEKIQ, kind=KIND_PRODUCER)) == {"kind": "message", "name": "MailJob"}


def test_a_job_of_hangfire_is_told_by_its_method() -> None:
    attributes: Attributes = {"job.id": "17", "job.createdat": "2026-11-29T12:00:00.0000000Z"}
    assert read_facts(span("JOB Mailer.Send", attributes)) == {
        **TASK,
        "name": "Mailer.Send",
        "entry": "JOB Mailer.Send",
        "task_key": "hangfire/17",
    }
    assert read_facts(span("JOB Mailer.Send", {"job.id": "17"})) == {}


def test_a_task_of_docket_is_named_for_itself_and_counts_its_attempts() -> None:
    docket: Attributes = {"docket.name": "jobs", "docket.task": "send_mail", "docket.key": "k1", "docket.attempt": 2}
    assert read_facts(span("send_mail", docket, kind=KIND_CONSUMER)) == {
        "name": "send_mail",
        "kind": "task",
        "step": True,
        "entry": "send_mail",
        "attempt": 2,
    }
    assert read_facts(span("docket.add", docket, kind=KIND_INTERNAL)) == {"kind": "message"}


LARAVEL: Attributes = {
    "messaging.system": "redis",
    "messaging.destination.name": "default",
    "messaging.message.id": "u-1",
    "messaging.message.job_name": "App\\Jobs\\SendInvoice",
    "messaging.message.max_tries": 3,
}


@pytest.mark.parametrize(
    ("others", "told"),
    [
        ({"messaging.message.attempts": 0}, {}),
        ({"messaging.message.attempts": 2}, {"attempt": 3}),
        # Given back to the queue, without an exception.
        ({"messaging.message.released": True}, {"status": "retried"}),
        ({"messaging.message.released": False, "messaging.message.deleted": True}, {}),
    ],
)
def test_a_job_of_laravels_is_tried_again_where_it_was_released(others: Attributes, told: Facts) -> None:
    sent = span("process default", {**LARAVEL, "messaging.operation.type": "process", **others}, kind=KIND_CONSUMER)
    assert read_facts(sent) == {
        "kind": "task",
        "step": True,
        "name": "App\\Jobs\\SendInvoice",
        "entry": "process default",
        "task_key": "default/u-1",
        "retry_expected": True,
        "max_attempts": 3,
        **told,
    }


@pytest.mark.parametrize(
    ("others", "told"),
    [
        ({}, {"attempt": 1}),
        (
            {"taskiq.retry.reason": "bank down", "taskiq.max_retries": "3"},
            {"attempt": 1, "max_attempts": 3, "status": "retried", "error_message": "bank down"},
        ),
        (
            {"taskiq.retry.reason": "bank down", "taskiq.max_retries": "3", "taskiq._retries": "2"},
            {"attempt": 3, "max_attempts": 3, "weak_status": "failed", "error_message": "bank down"},
        ),
        # How many there may be is not told where the middleware has it.
        (
            {"taskiq.retry.reason": "bank down", "taskiq._retries": "1"},
            {"attempt": 2, "weak_status": "failed", "error_message": "bank down"},
        ),
    ],
)
def test_a_task_of_taskiqs_that_failed_is_tried_again_while_attempts_are_left(others: Attributes, told: Facts) -> None:
    sent = span("execute/app:charge", {"taskiq.task_name": "app:charge", **others}, kind=KIND_CONSUMER)
    assert read_facts(sent) == {
        "name": "app:charge",
        "kind": "task",
        "step": True,
        "entry": "execute/app:charge",
        "task_key": "taskiq/app:charge",
        "retry_expected": True,
        **told,
    }
    sending = span("send/app:charge", {"taskiq.task_name": "app:charge"}, kind=KIND_PRODUCER)
    assert read_facts(sending) == {"name": "app:charge", "kind": "message", "fold": "producer"}


def test_a_task_of_rays_is_called_for_its_function_and_known_by_its_id() -> None:
    attributes: Attributes = {"ray.remote": "function", "ray.function": "app.train", "ray.task_id": "16310a0f"}
    assert read_facts(span("app.train ray.remote_worker", attributes, kind=KIND_CONSUMER)) == {
        "name": "app.train",
        "kind": "task",
        "step": True,
        "entry": "app.train ray.remote_worker",
        "task_key": "ray/16310a0f",
        "retry_expected": True,
    }
    asking = span("app.train ray.remote", {"ray.function": "app.train"}, kind=KIND_PRODUCER)
    assert read_facts(asking) == {"name": "app.train", "kind": "message", "fold": "producer"}


def test_a_job_of_quartz_is_called_for_itself_and_what_its_store_looks_for_is_hidden() -> None:
    attributes: Attributes = {"fire.instance.id": "7", "job.name": "nightly", "trigger.name": "t"}
    assert read_facts(span("Quartz.Job.Execute", attributes, scope="Quartz")) == {
        "kind": "task",
        "step": True,
        "entry": "Quartz.Job.Execute",
        "name": "nightly",
    }
    store = "Quartz.JobStore.AcquireNextTriggers"
    assert read_facts(span(store, scope="Quartz", parent=None)) == {"hidden": True}
    assert read_facts(span(store, scope="Quartz", parent=None, status=STATUS_ERROR)) == {}
    assert read_facts(span(store, scope="Quartz")) == {}
