"""Semantic conventions for CI/CD pipelines, `cicd.pipeline.*`, and for the tests that they run, `test.*`.

And the tests of pytest-opentelemetry 2 (`instrumentation.py`): a test has a span, and each of its phases one in it. The
test's is OK or ERROR once it was called or its setup failed: one that has neither was skipped before.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, status_of, text_of
from spantree_exporter.facts.vocabulary import Facts, Status
from spantree_exporter.span import STATUS_UNSET, JsonValue, Span

_PYTEST_TYPE: Final = "pytest.span_type"
_NOT_BY_STATUS: Final = frozenset({"cancelled", "skipped", "timed_out"})


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    for key, result in (("test.case.name", "test.case.result.status"), ("test.suite.name", "test.suite.run.status")):
        if test := text_of(a.get(key)):
            facts.setdefault("name", test)
            facts.setdefault("kind", "step")
            facts.setdefault("step", True)
            if status := status_of(a.get(result)):
                facts.setdefault("status", status)
            return
    if pytest_type := a.get(_PYTEST_TYPE):
        _put_pytest(span, pytest_type, facts)
        return
    if name := text_of(a.get("cicd.pipeline.name")):
        facts.setdefault("workflow_name", name)
    run_id = text_of(a.get("cicd.pipeline.run.id"))
    if run_id:
        facts.setdefault("run_id", run_id)
    task = text_of(a.get("cicd.pipeline.task.name"))
    if task:
        facts.setdefault("name", task)
        facts.setdefault("kind", "task")
        facts.setdefault("step", True)
        if status := status_of(a.get("cicd.pipeline.task.run.result")) or _told_by_github(span):
            facts.setdefault("status", status)
        return
    if (status := status_of(a.get("github.conclusion"))) is not None and status in _NOT_BY_STATUS:
        # Actions that send a run of GitHub's leave the status of what was cancelled or skipped as it was.
        if span.parent_span_id is None:
            facts.setdefault("run_status", status)
        else:
            facts.setdefault("status", status)
    if run_id and "com.circleci.pipeline.id" in a and "cicd.pipeline.result" not in a:
        # What CircleCI calls a pipeline holds workflows, each a run with a result, and has none of its own.
        facts.setdefault("kind", "function")
    elif run_id:
        facts.setdefault("boundary", "run")
        facts.setdefault("kind", "workflow")
        # The state says how far the run is (pending, executing, finalizing); the result, once there, says how it ended.
        if status := status_of(a.get("cicd.pipeline.result")):
            facts.setdefault("run_status", status)


def _put_pytest(span: Span, span_type: JsonValue, facts: Facts) -> None:
    if span_type == "run":
        facts.setdefault("boundary", "run")
        facts.setdefault("kind", "workflow")
    elif span_type == "test" and span.attributes.get("pytest.nodeid") == span.name:
        facts.setdefault("kind", "step")
        facts.setdefault("step", True)
        if span.status_code == STATUS_UNSET:
            facts.setdefault("status", "skipped")


def _told_by_github(span: Span) -> Status | None:
    """How a step ended by the name that the Collector's receiver for GitHub has for its result.

    It calls a step that was skipped a failure, and leaves its status unset (opentelemetry-collector-contrib#49769).
    """
    status = status_of(span.attributes.get("cicd.pipeline.run.task.status"))
    return "skipped" if status == "failed" and span.status_code == STATUS_UNSET else status


CONVENTION = Convention(
    "cicd",
    _read,
    keys=(
        "cicd.pipeline.task.name",
        "cicd.pipeline.run.id",
        "github.conclusion",
        "test.case.name",
        "test.suite.name",
        _PYTEST_TYPE,
    ),
)
