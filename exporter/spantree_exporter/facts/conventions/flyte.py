"""Flyte 2 through flyteplugins-otel, tried with 2.12: a span for each attempt of a task, and each `flyte.trace` step.

A task is an action of a run, which keeps its name when it is tried again, then as a root of its own in the same trace.
A step that is not run again when a run is taken up, but read from the log, is told as `flyte.replayed`.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span

_TASK: Final = "flyte.task_name"
_STEP: Final = "flyte.step_name"


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    run = text_of(a.get("flyte.run_name"))
    if run:
        facts.setdefault("run_id", run)
    if project := text_of(a.get("flyte.project")):
        facts.setdefault("project", project)
    if step := text_of(a.get(_STEP)):
        facts.setdefault("name", step)
        facts.setdefault("kind", "step")
        facts.setdefault("step", True)
        if a.get("flyte.replayed") is True:
            facts.setdefault("status", "skipped")
            facts.setdefault("status_reason", "replayed")
    elif task := text_of(a.get(_TASK)):
        facts.setdefault("boundary", "candidate")
        facts.setdefault("name", task)
        facts.setdefault("kind", "task")
        facts.setdefault("step", True)
        if action := text_of(a.get("flyte.action_name")):
            facts.setdefault("task_key", f"{run or ''}/{action}")
        facts.setdefault("retry_expected", True)


CONVENTION = Convention("flyte", _read, keys=(_TASK, _STEP))
