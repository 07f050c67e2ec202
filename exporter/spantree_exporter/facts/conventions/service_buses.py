"""Service buses of .NET: MassTransit 8 (read from its `LogContextActivityExtensions`), NServiceBus 8 and newer.

MassTransit's `<queue> receive` surrounds all work on a message: below it stands one `<queue> process` for each consumer
and each of its immediate attempts, all of one name. NServiceBus has no `messaging.*` attributes: `process message` is
one attempt, whose handlers stand below it; the message's id stays the same for immediate and delayed retries.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import KIND_CONSUMER, KIND_PRODUCER, Span

_MASSTRANSIT_RECEIVES: Final = "messaging.masstransit.input_address"
_MASSTRANSIT_ID: Final = "messaging.masstransit.message_id"
_NSERVICEBUS_TYPES: Final = "nservicebus.enclosed_message_types"
_NSERVICEBUS_ID: Final = "nservicebus.message_id"
_NSERVICEBUS_NATIVE_ID: Final = "nservicebus.native_message_id"
_NSERVICEBUS_HANDLER: Final = "nservicebus.handler.handler_type"


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    if _MASSTRANSIT_RECEIVES in a or _MASSTRANSIT_ID in a:
        _read_masstransit(span, facts)
    elif _NSERVICEBUS_HANDLER in a:
        facts.setdefault("kind", "step")
        facts.setdefault("step", True)
    elif span.kind == KIND_PRODUCER:
        facts.setdefault("kind", "message")
    elif span.kind == KIND_CONSUMER:
        _put_task(span, facts, name=_message_type(text_of(a.get(_NSERVICEBUS_TYPES))))
        if message_id := text_of(a.get(_NSERVICEBUS_ID)) or text_of(a.get(_NSERVICEBUS_NATIVE_ID)):
            facts.setdefault("task_key", f"nservicebus/{span.resource.service_name}/{message_id}")


def _read_masstransit(span: Span, facts: Facts) -> None:
    a = span.attributes
    if span.kind != KIND_CONSUMER:
        return
    consumer = text_of(a.get("messaging.masstransit.consumer_type"))
    _put_task(span, facts, name=consumer)
    if message_id := text_of(a.get(_MASSTRANSIT_ID)) or text_of(a.get("messaging.message.id")):
        by = consumer or text_of(a.get("messaging.destination.name")) or ""
        facts.setdefault("task_key", f"masstransit/{span.resource.service_name}/{by}/{message_id}")


def _put_task(span: Span, facts: Facts, *, name: str | None) -> None:
    facts.setdefault("kind", "task")
    facts.setdefault("step", True)
    facts.setdefault("entry", span.name)
    if name:
        facts.setdefault("name", name)
    if span.links:
        facts.setdefault("flow_links", True)


def _message_type(types: str | None) -> str | None:
    """`Shop.PlaceOrder, Shop.Messages, Version=1.0.0.0;Shop.ICommand, ...`: the message's own type stands first."""
    return types.split(";", 1)[0].split(",", 1)[0].rsplit(".", 1)[-1].strip() if types else None


CONVENTION = Convention(
    "service_buses",
    _read,
    keys=(
        _MASSTRANSIT_RECEIVES,
        _MASSTRANSIT_ID,
        _NSERVICEBUS_ID,
        _NSERVICEBUS_NATIVE_ID,
        _NSERVICEBUS_HANDLER,
    ),
)
