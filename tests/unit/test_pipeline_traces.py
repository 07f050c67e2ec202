"""Whole traces of pipelines as their services send them, and what who looks at the build would say of them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.engine_traces import EngineTrace

from spantree_exporter.span import STATUS_ERROR, STATUS_OK

OK: dict[str, Any] = {"status": STATUS_OK}
ERROR: dict[str, Any] = {"status": STATUS_ERROR}
PASSED = {"buildkite.job.state": "finished", "buildkite.job.passed": True, "buildkite.job.exit_status": 0}
FAILED = {"buildkite.job.state": "finished", "buildkite.job.passed": False, "buildkite.job.exit_status": 1}


def buildkite(
    state: str, *steps: tuple[str, list[dict[str, Any]]], blocked: str | None = None, outcome: dict[str, Any] = OK
) -> EngineTrace:
    """Build 42 of the pipeline `shop`: its steps in turn, each with the jobs that it took."""
    trace = EngineTrace("", resource={"buildkite.pipeline.slug": "shop"})
    build = {"buildkite.build.number": 42}
    told = {"buildkite.build.state": state, **({"buildkite.build.blocked_state": blocked} if blocked else {})}
    if state == "failed":
        told["error.type"] = "build_failed"
    root = trace.span("buildkite.build", None, (0, 90_000), {**build, **told}, **outcome)
    stage = trace.span("buildkite.build.stage", root, (10, 89_000), {**build, **told}, **outcome)
    at = 100
    for label, jobs in steps:
        of = {**build, "buildkite.step.key": label.lower(), "buildkite.step.label": label}
        step = trace.span("buildkite.step", stage, (at, at + 9_000), {**of, "buildkite.step.type": "command"}, **OK)
        for job in jobs:
            failed = ERROR if job.get("buildkite.job.passed") is False else OK
            trace.span("buildkite.job", step, (at, at + 900), {**of, "buildkite.job.label": label, **job}, **failed)
            at += 1_000
    return trace


def test_a_build_of_buildkite_is_what_its_state_says_and_its_jobs_are_attempts_of_its_steps() -> None:
    flaky = [{**FAILED, "buildkite.job.retried_in_job_id": "j-2"}, PASSED]
    soft = [{**FAILED, "buildkite.job.soft_failed": True}]
    trace = buildkite("passed", ("Lint", [PASSED]), ("Test", flaky), ("Audit", soft))
    assert trace.told() == (
        "shop",
        "shop#42",
        "completed",
        (0, "shop #42", "completed", 1),
        (1, "Lint", "completed", 1),
        (1, "Test", "retried", 1),
        (1, "Test", "completed", 2),
        (1, "Audit", "failed", 1),
    )
    assert [n.status_reason for n in trace.assembled().nodes][-1] == "soft failed"


def test_a_build_of_buildkite_failed_first_in_the_job_that_did() -> None:
    run = buildkite("failed", ("Lint", [PASSED]), ("Test", [FAILED]), outcome=ERROR).assembled().execution
    assert (run.status, run.first_failed_name, run.first_failed_error_message) == ("failed", "Test", "exit status 1")


@pytest.mark.parametrize(
    ("state", "blocked", "job", "told"),
    [
        ("canceled", None, {"buildkite.job.state": "canceled", "buildkite.job.passed": False}, "cancelled"),
        ("passed", "passed", PASSED, "completed"),
        ("failed", None, {"buildkite.job.state": "timed_out", "buildkite.job.passed": False}, "timed_out"),
        ("failed", None, {"buildkite.job.state": "broken"}, "skipped"),
        ("passed", "passed", {"buildkite.job.state": "blocked", "buildkite.job.type": "manual"}, "waiting"),
    ],
)
def test_states_of_buildkite_s_builds_and_jobs(state: str, blocked: str | None, job: dict[str, Any], told: str) -> None:
    trace = buildkite(state, ("Deploy", [job]), blocked=blocked).told()
    wanted = {"canceled": "cancelled", "passed": "waiting", "failed": "failed"}[state]
    assert (trace[2], trace[4]) == (wanted, (1, "Deploy", told, 1))


def circleci(*workflows: tuple[str, str]) -> EngineTrace:
    trace = EngineTrace("")
    pipeline = {"com.circleci.pipeline.id": "p-1", "cicd.pipeline.name": "shop", "cicd.pipeline.run.id": "p-1"}
    root = trace.span("Pipeline: shop", None, (0, 9_000), pipeline)
    for name, result in workflows:
        told = {**pipeline, "cicd.pipeline.name": name, "cicd.pipeline.run.id": f"w-{name}"}
        told["cicd.pipeline.result"] = result
        outcome = ERROR if result == "failure" else OK
        workflow = trace.span(f"Workflow: {name}", root, (10, 8_000), told, **outcome)
        job = {**told, "cicd.pipeline.task.name": "test", "cicd.pipeline.task.run.result": result}
        trace.span("Job: test", workflow, (20, 7_000), job, **outcome)
    return trace


@pytest.mark.parametrize(
    ("result", "status"), [("success", "completed"), ("failure", "failed"), ("cancellation", "cancelled")]
)
def test_a_workflow_of_circleci_is_the_run_of_its_pipeline(result: str, status: str) -> None:
    assert circleci(("build", result)).told() == (
        "build",
        "w-build",
        status,
        (0, "Pipeline: shop", "completed", 1),
        (1, "Workflow: build", status, 1),
        (2, "test", status, 1),
    )


def test_a_pipeline_of_circleci_one_of_whose_workflows_failed_is_partial() -> None:
    run = circleci(("build", "failure"), ("docs", "success")).assembled().execution
    assert (run.name, run.status, run.first_failed_name) == ("shop", "partial", "test")
