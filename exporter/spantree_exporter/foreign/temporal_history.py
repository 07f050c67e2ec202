"""The history of a Temporal workflow, as JSON, -> spans in OTLP/JSON. Pure.

A history is what `temporal workflow show --output json` prints and temporalio's `WorkflowHistory.to_json` gives: the
events of temporal/api/history/v1/message.proto in protobuf's JSON form. Payloads are encoded there, or plain values
(the CLI's shorthand).

    trace      the run id of the root workflow; a child's history belongs to its root's trace
    workflow   one span; a child's is below the span of its start in the parent's history
    activity   one span for its last attempt and, where it was retried, one for the attempt before, of whose failure the
               history tells; those before that are only a number
    timer, child workflow, signal, update, Nexus operation, external signal, failed workflow task: one span each

Ids follow from run id and event id, so that importing a history again changes nothing. What has not ended is a pending
mark, which the span takes the place of when a later history tells its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from spantree_exporter import attributes as names
from spantree_exporter.foreign.temporal_json import (
    Json,
    attributes_key,
    enum_word,
    event_name,
    failure_of,
    input_attributes,
    is_timeout,
    lost_after_s,
    output_attributes,
    retry_attributes,
    some,
    span_id_of,
    time_ns,
    trace_id_of,
    type_name,
)
from spantree_exporter.span import Attributes
from spantree_exporter.stored import otlp_attributes

SCOPE: Final = "spantree.temporal"
CHILD: Final = "temporal.child"
KEPT_HISTORY_BYTES: Final = 1 << 20
"""A longer history is kept without its payloads, and where that is too long as well, its first events."""
MOST_EVENTS: Final = 200_000
_ERROR: Final = 2


class NoHistory(ValueError):
    """The JSON is no history of a workflow; the text says why."""


@dataclass(slots=True)
class _Span:
    """One span, or the mark of one that has not ended (`end_ns` None)."""

    event_id: str
    name: str
    kind: str
    start_ns: int
    parent: str | None
    opened_ns: int  # when it was asked for; an activity starts later
    end_ns: int | None = None
    status: str = "completed"
    reason: str | None = None
    error: tuple[str, str, str] | None = None  # type, message, stack trace
    attributes: dict[str, Any] = field(default_factory=dict)
    events: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)


def spans_of(history: Json, *, namespace: str = "default", workflow_id: str = "", run_id: str = "") -> dict[str, Any]:
    """All that a history tells, as a TracesData in OTLP/JSON. `workflow_id` and `run_id` are for histories that do not
    name them.

    Raises NoHistory.
    """
    events = history.get("events")
    if not isinstance(events, list) or not events or len(events) > MOST_EVENTS:
        raise NoHistory(
            f"it has no events, or more than {MOST_EVENTS}: wanted what `temporal workflow show --output json` prints"
        )
    try:
        reading = _Reading(events, namespace, workflow_id, run_id)
        for event in events:
            reading.read(event)
        return reading.told(history)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, NoHistory):
            raise
        raise NoHistory(f"an event is not as Temporal writes it: {type(error).__name__}: {error}") from error


class _Reading:
    """What the events up to one tell."""

    def __init__(self, events: list[Json], namespace: str, workflow_id: str, run_id: str) -> None:
        first = events[0]
        started = first.get("workflowExecutionStartedEventAttributes")
        if not isinstance(started, Mapping):
            raise NoHistory("its first event is no WORKFLOW_EXECUTION_STARTED")
        self._namespace = namespace
        parent = started.get("parentWorkflowExecution") or {}
        root = started.get("rootWorkflowExecution") or parent
        self.workflow_id = str(started.get("workflowId") or workflow_id or "")
        self.run_id = str(started.get("originalExecutionRunId") or run_id or started.get("firstExecutionRunId") or "")
        if not self.run_id:
            raise NoHistory("its first event names no run: originalExecutionRunId is missing")
        # A child that names no root but its parent is in its parent's trace.
        self._root_run = str(root.get("runId") or self.run_id)
        self._run_key = str(root.get("workflowId") or self.workflow_id or self.run_id)
        self._task_queue = str((started.get("taskQueue") or {}).get("name") or "temporal")
        workflow_type = type_name(started.get("workflowType"))
        parent_run = str(parent.get("runId") or "")
        is_child = bool(parent_run) and self._root_run != self.run_id
        self.root = _Span(
            "1",
            workflow_type,
            "workflow",
            time_ns(first["eventTime"]),
            span_id_of(parent_run, str(started.get("parentInitiatedEventId", ""))) if is_child else None,
            time_ns(first["eventTime"]),
        )
        attributes = self.root.attributes
        if is_child:
            attributes |= {
                CHILD: True,
                names.NODE_NAME: workflow_type,
                names.NODE_KIND: "workflow",
            }
        else:
            attributes[names.EXECUTION_NAME] = workflow_type
        attributes |= {
            names.RUN_ID: self._run_key,
            names.LOST_AFTER_S: lost_after_s(started),
            **input_attributes(started.get("input")),
            **retry_attributes(started.get("retryPolicy"), started.get("attempt")),
            **some(
                {
                    "temporal.cron_schedule": started.get("cronSchedule"),
                    "temporal.first_run_id": started.get("firstExecutionRunId"),
                    "temporal.continued_run_id": started.get("continuedExecutionRunId"),
                    "temporal.parent_workflow_id": parent.get("workflowId"),
                    "temporal.identity": started.get("identity"),
                }
            ),
        }
        self._spans: dict[str, _Span] = {}
        self._task_failures = 0

    def read(self, event: Json) -> None:
        """One event more, in their order."""
        name = event_name(event)
        at_ns = time_ns(event["eventTime"])
        attributes = event.get(attributes_key(name)) or {}
        reader = _READERS.get(name)
        if reader is not None:
            reader(self, str(event["eventId"]), at_ns, attributes)
        elif name in _ENDS:
            self._end_workflow(name, at_ns, attributes)

    # ---- the workflow ----------------------------------------------------------------------------------------------

    def _end_workflow(self, name: str, at_ns: int, a: Json) -> None:
        root = self.root
        root.end_ns, root.status = at_ns, _ENDS[name]
        root.attributes |= output_attributes(a.get("result"))
        if name == "WORKFLOW_EXECUTION_TERMINATED":
            root.reason = "terminated" + (f": {a['reason']}" if a.get("reason") else "")
        elif name == "WORKFLOW_EXECUTION_CONTINUED_AS_NEW":
            root.reason = "continued as new"
            root.attributes |= some({"temporal.new_run_id": a.get("newExecutionRunId")})
        elif name == "WORKFLOW_EXECUTION_TIMED_OUT":
            root.error = ("WorkflowExecutionTimeout", "the workflow ran into its timeout", "")
        if a.get("failure"):
            root.error = failure_of(a["failure"])
        root.attributes |= some({"temporal.retry_state": enum_word(a.get("retryState"), "RETRY_STATE_")})

    def _cancel_requested(self, event_id: str, at_ns: int, a: Json) -> None:
        self.root.events.append((at_ns, "cancellation requested", some({"cause": a.get("cause")})))

    def _marker(self, event_id: str, at_ns: int, a: Json) -> None:
        self.root.events.append((at_ns, f"marker {a.get('markerName', '')}", {}))

    # ---- activities ------------------------------------------------------------------------------------------------

    def _activity_scheduled(self, event_id: str, at_ns: int, a: Json) -> None:
        span = self._open(event_id, type_name(a.get("activityType")), "activity", at_ns)
        span.attributes |= {
            names.TASK_KEY: f"{self.run_id}/{a.get('activityId', event_id)}",
            **input_attributes(a.get("input")),
            **retry_attributes(a.get("retryPolicy"), None),
            **some(
                {
                    "temporal.activity_id": a.get("activityId"),
                    "temporal.task_queue": (a.get("taskQueue") or {}).get("name"),
                    "temporal.start_to_close_timeout": a.get("startToCloseTimeout"),
                    "temporal.schedule_to_close_timeout": a.get("scheduleToCloseTimeout"),
                    "temporal.heartbeat_timeout": a.get("heartbeatTimeout"),
                }
            ),
        }

    def _activity_started(self, event_id: str, at_ns: int, a: Json) -> None:
        span = self._spans.get(str(a.get("scheduledEventId")))
        if span is None:
            return
        attempt = int(a.get("attempt") or 1)
        if attempt > 1:
            # Temporal writes the last attempt only, and what the one before it failed of.
            before = self._open(f"{span.event_id}/before", span.name, span.kind, span.start_ns)
            before.attributes = {**span.attributes, names.ATTEMPT: attempt - 1}
            last = a.get("lastFailure") or {}
            before.end_ns, before.status = at_ns, "failed"
            before.error = failure_of(last)
            if is_timeout(last):
                before.status = "timed_out"
        span.start_ns = at_ns
        most = span.attributes.get(names.RETRY_MAX_ATTEMPTS)
        span.attributes[names.ATTEMPT] = attempt
        if attempt > 1:
            span.attributes[names.RETRY_EXPECTED] = most is None or attempt <= most
        span.attributes |= some({"temporal.worker": a.get("identity")})

    def _activity_ended(self, name: str, at_ns: int, a: Json) -> None:
        span = self._spans.get(str(a.get("scheduledEventId")))
        self._close(span, at_ns, _STEP_ENDS[name.rpartition("_TASK_")[2]], a)

    # ---- timers, children, messages ----------------------------------------------------------------------------------

    def _timer_started(self, event_id: str, at_ns: int, a: Json) -> None:
        span = self._open(event_id, "timer", "timer", at_ns)
        span.attributes |= some(
            {"temporal.timer_id": a.get("timerId"), "temporal.timeout": a.get("startToFireTimeout")}
        )

    def _timer_fired(self, event_id: str, at_ns: int, a: Json) -> None:
        self._close(self._spans.get(str(a.get("startedEventId"))), at_ns, "completed", a)

    def _timer_canceled(self, event_id: str, at_ns: int, a: Json) -> None:
        self._close(self._spans.get(str(a.get("startedEventId"))), at_ns, "cancelled", a)

    def _child_initiated(self, event_id: str, at_ns: int, a: Json) -> None:
        span = self._open(event_id, type_name(a.get("workflowType")), "workflow", at_ns)
        span.attributes |= {
            **input_attributes(a.get("input")),
            **retry_attributes(a.get("retryPolicy"), None),
            **some({"temporal.child_workflow_id": a.get("workflowId")}),
        }

    def _child_started(self, event_id: str, at_ns: int, a: Json) -> None:
        span = self._spans.get(str(a.get("initiatedEventId")))
        if span is not None:
            span.attributes |= some({"temporal.child_run_id": (a.get("workflowExecution") or {}).get("runId")})

    def _child_ended(self, name: str, at_ns: int, a: Json) -> None:
        span = self._spans.get(str(a.get("initiatedEventId")))
        status = "failed" if name.startswith("START_") else _STEP_ENDS[name.rpartition("_EXECUTION_")[2]]
        self._close(span, at_ns, status, a)
        if span is not None and name.startswith("START_"):
            cause = enum_word(a.get("cause"), "START_CHILD_WORKFLOW_EXECUTION_FAILED_CAUSE_") or "failed"
            span.error = ("ChildWorkflowNotStarted", cause.lower().replace("_", " "), "")

    def _nexus_scheduled(self, event_id: str, at_ns: int, a: Json) -> None:
        name = "/".join(str(a[key]) for key in ("service", "operation") if a.get(key))
        span = self._open(event_id, name or "nexus operation", "rpc", at_ns)
        span.attributes |= input_attributes(a.get("input"))

    def _nexus_ended(self, name: str, at_ns: int, a: Json) -> None:
        self._close(self._spans.get(str(a.get("scheduledEventId"))), at_ns, _STEP_ENDS[name.rpartition("_")[2]], a)

    def _signaled(self, event_id: str, at_ns: int, a: Json) -> None:
        span = self._open(event_id, str(a.get("signalName") or "signal"), "signal", at_ns)
        span.end_ns = at_ns
        span.attributes |= {**input_attributes(a.get("input")), **some({"temporal.identity": a.get("identity")})}

    def _external_signal(self, event_id: str, at_ns: int, a: Json) -> None:
        span = self._open(event_id, str(a.get("signalName") or "signal"), "message", at_ns)
        span.attributes |= {
            **input_attributes(a.get("input")),
            **some({"temporal.signaled_workflow_id": (a.get("workflowExecution") or {}).get("workflowId")}),
        }

    def _external_signal_sent(self, event_id: str, at_ns: int, a: Json) -> None:
        self._close(self._spans.get(str(a.get("initiatedEventId"))), at_ns, "completed", a)

    def _external_signal_failed(self, event_id: str, at_ns: int, a: Json) -> None:
        span = self._spans.get(str(a.get("initiatedEventId")))
        self._close(span, at_ns, "failed", a)
        if span is not None:
            cause = enum_word(a.get("cause"), "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED_CAUSE_") or "failed"
            span.error = ("SignalNotDelivered", cause.lower().replace("_", " "), "")

    def _update_accepted(self, event_id: str, at_ns: int, a: Json) -> None:
        sent = (a.get("acceptedRequest") or {}).get("input") or {}
        span = self._open(event_id, str(sent.get("name") or "update"), "update", at_ns)
        span.attributes |= {
            **input_attributes(sent.get("args")),
            **some({"temporal.update_id": a.get("protocolInstanceId")}),
        }

    def _update_completed(self, event_id: str, at_ns: int, a: Json) -> None:
        span = self._spans.get(str(a.get("acceptedEventId")))
        outcome = a.get("outcome") or {}
        failure = outcome.get("failure")
        self._close(
            span, at_ns, "failed" if failure else "completed", {"failure": failure, "result": outcome.get("success")}
        )

    # ---- workflow tasks: the workflow's own code ---------------------------------------------------------------------

    def _task_failed(self, event_id: str, at_ns: int, a: Json) -> None:
        cause = enum_word(a.get("cause"), "WORKFLOW_TASK_FAILED_CAUSE_") or ""
        if cause in _NO_FAULT:
            return
        self._task(event_id, at_ns, "failed", a.get("failure") or {"message": cause.lower().replace("_", " ")})

    def _task_timed_out(self, event_id: str, at_ns: int, a: Json) -> None:
        self._task(event_id, at_ns, "timed_out", {"message": "the workflow task timed out", "timeoutFailureInfo": {}})

    def _task_completed(self, event_id: str, at_ns: int, a: Json) -> None:
        # One that was retried: nothing else of workflow tasks is worth a step.
        if self._task_failures:
            self._task(event_id, at_ns, "completed", None)

    def _task(self, event_id: str, at_ns: int, status: str, failure: Json | None) -> None:
        span = self._open(event_id, "workflow task", "task", at_ns)
        span.end_ns, span.status = at_ns, status
        self._task_failures = self._task_failures + 1
        span.attributes |= {
            names.TASK_KEY: f"{self.run_id}/workflow task",
            names.ATTEMPT: self._task_failures,
            # No policy foresees it: the workflow's code failed, or its worker was away.
            names.RETRY_EXPECTED: False,
        }
        if failure is None:
            self._task_failures = 0
        else:
            span.error = failure_of(failure)

    # ---- spans -------------------------------------------------------------------------------------------------------

    def _open(self, event_id: str, name: str, kind: str, at_ns: int) -> _Span:
        span = self._spans[event_id] = _Span(event_id, name, kind, at_ns, span_id_of(self.run_id, "1"), at_ns)
        span.attributes = {names.NODE_NAME: name, names.NODE_KIND: kind}
        return span

    def _close(self, span: _Span | None, at_ns: int, status: str, a: Json) -> None:
        if span is None:
            return
        span.end_ns, span.status = at_ns, status
        span.attributes |= output_attributes(a.get("result"))
        if a.get("failure"):
            span.error = failure_of(a["failure"])
        span.attributes |= some({"temporal.retry_state": enum_word(a.get("retryState"), "RETRY_STATE_")})

    def told(self, history: Json) -> dict[str, Any]:
        """The spans as a TracesData."""
        root = self.root
        if root.end_ns is not None:
            root.attributes |= _kept_history(history)
            # What the workflow did not wait for ends with it.
            for span in self._spans.values():
                if span.end_ns is None:
                    span.end_ns, span.status = root.end_ns, "cancelled"
                    span.reason = "the workflow ended before it did"
        resource: Attributes = {"service.name": self._task_queue, "temporal.namespace": self._namespace}
        return {
            "resourceSpans": [
                {
                    "resource": {"attributes": list(otlp_attributes(resource))},
                    "scopeSpans": [
                        {"scope": {"name": SCOPE}, "spans": [self._span(one) for one in (root, *self._spans.values())]}
                    ],
                }
            ]
        }

    def _span(self, span: _Span) -> dict[str, Any]:
        own_id = span_id_of(self.run_id, span.event_id)
        attributes = {
            **span.attributes,
            **some({"temporal.workflow_id": self.workflow_id}),
            "temporal.run_id": self.run_id,
            "temporal.event_id": span.event_id,
        }
        parent, span_id, start_ns, end_ns = span.parent, own_id, span.start_ns, span.end_ns
        if end_ns is None:
            parent, span_id = own_id, span_id_of(self.run_id, f"{span.event_id}/pending")
            start_ns = end_ns = span.opened_ns
            attributes[names.SPAN_TYPE] = names.PENDING_SPAN
            if span.parent is not None:
                attributes[names.PENDING_PARENT_ID] = span.parent
            # What is learned while it runs would make another mark of it.
            attributes = {key: value for key, value in attributes.items() if key not in _LEARNED}
        else:
            state = names.EXECUTION_STATUS if names.EXECUTION_NAME in attributes else names.NODE_STATUS
            attributes[state] = span.status
            attributes |= some({_REASONS[state]: span.reason})
        events = [
            {"timeUnixNano": str(at_ns), "name": name, "attributes": list(otlp_attributes(said))}
            for at_ns, name, said in span.events
        ]
        status: dict[str, Any] = {}
        if span.error is not None and span.end_ns is not None:
            error_type, message, stack = span.error
            status = {"code": _ERROR, "message": message}
            said = {
                "exception.type": error_type,
                "exception.message": message,
                **some({"exception.stacktrace": stack}),
            }
            exception = {"timeUnixNano": str(end_ns), "name": "exception", "attributes": list(otlp_attributes(said))}
            events.append(exception)
        return {
            "traceId": trace_id_of(self._root_run),
            "spanId": span_id,
            **({} if parent is None else {"parentSpanId": parent}),
            "name": span.name,
            "kind": 1,
            "startTimeUnixNano": str(start_ns),
            "endTimeUnixNano": str(end_ns),
            "attributes": list(otlp_attributes(attributes)),
            "events": events if span.end_ns is not None else [],
            "status": status,
        }


_REASONS: Final = {
    names.EXECUTION_STATUS: names.EXECUTION_STATUS_REASON,
    names.NODE_STATUS: names.NODE_STATUS_REASON,
}
_LEARNED: Final = frozenset({"temporal.worker", "temporal.child_run_id", names.ATTEMPT, names.RETRY_EXPECTED})
# Causes of a failed workflow task by which nothing went wrong: new events came in, or somebody reset the workflow.
_NO_FAULT: Final = frozenset({"UNHANDLED_COMMAND", "RESET_WORKFLOW", "FORCE_CLOSE_COMMAND", "FAILOVER_CLOSE_COMMAND"})
_ENDS: Final = {
    "WORKFLOW_EXECUTION_COMPLETED": "completed",
    "WORKFLOW_EXECUTION_FAILED": "failed",
    "WORKFLOW_EXECUTION_TIMED_OUT": "timed_out",
    "WORKFLOW_EXECUTION_CANCELED": "cancelled",
    "WORKFLOW_EXECUTION_TERMINATED": "cancelled",
    "WORKFLOW_EXECUTION_CONTINUED_AS_NEW": "completed",
}
_STEP_ENDS: Final = {
    "COMPLETED": "completed",
    "FAILED": "failed",
    "TIMED_OUT": "timed_out",
    "OUT": "timed_out",
    "CANCELED": "cancelled",
    "TERMINATED": "cancelled",
}


def _ending(method: Any, name: str) -> Any:
    return lambda reading, event_id, at_ns, attributes: method(reading, name, at_ns, attributes)


_READERS: Final[dict[str, Any]] = {
    "WORKFLOW_EXECUTION_CANCEL_REQUESTED": _Reading._cancel_requested,
    "MARKER_RECORDED": _Reading._marker,
    "ACTIVITY_TASK_SCHEDULED": _Reading._activity_scheduled,
    "ACTIVITY_TASK_STARTED": _Reading._activity_started,
    "TIMER_STARTED": _Reading._timer_started,
    "TIMER_FIRED": _Reading._timer_fired,
    "TIMER_CANCELED": _Reading._timer_canceled,
    "START_CHILD_WORKFLOW_EXECUTION_INITIATED": _Reading._child_initiated,
    "CHILD_WORKFLOW_EXECUTION_STARTED": _Reading._child_started,
    "NEXUS_OPERATION_SCHEDULED": _Reading._nexus_scheduled,
    "WORKFLOW_EXECUTION_SIGNALED": _Reading._signaled,
    "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED": _Reading._external_signal,
    "EXTERNAL_WORKFLOW_EXECUTION_SIGNALED": _Reading._external_signal_sent,
    "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED": _Reading._external_signal_failed,
    "WORKFLOW_EXECUTION_UPDATE_ACCEPTED": _Reading._update_accepted,
    "WORKFLOW_EXECUTION_UPDATE_COMPLETED": _Reading._update_completed,
    "WORKFLOW_TASK_FAILED": _Reading._task_failed,
    "WORKFLOW_TASK_TIMED_OUT": _Reading._task_timed_out,
    "WORKFLOW_TASK_COMPLETED": _Reading._task_completed,
    **{
        name: _ending(_Reading._activity_ended, name)
        for name in (f"ACTIVITY_TASK_{end}" for end in ("COMPLETED", "FAILED", "TIMED_OUT", "CANCELED"))
    },
    **{
        name: _ending(_Reading._child_ended, name)
        for name in (
            "START_CHILD_WORKFLOW_EXECUTION_FAILED",
            *(
                f"CHILD_WORKFLOW_EXECUTION_{end}"
                for end in ("COMPLETED", "FAILED", "TIMED_OUT", "CANCELED", "TERMINATED")
            ),
        )
    },
    **{
        name: _ending(_Reading._nexus_ended, name)
        for name in (f"NEXUS_OPERATION_{end}" for end in ("COMPLETED", "FAILED", "TIMED_OUT", "CANCELED"))
    },
}


def _kept_history(history: Json) -> dict[str, Any]:
    """The history itself, for whoever wants to replay it; a long one without payloads, or cut."""
    text = orjson.dumps(dict(history))
    if len(text) <= KEPT_HISTORY_BYTES:
        return {"temporal.history": text.decode()}
    events = [_without_payloads(event) for event in history["events"]]
    text = orjson.dumps({"events": events})
    while len(text) > KEPT_HISTORY_BYTES:
        events = events[: len(events) // 2]
        text = orjson.dumps({"events": events})
    told = {"temporal.history": text.decode(), "temporal.history_bytes": len(orjson.dumps(dict(history)))}
    return {**told, "temporal.history_events": len(events)}


def _without_payloads(value: Any) -> Any:
    if isinstance(value, Mapping):
        if "payloads" in value:
            return {"payloads": []}
        return {key: _without_payloads(item) for key, item in value.items() if key != "data"}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [_without_payloads(item) for item in value]
    return value
