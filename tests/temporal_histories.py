"""Histories of workflows in the JSON form of `temporal workflow show --output json`, event by event."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.factories import NOON_NS

RUN = "0f5e1c2a-7f64-4f0e-9d6b-6a0b8c1d2e3f"
CHILD_RUN = "5b1e7a90-3c2d-4e8f-8a7b-1c2d3e4f5a6b"
START = datetime.fromtimestamp(NOON_NS // 10**9, UTC)
POLICY = {"initialInterval": "1s", "backoffCoefficient": 2, "maximumInterval": "100s", "maximumAttempts": 3}


def payloads(*values: Any) -> dict[str, Any]:
    encoding = base64.b64encode(b"json/plain").decode()
    return {
        "payloads": [
            {"metadata": {"encoding": encoding}, "data": base64.b64encode(json.dumps(value).encode()).decode()}
            for value in values
        ]
    }


def failure(kind: str, message: str, stack: str = "") -> dict[str, Any]:
    return {
        "message": message,
        "source": "PythonSDK",
        "stackTrace": stack,
        "applicationFailureInfo": {"type": kind},
    }


class History:
    """Adds events, each a second after the one before unless said otherwise."""

    def __init__(self, workflow_type: str = "Order", run_id: str = RUN, **started: Any) -> None:
        self.events: list[dict[str, Any]] = []
        self.at = START
        self.add(
            "WORKFLOW_EXECUTION_STARTED",
            after_s=0,
            **{
                "workflowType": {"name": workflow_type},
                "taskQueue": {"name": "orders", "kind": "TASK_QUEUE_KIND_NORMAL"},
                "originalExecutionRunId": run_id,
                "firstExecutionRunId": run_id,
                "workflowId": "order-77",
                "workflowExecutionTimeout": "0s",
                "identity": "1@starter",
                "attempt": 1,
                "input": payloads({"order": 77}),
                **started,
            },
        )

    def add(self, name: str, after_s: float = 1, **attributes: Any) -> str:
        """The id of the new event."""
        self.at += timedelta(seconds=after_s)
        event_id = str(len(self.events) + 1)
        first, *rest = name.lower().split("_")
        key = first + "".join(word.title() for word in rest) + "EventAttributes"
        self.events.append(
            {
                "eventId": event_id,
                "eventTime": self.at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                "eventType": f"EVENT_TYPE_{name}",
                "taskId": str(1_048_576 + len(self.events)),
                key: attributes,
            }
        )
        return event_id

    def task(self) -> None:
        """The workflow's own code runs."""
        self.add("WORKFLOW_TASK_SCHEDULED", 0.01, attempt=1)
        self.add("WORKFLOW_TASK_STARTED", 0.01, identity="1@worker")
        self.add("WORKFLOW_TASK_COMPLETED", 0.01, identity="1@worker")

    def activity(self, name: str, **more: Any) -> str:
        return self.add(
            "ACTIVITY_TASK_SCHEDULED",
            **{
                "activityId": str(len(self.events)),
                "activityType": {"name": name},
                "taskQueue": {"name": "orders"},
                "input": payloads(77),
                "startToCloseTimeout": "10s",
                "retryPolicy": POLICY,
                **more,
            },
        )

    def completed_activity(self, name: str, result: Any = None, **more: Any) -> None:
        scheduled = self.activity(name, **more)
        started = self.add("ACTIVITY_TASK_STARTED", scheduledEventId=scheduled, identity="1@worker", attempt=1)
        self.add("ACTIVITY_TASK_COMPLETED", scheduledEventId=scheduled, startedEventId=started, result=payloads(result))

    @property
    def json(self) -> dict[str, Any]:
        return {"events": self.events}


def order(*, ended: bool = True) -> History:
    """A run of everything: activities, one of them retried, a timer, a signal, an update, a child, a failed task."""
    history = History()
    history.task()
    history.completed_activity("reserve", {"held": 2})
    scheduled = history.activity("charge")
    started = history.add(
        "ACTIVITY_TASK_STARTED",
        5,
        scheduledEventId=scheduled,
        identity="2@worker",
        attempt=3,
        lastFailure=failure("CardDeclined", "card declined", "File charge.py, line 3"),
    )
    history.add("ACTIVITY_TASK_COMPLETED", scheduledEventId=scheduled, startedEventId=started, result=payloads("paid"))
    history.add("WORKFLOW_TASK_FAILED", cause="WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR",
                failure={"message": "nondeterminism", "applicationFailureInfo": {}})  # fmt: skip
    history.task()
    timer = history.add("TIMER_STARTED", timerId="1", startToFireTimeout="30s")
    history.add("TIMER_FIRED", 30, timerId="1", startedEventId=timer)
    history.add("WORKFLOW_EXECUTION_SIGNALED", signalName="approve", input=payloads("ann"), identity="web")
    accepted = history.add(
        "WORKFLOW_EXECUTION_UPDATE_ACCEPTED",
        protocolInstanceId="u-1",
        acceptedRequest={"input": {"name": "set_address", "args": payloads("Main St 1")}},
    )
    history.add(
        "WORKFLOW_EXECUTION_UPDATE_COMPLETED",
        acceptedEventId=accepted,
        outcome={"failure": failure("BadAddress", "no such street")},
    )
    child = history.add(
        "START_CHILD_WORKFLOW_EXECUTION_INITIATED",
        workflowId="ship-77",
        workflowType={"name": "Ship"},
        input=payloads(77),
    )
    execution = {"workflowId": "ship-77", "runId": CHILD_RUN}
    history.add("CHILD_WORKFLOW_EXECUTION_STARTED", initiatedEventId=child, workflowExecution=execution)
    if ended:
        history.add(
            "CHILD_WORKFLOW_EXECUTION_COMPLETED", 8, initiatedEventId=child, workflowExecution=execution,
            result=payloads("shipped"),
        )  # fmt: skip
        history.add("WORKFLOW_EXECUTION_COMPLETED", result=payloads({"done": True}))
    return history


def ship(initiated: str) -> History:
    """The child of `order` by its own history."""
    history = History(
        "Ship",
        CHILD_RUN,
        workflowId="ship-77",
        parentWorkflowExecution={"workflowId": "order-77", "runId": RUN},
        rootWorkflowExecution={"workflowId": "order-77", "runId": RUN},
        parentInitiatedEventId=initiated,
    )
    history.at = START + timedelta(seconds=60)
    history.events[0]["eventTime"] = history.at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    history.completed_activity("label", "L-1")
    history.add("WORKFLOW_EXECUTION_COMPLETED", result=payloads("shipped"))
    return history
