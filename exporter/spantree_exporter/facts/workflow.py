"""What people write by hand in their own workflow and DAG engines: `workflow.*`, `dag.*`, `step.*`, `execution.*`.

No standard names these; the names are those that conventions.md section 4 found in real services, read as widely as
they can be without taking something else for them.
"""

from __future__ import annotations

from spantree_exporter.facts.reading import Convention, first_text, put_preview, status_of, texts_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span

_RUN_IDS = (
    "execution.id",
    "workflow.execution.id",
    "workflow.execution_id",
    "workflow.run_id",
    "workflow.run.id",
    "dag.execution.id",
    "dag.run_id",
)
_RUN_STATUSES = ("workflow.status", "workflow.execution.status", "execution.status", "dag.status")
_WORKFLOW_NAMES = ("workflow.name", "dag.name")
_STEP_IDS = ("dag.task.id", "step.id", "workflow.step.id", "node.id")
_STEP_NAMES = ("dag.task.name", "step.name", "workflow.step.name", "node.name", "task_name", *_STEP_IDS)
_STEP_STATUSES = ("dag.task.status", "step.status", "workflow.step.status", "task.status", "node.status")
_STEP_KINDS = ("dag.task.type", "step.type", "workflow.step.type", "node.type")
_DEPENDS_ON = ("dag.task.depends_on", "step.depends_on", "step.dependencies", "workflow.step.depends_on")


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    step_id = first_text(span, _STEP_IDS)
    run_id = first_text(span, _RUN_IDS)
    if run_id:
        facts.setdefault("run_id", run_id)
    if step_id or first_text(span, _STEP_NAMES[:4]):
        if (name := first_text(span, _STEP_NAMES)) and name != step_id:
            facts.setdefault("name", name)
        facts.setdefault("kind", "step" if "dag.task.id" not in a else "task")
        facts.setdefault("step", True)
        if step_id:
            facts.setdefault("task_key", step_id)
            facts.setdefault("task_scope", "parent")
        for key in _STEP_STATUSES:
            if status := status_of(a.get(key)):
                facts.setdefault("status", status)
        for key in _DEPENDS_ON:
            if needs := texts_of(a.get(key)):
                facts.setdefault("depends_on", needs)
        put_preview(facts, "input", a.get("step.input", a.get("node.input")))
        put_preview(facts, "output", a.get("step.output", a.get("node.output")))
        return
    statuses = [status for key in _RUN_STATUSES if (status := status_of(a.get(key)))]
    name = first_text(span, _WORKFLOW_NAMES)
    if name:
        facts.setdefault("workflow_name", name)
    if run_id and (name or statuses or span.parent_span_id is None):
        facts.setdefault("boundary", "run")
        facts.setdefault("kind", "workflow")
        if statuses:
            facts.setdefault("run_status", statuses[0])
    elif statuses:
        facts.setdefault("status", statuses[0])


CONVENTION = Convention(
    "workflow", _read, keys=(*_RUN_IDS, *_WORKFLOW_NAMES, *_RUN_STATUSES, *_STEP_IDS, "step.name", "node.name")
)
