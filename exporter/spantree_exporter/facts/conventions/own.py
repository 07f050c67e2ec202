"""spantree's own attributes (attributes.py): what people write in their code, and live marks."""

from __future__ import annotations

from typing import Final

from spantree_exporter import attributes as names
from spantree_exporter.facts.reading import (
    Convention,
    json_of,
    put_preview,
    status_of,
    text_of,
    texts_of,
    whole_number,
)
from spantree_exporter.facts.vocabulary import DeclaredStep, Facts
from spantree_exporter.span import JsonValue, Span

_ZEROS = "0" * 16
# Thirty years: nobody waits longer, and a whole number may be beyond any float.
_LONGEST_S = 1e9
MAX_DECLARED_STEPS: Final = 500
"""A plan that people or models make has tens; the rest of a longer one is left out, and runs as any step does."""
_DECLARED_CHARS: Final = 500


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    if a.get(names.SPAN_TYPE) == names.PENDING_SPAN and span.parent_span_id is not None:
        put_pending(span, facts, a.get(names.PENDING_PARENT_ID))
    elif a.get(names.SPAN_TYPE) == names.NOTE_SPAN and span.parent_span_id is not None:
        facts["fold"] = "inner"
    if name := text_of(a.get(names.EXECUTION_NAME)):
        facts["boundary"] = "run"
        facts["workflow_name"] = text_of(a.get(names.WORKFLOW_NAME)) or name
        facts["name"] = name
        facts["kind"] = "workflow"
    elif workflow := text_of(a.get(names.WORKFLOW_NAME)):
        facts["workflow_name"] = workflow
    if run_status := status_of(a.get(names.EXECUTION_STATUS)):
        facts["run_status"] = run_status
    if reason := text_of(a.get(names.EXECUTION_STATUS_REASON)):
        facts["status_reason"] = reason
    if run_id := text_of(a.get(names.RUN_ID)):
        facts["run_id"] = run_id
    if project := text_of(a.get(names.PROJECT)):
        facts["project"] = project
    if resumes := text_of(a.get(names.RESUMES)):
        facts["resumes"] = resumes
    lost_after = a.get(names.LOST_AFTER_S)
    if isinstance(lost_after, int | float) and not isinstance(lost_after, bool) and lost_after > 0:
        facts["lost_after_s"] = min(float(lost_after), _LONGEST_S)
    if skipped := texts_of(a.get(names.SKIPPED_NODES)):
        facts["skipped_nodes"] = skipped
    if names.DECLARED_STEPS in a and (declared := declared_steps_of(a[names.DECLARED_STEPS])):
        facts["declared_steps"] = declared
    if name := text_of(a.get(names.NODE_NAME)):
        facts["name"] = name
        facts["kind"] = text_of(a.get(names.NODE_KIND)) or "step"
        facts["step"] = True
    if status := status_of(a.get(names.NODE_STATUS)):
        facts["status"] = status
    if reason := text_of(a.get(names.NODE_STATUS_REASON)):
        facts["status_reason"] = reason
    if task_key := text_of(a.get(names.TASK_KEY)):
        facts["task_key"] = task_key
    if (attempt := whole_number(a.get(names.ATTEMPT))) is not None:
        facts["attempt"] = attempt
    if (most := whole_number(a.get(names.RETRY_MAX_ATTEMPTS))) is not None:
        facts["max_attempts"] = most
    expected = a.get(names.RETRY_EXPECTED)
    if isinstance(expected, bool):
        facts["retry_expected"] = expected
    if (iteration := whole_number(a.get(names.ITERATION))) is not None:
        facts["iteration"] = iteration
    if needs := texts_of(a.get(names.DEPENDS_ON)):
        facts["depends_on"] = needs
    if source := text_of(a.get(names.EDGE_FROM)):
        facts["condition_from"] = source
    if condition := text_of(a.get(names.EDGE_CONDITION)):
        facts["condition"] = condition
    if decision := text_of(a.get(names.DECISION)):
        facts["decision"] = decision
    put_preview(facts, "input", a.get(names.INPUT))
    put_preview(facts, "output", a.get(names.OUTPUT))


def declared_steps_of(value: JsonValue) -> list[DeclaredStep]:
    """The steps that `value`, a list of names and JSON objects, declares; what has no name and no key is left out."""
    if isinstance(value, str):
        parsed = json_of(value) if value.startswith("[") else None
        value = parsed if isinstance(parsed, list) else [value]
    steps: list[DeclaredStep] = []
    for item in value[:MAX_DECLARED_STEPS] if isinstance(value, list) else ():
        said = json_of(item) if isinstance(item, str) and item.startswith("{") else item
        if isinstance(said, dict):
            if step := _declared_step(said):
                steps.append(step)
        elif isinstance(said, str) and said:
            steps.append({"name": said})
    return steps


def _declared_step(said: dict[str, JsonValue]) -> DeclaredStep | None:
    name = text_of(said.get("name")) or text_of(said.get("key"))
    if not name:
        return None
    step: DeclaredStep = {"name": name}
    for key in ("key", "kind", "description", "thought", "action"):
        if text := text_of(said.get(key)):
            step[key] = text[:_DECLARED_CHARS]
    if needs := texts_of(said.get("depends_on")):
        step["depends_on"] = needs[:MAX_DECLARED_STEPS]
    return step


def put_pending(span: Span, facts: Facts, real_parent: object) -> None:
    """Put what a live mark says: the span that started is this mark's parent, `real_parent` (hex) is that one's."""
    if span.parent_span_id is None:
        return
    facts["fold"] = "pending"
    facts["pending_of"] = f"{span.parent_span_id & 0xFFFFFFFFFFFFFFFF:016x}"
    if isinstance(real_parent, str) and len(real_parent) == 16 and real_parent != _ZEROS:
        facts["pending_parent"] = real_parent.lower()


CONVENTION = Convention(
    "own",
    _read,
    keys=(
        names.SPAN_TYPE,
        names.EXECUTION_NAME,
        names.EXECUTION_STATUS,
        names.EXECUTION_STATUS_REASON,
        names.WORKFLOW_NAME,
        names.RUN_ID,
        names.PROJECT,
        names.RESUMES,
        names.LOST_AFTER_S,
        names.SKIPPED_NODES,
        names.DECLARED_STEPS,
        names.NODE_NAME,
        names.NODE_STATUS,
        names.NODE_STATUS_REASON,
        names.TASK_KEY,
        names.ATTEMPT,
        names.RETRY_MAX_ATTEMPTS,
        names.RETRY_EXPECTED,
        names.ITERATION,
        names.DEPENDS_ON,
        names.EDGE_FROM,
        names.EDGE_CONDITION,
        names.DECISION,
        names.INPUT,
        names.OUTPUT,
    ),
)
