"""Buildkite's own traces of builds (its notification service; its documentation, "OpenTelemetry").

    buildkite.build
      buildkite.build.stage       each period in which the build ran: one more when it was unblocked or a job run again
        buildkite.step.group
        buildkite.step
          buildkite.job           one for each attempt; of a step that runs in parallel, one for each of its jobs

The pipeline stands in the resource. A job that is tried again names the job that did (`retried_in_job_id`).
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, first_text, put_preview, status_of, text_of, whole_number
from spantree_exporter.facts.vocabulary import Facts, Status
from spantree_exporter.span import STATUS_ERROR, Span

_NUMBER: Final = "buildkite.build.number"
_RETRIED_IN: Final = "buildkite.job.retried_in_job_id"
_LABELS: Final = ("buildkite.job.label", "buildkite.step.label", "buildkite.step.key")
_GROUP_LABELS: Final = ("buildkite.step.group.label", "buildkite.step.label", "buildkite.step.group.key")
# What parts a pipeline and does nothing.
_WAITS: Final = frozenset({"waiter", "wait"})
# States of builds and jobs that no other engine has a word for.
_STATES: Final[dict[str, Status]] = {
    "not_run": "skipped",
    "broken": "skipped",  # its conditions did not hold
    "waiting_failed": "skipped",
    "blocked_failed": "skipped",
    "unblocked_failed": "skipped",
    "unblocked": "completed",
}


def _read(span: Span, facts: Facts) -> None:
    name = span.name
    if name == "buildkite.build":
        _put_build(span, facts)
    elif name == "buildkite.build.stage":
        facts.setdefault("fold", "parent")
    elif name == "buildkite.step.group":
        _put_step(facts, first_text(span, _GROUP_LABELS))
    elif name == "buildkite.step":
        if text_of(span.attributes.get("buildkite.step.type")) in _WAITS:
            facts.setdefault("fold", "parent")
        _put_step(facts, first_text(span, _LABELS))
        facts.setdefault("fold", "outer")
    elif name == "buildkite.job":
        _put_job(span, facts)


def _put_step(facts: Facts, label: str | None) -> None:
    facts.setdefault("kind", "step")
    facts.setdefault("step", True)
    if label:
        facts.setdefault("name", label)


def _put_build(span: Span, facts: Facts) -> None:
    a = span.attributes
    pipeline = text_of(span.resource.attributes.get("buildkite.pipeline.slug"))
    facts.setdefault("boundary", "run")
    facts.setdefault("kind", "workflow")
    if pipeline:
        facts.setdefault("workflow_name", pipeline)
    if number := text_of(a.get(_NUMBER)):
        facts.setdefault("run_id", f"{pipeline or ''}#{number}")
        facts.setdefault("name", f"{pipeline or 'build'} #{number}")
    status = _state(a.get("buildkite.build.state"))
    if "buildkite.build.blocked_state" in a and status in {None, "completed", "waiting"}:
        # What there is to do is done, until somebody unblocks the rest.
        status = "waiting"
    if status is not None:
        facts.setdefault("run_status", status)


def _put_job(span: Span, facts: Facts) -> None:
    a = span.attributes
    if text_of(a.get("buildkite.job.type")) in _WAITS:
        facts.setdefault("fold", "parent")
        return
    _put_step(facts, first_text(span, _LABELS))
    put_preview(facts, "input", a.get("buildkite.job.command"))
    status = _state(a.get("buildkite.job.state"))
    if status == "completed" and a.get("buildkite.job.passed") is False:
        status = "failed"
    if status is None and span.status_code == STATUS_ERROR:
        status = "failed"
    if status == "failed" and a.get("buildkite.job.soft_failed") is True:
        facts.setdefault("status_reason", "soft failed")
        facts.setdefault("declared_handled", True)
    if status in {"failed", "timed_out"} and text_of(a.get(_RETRIED_IN)):
        status = "retried"
        facts.setdefault("retry_expected", True)
    if status is not None:
        facts.setdefault("status", status)
    if status in {"failed", "retried"} and (code := whole_number(a.get("buildkite.job.exit_status"))) is not None:
        facts.setdefault("error_message", f"exit status {code}")


def _state(state: object) -> Status | None:
    if not isinstance(state, str):
        return None
    return _STATES.get(state) or status_of(state)


CONVENTION = Convention("buildkite", _read, keys=(_NUMBER,))
