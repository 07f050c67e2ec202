"""What people write by hand in their own workflow and DAG engines: `workflow.*`, `dag.*`, `step.*`, `execution.*`.

No standard names these; the names are those that were found in real services, read as widely as they can be
without taking something else for them.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import (
    Convention,
    first_text,
    put_preview,
    status_of,
    text_of,
    texts_of,
    whole_number,
)
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import KIND_CLIENT, JsonValue, Span

_RUN_IDS: Final = (
    "execution.id",
    "workflow.execution.id",
    "workflow.execution_id",
    "workflow.run_id",
    "workflow.run.id",
    "dag.execution.id",
    "dag.run_id",
    "dag.run.id",
)
# Written on spans of any sort: they join traces but make no span the root of a run.
_PLAIN_RUN_IDS: Final = ("run.id", "run_id", "execution_id", "workflow_run_id", "kestra.executionId")
_RUN_STATUSES: Final = ("workflow.status", "workflow.execution.status", "execution.status", "dag.status")
_WORKFLOW_NAMES: Final = ("workflow.name", "dag.name", "kestra.flowId")
_STEP_IDS: Final = ("dag.task.id", "step.id", "workflow.step.id", "node.id")
_STEP_TITLES: Final = ("dag.task.name", "step.name", "workflow.step.name", "node.name")
_STEP_NAMES: Final = (*_STEP_TITLES, "task_name", *_STEP_IDS)
_STEP_STATUSES: Final = ("dag.task.status", "step.status", "workflow.step.status", "task.status", "node.status")
_DEPENDS_ON: Final = (
    "dag.task.depends_on",
    "dag.task.dependencies",
    "step.depends_on",
    "step.dependencies",
    "workflow.step.depends_on",
    "node.depends_on",
)
_ATTEMPTS: Final = (
    "dag.task.attempt",
    "step.attempt",
    "workflow.step.attempt",
    "task.attempt",
    "node.attempt",
    "attempt",
)
_RETRIES: Final = (
    "dag.task.retry_count",
    "step.retry_count",
    "workflow.step.retry_count",
    "retry_count",
    "retry.count",
)
_MAX_ATTEMPTS: Final = ("dag.task.max_attempts", "step.max_attempts", "max_attempts", "retry.max_attempts")
_MAX_RETRIES: Final = (
    "dag.task.max_retries",
    "step.max_retries",
    "task.max_retries",
    "max_retries",
    "retry.max_retries",
)
_POLICIES: Final = ("retry.policy", "retry_policy", "step.retry_policy", "task.retry_policy")
# The engine's own id of one run of a step, which its attempts share.
_TASK_RUN_IDS: Final = (
    "step.run_id",
    "step.run.id",
    "step.execution_id",
    "step.execution.id",
    "task.run_id",
    "task.run.id",
    "task.execution_id",
    "task.execution.id",
    "dag.task.run_id",
)
# Names of attempts that are nothing else on a span of any sort.
_PLAIN_ATTEMPTS: Final = ("attempt", "retry.attempt", "attempt.number", "attempt_number", "retry_attempt")
_PLAIN_RETRIES: Final = ("retry_count", "retry.count")
_INPUTS: Final = ("step.input", "node.input", "dag.task.input")
_OUTPUTS: Final = ("step.output", "node.output", "dag.task.output")

# What has to be there for a group of names to be looked through.
_ALL_RUN_IDS: Final = frozenset({*_RUN_IDS, *_PLAIN_RUN_IDS})
_OF_RUNS: Final = frozenset({*_ALL_RUN_IDS, *_WORKFLOW_NAMES, *_RUN_STATUSES})
_OF_RESULTS: Final = frozenset({*_STEP_STATUSES, *_DEPENDS_ON})
_MEANINGS: Final[dict[str, str]] = {
    **dict.fromkeys((*_ATTEMPTS, *_PLAIN_ATTEMPTS), "attempt"),
    **dict.fromkeys((*_RETRIES, *_PLAIN_RETRIES), "retries"),
    **dict.fromkeys(_MAX_ATTEMPTS, "max_attempts"),
    **dict.fromkeys(_MAX_RETRIES, "max_retries"),
    **dict.fromkeys(_TASK_RUN_IDS, "task_id"),
    **dict.fromkeys(_POLICIES, "retry_policy"),
}
_OF_ATTEMPTS: Final = frozenset(_MEANINGS)
_NO_POLICY: Final[tuple[JsonValue, ...]] = (None, "", False, "none", 0)


def _read(span: Span, facts: Facts) -> None:
    named = span.attributes.keys()
    declared = None
    if not _ALL_RUN_IDS.isdisjoint(named):
        declared = first_text(span, _RUN_IDS)
        if run_id := declared or first_text(span, _PLAIN_RUN_IDS):
            facts.setdefault("run_id", run_id)
    step_id = first_text(span, _STEP_IDS)
    if step_id or first_text(span, _STEP_TITLES):
        _put_step(span, facts, step_id)
    elif not _OF_RUNS.isdisjoint(named):
        _put_run(span, facts, declared is not None)
    if not _OF_ATTEMPTS.isdisjoint(named):
        _put_attempts(span, facts)


def _put_step(span: Span, facts: Facts, step_id: str | None) -> None:
    a = span.attributes
    if (name := first_text(span, _STEP_NAMES)) and name != step_id:
        facts.setdefault("name", name)
    facts.setdefault("kind", "step" if "dag.task.id" not in a else "task")
    facts.setdefault("step", True)
    if step_id:
        facts.setdefault("task_key", step_id)
        facts.setdefault("task_scope", "parent")
    named = a.keys()
    if not _OF_RESULTS.isdisjoint(named):
        for key in _STEP_STATUSES:
            if key in a and (status := status_of(a[key])):
                facts.setdefault("status", status)
        for key in _DEPENDS_ON:
            if key in a and (needs := texts_of(a[key])):
                facts.setdefault("depends_on", needs)
    for key in _INPUTS:
        if key in a:
            put_preview(facts, "input", a[key])
    for key in _OUTPUTS:
        if key in a:
            put_preview(facts, "output", a[key])


def _put_attempts(span: Span, facts: Facts) -> None:
    """Put what the span declares of attempts: its number, of how many, of which run of a task, by what policy."""
    a = span.attributes
    for key in sorted(_OF_ATTEMPTS.intersection(a)):
        what = _MEANINGS[key]
        value = a[key]
        if what == "task_id":
            if task_id := text_of(value):
                facts.setdefault("task_id", task_id)
        elif what == "retry_policy":
            if value not in _NO_POLICY:
                facts.setdefault("retry_policy", True)
        elif (number := whole_number(value)) is not None and number >= 0:
            if what == "attempt":
                facts.setdefault("attempt", number)
            elif what == "retries":
                facts.setdefault("attempt", number + 1)
            elif what == "max_retries":
                facts.setdefault("max_attempts", number + 1)
            elif number > 0:
                facts.setdefault("max_attempts", number)


def _put_run(span: Span, facts: Facts, declared: bool) -> None:
    a = span.attributes
    statuses = [status for key in _RUN_STATUSES if key in a and (status := status_of(a[key]))]
    name = first_text(span, _WORKFLOW_NAMES)
    if name:
        facts.setdefault("workflow_name", name)
    if declared and span.kind == KIND_CLIENT and span.parent_span_id is not None:
        # A poll among others tells how a run elsewhere stands, and is not that run.
        facts.setdefault("kind", "rpc")
        if statuses:
            facts.setdefault("run_status", statuses[0])
    elif declared and (name or statuses or span.parent_span_id is None):
        facts.setdefault("boundary", "run")
        facts.setdefault("kind", "workflow")
        if statuses:
            facts.setdefault("run_status", statuses[0])
    elif statuses:
        facts.setdefault("status", statuses[0])


CONVENTION = Convention(
    "workflow",
    _read,
    keys=(*_ALL_RUN_IDS, *_WORKFLOW_NAMES, *_RUN_STATUSES, *_STEP_IDS, "step.name", "node.name", *_OF_ATTEMPTS),
)
