"""DBOS in both of its spellings."""

from __future__ import annotations

import pytest
from tests.unit.facts.spans import span

from spantree_exporter.facts import read_facts
from spantree_exporter.span import STATUS_ERROR, STATUS_OK, Event

SCOPE = "dbos-tracer"


@pytest.mark.parametrize(
    "attributes",
    [
        {"operationUUID": "o-1", "operationType": "workflow", "queueName": "orders", "authenticatedUser": "ada"},
        {
            "dbos.operation.workflow_id": "o-1",
            "dbos.operation.type": "workflow",
            "dbos.queue.name": "orders",
            "dbos.user.name": "ada",
        },
    ],
)
def test_a_workflow_is_a_run_in_either_spelling(attributes: dict[str, str]) -> None:
    assert read_facts(span("order", {**attributes}, scope=SCOPE, status=STATUS_OK)) == {
        "run_id": "o-1",
        "boundary": "run",
        "kind": "workflow",
        "workflow_name": "order",
        "entry": "queue orders",
        "user_id": "ada",
    }


def test_failed_attempts_of_a_step_are_its_events() -> None:
    sent = span(
        "charge",
        {"operationUUID": "o-1", "operationType": "step"},
        scope=SCOPE,
        status=STATUS_ERROR,
        message="DBOS Error 7: Step charge has exceeded its maximum of 2 retries",
        events=[Event(1_200, "Step attempt 0 failed", {"error": "503", "retryIntervalSeconds": "0.0000001"})],
    )
    assert read_facts(sent) == {
        "run_id": "o-1",
        "kind": "step",
        "step": True,
        "attempts": [{"attempt": 1, "at_ns": 1_200, "next_ns": 1_300, "status": "retried", "error_message": "503"}],
        "retry_expected": True,
        "max_attempts": 2,
        "error_type": "DBOSMaxStepRetriesExceeded",
        "error_message": "DBOS Error 7: Step charge has exceeded its maximum of 2 retries",
    }


@pytest.mark.parametrize(("awaited", "status"), [("o-1", "cancelled"), ("o-1-2", "failed")])
def test_a_cancelled_workflow_is_cancelled_and_who_awaited_it_failed(awaited: str, status: str) -> None:
    sent = span(
        "order",
        {"operationUUID": "o-1", "operationType": "workflow"},
        scope=SCOPE,
        status=STATUS_ERROR,
        message=f"DBOS Error 13: Awaited workflow {awaited} was cancelled",
    )
    assert read_facts(sent)["status"] == status
