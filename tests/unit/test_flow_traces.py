"""Whole traces of flows: Metaflow 2.19 and Flyte 2.12 as they send them, Quarkus Flow as its sources say."""

from __future__ import annotations

from typing import Any

from tests.engine_traces import EngineTrace, Events

from spantree_exporter.span import KIND_SERVER, STATUS_ERROR, STATUS_OK

FAILED: dict[str, Any] = {"status": STATUS_ERROR, "message": "Failed"}
OK: dict[str, Any] = {"status": STATUS_OK}


def test_tasks_of_quarkus_flow_are_attempts_and_what_a_try_caught_is_the_workflow_s_business() -> None:
    flow = {"flow.workflow.instance.id": "i-1", "flow.workflow.name": "order"}
    trace = EngineTrace("io.quarkus.opentelemetry")
    run = trace.span("workflow.execute order", None, (0, 900), flow, **OK)
    caught = trace.span("task.execute guard", run, (1, 890), {**flow, "flow.task.name": "guard"}, **OK)
    for number in (0, 1):
        told = {"flow.task.id": "do/0/charge", "flow.task.retry_attempt": number, "flow.task.retrying": number > 0}
        at = (10 + number * 100, 90 + number * 100)
        trace.span("task.execute charge", caught, at, {**flow, **told, "flow.task.name": "charge"}, **FAILED)
    cancelled: Events = (("io.serverlessworkflow.task.cancelled.v1", 300, {}),)
    trace.span("task.execute wait", run, (250, 300), {**flow, "flow.task.name": "wait"}, events=cancelled, **OK)
    assert trace.told() == (
        "order",
        "i-1",
        "completed",
        (0, "order", "completed", 1),
        (1, "guard", "completed", 1),
        (2, "charge", "retried", 1),
        (2, "charge", "failed", 2),
        (1, "wait", "cancelled", 1),
    )


def test_commands_of_metaflow_are_the_tasks_that_they_run() -> None:
    trace = EngineTrace("metaflow.tracing.tracing_modules")
    run = trace.span("cli/run", None, (0, 9_000), {"cmd": "flows/orders.py run"}, kind=KIND_SERVER)

    def task(step: str, number: int, at: int, after: str, more: str = "", **outcome: Any) -> None:
        said = f"--run-id 17 --task-id {number} --input-paths {after} {more}"
        command = {"cmd": f"flows/orders.py --quiet --datastore local step {step} {said}"}
        trace.span("cli/step", run, (at, at + 500), command, kind=KIND_SERVER, **outcome)

    task("start", 1, 100, "17/_parameters/0", "--retry-count 0 --max-user-code-retries 0")
    task("work", 2, 1_000, "17/start/1", "--split-index 0 --retry-count 0 --max-user-code-retries 1")
    raised: Events = (("exception", 1_400, {"exception.type": "ValueError", "exception.message": "odd"}),)
    odd = "--split-index 1 --retry-count {} --max-user-code-retries 1"
    task("work", 3, 1_001, "17/start/1", odd.format(0), status=STATUS_ERROR, events=raised)
    task("work", 3, 2_000, "17/start/1", odd.format(1))
    task("join", 4, 3_000, "17/work/:2,3", "--retry-count 0 --max-user-code-retries 0")
    assert trace.told() == (
        "orders",
        "17",
        "completed",
        (0, "orders", "completed", 1),
        (1, "start", "completed", 1),
        (1, "work", "completed", 1),
        (1, "work", "retried", 1),
        (1, "work", "completed", 2),
        (1, "join", "completed", 1),
    )
    declared = [(e.type, e.provenance) for e in trace.assembled().edges if e.to_span_id == 6]
    assert declared == [("dependency", "declared")] * 2


def test_tasks_of_flyte_are_attempts_of_their_action_and_replayed_steps_are_skipped() -> None:
    trace = EngineTrace("flyteplugins-otel")
    run = {"flyte.run_name": "r-1", "flyte.project": "shop"}

    def task(name: str, action: str, parent: int | None, at: tuple[int, int], **outcome: Any) -> int:
        told = {**run, "flyte.task_name": f"demo.{name}", "flyte.action_name": action}
        return trace.span(f"demo.{name}", parent, at, told, **outcome)

    crashed = task("orders", "a0", None, (0, 90), **FAILED)
    step = {**run, "flyte.step_name": "lookup", "flyte.action_name": "a1", "flyte.replayed": False}
    trace.span("lookup", crashed, (10, 50), step, **OK)
    again = task("orders", "a0", None, (200, 900), **OK)
    trace.span("lookup", again, (210, 210), {**step, "flyte.replayed": True}, **OK)
    task("charge", "a2", again, (300, 310), **FAILED)
    task("charge", "a2", again, (400, 450), **OK)
    assert trace.told() == (
        "demo.orders",
        "r-1",
        "completed",
        (0, "demo.orders", "retried", 1),
        (1, "lookup", "completed", 1),
        (0, "demo.orders", "completed", 2),
        (1, "lookup", "skipped", 1),
        (1, "demo.charge", "retried", 1),
        (1, "demo.charge", "completed", 2),
    )
    assert trace.assembled().execution.project == "shop"
