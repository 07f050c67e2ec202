"""Spring Batch: a job is a run that ends as its exit status says, whatever its span does."""

from __future__ import annotations

import pytest
from tests.unit.facts.spans import span

from spantree_exporter.facts import read_facts
from spantree_exporter.span import Attributes

JOB: Attributes = {"spring.batch.job.name": "importUsers", "spring.batch.job.executionId": "17"}
STEP: Attributes = {"spring.batch.step.name": "load", "spring.batch.step.executionId": "21"}


@pytest.mark.parametrize(
    ("exit_status", "told"),
    [("COMPLETED", "completed"), ("FAILED", "failed"), ("STOPPED", "cancelled"), ("COMPLETED WITH SKIPS", None)],
)
def test_a_job_and_its_steps_end_as_their_exit_status_says(exit_status: str, told: str | None) -> None:
    job = read_facts(span("spring.batch.job", {**JOB, "spring.batch.job.status": exit_status}))
    assert (job["kind"], job["boundary"], job["name"], job["workflow_name"]) == (
        "workflow",
        "run",
        "importUsers",
        "importUsers",
    )
    assert job["run_id"] == "importUsers#17"
    assert job.get("run_status") == told
    step = read_facts(span("spring.batch.step", {**STEP, "spring.batch.step.status": exit_status}))
    assert (step["kind"], step["step"], step["name"], step.get("status")) == ("step", True, "load", told)
