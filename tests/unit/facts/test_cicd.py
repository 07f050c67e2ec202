"""Pipelines by the cicd.pipeline.* conventions."""

from __future__ import annotations

import pytest
from tests.unit.facts.spans import span

from spantree_exporter.facts import read_facts
from spantree_exporter.span import KIND_SERVER, STATUS_ERROR, STATUS_OK, STATUS_UNSET, Attributes


def test_a_pipeline_run_is_a_run() -> None:
    attributes: Attributes = {
        "cicd.pipeline.name": "deploy",
        "cicd.pipeline.run.id": "4711",
        "cicd.pipeline.result": "cancellation",
        "cicd.pipeline.run.state": "finalizing",
    }
    assert read_facts(span("RUN deploy", attributes)) == {
        "workflow_name": "deploy",
        "run_id": "4711",
        "boundary": "run",
        "kind": "workflow",
        "run_status": "cancelled",
    }


@pytest.mark.parametrize(
    ("result", "status"),
    [
        ("success", "completed"),
        ("failure", "failed"),
        ("error", "failed"),
        ("timeout", "timed_out"),
        ("cancellation", "cancelled"),
        ("skip", "skipped"),
    ],
)
def test_a_pipeline_task_has_its_result(result: str, status: str) -> None:
    attributes: Attributes = {"cicd.pipeline.task.name": "lint", "cicd.pipeline.task.run.result": result}
    assert read_facts(span("lint", attributes)) == {"name": "lint", "kind": "task", "step": True, "status": status}


@pytest.mark.parametrize(
    ("told", "code", "status"),
    [
        ("success", STATUS_OK, "completed"),
        ("failure", STATUS_ERROR, "failed"),
        ("failure", STATUS_UNSET, "skipped"),
        ("skip", STATUS_UNSET, "skipped"),
        ("cancellation", STATUS_UNSET, "cancelled"),
        ("in_progress", STATUS_UNSET, "running"),
        ("neutral", STATUS_UNSET, None),
    ],
)
def test_a_step_of_github_has_its_conclusion(told: str, code: int, status: str | None) -> None:
    attributes: Attributes = {"cicd.pipeline.task.name": "lint", "cicd.pipeline.run.task.status": told}
    assert read_facts(span("lint", attributes, status=code)).get("status") == status


@pytest.mark.parametrize(
    ("result", "status"),
    [
        ("SUCCESS", "completed"),
        ("UNSTABLE", "partial"),
        ("FAILURE", "failed"),
        ("ABORTED", "cancelled"),
        ("NOT_BUILT", "skipped"),
    ],
)
def test_a_build_of_jenkins_is_a_run_with_its_result(result: str, status: str) -> None:
    attributes: Attributes = {
        "ci.pipeline.id": "shop/main",
        "ci.pipeline.name": "shop main",
        "ci.pipeline.run.number": 42,
        "ci.pipeline.run.result": result,
    }
    assert read_facts(span("BUILD shop/main", attributes, kind=KIND_SERVER)) == {
        "boundary": "run",
        "kind": "workflow",
        "workflow_name": "shop/main",
        "run_id": "shop/main#42",
        "run_status": status,
    }


@pytest.mark.parametrize(
    ("result", "causes", "status"),
    [
        ("SUCCESS", [], "completed"),
        ("FAILURE", [], "failed"),
        ("NOT_EXECUTED", [], "skipped"),
        ("ABORTED", ["UserInterruption: Aborted by bob"], "cancelled"),
        ("ABORTED", ["ExceededTimeout: Timeout has been exceeded"], "timed_out"),
    ],
)
def test_a_stage_of_jenkins_is_a_step_with_its_result(result: str, causes: list[str], status: str) -> None:
    attributes: Attributes = {
        "jenkins.pipeline.step.type": "stage",
        "jenkins.pipeline.step.name": "Stage",
        "jenkins.pipeline.step.result": result,
        "jenkins.pipeline.step.interruption.causes": [*causes],
    }
    assert read_facts(span("Stage: Test", attributes)) == {
        "name": "Test",
        "kind": "step",
        "step": True,
        "status": status,
        "status_reason": result,
    }


def test_a_step_of_jenkins_that_starts_another_build_is_no_run() -> None:
    attributes: Attributes = {"jenkins.pipeline.step.type": "build", "ci.pipeline.id": "a", "ci.pipeline.run.number": 7}
    assert read_facts(span("build: a", attributes)) == {"kind": "step", "step": True}


@pytest.mark.parametrize(
    ("conclusion", "parent", "expected"),
    [
        ("cancelled", None, ("cancelled", None)),
        ("timed_out", 1, (None, "timed_out")),
        ("skipped", 1, (None, "skipped")),
        ("success", None, (None, None)),
        ("failure", 1, (None, None)),
        ("neutral", 1, (None, None)),
    ],
)
def test_a_run_of_github_is_told_by_its_conclusion_where_its_status_does_not_tell(
    conclusion: str, parent: int | None, expected: tuple[str | None, str | None]
) -> None:
    facts = read_facts(span("CI", {"github.conclusion": conclusion}, status=STATUS_OK, parent=parent))
    assert (facts.get("run_status"), facts.get("status")) == expected


@pytest.mark.parametrize(
    ("attributes", "name", "status"),
    [
        ({"test.case.name": "adds", "test.case.result.status": "fail"}, "adds", "failed"),
        ({"test.case.name": "adds", "test.case.result.status": "pass"}, "adds", "completed"),
        ({"test.suite.name": "sums", "test.suite.run.status": "timed_out"}, "sums", "timed_out"),
        ({"test.suite.name": "sums", "test.suite.run.status": "skipped"}, "sums", "skipped"),
    ],
)
def test_a_test_is_a_step_with_its_result(attributes: Attributes, name: str, status: str) -> None:
    assert read_facts(span("test", attributes)) == {"name": name, "kind": "step", "step": True, "status": status}


@pytest.mark.parametrize(
    ("code", "ended"), [(STATUS_OK, {}), (STATUS_UNSET, {"status": "skipped"}), (STATUS_ERROR, {})]
)
def test_a_test_of_pytest_was_skipped_where_it_neither_passed_nor_failed(code: int, ended: dict[str, str]) -> None:
    nodeid = "test_shop.py::test_adds"
    test: Attributes = {"pytest.span_type": "test", "pytest.nodeid": nodeid}
    assert read_facts(span(nodeid, test, status=code)) == {"kind": "step", "step": True, **ended}
    assert read_facts(span(f"{nodeid}::setup", test)) == {}
    assert read_facts(span("test run", {"pytest.span_type": "run"})) == {"kind": "workflow", "boundary": "run"}
