"""Vert.x' own tracing (scope `io.vertx`): it records why something failed and leaves the status of the span unset.

Read from its `OpenTelemetryTracer`. Of a request that it serves it records only that the connection was closed before
the answer was sent; a handler that fails answers 500.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.exception_types import short_name
from spantree_exporter.facts.reading import Convention, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import KIND_SERVER, STATUS_UNSET, Span

_CLOSED: Final = frozenset({"HttpClosedException", "ClosedChannelException", "StacklessClosedChannelException"})
_CLOSED_WORDS: Final = "Connection was closed"
_DESTINATIONS: Final = ("messaging.destination.name", "message_bus.destination")
_BUS: Final = frozenset({"send", "publish"})


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    # The event bus calls all that is sent `send`; a request of a reply is of the kinds of a call.
    address = next((told for key in _DESTINATIONS if (told := text_of(a.get(key)))), None)
    if address is not None:
        facts.setdefault("kind", "message")
        if span.name in _BUS:
            facts.setdefault("name", f"{span.name} {address}")
    if span.status_code != STATUS_UNSET:
        return
    for event in span.events:
        if event.name != "exception":
            continue
        told = text_of(event.attributes.get("exception.type")) or ""
        message = text_of(event.attributes.get("exception.message")) or ""
        if span.kind == KIND_SERVER and (short_name(told) in _CLOSED or message == _CLOSED_WORDS):
            facts.setdefault("status", "cancelled")
            facts.setdefault("status_reason", "client disconnected")
        else:
            facts.setdefault("weak_status", "failed")


CONVENTION = Convention("vertx", _read, scopes=("io.vertx",))
