"""Histories of workflows as executions: recorded ones of Temporal's server 1.25, and made ones for what is rare."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.temporal_histories import CHILD_RUN, RUN, History, failure, order, ship

from spantree_exporter.assemble import assemble
from spantree_exporter.facts import read_facts
from spantree_exporter.foreign.temporal_history import KEPT_HISTORY_BYTES, NoHistory, spans_of
from spantree_exporter.otlp.decode import JSON, decode_request
from spantree_exporter.rows import Assembled, SpanFacts
from spantree_exporter.span import Span

RECORDED = Path(__file__).parents[1] / "histories"


def recorded(name: str) -> dict[str, Any]:
    history: dict[str, Any] = json.loads((RECORDED / f"{name}.json").read_text())
    return history


def spans(*histories: dict[str, Any]) -> list[Span]:
    found: list[Span] = []
    for history in histories:
        decoded = decode_request(orjson.dumps(spans_of(history)), JSON, 1)
        assert not decoded.dead
        assert not any(span.anomalies for span in decoded.spans)
        found += decoded.spans
    return found


def assembled(sent: Iterable[Span]) -> Assembled:
    facts = [
        SpanFacts(
            span.span_id, span.parent_span_id, span.fingerprint, span.name, span.kind, span.status_code,
            span.status_message, span.start_ns, span.end_ns, span.received_ns, span.resource.service_name, [],
            read_facts(span), [],
        )
        for span in sent
    ]  # fmt: skip
    [trace_id] = {span.trace_id for span in sent}
    return assemble(facts, trace_id.hex())


def told(result: Assembled) -> list[tuple[Any, ...]]:
    return [(node.depth, node.name, node.kind, node.status, node.attempt, node.error_type) for node in result.nodes]


STEPS = [
    (1, "reserve", "activity", "completed", 1, None),
    (1, "charge", "activity", "retried", 2, "CardDeclined"),
    (1, "charge", "activity", "completed", 3, None),
]


def test_a_run_with_all_that_a_workflow_can_do() -> None:
    result = assembled(spans(recorded("order"), recorded("ship")))
    execution = result.execution
    assert (execution.name, execution.status, execution.run_id) == ("Order", "completed", "order-all")
    assert (execution.service, execution.input, execution.output) == ("orders", '[1,"all"]', '{"done":true}')
    assert told(result) == [
        (0, "Order", "workflow", "completed", 1, None),
        *STEPS,
        (1, "timer", "timer", "completed", 1, None),
        (1, "approve", "signal", "completed", 1, None),
        (1, "set_address", "update", "completed", 1, None),
        (1, "set_address", "update", "failed", 1, "BadAddress"),
        (1, "Ship", "workflow", "completed", 1, None),
        (2, "reserve", "activity", "completed", 1, None),
    ]
    charged = [node for node in result.nodes if node.name == "charge"]
    assert [(node.max_attempts, node.retry_expected, node.error_message) for node in charged] == [
        (3, None, "card declined"),
        (3, True, None),
    ]
    assert len({node.task_key for node in charged}) == 1
    # The trace is the run of the root, for its child too.
    run_id = recorded("order")["events"][0]["workflowExecutionStartedEventAttributes"]["originalExecutionRunId"]
    assert {span.trace_id.hex() for span in spans(recorded("order"), recorded("ship"))} == {run_id.replace("-", "")}


@pytest.mark.parametrize(
    ("name", "status", "steps"),
    [
        ("failed", "failed", [
            (0, "Order", "workflow", "failed", 1, "OutOfStock"), *STEPS,
            (1, "broken", "activity", "retried", 2, "OutOfStock"), (1, "broken", "activity", "failed", 3, "OutOfStock"),
        ]),
        ("timed-out", "failed", [
            (0, "Order", "workflow", "failed", 1, "TimeoutError"), *STEPS,
            (1, "slow", "activity", "retried", 1, "TimeoutError"),
            (1, "slow", "activity", "timed_out", 2, "TimeoutError"),
        ]),
        ("task-failed", "completed", [
            (0, "Order", "workflow", "completed", 1, None), *STEPS,
            (1, "workflow task", "task", "retried", 1, "RuntimeError"),
            (1, "workflow task", "task", "completed", 2, None),
            (1, "timer", "timer", "completed", 1, None), (1, "Ship", "workflow", "completed", 1, None),
        ]),
        ("cancelled", "cancelled", [
            (0, "Order", "workflow", "cancelled", 1, None), *STEPS, (1, "timer", "timer", "cancelled", 1, None),
        ]),
    ],
)  # fmt: skip
def test_how_a_run_ended(name: str, status: str, steps: list[tuple[Any, ...]]) -> None:
    result = assembled(spans(recorded(name)))
    assert result.execution.status == status
    assert told(result) == steps


def test_a_retry_that_no_policy_foresees_is_told_apart() -> None:
    result = assembled(spans(recorded("task-failed")))
    assert {(node.name, node.retry_expected) for node in result.nodes if node.attempt > 1} == {
        ("charge", True), ("charge", None), ("workflow task", False)
    }  # fmt: skip


def test_a_run_that_goes_on_is_updated_by_its_later_history() -> None:
    early, late = spans(recorded("running")), spans(recorded("running-later"))
    open_steps = [(node.name, node.status) for node in assembled(early).nodes if node.ended_ns is None]
    assert open_steps == [("Order", "running"), ("timer", "running")]
    assert assembled(early).execution.status == "running"
    for sent in (early + late, late + early, late + early + early):
        result = assembled(sent)
        assert (result.execution.status, result.execution.ended_ns) == ("cancelled", late[0].end_ns)
        assert told(result) == told(assembled(late))
    # What is the same in both is the same span.
    same = {span.fingerprint for span in early} & {span.fingerprint for span in late}
    assert len(same) == len(early) - 2


@given(st.integers(1, 40), st.randoms())
def test_any_beginning_of_a_history_may_have_come_before(cut: int, random: Any) -> None:
    whole = order()
    beginnings = [{"events": whole.events[:cut]}, whole.json, {"events": whole.events[: cut // 2 + 1]}]
    sent = spans(*beginnings)
    random.shuffle(sent)
    assert told(assembled(sent)) == told(assembled(spans(whole.json)))
    assert spans(whole.json) == spans(whole.json)


def test_a_child_by_itself_waits_for_its_parent_in_the_same_trace() -> None:
    initiated = next(event["eventId"] for event in order().events if "START_CHILD" in event["eventType"])
    [root, _] = spans(ship(initiated).json)
    parent = {span.span_id: span for span in spans(order().json)}
    assert root.trace_id.hex() == RUN.replace("-", "")
    assert parent[root.parent_span_id or 0].attributes["temporal.child_run_id"] == CHILD_RUN


def test_a_run_that_continued_as_new_or_was_terminated_says_so() -> None:
    for name, attributes, status, reason in (
        ("WORKFLOW_EXECUTION_CONTINUED_AS_NEW", {"newExecutionRunId": "r-2"}, "completed", "continued as new"),
        ("WORKFLOW_EXECUTION_TERMINATED", {"reason": "enough"}, "cancelled", "terminated: enough"),
        ("WORKFLOW_EXECUTION_TIMED_OUT", {}, "timed_out", None),
    ):
        history = History()
        history.activity("never ends")
        history.add(name, 1, **attributes)
        result = assembled(spans(history.json))
        assert (result.execution.status, result.nodes[0].status_reason) == (status, reason)
        assert (result.nodes[1].status, result.nodes[1].status_reason) == (
            "cancelled", "the workflow ended before it did"
        )  # fmt: skip


def test_what_is_sent_to_others_is_a_step() -> None:
    history = History()
    sent = history.add("SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED", signalName="stop",
                       workflowExecution={"workflowId": "other"})  # fmt: skip
    cause = "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED_CAUSE_EXTERNAL_WORKFLOW_EXECUTION_NOT_FOUND"
    history.add("SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED", initiatedEventId=sent, cause=cause)
    nexus = history.add("NEXUS_OPERATION_SCHEDULED", service="billing", operation="invoice", input={"a": 1})
    history.add("NEXUS_OPERATION_FAILED", scheduledEventId=nexus, failure=failure("Refused", "no"))
    child = history.add("START_CHILD_WORKFLOW_EXECUTION_INITIATED", workflowType={"name": "Ship"})
    history.add("START_CHILD_WORKFLOW_EXECUTION_FAILED", initiatedEventId=child,
                cause="START_CHILD_WORKFLOW_EXECUTION_FAILED_CAUSE_WORKFLOW_ALREADY_EXISTS")  # fmt: skip
    history.add("WORKFLOW_EXECUTION_COMPLETED")
    result = assembled(spans(history.json))
    assert [(node.name, node.kind, node.status, node.error_type, node.error_message) for node in result.nodes[1:]] == [
        ("stop", "message", "failed", "SignalNotDelivered", "external workflow execution not found"),
        ("billing/invoice", "rpc", "failed", "Refused", "no"),
        ("Ship", "workflow", "failed", "ChildWorkflowNotStarted", "workflow already exists"),
    ]


def test_the_history_is_kept_on_the_root_up_to_a_size() -> None:
    whole = recorded("order")
    assert json.loads(str(spans(whole)[0].attributes["temporal.history"])) == whole
    long = History()
    for _ in range(300):
        long.completed_activity("step", "x" * 5_000)
    long.add("WORKFLOW_EXECUTION_COMPLETED")
    root = spans(long.json)[0]
    kept = str(root.attributes["temporal.history"])
    assert len(kept) <= KEPT_HISTORY_BYTES
    assert root.attributes["temporal.history_bytes"] == len(orjson.dumps(long.json))
    assert len(json.loads(kept)["events"]) == root.attributes["temporal.history_events"]
    assert "temporal.history" not in spans(order(ended=False).json)[0].attributes


def test_older_spellings_and_plain_payloads_are_read() -> None:
    history = order().json
    for event in history["events"]:
        event["eventType"] = "".join(word.title() for word in event["eventType"][11:].split("_"))
    history["events"][0]["workflowExecutionStartedEventAttributes"]["input"] = [{"order": 77}]
    assert told(assembled(spans(history))) == told(assembled(spans(order().json)))
    assert assembled(spans(history)).execution.input == '{"order":77}'


@pytest.mark.parametrize(
    "history",
    [
        {},
        {"events": []},
        {"events": [{}]},
        {"events": [7]},
        {"events": order().events[1:]},
        {"events": [{**order().events[0], "eventTime": "yesterday"}]},
        {"events": [*order().events, {"eventId": "99", "eventType": "EVENT_TYPE_TIMER_FIRED"}]},
        {"events": [*order().events, None]},
    ],
)
def test_what_is_no_history_is_refused(history: dict[str, Any]) -> None:
    with pytest.raises(NoHistory):
        spans_of(history)
