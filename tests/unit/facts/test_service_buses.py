"""Service buses of .NET: one task for all attempts at a message by one consumer, named for the consumer or message."""

from __future__ import annotations

from tests.unit.facts.spans import span

from spantree_exporter.facts import Facts, read_facts
from spantree_exporter.span import KIND_CONSUMER, KIND_INTERNAL, KIND_PRODUCER, Attributes

MASSTRANSIT: Attributes = {"messaging.masstransit.message_id": "m1", "messaging.operation": "process"}
NSERVICEBUS: Attributes = {
    "nservicebus.message_id": "n1",
    "nservicebus.enclosed_message_types": "Shop.PlaceOrder, Shop.Messages, Version=1.0.0.0;Shop.ICommand, Shop",
}
TASK: Facts = {"kind": "task", "step": True}


def test_consumers_of_masstransit_are_told_apart_though_their_spans_have_one_name() -> None:
    placing: Attributes = {**MASSTRANSIT, "messaging.masstransit.consumer_type": "PlaceOrderConsumer"}
    auditing: Attributes = {**MASSTRANSIT, "messaging.masstransit.consumer_type": "AuditConsumer"}
    told = read_facts(span("orders process", placing, kind=KIND_CONSUMER))
    other = read_facts(span("orders process", auditing, kind=KIND_CONSUMER))
    assert told["name"] == "PlaceOrderConsumer"
    assert (told["kind"], told["entry"]) == ("task", "orders process")
    assert told["task_key"] != other["task_key"]


def test_what_masstransit_receives_is_work_on_the_message_and_not_its_fetching() -> None:
    receive: Attributes = {
        "messaging.operation": "receive",
        "messaging.destination.name": "orders",
        "messaging.masstransit.input_address": "rabbitmq://host/orders",
        "messaging.message.id": "m1",
    }
    told = read_facts(span("orders receive", receive, kind=KIND_CONSUMER))
    assert (told["kind"], told["step"], told["task_key"]) == ("task", True, "masstransit/shop/orders/m1")
    sent = read_facts(span("orders send", {**MASSTRANSIT, "messaging.operation": "send"}, kind=KIND_PRODUCER))
    assert sent == {"kind": "message"}


def test_attempts_of_nservicebus_are_one_task_whatever_the_transport_calls_each() -> None:
    told: Facts = {**TASK, "name": "PlaceOrder", "entry": "process message", "task_key": "nservicebus/shop/n1"}
    for native in ("a", "b"):
        attributes = {**NSERVICEBUS, "nservicebus.native_message_id": native}
        assert read_facts(span("process message", attributes, kind=KIND_CONSUMER)) == told
    assert read_facts(span("send message", NSERVICEBUS, kind=KIND_PRODUCER)) == {"kind": "message"}
    handler: Attributes = {"nservicebus.handler.handler_type": "Shop.PlaceOrderHandler"}
    assert read_facts(span("PlaceOrderHandler", handler, kind=KIND_INTERNAL)) == {"kind": "step", "step": True}
