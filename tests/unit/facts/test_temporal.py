"""Temporal's spans by interceptor (markers) and by plugin (durations)."""

from __future__ import annotations

import pytest
from tests.unit.facts.spans import raised, span

from spantree_exporter.facts import read_facts
from spantree_exporter.span import KIND_CLIENT, KIND_SERVER, STATUS_OK, STATUS_UNSET, Attributes

IDS: Attributes = {"temporalWorkflowID": "order-1", "temporalRunID": "r-1"}
RUN = {"boundary": "run", "kind": "workflow", "name": "Order", "workflow_name": "Order", "run_id": "order-1"}


def test_starting_a_workflow_is_its_run() -> None:
    assert read_facts(span("StartWorkflow:Order", {"temporalWorkflowID": "order-1"}, kind=KIND_CLIENT)) == RUN


def test_a_run_told_by_a_marker_goes_on_and_one_with_a_duration_has_ended() -> None:
    assert read_facts(span("RunWorkflow:Order", IDS, at=(5, 5))) == {**RUN, "fold": "inner", "open_ended": True}
    assert read_facts(span("RunWorkflow:Order", IDS, at=(5, 9))) == {**RUN, "fold": "inner", "closes": True}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "completed"),
        (("temporalio.exceptions.ApplicationError", "CardStolen: card stolen"), "failed"),
        (("temporalio.exceptions.CancelledError", "Cancelled"), "cancelled"),
        (("temporalio.exceptions.ActivityError", "Activity cancelled"), "cancelled"),
    ],
)
def test_completion_tells_the_outcome_by_its_exception(error: tuple[str, str] | None, status: str) -> None:
    events = [raised(*error)] if error is not None else []
    facts = read_facts(span("CompleteWorkflow:Order", IDS, at=(5, 5), events=events))
    assert (facts["fold"], facts["closes"], facts["status"]) == ("event", True, status)


def test_an_activity_is_a_step_once_run_and_a_request_until_then() -> None:
    assert read_facts(span("StartActivity:charge", IDS, at=(5, 5), kind=KIND_CLIENT)) == {
        "name": "charge",
        "kind": "step",
        "step": True,
        "fold": "producer",
        "unanswered": True,
        "run_id": "order-1",
    }
    assert read_facts(span("RunActivity:charge", {**IDS, "temporalActivityID": "7"}, kind=KIND_SERVER)) == {
        "name": "charge",
        "kind": "step",
        "step": True,
        "retry_expected": True,
        "task_key": "order-1/r-1/7",
        "run_id": "order-1",
    }


def test_a_child_workflow_is_not_of_the_run_whose_id_its_start_carries() -> None:
    assert "run_id" not in read_facts(span("StartChildWorkflow:Ship", IDS, at=(5, 5)))


def test_signals_are_handled_by_whoever_they_were_sent_to() -> None:
    sent = read_facts(span("SignalWorkflow:approve", {"temporalWorkflowID": "order-1"}, kind=KIND_CLIENT))
    assert sent == {"name": "approve", "kind": "message", "fold": "producer", "run_id": "order-1"}
    handled = read_facts(span("HandleSignal:approve", IDS, at=(5, 5), kind=KIND_SERVER))
    assert handled == {"name": "approve", "kind": "signal", "flow_links": True, "run_id": "order-1"}


@pytest.mark.parametrize(
    ("error_type", "status", "expected"),
    [
        ("temporalio.exceptions.ApplicationError", STATUS_UNSET, "failed"),
        ("builtins.ValueError", STATUS_UNSET, None),
        ("temporalio.exceptions.ApplicationError", STATUS_OK, None),
    ],
)
def test_an_attempt_that_failed_benignly_failed(error_type: str, status: int, expected: str | None) -> None:
    attempt: Attributes = {**IDS, "temporalActivityID": "1"}
    facts = read_facts(span("RunActivity:Poll", attempt, status=status, events=[raised(error_type, "not ready")]))
    assert facts.get("weak_status") == expected


@pytest.mark.parametrize(
    ("scope", "started", "ran"),
    [
        (
            "@temporalio/interceptor-client",
            {"run_id": "r-1", "temporalWorkflowId": "order-1"},
            {"workflowId": "order-1"},
        ),
        ("opentracing-shim", {"workflowId": "order-1"}, {"workflowId": "order-1", "runId": "r-1"}),
        ("Temporalio.Extensions.OpenTelemetry.Client", {"temporalWorkflowID": "order-1"}, IDS),
    ],
)
def test_a_workflow_is_known_by_the_ids_of_each_sdk(scope: str, started: Attributes, ran: Attributes) -> None:
    assert read_facts(span("StartWorkflow:Order", started, scope=scope)) == RUN
    told = read_facts(span("RunWorkflow:Order", ran, scope=scope))
    assert told == {**RUN, "fold": "inner", "closes": True}


def test_a_workflow_that_only_left_its_workers_cache_goes_on() -> None:
    evicted = span("RunWorkflow:Order", {"workflowId": "order-1", "evicted": True}, scope="opentracing-shim")
    assert read_facts(evicted).get("open_ended")


def test_attempts_of_an_activity_without_an_id_are_those_below_one_request() -> None:
    first, other = (
        read_facts(span("RunActivity:charge", {"workflowId": "order-1", "runId": "r-1"}, parent=parent, scope=scope))
        for parent, scope in ((9, "opentracing-shim"), (10, "opentracing-shim"))
    )
    assert first["task_key"] == "order-1/r-1/below 0000000000000009" != other["task_key"]
    sent: Attributes = {"temporalWorkflowId": "order-1", "run_id": "r-1", "temporalActivityId": "7"}
    assert read_facts(span("RunActivity:charge", sent))["task_key"] == "order-1/r-1/7"


def test_an_attempt_may_tell_its_number() -> None:
    attempt: Attributes = {**IDS, "temporalActivityID": "1", "temporalActivityAttempt": 3}
    assert read_facts(span("RunActivity:Poll", attempt))["attempt"] == 3


def test_a_span_of_opentracing_is_temporals_by_its_name_alone() -> None:
    assert read_facts(span("GET:/orders", {"workflowId": "order-1"}, scope="opentracing-shim")) == {}
