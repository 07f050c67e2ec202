"""Wolverine, a service bus of .NET (read from Wolverine 6, `WolverineTracing`).

    send (PRODUCER)           a message was sent
      receive (CONSUMER)      it came in; where an endpoint works inline, the work itself
      Shop.PlaceOrder         the work on it, of no kind: one span for each attempt, all below who sent it

An attempt that failed has the class of the exception as its status' message, and an event of what is done about it.
Immediate attempts are made in one span, each told by an event. What its agents do stands in traces of their own.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, text_of
from spantree_exporter.facts.vocabulary import AttemptFact, Facts
from spantree_exporter.span import KIND_CONSUMER, KIND_PRODUCER, STATUS_ERROR, Span

_TYPE: Final = "messaging.message_type"
_ID: Final = "messaging.message_id"
_HANDLERS: Final = ("handler.type", "message.handler")
_OWN: Final = "wolverine"
_DESERIALIZES: Final = "wolverine.deserialize"
# Events of a span whose message is worked on again, in a span of its own or in the same.
_LATER: Final = frozenset({"wolverine.envelope.requeued", "wolverine.envelope.rescheduled"})
_AT_ONCE: Final = "wolverine.envelope.retried"
_GIVEN_UP: Final = {
    "wolverine.error.queued": "moved to the error queue",
    "wolverine.envelope.discarded": "discarded",
    "wolverine.no.handler": "no handler",
}


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    message = text_of(a.get(_TYPE))
    if message is None:
        if span.name.startswith(_OWN) and span.parent_span_id is None and span.status_code != STATUS_ERROR:
            # It assigns its agents to nodes, pauses and starts listeners.
            facts.setdefault("hidden", True)
        return
    name = message.rpartition(".")[2] or message
    if span.kind == KIND_PRODUCER:
        facts.setdefault("kind", "message")
        facts.setdefault("name", f"{span.name} {name}")
    elif span.name == _DESERIALIZES:
        facts.setdefault("fold", "parent")
    elif span.kind == KIND_CONSUMER and span.status_code != STATUS_ERROR and not any(key in a for key in _HANDLERS):
        # Taken off the queue; the work on it has a span of its own.
        facts.setdefault("kind", "message")
        facts.setdefault("name", f"{span.name} {name}")
    else:
        _put_task(span, name, facts)


def _put_task(span: Span, name: str, facts: Facts) -> None:
    a = span.attributes
    facts.setdefault("name", name)
    facts.setdefault("kind", "task")
    facts.setdefault("step", True)
    if message_id := text_of(a.get(_ID)):
        place = text_of(a.get("messaging.destination")) or ""
        facts.setdefault("task_key", f"wolverine/{span.resource.service_name}/{place}/{message_id}")
    attempts: list[AttemptFact] = []
    for event in span.events:
        if event.name == _AT_ONCE:
            attempts.append({"attempt": len(attempts) + 1, "at_ns": event.time_ns, "status": "retried"})
        elif event.name in _LATER:
            facts.setdefault("status", "retried")
            facts.setdefault("retry_expected", True)
        elif event.name in _GIVEN_UP:
            facts.setdefault("status_reason", _GIVEN_UP[event.name])
    if attempts:
        facts.setdefault("attempts", attempts)
        facts.setdefault("retry_expected", True)
    if span.status_code == STATUS_ERROR and span.status_message.isidentifier():
        facts.setdefault("error_type", span.status_message)


CONVENTION = Convention("wolverine", _read, scopes=("Wolverine",))
