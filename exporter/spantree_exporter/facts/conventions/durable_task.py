"""Durable Task: Azure Durable Functions and their SDKs, Dapr's workflows, by `durabletask.*`; no recording was seen.

    create_orchestration:order        who started it
      orchestration:order             what it did; sent again, under the same id, as often as it was replayed
        activity:charge (CLIENT)      asked for
          activity:charge (SERVER)    done, once for each attempt
        orchestration:ship (CLIENT)   a sub-orchestration, with its own (SERVER) below
        orchestration:order:timer

Dapr parts the names by `||`. Sources: Azure/durabletask, `TraceHelper`; microsoft/durabletask-go, `tracing.go`.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, status_of, text_of, whole_number
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import KIND_CLIENT, KIND_PRODUCER, Span

_CREATES: Final = "create_orchestration"
_ASKING: Final = frozenset({KIND_CLIENT, KIND_PRODUCER})


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    what = text_of(a.get("durabletask.type"))
    name = text_of(a.get("durabletask.task.name"))
    instance = text_of(a.get("durabletask.task.instance_id"))
    if what == "orchestration" and name:
        facts.setdefault("boundary", "run")
        facts.setdefault("kind", "workflow")
        facts.setdefault("name", name)
        facts.setdefault("workflow_name", name)
        if span.kind not in _ASKING and not span.name.startswith(_CREATES):
            facts.setdefault("fold", "inner")
            facts.setdefault("closes", True)
            if status := status_of(a.get("durabletask.task.status")):
                facts.setdefault("status", status)
    elif what == "activity" and name:
        facts.setdefault("kind", "step")
        facts.setdefault("step", True)
        facts.setdefault("name", name)
        if span.kind in _ASKING:
            facts.setdefault("fold", "producer")
            facts.setdefault("unanswered", True)
        else:
            _put_attempt(span, facts)
    elif what == "timer":
        facts.setdefault("name", "timer")
    elif what == "event":
        facts.setdefault("kind", "message")
        if name:
            facts.setdefault("name", name)
    if instance:
        facts.setdefault("run_id", instance)


def _put_attempt(span: Span, facts: Facts) -> None:
    """Put the attempt of an activity that is tried again by a policy: each is scheduled as a task of its own."""
    a = span.attributes
    if (attempt := whole_number(a.get("durabletask.attempt"))) is not None and attempt > 0:
        facts.setdefault("attempt", attempt)
    if (most := whole_number(a.get("durabletask.max_attempts"))) is not None and most > 0:
        facts.setdefault("max_attempts", most)
        facts.setdefault("retry_expected", True)


CONVENTION = Convention("durable_task", _read, keys=("durabletask.type",))
