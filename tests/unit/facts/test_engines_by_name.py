"""Engines known by their attributes' names: Dagster, Hatchet, n8n, Restate, Vercel workflow, durable functions."""

from __future__ import annotations

import pytest
from tests.unit.facts.spans import span

from spantree_exporter.facts import Facts, read_facts
from spantree_exporter.span import (
    KIND_CLIENT,
    KIND_CONSUMER,
    KIND_PRODUCER,
    KIND_SERVER,
    STATUS_ERROR,
    STATUS_OK,
    Attributes,
)

ARN = "arn:aws:lambda:eu-west-1:123456789012:function:orders:$LATEST/durable-execution/run-7/abc"


def test_a_step_run_of_hatchet_is_a_task_of_its_workflow_run() -> None:
    attributes: Attributes = {
        "hatchet.workflow_name": "Orders",
        "hatchet.workflow_run_id": "w-1",
        "hatchet.step_run_id": "s-1",
        "hatchet.action_name": "orders:charge",
        "hatchet.retry_count": "1",
    }
    assert read_facts(span("hatchet.start_step_run", attributes, kind=KIND_CONSUMER)) == {
        "name": "charge",
        "kind": "task",
        "step": True,
        "task_key": "s-1",
        "attempt": 2,
        "workflow_name": "Orders",
        "run_id": "w-1",
    }
    assert read_facts(span("SELECT orders", attributes)) == {}
    assert read_facts(span("hatchet.engine.queued", attributes)) == {"fold": "parent"}


def test_a_step_of_dagster_is_an_attempt_of_its_op_in_its_run() -> None:
    attributes: Attributes = {
        "dagster.run_id": "0814560b",
        "dagster.job_name": "etl",
        "dagster.step_key": "prices.load[7]",
        "dagster.retry_number": "1",
    }
    assert read_facts(span("load", attributes, links=["00000000000000a1", "00000000000000a2"])) == {
        "link_types": {"00000000000000a2": "retry"},
        "name": "prices.load",
        "kind": "step",
        "step": True,
        "task_key": "0814560b/prices.load[7]",
        "attempt": 2,
        "workflow_name": "etl",
        "run_id": "0814560b",
    }


def test_an_execution_of_n8n_is_a_run_of_named_nodes() -> None:
    attributes: Attributes = {
        "n8n.workflow.id": "wf-1",
        "n8n.workflow.name": "Nightly sync",
        "n8n.execution.id": "5555",
        "n8n.execution.mode": "webhook",
        "n8n.execution.status": "crashed",
    }
    assert read_facts(span("workflow.execute", attributes)) == {
        "boundary": "run",
        "kind": "workflow",
        "workflow_name": "Nightly sync",
        "name": "Nightly sync",
        "run_id": "5555",
        "entry": "webhook",
        "run_status": "failed",
    }
    assert read_facts(span("node.execute", {"n8n.node.id": "1", "n8n.node.name": "HTTP Request"})) == {
        "name": "HTTP Request",
        "kind": "step",
        "step": True,
    }


def test_an_invocation_of_restate_is_a_run_and_its_closures_are_steps() -> None:
    attributes: Attributes = {"restate.invocation.id": "inv-1", "restate.invocation.target": "Greeter/greet"}
    assert read_facts(span("attempt Greeter/greet", attributes)) == {
        "run_id": "inv-1",
        "name": "Greeter/greet",
        "kind": "workflow",
        "boundary": "run",
        "workflow_name": "Greeter/greet",
        "task_key": "inv-1/attempt",
        "retry_expected": True,
        "fold": "nested",
    }
    assert read_facts(span("run (fetch)", {"restate.run.name": "fetch"})) == {
        "name": "fetch",
        "kind": "step",
        "step": True,
    }


def test_a_step_of_vercel_s_workflow_is_an_attempt_of_its_run() -> None:
    attributes: Attributes = {
        "workflow.name": "workflow//src/orders.ts//handleOrder",
        "workflow.run.id": "wrun_1",
        "step.name": "step//src/orders.ts//charge",
        "step.id": "step_1",
        "step.attempt": 1,
        "step.max_retries": 3,
        "step.status": "pending",
        "step.retry.will_retry": True,
        "step.error.name": "Error",
        "step.error.message": "503",
    }
    assert read_facts(span("STEP charge", attributes, status=STATUS_ERROR)) == {
        "name": "charge",
        "status": "retried",
        "retry_expected": True,
        "max_attempts": 4,
        "task_key": "wrun_1/step_1",
        "task_scope": "global",
        "workflow_name": "handleOrder",
        "error_type": "Error",
        "error_message": "503",
        "run_id": "wrun_1",
        "kind": "step",
        "step": True,
        "attempt": 1,
    }
    suspended: Attributes = {"workflow.run.id": "wrun_1", "workflow.run.status": "workflow_suspended"}
    assert read_facts(span("WORKFLOW handleOrder", suspended))["run_status"] == "waiting"


def test_a_durable_function_is_a_run_of_operations_and_their_attempts() -> None:
    assert read_facts(span("Workflow", {"durable.execution.arn": ARN, "durable.execution.status": "SUCCEEDED"})) == {
        "run_id": ARN,
        "workflow_name": "orders",
        "boundary": "run",
        "kind": "workflow",
        "run_status": "completed",
        "name": "orders",
    }
    operation: Attributes = {
        "durable.execution.arn": ARN,
        "durable.operation.id": "op-1",
        "durable.operation.name": "charge",
        "durable.attempt.number": 2,
    }
    told = {
        "run_id": ARN,
        "workflow_name": "orders",
        "name": "charge",
        "kind": "step",
        "step": True,
        "task_key": f"{ARN}/op-1",
    }
    assert read_facts(span("charge", {**operation, "durable.operation.status": "SUCCEEDED"})) == {
        **told,
        "fold": "outer",
        "status": "completed",
    }
    assert read_facts(span("charge attempt 2", {**operation, "durable.attempt.outcome": "FAILED"})) == {
        **told,
        "attempt": 2,
        "status": "failed",
    }


ORDER: Attributes = {
    "durabletask.type": "orchestration",
    "durabletask.task.name": "order",
    "durabletask.task.instance_id": "i-1",
}
CHARGE: Attributes = {
    "durabletask.type": "activity",
    "durabletask.task.name": "charge",
    "durabletask.task.instance_id": "i-1",
}


def test_an_orchestration_of_durable_task_is_what_its_start_asked_for() -> None:
    run = {"boundary": "run", "kind": "workflow", "name": "order", "workflow_name": "order", "run_id": "i-1"}
    assert read_facts(span("create_orchestration:order", ORDER, kind=KIND_PRODUCER)) == run
    assert read_facts(span("orchestration||order", ORDER, kind=KIND_CLIENT)) == run
    ended: Attributes = {**ORDER, "durabletask.task.status": "Terminated"}
    told = read_facts(span("orchestration:order", ended, kind=KIND_SERVER))
    assert told == {**run, "fold": "inner", "closes": True, "status": "cancelled"}


def test_an_activity_of_durable_task_is_asked_for_and_done() -> None:
    step = {"kind": "step", "step": True, "name": "charge", "run_id": "i-1"}
    asked = read_facts(span("activity:charge", CHARGE, kind=KIND_CLIENT))
    assert asked == {**step, "fold": "producer", "unanswered": True}
    tried: Attributes = {**CHARGE, "durabletask.attempt": 2, "durabletask.max_attempts": 3}
    done = read_facts(span("activity:charge", tried, kind=KIND_SERVER))
    assert done == {**step, "attempt": 2, "max_attempts": 3, "retry_expected": True}
    assert read_facts(span("activity:charge", CHARGE, kind=KIND_SERVER)) == step


def test_a_tracer_of_one_s_own_that_is_called_workflow_is_not_vercel_s() -> None:
    for name in ("step.execute", "workflow.run", "queue.publish"):
        told = read_facts(span(name, {"step.id": "charge", "workflow.name": "order"}, scope="workflow"))
        assert "fold" not in told
    assert read_facts(span("step.validate", scope="workflow")) == {}
    assert read_facts(span("step.execute", scope="workflow")) == {"fold": "parent"}


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        ("ok", {}),
        ("exception", {"weak_status": "failed"}),
        ("exceededCpu", {"weak_status": "failed", "error_type": "exceededCpu"}),
        ("canceled", {"weak_status": "cancelled"}),
    ],
)
def test_an_invocation_of_cloudflare_s_ended_as_its_outcome_says(outcome: str, told: Facts) -> None:
    assert read_facts(span("alarm", {"cloudflare.outcome": outcome})) == told
    assert read_facts(span("alarm", {"cloudflare.outcome": outcome}, status=STATUS_OK)) == {}


@pytest.mark.parametrize(
    ("name", "key", "beside"),
    [
        ("buildkite.step", "buildkite.step.type", {"buildkite.build.number": 1}),
        ("buildkite.job", "buildkite.job.type", {"buildkite.build.number": 1}),
        (
            "invocation-end Greeter/greet",
            "error.message",
            {"restate.invocation.target": "Greeter/greet", "restate.invocation.error.code": "409"},
        ),
    ],
)
def test_a_list_where_a_word_is_wanted_is_no_fault(name: str, key: str, beside: Attributes) -> None:
    assert read_facts(span(name, {**beside, key: ["a"]})) == read_facts(span(name, beside))
