"""Dagster through dagster-otel and its auto-instrumentation (0.5): a span for each attempt of an op or asset.

An op's span is below the first one whose result it took, links lead to the others; the run itself has none.
"""

from __future__ import annotations

from spantree_exporter.facts.reading import Convention, text_of, whole_number
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    step = text_of(a.get("dagster.step_key"))
    if step is None:
        return
    facts.setdefault("kind", "step")
    facts.setdefault("step", True)
    # `load[7]`: one of those that a mapped op became.
    facts.setdefault("name", step.partition("[")[0] or step)
    run_id = text_of(a.get("dagster.run_id"))
    if run_id is not None:
        facts.setdefault("run_id", run_id)
        facts.setdefault("task_key", f"{run_id}/{step}")
    if job := text_of(a.get("dagster.job_name")):
        facts.setdefault("workflow_name", job)
    if (retries := whole_number(a.get("dagster.retry_number"))) is not None and retries >= 0:
        facts.setdefault("attempt", retries + 1)
        if retries and span.links:
            # The last one leads to the attempt before; those before it lead to other steps whose results it took.
            facts["link_types"] = {span.links[-1].span_id: "retry"}


CONVENTION = Convention("dagster", _read, keys=("dagster.step_key",))
