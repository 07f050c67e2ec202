"""Pipelines by the cicd.pipeline.* conventions."""

from __future__ import annotations

import pytest
from tests.unit.facts.spans import span

from spantree_exporter.facts import read_facts
from spantree_exporter.span import Attributes


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
