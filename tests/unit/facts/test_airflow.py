"""Airflow's spans: a run, a task's changes of state, the work itself."""

from __future__ import annotations

import pytest
from tests.unit.facts.spans import span

from spantree_exporter.facts import Facts, read_facts
from spantree_exporter.span import STATUS_ERROR, STATUS_OK, Attributes, Span

RUN: Attributes = {"airflow.dag_id": "sales", "airflow.dag_run.run_id": "manual__1"}


def task(name: str, state: str | None, map_index: int = -1, attempt: int = 1) -> Span:
    attributes: Attributes = {
        **RUN,
        "airflow.task_id": "load",
        "airflow.task_instance.try_number": attempt,
        "airflow.task_instance.map_index": map_index,
    }
    if state is not None:
        attributes["airflow.task_instance.state"] = state
    return span(name, attributes, status=STATUS_OK if state == "success" else STATUS_ERROR)


def test_a_dag_run_is_the_run_and_has_its_dag_s_name() -> None:
    assert read_facts(span("dag_run.sales", {**RUN, "airflow.dag_run.run_type": "manual"})) == {
        "workflow_name": "sales",
        "run_id": "manual__1",
        "boundary": "run",
        "kind": "workflow",
    }


def test_a_task_run_is_a_step_with_its_try_and_covers_its_queueing() -> None:
    assert read_facts(task("task_run.load", "success", attempt=2)) == {
        "workflow_name": "sales",
        "run_id": "manual__1",
        "covers_queue": True,
        "name": "load",
        "kind": "task",
        "step": True,
        "task_key": "sales/manual__1/load",
        "attempt": 2,
        "status": "completed",
    }


def test_a_mapped_task_is_one_of_several_instances_of_its_task() -> None:
    facts = read_facts(task("task_run.load[2]", "success", map_index=2))
    assert (facts["name"], facts["mapped"], facts["task_key"]) == ("load", True, "sales/manual__1/load[2]")


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("failed", {"status": "failed"}),
        ("up_for_retry", {"status": "retried", "retry_expected": True}),
        ("skipped", {"status": "skipped"}),
        ("upstream_failed", {"status": "skipped", "status_reason": "upstream_failed"}),
        ("deferred", {"status": "waiting", "status_reason": "deferred"}),
        ("up_for_reschedule", {"status": "waiting", "status_reason": "up_for_reschedule"}),
    ],
)
def test_the_state_counts_and_not_the_span_status(state: str, told: Facts) -> None:
    facts = read_facts(task("task_run.load", state))
    assert {key: facts[key] for key in told} == told  # type: ignore[literal-required]


def test_a_worker_span_completes_its_task_run() -> None:
    facts = read_facts(task("worker.load", None))
    assert (facts["fold"], facts["name"], "status" in facts) == ("inner", "load", False)


def test_what_an_operator_does_inside_a_task_is_no_task() -> None:
    assert read_facts(span("SELECT sales", {**RUN, "airflow.task_id": "load"})) == {
        "workflow_name": "sales",
        "run_id": "manual__1",
    }


EARLIER = [("airflow.category", "airflow.dag_run.", "airflow.task."), ("category", "", "")]


@pytest.mark.parametrize(("category", "of_run", "of_task"), EARLIER)
def test_releases_before_3_2_tell_runs_and_tasks_by_category(category: str, of_run: str, of_task: str) -> None:
    sent: Attributes = {
        category: "DAG runs",
        f"{of_run}dag_id": "etl",
        f"{of_run}run_id": "manual__1",
        f"{of_run}state": "DagRunState.FAILED",
    }
    assert read_facts(span("etl", sent, parent=None)) == {
        "boundary": "run",
        "kind": "workflow",
        "name": "etl",
        "workflow_name": "etl",
        "run_id": "manual__1",
        "run_status": "failed",
    }
    task: Attributes = {
        category: "scheduler",
        f"{of_task}task_id": "load",
        f"{of_task}dag_id": "etl",
        f"{of_task}state": "up_for_retry",
        f"{of_task}try_number": 1,
    }
    assert read_facts(span("load", task)) == {
        "name": "load",
        "kind": "task",
        "step": True,
        "task_key": "etl/load",
        "task_scope": "trace",
        "attempt": 1,
        "status": "retried",
        "retry_expected": True,
    }


def test_a_category_of_ones_own_is_none_of_airflows() -> None:
    assert read_facts(span("plan", {"category": "scheduler", "task_id": "load"})) == {}
    assert read_facts(span("plan", {"category": "books"})) == {}
