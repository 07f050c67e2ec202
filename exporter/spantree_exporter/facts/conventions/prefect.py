"""Prefect's orchestration telemetry, read from prefect 3.8: `prefect/telemetry/run_telemetry.py`.

A run is one span whose events are its states (`prefect.state.type|name|message`); a retry is an AwaitingRetry event
in it. Links name the task runs whose results a run took as input. Neither a flow's nor a task's name is sent: a task
run is called `<task>-<3 hex digits>`, a flow run at random. The span of a flow that is tried again ends with the first
attempt, in error, although the run goes on.
"""

from __future__ import annotations

import re
from typing import Final

from spantree_exporter.facts.reading import Convention, text_of
from spantree_exporter.facts.vocabulary import AttemptFact, Facts, Status
from spantree_exporter.span import STATUS_ERROR, Event, Span

# prefect/tasks.py, create_run and create_local_run: what is put behind a task's name.
_RUN_SUFFIX: Final = re.compile(r"-[0-9a-f]{3}\Z")
# prefect/client/schemas/objects.py: StateType. States on the way to another say nothing of an ended span.
_TYPES: Final[dict[str, Status]] = {
    "COMPLETED": "completed",
    "FAILED": "failed",
    "CRASHED": "failed",
    "CANCELLED": "cancelled",
    "CANCELLING": "cancelled",
    "PAUSED": "waiting",
}
# prefect/states.py: names that say more than their type.
_NAMES: Final[dict[str, Status]] = {
    "Cached": "skipped",
    "NotReady": "skipped",
    "TimedOut": "timed_out",
}
# flow_engine.py, handle_timeout: what a flow says when a timeout inside it, not its own, brought it down.
_TIMEOUT_INSIDE: Final = "Flow run failed due to timeout"
_RETRY: Final = "AwaitingRetry"


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    run_type = a.get("prefect.run.type")
    run_id = text_of(a.get("prefect.run.id"))
    run_name = text_of(a.get("prefect.run.name")) or span.name
    if run_id:
        facts.setdefault("task_key", run_id)
    if run_type == "flow":
        facts.setdefault("boundary", "run")
        facts.setdefault("kind", "workflow")
        facts.setdefault("name", run_name)
        if flow_id := text_of(a.get("prefect.flow.id")):
            facts.setdefault("grouped_as", flow_id)
        if run_id:
            facts.setdefault("run_id", run_id)
    else:
        facts.setdefault("name", _RUN_SUFFIX.sub("", run_name) or run_name)
        facts.setdefault("kind", "task")
        facts.setdefault("step", True)
    if span.links:
        # A run waits for its inputs: what they are links to is what led to it.
        facts.setdefault("flow_links", True)
    if span.events:
        _put_states(span, facts)


def _put_states(span: Span, facts: Facts) -> None:
    states = [event for event in span.events if "prefect.state.type" in event.attributes]
    if not states:
        return
    last = states[-1]
    name, kind = last.attributes.get("prefect.state.name"), last.attributes.get("prefect.state.type")
    message = text_of(last.attributes.get("prefect.state.message")) or ""
    status = _NAMES.get(name) if isinstance(name, str) else None
    if status == "timed_out" and message.startswith(_TIMEOUT_INSIDE):
        status = "failed"
    if status is None and isinstance(kind, str):
        status = _TYPES.get(kind)
    if name == _RETRY:
        status = "retried"
    if status is not None:
        facts.setdefault("status", status)
        if name != kind and isinstance(name, str) and name.upper() != kind:
            facts.setdefault("status_reason", name)
    if status == "failed" and message and all(event.name != "exception" for event in span.events):
        # A run that returned a state of its own has raised nothing.
        facts.setdefault("error_message", message)
    running = next((e.time_ns for e in states if e.attributes.get("prefect.state.type") == "RUNNING"), None)
    if running is not None and running > span.start_ns and facts.get("kind") == "task":
        # A submitted run has a span while it still waits for its inputs.
        facts.setdefault("began_ns", running)
    attempts = _attempts(span.events)
    if attempts and status is None and span.status_code == STATUS_ERROR:
        # A flow that is tried again: what it raised ended the attempt; how the run ended only its tasks tell.
        facts.setdefault("status", "completed")
        facts.setdefault("status_reason", "its span ended with the attempt that was retried")
        _put_error_of_ended(span.events, attempts[-1])
    if attempts:
        facts.setdefault("attempts", attempts)
        facts.setdefault("retry_expected", True)


def _put_error_of_ended(events: list[Event], attempt: AttemptFact) -> None:
    for event in events:
        if event.name == "exception":
            attempt["at_ns"] = max(event.time_ns, attempt.get("at_ns", 0))
            if error_type := text_of(event.attributes.get("exception.type")):
                attempt["error_type"] = error_type
            if message := text_of(event.attributes.get("exception.message")):
                attempt["error_message"] = message


def _attempts(events: list[Event]) -> list[AttemptFact]:
    """The attempts that ended in waiting for the next, which began in the same span."""
    attempts: list[AttemptFact] = []
    awaiting: AttemptFact | None = None
    error: tuple[str | None, str | None] = (None, None)
    for event in events:
        if event.name == "exception":
            error = (
                text_of(event.attributes.get("exception.type")),
                text_of(event.attributes.get("exception.message")),
            )
        name = event.attributes.get("prefect.state.name")
        if name is None:
            continue
        if name == _RETRY:
            awaiting = {"at_ns": event.time_ns, "status": "retried"}
            if error[0]:
                awaiting["error_type"] = error[0]
            if error[1]:
                awaiting["error_message"] = error[1]
            error = (None, None)
        elif awaiting is not None:
            awaiting["attempt"] = len(attempts) + 1
            awaiting["next_ns"] = event.time_ns
            attempts.append(awaiting)
            awaiting = None
    return attempts


CONVENTION = Convention("prefect", _read, keys=("prefect.run.type",))
