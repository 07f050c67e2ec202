"""Messaging semantic conventions: producers and consumers, old names and new."""

from __future__ import annotations

import re
from typing import Final

from spantree_exporter.facts.reading import Convention, first_text, whole_number
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import KIND_CONSUMER, Span

_OPERATIONS: Final = ("messaging.operation.type", "messaging.operation")
# What a consumer does that is not yet the work on a message.
_FETCHING: Final = frozenset({"receive", "settle", "poll"})
_GROUPS: Final = (
    "messaging.consumer.group.name",
    "messaging.kafka.consumer.group",
    "messaging.consumer_group",
    "messaging.consumer.group",
)
_DESTINATIONS: Final = ("messaging.destination.name", "messaging.destination")
_MESSAGES: Final = ("messaging.message.id", "messaging.message_id")
_PARTITIONS: Final = (
    "messaging.destination.partition.id",
    "messaging.kafka.destination.partition",
    "messaging.kafka.partition",
)
_OFFSETS: Final = ("messaging.kafka.offset", "messaging.kafka.message.offset")
_RETRIES: Final = re.compile(r"[-._](?:retry|retries)(?:[-._]\w{1,32})?\Z", re.IGNORECASE)
_DESTINATION_CHARS: Final = 256
# How often the broker has handed the message out, this time included: Google's Pub/Sub, Azure's Service Bus.
_DELIVERIES: Final = ("messaging.gcp_pubsub.message.delivery_attempt", "messaging.servicebus.message.delivery_count")


def _read(span: Span, facts: Facts) -> None:
    operation = first_text(span, _OPERATIONS)
    if span.kind != KIND_CONSUMER or operation in _FETCHING or (operation is None and _is_called_fetching(span.name)):
        facts.setdefault("kind", "message")
        return
    put_work(span, facts, first_text(span, _DESTINATIONS) or "", first_text(span, _MESSAGES) or _place_of(span))
    for key in _DELIVERIES:
        if (delivery := whole_number(span.attributes.get(key))) is not None and delivery > 0:
            facts.setdefault("attempt", delivery)


def put_work(span: Span, facts: Facts, destination: str, message_id: str | None) -> None:
    """Put that the span is a consumer's work on a message of `destination`, known by `message_id` where it has one."""
    facts.setdefault("kind", "task")
    facts.setdefault("step", True)
    facts.setdefault("entry", span.name)
    if span.links:
        # Of a batch, or told not to join the sender's trace: the links lead to who sent what is worked on.
        facts.setdefault("flow_links", True)
    if _is_to_try_again(destination):
        facts.setdefault("sent_on", True)
    if message_id is not None:
        # A message delivered again to the same consumers is worked on once more.
        consumers = first_text(span, _GROUPS) or span.resource.service_name
        facts.setdefault("task_key", f"{destination}/{consumers}/{message_id}")


def _is_to_try_again(destination: str) -> bool:
    """Whether messages are sent there that could not be worked on, to be tried again after a while.

    Spring's topics of retries (`orders-retry`, `orders-retry-0`, spring-projects/spring-kafka#3816), and those that
    others make for it by hand; what nobody will try again goes elsewhere (`-dlt`, `-dlq`).
    """
    return _RETRIES.search(destination[-_DESTINATION_CHARS:]) is not None


def _is_called_fetching(name: str) -> bool:
    """Whether a span that tells no operation is named for it: `receive orders` (Laravel), `orders receive`."""
    return name.partition(" ")[0] in _FETCHING or name.rpartition(" ")[2] in _FETCHING


def _place_of(span: Span) -> str | None:
    """Where Kafka keeps the message, which has no id: its partition and offset."""
    partition, offset = first_text(span, _PARTITIONS), first_text(span, _OFFSETS)
    return f"{partition}:{offset}" if partition is not None and offset is not None else None


CONVENTION = Convention("messaging", _read, keys=("messaging.system", *_OPERATIONS))
