"""Spring Batch 5 (read from `BatchJobObservation`, `BatchStepObservation`): `spring.batch.job` -> `spring.batch.step`.

A job whose step failed has no exception of its own, so its span's status is unset: its exit status is what counts.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, status_of, text_of
from spantree_exporter.facts.vocabulary import Facts, Status
from spantree_exporter.span import JsonValue, Span

_JOB_ID: Final = "spring.batch.job.executionId"
_STEP_ID: Final = "spring.batch.step.executionId"


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    if _STEP_ID in a:
        facts.setdefault("kind", "step")
        facts.setdefault("step", True)
        if name := text_of(a.get("spring.batch.step.name")):
            facts.setdefault("name", name)
        if status := _status(a.get("spring.batch.step.status")):
            facts.setdefault("status", status)
        return
    facts.setdefault("boundary", "run")
    facts.setdefault("kind", "workflow")
    name = text_of(a.get("spring.batch.job.name"))
    if name:
        facts.setdefault("name", name)
        facts.setdefault("workflow_name", name)
    if number := text_of(a.get(_JOB_ID)):
        # A number that every database counts for itself.
        facts.setdefault("run_id", f"{name or ''}#{number}")
    if status := _status(a.get("spring.batch.job.status")):
        facts.setdefault("run_status", status)


def _status(exit_code: JsonValue) -> Status | None:
    # Somebody stopped it; it can be started again.
    return "cancelled" if exit_code == "STOPPED" else status_of(exit_code)


CONVENTION = Convention("spring_batch", _read, keys=(_JOB_ID, _STEP_ID))
