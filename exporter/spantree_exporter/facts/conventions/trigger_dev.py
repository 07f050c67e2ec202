"""Trigger.dev 4, what its workers send to exporters of one's own (`telemetry.exporters`; read from its `taskExecutor`).

    Attempt 2 (CONSUMER)      one for each attempt of a run, side by side
      run()                   what the task's own function did
        triggerAndWait()      asks for a run of another task, whose attempts are below it
        wait.for()

All spans of a run tell its id, its task and its attempt (`ctx.*`).
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, put_preview, text_of, whole_number
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span

_RUN: Final = "ctx.run.id"
# Stored: a key that begins with "$" has one more (stored.py).
_ATTEMPT: Final = "$$span.attempt"
_ICON: Final = "$$style.icon"


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    if run_id := text_of(a.get(_RUN)):
        facts.setdefault("run_id", run_id)
    if a.get(_ATTEMPT) is True:
        _put_attempt(span, run_id, facts)
    elif a.get(_ICON) == "task-fn-run":
        facts.setdefault("fold", "inner")
        facts.setdefault("kind", "workflow")
    elif a.get(_ICON) == "wait":
        facts.setdefault("kind", "step")


def _put_attempt(span: Span, run_id: str | None, facts: Facts) -> None:
    a = span.attributes
    facts.setdefault("boundary", "run")
    facts.setdefault("kind", "workflow")
    if task := text_of(a.get("ctx.task.id")):
        facts.setdefault("name", task)
        facts.setdefault("workflow_name", task)
    facts.setdefault("entry", span.name)
    if run_id:
        facts.setdefault("task_key", run_id)
    if (attempt := whole_number(a.get("ctx.attempt.number"))) is not None and attempt > 0:
        facts.setdefault("attempt", attempt)
    put_preview(facts, "output", a.get("$$output"))


CONVENTION = Convention("trigger_dev", _read, keys=(_RUN,))
