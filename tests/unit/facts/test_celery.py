"""Celery's spans: sent, run, retried."""

from __future__ import annotations

from tests.unit.facts.spans import raised, span

from spantree_exporter.facts import read_facts
from spantree_exporter.span import KIND_CONSUMER, KIND_PRODUCER, STATUS_ERROR, Attributes

SCOPE = "opentelemetry.instrumentation.celery"
TASK: Attributes = {"celery.action": "run", "celery.task_name": "shop.charge", "messaging.message.id": "t-1"}


def test_a_run_is_a_task_with_its_id_and_whose_plan_it_is_of() -> None:
    attributes: Attributes = {
        **TASK,
        "celery.state": "SUCCESS",
        "celery.reply_to": "r-1",
        "celery.hostname": "gen1@host",
    }
    assert read_facts(span("run/shop.charge", attributes, scope=SCOPE, kind=KIND_CONSUMER)) == {
        "name": "shop.charge",
        "kind": "task",
        "step": True,
        "entry": "run/shop.charge",
        "task_key": "t-1",
        "attempt": 1,
        "status": "completed",
        "planned_by": "r-1",
        "sent_by": "gen1@host",
    }


def test_a_retry_is_an_attempt_with_the_error_it_was_asked_for() -> None:
    attributes: Attributes = {
        **TASK,
        "celery.state": "RETRY",
        "celery.retries": 1,
        "celery.retry.reason": "Retry in 0.2s: ConnectionError('503')",
    }
    facts = read_facts(span("run/shop.charge", attributes, scope=SCOPE, kind=KIND_CONSUMER))
    assert (facts["attempt"], facts["status"], facts["retry_expected"]) == (2, "retried", True)
    assert (facts["error_type"], facts["error_message"]) == (
        "ConnectionError",
        "Retry in 0.2s: ConnectionError('503')",
    )


def test_the_last_run_of_a_retried_task_was_asked_for_too() -> None:
    attributes: Attributes = {**TASK, "celery.state": "SUCCESS", "celery.retries": 2}
    facts = read_facts(span("run/shop.charge", attributes, scope=SCOPE, kind=KIND_CONSUMER))
    assert (facts["attempt"], facts["status"], facts["retry_expected"]) == (3, "completed", True)
    first = read_facts(span("run/shop.charge", {**TASK, "celery.state": "SUCCESS"}, scope=SCOPE, kind=KIND_CONSUMER))
    assert "retry_expected" not in first


def test_a_failure_has_its_exception() -> None:
    sent = span(
        "run/shop.charge",
        {**TASK, "celery.state": "FAILURE"},
        scope=SCOPE,
        kind=KIND_CONSUMER,
        status=STATUS_ERROR,
        events=[raised("ValueError", "declined")],
    )
    facts = read_facts(sent)
    assert (facts["status"], facts["error_type"], facts["error_message"]) == ("failed", "ValueError", "declined")


def test_a_sent_task_belongs_to_who_runs_it() -> None:
    attributes: Attributes = {**TASK, "celery.action": "apply_async"}
    assert read_facts(span("apply_async/shop.charge", attributes, scope=SCOPE, kind=KIND_PRODUCER)) == {
        "name": "shop.charge",
        "kind": "message",
        "fold": "producer",
    }


def test_waiting_for_the_parts_of_a_chord_is_no_task_of_anybody() -> None:
    attributes: Attributes = {
        "celery.action": "run",
        "celery.task_name": "celery.chord_unlock",
        "celery.state": "RETRY",
    }
    facts = read_facts(span("run/celery.chord_unlock", attributes, scope=SCOPE, kind=KIND_CONSUMER))
    assert facts == {"name": "celery.chord_unlock", "fold": "parent"}
