"""Whole traces of workflow engines as they are sent, and what a user of the engine would say of them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.engine_traces import EngineTrace, Events

from spantree_exporter.span import (
    KIND_CLIENT,
    KIND_CONSUMER,
    KIND_PRODUCER,
    KIND_SERVER,
    STATUS_ERROR,
    STATUS_OK,
)

ARGO: dict[str, Any] = {"name": "nightly-x7k2p", "namespace": "prod"}
FAILED: dict[str, Any] = {"status": STATUS_ERROR, "message": "Failed"}
OK: dict[str, Any] = {"status": STATUS_OK}


def argo(*, executor: bool = False, ended: bool = True, **outcome: Any) -> EngineTrace:
    """A graph whose pod failed and was tried again, and whose second task was skipped by its condition."""
    trace = EngineTrace("workflows-controller", trace_state="workflow=prod/nightly-x7k2p")
    workflow = trace.span("workflow", None, (0, 60_000), ARGO, **outcome) if ended else 1_000
    trace.span("workflowPhase", workflow, (1, 60_000), {"phase": "Running"})
    for ms in (0, 15_000, 30_000):
        reconciled = trace.span("reconcileWorkflow", workflow, (ms, ms + 30))
        trace.span("reconcileTaskResults", reconciled, (ms, ms + 1))
        put = {"http.request.method": "PUT", "k8s.verb": "Update", "url.full": "https://k8s/apis/workflows/x"}
        trace.span("HTTP PUT", reconciled, (ms, ms + 5), put, kind=KIND_CLIENT, scope="otelhttp")
        trace.span("persistUpdates", workflow, (ms, ms + 8))

    def node(number: int, kind: str, at: tuple[float, float], **outcome: Any) -> int:
        told = {"node_id": f"nightly-x7k2p-{number}", "node_type": kind, **ARGO}
        return trace.span("node", workflow, at, told, **outcome)

    def pod(number: int, at: tuple[float, float], **outcome: Any) -> None:
        of = node(number, "Pod", at, **outcome)
        for phase, began in (("Pending", at[0]), ("Running", at[0] + 6_000)):
            trace.span("nodePhase", of, (began, at[1]), {"node_phase": phase}, kind=KIND_PRODUCER)
        made = trace.span("createWorkflowPod", of, (at[0], at[0] + 40))
        if executor:
            host = f"nightly-x7k2p-load-orders-{number}"
            trace.span("runInitContainer", made, (at[0], at[0] + 900), ARGO, scope="argoexec", host=host)
            main = trace.span("runMainContainer", made, (at[0] + 7_000, at[1]), ARGO, scope="argoexec", host=host)
            trace.span("read orders", main, (at[0] + 7_100, at[1]), scope="shop")

    node(1, "DAG", (50, 59_000), **OK)
    node(2, "Retry", (60, 40_000), **OK)
    pod(3, (61, 15_000), **FAILED)
    pod(4, (16_000, 39_000), **OK)
    node(5, "Skipped", (40_000, 40_000), status=STATUS_ERROR, message="Unexpected phase")
    return trace


def test_a_workflow_of_argo_is_what_its_controller_says_and_its_nodes_are_its_steps() -> None:
    assert argo(**OK).told() == (
        "nightly",
        "nightly-x7k2p",
        "completed",
        (0, "workflow", "completed", 1),
        (1, "DAG", "completed", 1),
        (1, "Retry", "completed", 1),
        (1, "Pod", "failed", 1),
        (1, "Pod", "completed", 1),
        (1, "Skipped", "skipped", 1),
    )
    assert argo(**FAILED).told()[:3] == ("nightly", "nightly-x7k2p", "failed")


def test_a_pod_of_argo_is_named_for_its_template_and_took_the_time_of_its_work() -> None:
    result = argo(executor=True, **FAILED).assembled()
    assert result.execution.first_failed_name == "load-orders"
    steps = [
        (n.depth, n.name, n.status, (n.started_ns - result.nodes[0].started_ns) // 1_000_000) for n in result.nodes
    ]
    assert steps[3:7] == [
        (1, "load-orders", "failed", 6_061),
        (2, "read orders", "completed", 7_161),
        (1, "load-orders", "completed", 22_000),
        (2, "read orders", "completed", 23_100),
    ]


def test_a_workflow_of_argo_runs_from_the_first_span_about_it() -> None:
    """Its own span and those of its nodes come at their ends."""
    trace = EngineTrace("workflows-controller", trace_state="other=1,workflow=prod/nightly-x7k2p")
    trace.span("reconcileWorkflow", 1_000, (0, 30))
    trace.span("persistUpdates", 1_000, (20, 30))
    assert trace.told() == ("nightly", "nightly-x7k2p", "running", (0, "nightly", "running", 1))


def test_nodes_of_argo_that_its_end_found_unfinished_are_cancelled() -> None:
    trace = EngineTrace("workflows-controller")
    workflow = trace.span("workflow", None, (0, 900), ARGO, **OK)
    daemon = {"node_type": "Pod", **ARGO}
    trace.span("node", workflow, (10, 900), daemon, status=STATUS_ERROR, message="Unexpected phase")
    assert trace.told()[2:] == ("completed", (0, "workflow", "completed", 1), (1, "Pod", "cancelled", 1))


INVOCATION: dict[str, Any] = {"restate.invocation.id": "inv_1", "restate.invocation.target": "Checkout/process"}
SUSPENDED: Events = (("restate.invocation.lifecycle.suspended", 90, {}),)
TRANSIENT: dict[str, Any] = {"status": STATUS_ERROR, "message": "transient failure"}
NAME = "Checkout/process"


class Restate(EngineTrace):
    """An invocation that came in and has begun."""

    def __init__(self) -> None:
        super().__init__("services")
        asked = self.span(f"ingress {NAME}", None, (0, 1), INVOCATION)
        self.started = self.span(f"invocation-start {NAME}", asked, (2, 2), INVOCATION)

    def attempt(self, at: tuple[float, float], refused: bool = False, **outcome: Any) -> None:
        attempt = self.span(f"invocation-attempt {NAME}", self.started, at, INVOCATION, **outcome)
        raised = ("exception", at[1], {"exception.type": "CardError", "exception.message": "card refused"})
        told: dict[str, Any] = {"status": STATUS_ERROR, "message": "card refused", "events": (raised,)}
        seen = self.span(f"attempt {NAME}", attempt, at, INVOCATION, scope="shop", **(told if refused else {}))
        self.span("run (charge)", seen, at, {"restate.run.name": "charge"}, scope="shop", **(told if refused else {}))

    def end(self, at: float, **told: str) -> None:
        failed = told.get("restate.invocation.result") == "failure"
        outcome = {"status": STATUS_ERROR, "message": told["error.message"]} if failed else OK
        self.span(f"invocation-end {NAME}", self.started, (at, at), {**INVOCATION, **told}, **outcome)


def test_an_invocation_of_restate_has_its_attempts_and_the_result_of_its_end() -> None:
    trace = Restate()
    trace.attempt((5, 100), refused=True, **TRANSIENT)
    failing = trace.assembled()
    assert failing.execution.status == "running"
    assert [(n.name, n.status, n.error_type, n.error_message) for n in failing.nodes] == [
        (NAME, "running", None, None),
        (NAME, "failed", "CardError", "card refused"),
        ("charge", "failed", "CardError", "card refused"),
    ]
    trace.attempt((500, 600), **OK)
    trace.end(610, **{"restate.invocation.result": "success"})
    assert trace.told() == (
        NAME,
        "inv_1",
        "completed",
        (0, NAME, "completed", 1),
        (1, NAME, "retried", 1),
        (2, "charge", "failed", 1),
        (1, NAME, "completed", 2),
        (2, "charge", "completed", 1),
    )
    ended = trace.assembled().execution
    assert ended.ended_ns is not None
    assert (ended.ended_ns - ended.started_ns) / 1e6 == 608


@pytest.mark.parametrize(
    ("end", "status", "message"),
    [
        ({"restate.invocation.result": "failure", "error.message": "card stolen"}, "failed", f"{NAME}: card stolen"),
        (
            {
                "restate.invocation.result": "failure",
                "error.message": "killed",
                "restate.invocation.error.code": "409",
            },
            "cancelled",
            None,
        ),
    ],
)
def test_an_invocation_of_restate_that_failed_for_good_failed_though_its_attempt_ended_well(
    end: dict[str, str], status: str, message: str | None
) -> None:
    trace = Restate()
    trace.attempt((5, 100), **OK)
    trace.end(110, **end)
    result = trace.assembled()
    assert (result.execution.status, result.execution.error_summary) == (status, message)


def test_an_invocation_of_restate_that_was_suspended_waits_until_it_is_taken_up() -> None:
    trace = Restate()
    trace.attempt((5, 90), events=SUSPENDED)
    assert trace.told()[2:5] == ("waiting", (0, NAME, "running", 1), (1, NAME, "waiting", 1))
    trace.attempt((5_000, 5_100), **OK)
    assert trace.told()[2] == "running"
    trace.end(5_110, **{"restate.invocation.result": "success"})
    assert trace.told()[2] == "completed"


def of_trigger(task: str, run: str, number: int) -> dict[str, Any]:
    return {"ctx.run.id": run, "ctx.task.id": task, "ctx.attempt.number": number}


def attempt_of_trigger(trace: EngineTrace, parent: int | None, told: dict[str, Any], at: int, failed: bool) -> int:
    raised = ("exception", at + 100, {"exception.type": "Error", "exception.message": "HTTP 503"})
    outcome: dict[str, Any] = {"status": STATUS_ERROR, "events": (raised,)} if failed else {}
    attempt = {"$span.attempt": True, "$style.icon": "attempt", **told}
    number = told["ctx.attempt.number"]
    of = trace.span(f"Attempt {number}", parent, (at, at + 100), attempt, kind=KIND_CONSUMER, **outcome)
    return trace.span("run()", of, (at + 1, at + 99), {"$style.icon": "task-fn-run", **told}, **outcome)


def test_attempts_of_a_run_of_trigger_dev_are_attempts_of_its_task() -> None:
    trace = EngineTrace("trigger-dev-worker")
    for number, failed in ((1, True), (2, True), (3, False)):
        attempt_of_trigger(trace, None, of_trigger("sync-orders", "run_1", number), number * 1_000, failed)
    assert trace.told() == (
        "sync-orders",
        "run_1",
        "completed",
        (0, "sync-orders", "retried", 1),
        (0, "sync-orders", "retried", 2),
        (0, "sync-orders", "completed", 3),
    )


def test_a_run_of_trigger_dev_that_another_waits_for_is_below_it() -> None:
    trace = EngineTrace("trigger-dev-worker")
    outer = of_trigger("sync-orders", "run_1", 1)
    ran = attempt_of_trigger(trace, None, outer, 0, False)
    asked = trace.span("triggerAndWait()", ran, (5, 95), {"$style.icon": "trigger", **outer}, kind=KIND_PRODUCER)
    attempt_of_trigger(trace, asked, of_trigger("charge", "run_2", 1), 10, True)
    attempt_of_trigger(trace, asked, of_trigger("charge", "run_2", 2), 210, False)
    assert trace.told() == (
        "sync-orders",
        "run_1",
        "completed",
        (0, "sync-orders", "completed", 1),
        (1, "triggerAndWait()", "completed", 1),
        (2, "charge", "retried", 1),
        (2, "charge", "completed", 2),
    )


MESSAGE: dict[str, Any] = {
    "messaging.message_type": "Shop.PlaceOrder",
    "messaging.message_id": "m-1",
    "messaging.destination": "rabbitmq://queue/orders",
}
TIMED_OUT: dict[str, Any] = {"status": STATUS_ERROR, "message": "TimeoutException"}


def test_attempts_at_a_message_of_wolverine_are_one_task_that_fails_when_it_is_given_up() -> None:
    def trace(last: str) -> EngineTrace:
        trace = EngineTrace("Wolverine")
        sent = trace.span("send", None, (0, 5), MESSAGE, kind=KIND_PRODUCER)
        again: Events = (("wolverine.envelope.requeued", 139, {}),)
        trace.span("Shop.PlaceOrder", sent, (40, 140), MESSAGE, events=again, **TIMED_OUT)
        if last == "completed":
            trace.span("Shop.PlaceOrder", sent, (200, 300), MESSAGE, **OK)
        elif last == "failed":
            given_up: Events = (("wolverine.error.queued", 299, {}),)
            trace.span("Shop.PlaceOrder", sent, (200, 300), MESSAGE, events=given_up, **TIMED_OUT)
        return trace

    assert trace("completed").told() == (
        "send PlaceOrder",
        None,
        "completed",
        (0, "send PlaceOrder", "completed", 1),
        (1, "PlaceOrder", "retried", 1),
        (1, "PlaceOrder", "completed", 2),
    )
    failed = trace("failed").assembled()
    assert (failed.execution.status, failed.execution.first_failed_error_type) == ("failed", "TimeoutException")
    assert [n.status_reason for n in failed.nodes] == [None, None, "moved to the error queue"]
    assert trace("to come").told()[2:] == (
        "completed",
        (0, "send PlaceOrder", "completed", 1),
        (1, "PlaceOrder", "retried", 1),
    )


def test_immediate_attempts_of_wolverine_are_told_by_events_of_one_span() -> None:
    trace = EngineTrace("Wolverine")
    again: Events = (("wolverine.envelope.retried", 50, {}), ("wolverine.envelope.retried", 90, {}))
    inline = {**MESSAGE, "handler.type": "Shop.PlaceOrderHandler"}
    trace.span("receive", None, (0, 100), inline, kind=KIND_CONSUMER, events=again, **OK)
    assert trace.told()[2:] == (
        "completed",
        (0, "PlaceOrder", "retried", 1),
        (0, "PlaceOrder", "retried", 2),
        (0, "PlaceOrder", "completed", 3),
    )


def test_what_wolverine_s_agents_hatchet_s_workers_and_argo_s_controller_do_for_themselves_is_hidden() -> None:
    agents = EngineTrace("Wolverine")
    agents.span("wolverine_node_assignments", None, (0, 100))
    assert agents.assembled().execution.hidden
    worker = EngineTrace("hatchet_sdk.opentelemetry.instrumentor")
    worker.span("hatchet.cancel_step_run", None, (0, 10), {"hatchet.step_run_id": "s-1"}, kind=KIND_CONSUMER)
    assert worker.assembled().execution.hidden
    for name in ("startupController", "reconcileWorkflow"):
        controller = EngineTrace("workflows-controller")
        trace = controller.span(name, None, (0, 100))
        controller.span("persistUpdates", trace, (10, 20))
        assert controller.assembled().execution.hidden
    lease = EngineTrace("otelhttp")
    lease.span("HTTP PUT", None, (0, 5), {"k8s.verb": "Update", "http.request.method": "PUT"}, kind=KIND_CLIENT)
    assert lease.assembled().execution.hidden


@pytest.mark.parametrize("name", ["hatchet.start_step_run", "hatchet.start_step_run.orders:check"])
def test_a_step_run_of_hatchet_is_named_for_its_task_whatever_its_span_is_called(name: str) -> None:
    told = {"hatchet.workflow_name": "Orders", "hatchet.workflow_run_id": "w-1", "hatchet.step_run_id": "s-1"}
    trace = EngineTrace("hatchet_sdk.opentelemetry.instrumentor")
    sent = trace.span("hatchet.run_workflow", None, (0, 30), {"hatchet.workflow_name": "Orders"}, kind=KIND_PRODUCER)
    for number, outcome in enumerate([TIMED_OUT, OK]):
        attributes = {**told, "hatchet.action_name": "orders:check", "hatchet.retry_count": number}
        trace.span(name, sent, (100 + number * 900, 800 + number * 900), attributes, kind=KIND_CONSUMER, **outcome)
    assert trace.told() == ("Orders", "w-1", "completed", (0, "check", "retried", 1), (0, "check", "completed", 2))


ORDER = "workflow//./src/order.ts//handleOrder"
OF_ORDER: dict[str, Any] = {"workflow.name": ORDER, "workflow.run.id": "wrun_1"}
STOLEN: dict[str, Any] = {"workflow.error.name": "FatalError", "workflow.error.message": "card stolen"}


class Vercel(EngineTrace):
    """A run that was put on a queue by a request."""

    def __init__(self) -> None:
        super().__init__("workflow")
        request = {"http.request.method": "POST", "http.route": "/orders", "http.response.status_code": 200}
        asked = self.span("POST /orders", None, (0, 60), request, kind=KIND_SERVER, scope="http")
        told = {**OF_ORDER, "workflow.operation": "start", "workflow.run.status": "pending"}
        self.start = self.span(f"workflow.start {ORDER}", asked, (5, 50), told, **OK)
        self.span("queue.publish", self.start, (10, 20), {"messaging.system": "vercel-queue"}, kind=KIND_PRODUCER, **OK)

    def replay(self, parent: int, at: int, status: str = "workflow_suspended", **told: str) -> int:
        queued = {"messaging.system": "vercel-queue", "messaging.message.id": f"m{at}"}
        told = {**OF_ORDER, **queued, "workflow.run.status": status, **told}
        made = self.span(f"WORKFLOW {ORDER}", parent, (at, at + 50), told, **OK)
        replay = self.span("workflow.replay", made, (at + 5, at + 40), {"workflow.events.count": 3}, **OK)
        running = {**OF_ORDER, "workflow.run.status": "running"}
        self.span(f"workflow.run {ORDER}", replay, (at + 6, at + 39), running, **OK)
        return made

    def step(self, parent: int, at: int, name: str, **told: Any) -> int:
        path = f"step//./src/order.ts//{name}"
        queued = {"messaging.system": "vercel-queue", "messaging.operation.type": "process"}
        told = {**OF_ORDER, **queued, "step.name": path, "step.id": name, "step.attempt": 1, **told}
        made = self.span(f"STEP {path}", parent, (at, at + 100), told, kind=KIND_CONSUMER, **OK)
        self.span("step.execute", made, (at + 10, at + 90))
        return made


def test_passes_of_a_workflow_of_vercel_are_one_run_that_is_what_the_last_says() -> None:
    trace = Vercel()
    assert trace.told()[2] == "running"
    first = trace.replay(trace.start, 100)
    assert trace.told()[2] == "waiting"
    retry: dict[str, Any] = {"step.status": "running", "step.retry.will_retry": True}
    trace.step(first, 200, "charge", **retry)
    trace.step(first, 350, "charge", **{"step.retry.timeout_seconds": 1})  # too early, and put back
    charged = trace.step(first, 1_400, "charge", **{"step.attempt": 2, "step.status": "completed"})
    trace.step(first, 1_450, "charge", **{"step.skipped": True, "step.skip_reason": "completed"})
    second = trace.replay(charged, 1_600)
    shipped = trace.step(second, 1_700, "ship", **{"step.status": "completed"})
    trace.replay(shipped, 1_900, "completed")
    assert trace.told() == (
        "handleOrder",
        "wrun_1",
        "completed",
        (0, "POST /orders", "completed", 1),
        (1, "handleOrder", "waiting", 1),
        (2, "charge", "retried", 1),
        (2, "charge", "completed", 2),
        (1, "handleOrder", "waiting", 1),
        (2, "ship", "completed", 1),
        (1, "handleOrder", "completed", 1),
    )


def test_a_run_of_vercel_ended_where_one_of_two_passes_at_once_says_so() -> None:
    trace = Vercel()
    first = trace.replay(trace.start, 100)
    charged = trace.step(first, 200, "charge", **{"step.status": "completed"})
    shipped = trace.step(first, 200, "ship", **{"step.status": "completed"})
    trace.replay(charged, 400)
    trace.replay(shipped, 390, "completed")
    assert trace.told()[2] == "completed"


def test_a_run_of_vercel_failed_first_in_the_step_that_an_earlier_pass_had_waited_for() -> None:
    trace = Vercel()
    first = trace.replay(trace.start, 100)
    stolen = {"step.status": "failed", "step.error.name": "Error", "step.error.message": "card stolen"}
    trace.replay(trace.step(first, 200, "charge", **stolen), 400, "failed", **STOLEN)
    run = trace.assembled().execution
    assert (run.status, run.first_failed_name, run.error_summary) == ("failed", "charge", "charge: Error: card stolen")


def test_a_task_of_airflow_whose_own_span_never_came_is_what_its_worker_did_in_the_run_that_came() -> None:
    dag = {"airflow.dag_id": "etl", "airflow.dag_run.run_id": "manual__1"}
    task = {**dag, "airflow.task_id": "load"}
    trace = EngineTrace("airflow")
    trace.span("dag_run.etl", None, (0, 900), dag, status=STATUS_ERROR)
    trace.span("worker.load", 1_000, (100, 400), task)
    trace.span("trigger.load", 1_000, (200, 300), task)
    assert trace.told() == (
        "etl",
        "manual__1",
        "failed",
        (0, "dag_run.etl", "failed", 1),
        (1, "load", "completed", 1),
        (1, "trigger.load", "completed", 1),
    )
