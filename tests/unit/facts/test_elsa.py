"""Elsa Workflows: the substatus of a run counts, and one that waits for something goes on in another trace."""

from __future__ import annotations

import pytest
from tests.unit.facts.spans import span

from spantree_exporter.facts import read_facts
from spantree_exporter.span import KIND_SERVER, STATUS_OK, Attributes, Event

RUN: Attributes = {"workflow.system": "elsa", "workflow.instance.id": "w-1", "workflow.name": "Order"}


@pytest.mark.parametrize(
    ("status", "substatus", "told"),
    [
        ("Finished", "Finished", "completed"),
        ("Finished", "Faulted", "failed"),
        ("Finished", "Cancelled", "cancelled"),
        ("Running", "Suspended", "waiting"),
    ],
)
def test_a_run_is_what_its_substatus_says(status: str, substatus: str, told: str) -> None:
    sent: Attributes = {**RUN, "workflow.status": status, "workflow.substatus": substatus}
    assert read_facts(span("workflow.execute", sent, scope="Elsa.Workflows", status=STATUS_OK)) == {
        "run_id": "w-1",
        "workflow_name": "Order",
        "boundary": "run",
        "kind": "workflow",
        "name": "Order",
        "run_status": told,
        "status": told,
    }


@pytest.mark.parametrize(
    ("status", "told"),
    [("Completed", "completed"), ("Faulted", "failed"), ("Canceled", "cancelled"), ("Running", "waiting")],
)
def test_an_activity_is_a_step_with_a_state_of_its_own(status: str, told: str) -> None:
    sent: Attributes = {
        **RUN,
        "workflow.status": "Running",
        "workflow.substatus": "Executing",
        "workflow.activity.execution.id": "e-1",
        "workflow.activity.type": "Elsa.SendHttpRequest",
        "workflow.activity.name": "Call the bank",
        "workflow.activity.status": status,
    }
    assert read_facts(span("activity.execute", sent, scope="Elsa.Workflows", status=STATUS_OK)) == {
        "run_id": "w-1",
        "workflow_name": "Order",
        "kind": "step",
        "step": True,
        "name": "Call the bank",
        "status": told,
    }


def test_the_module_before_tells_states_by_events() -> None:
    events = [Event(1_100, "executing", {}), Event(1_900, "suspended", {}), Event(1_950, "incident", {})]
    sent: Attributes = {"workflow.instance.id": "w-2", "workflow.definition.name": "Order"}
    facts = read_facts(
        span("execute workflow Order", sent, scope="Elsa.OpenTelemetry", kind=KIND_SERVER, events=events)
    )
    assert (facts["run_id"], facts["run_status"], facts["name"]) == ("w-2", "waiting", "Order")
    activity: Attributes = {"activity.instance.id": "a", "activity.type": "Elsa.Delay"}
    facts = read_facts(
        span("execute activity Elsa.Delay", activity, scope="Elsa.OpenTelemetry", events=[Event(1_900, "canceled", {})])
    )
    assert (facts["name"], facts["status"]) == ("Elsa.Delay", "cancelled")
