"""Prefect's spans: states and attempts are events, names are those of runs."""

from __future__ import annotations

import pytest
from tests.unit.facts.spans import raised, span

from spantree_exporter.facts import Facts, read_facts
from spantree_exporter.span import STATUS_ERROR, STATUS_OK, Attributes, Event


def state(at_ns: int, kind: str, name: str, message: str = "") -> Event:
    return Event(
        at_ns,
        name,
        {"prefect.state.type": kind, "prefect.state.name": name, "prefect.state.message": message},
    )


def run(kind: str, name: str) -> Attributes:
    return {"prefect.run.type": kind, "prefect.run.name": name, "prefect.run.id": "r-1"}


def test_a_flow_run_is_the_run_and_is_grouped_by_its_flow() -> None:
    sent = span(
        "calm-wildcat",
        {**run("flow", "calm-wildcat"), "prefect.flow.id": "f-1"},
        status=STATUS_OK,
        events=[state(1_000, "RUNNING", "Running"), state(2_000, "COMPLETED", "Completed")],
    )
    assert read_facts(sent) == {
        "task_key": "r-1",
        "boundary": "run",
        "kind": "workflow",
        "name": "calm-wildcat",
        "grouped_as": "f-1",
        "run_id": "r-1",
        "status": "completed",
    }


def test_a_task_run_is_named_for_its_task_and_begins_when_it_runs() -> None:
    sent = span(
        "load-f26",
        run("task", "load-f26"),
        status=STATUS_OK,
        events=[state(1_700, "RUNNING", "Running"), state(2_000, "COMPLETED", "Completed")],
        links=["00f067aa0ba902b7"],
    )
    assert read_facts(sent) == {
        "task_key": "r-1",
        "name": "load",
        "kind": "task",
        "step": True,
        "flow_links": True,
        "began_ns": 1_700,
        "status": "completed",
    }


def test_retries_are_attempts_with_their_own_errors() -> None:
    sent = span(
        "extract-167",
        run("task", "extract-167"),
        status=STATUS_OK,
        at=(1_000, 2_000),
        events=[
            state(1_000, "RUNNING", "Running"),
            raised("ConnectionError", "reset", 1_100),
            state(1_110, "SCHEDULED", "AwaitingRetry"),
            state(1_200, "RUNNING", "Retrying"),
            state(1_900, "COMPLETED", "Completed"),
        ],
    )
    facts = read_facts(sent)
    assert facts["attempts"] == [
        {
            "attempt": 1,
            "at_ns": 1_110,
            "next_ns": 1_200,
            "status": "retried",
            "error_type": "ConnectionError",
            "error_message": "reset",
        }
    ]
    assert "error_type" not in facts


@pytest.mark.parametrize(
    ("last", "told"),
    [
        (("FAILED", "Failed", "Task run encountered an exception"), "failed"),
        (("CRASHED", "Crashed", ""), "failed"),
        (("CANCELLED", "Cancelled", ""), "cancelled"),
        (("PAUSED", "Suspended", ""), "waiting"),
        (("COMPLETED", "Cached", ""), "skipped"),
        (("FAILED", "TimedOut", "Flow run exceeded timeout of 0.5 second(s)"), "timed_out"),
        (("FAILED", "TimedOut", "Flow run failed due to timeout: TaskRunTimeoutError()"), "failed"),
    ],
)
def test_the_last_state_is_the_status(last: tuple[str, str, str], told: str) -> None:
    kind, name, message = last
    events = [state(1_000, "RUNNING", "Running"), state(2_000, kind, name, message)]
    assert read_facts(span("a-167", run("task", "a-167"), events=events))["status"] == told


def test_a_flow_that_is_tried_again_did_not_fail_with_its_span() -> None:
    sent = span(
        "jasmine-duck",
        run("flow", "jasmine-duck"),
        status=STATUS_ERROR,
        events=[
            state(1_000, "RUNNING", "Running"),
            state(1_900, "SCHEDULED", "AwaitingRetry"),
            state(1_980, "RUNNING", "Running"),
            raised("KeyError", "'bad'", 1_990),
        ],
    )
    facts: Facts = read_facts(sent)
    assert facts["status"] == "completed"
    assert facts["attempts"] == [
        {
            "attempt": 1,
            "at_ns": 1_990,
            "next_ns": 1_980,
            "status": "retried",
            "error_type": "KeyError",
            "error_message": "'bad'",
        }
    ]
    assert "error_type" not in facts


def test_a_run_that_returned_a_failed_state_tells_that_states_message() -> None:
    returned = [state(1_500, "FAILED", "Failed", "3 rows were refused")]
    facts = read_facts(span("noisy-owl", run("flow", "noisy-owl"), events=returned))
    assert (facts["status"], facts["error_message"]) == ("failed", "3 rows were refused")
    left = Event(1_400, "exception", {"exception.type": "ValueError", "exception.message": "refused"})
    facts = read_facts(span("noisy-owl", run("flow", "noisy-owl"), events=[left, *returned]))
    assert facts["error_message"] == "refused"
