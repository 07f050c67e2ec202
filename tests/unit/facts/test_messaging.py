"""Messages sent, fetched and worked on."""

from __future__ import annotations

import pytest
from tests.unit.facts.spans import span

from spantree_exporter.facts import read_facts
from spantree_exporter.span import KIND_CONSUMER, KIND_PRODUCER, Attributes

SENT: Attributes = {"messaging.system": "kafka", "messaging.destination.name": "orders"}


def test_working_on_a_message_is_a_task_of_the_message() -> None:
    attributes: Attributes = {**SENT, "messaging.operation.type": "process", "messaging.message.id": "m-1"}
    assert read_facts(span("process orders", attributes, kind=KIND_CONSUMER)) == {
        "kind": "task",
        "step": True,
        "entry": "process orders",
        "task_key": "orders/shop/m-1",
    }


def test_sending_and_fetching_are_messages() -> None:
    assert read_facts(span("send orders", SENT, kind=KIND_PRODUCER)) == {"kind": "message"}
    fetched: Attributes = {**SENT, "messaging.operation": "receive"}
    assert read_facts(span("receive orders", fetched, kind=KIND_CONSUMER)) == {"kind": "message"}


def test_a_message_tells_its_id_by_the_old_name_and_how_often_it_was_handed_out() -> None:
    attributes: Attributes = {
        **SENT,
        "messaging.operation": "process",
        "messaging.message_id": "m-1",
        "messaging.gcp_pubsub.message.delivery_attempt": 4,
    }
    facts = read_facts(span("process orders", attributes, kind=KIND_CONSUMER))
    assert (facts["task_key"], facts["attempt"]) == ("orders/shop/m-1", 4)
    counted: Attributes = {**SENT, "messaging.operation": "process", "messaging.servicebus.message.delivery_count": 2}
    assert read_facts(span("process orders", counted, kind=KIND_CONSUMER))["attempt"] == 2
    assert "attempt" not in read_facts(span("send orders", counted, kind=KIND_PRODUCER))


def test_a_message_of_kafka_is_known_by_where_it_is_kept() -> None:
    attributes: Attributes = {
        **SENT,
        "messaging.operation": "process",
        "messaging.kafka.consumer.group": "billing",
        "messaging.destination.partition.id": "3",
        "messaging.kafka.message.offset": 42,
    }
    assert read_facts(span("orders process", attributes, kind=KIND_CONSUMER))["task_key"] == "orders/billing/3:42"
    del attributes["messaging.destination.partition.id"]
    assert "task_key" not in read_facts(span("orders process", attributes, kind=KIND_CONSUMER))


@pytest.mark.parametrize(
    ("destination", "sent_on"),
    [
        ("orders-retry", True),
        ("orders-retry-0", True),
        ("orders.retry.5000", True),
        ("completed.retry", True),
        ("orders_retries", True),
        ("orders", False),
        ("orders-dlt", False),
        ("retry", False),
        ("orders-retry-policy-changes", False),
    ],
)
def test_a_destination_tells_that_its_messages_are_to_be_tried_again(destination: str, sent_on: bool) -> None:
    listened: Attributes = {"spring.kafka.listener.id": "l-0", "messaging.source.name": destination}
    attributes: Attributes = {**SENT, "messaging.destination.name": destination, "messaging.operation": "process"}
    for sent in (attributes, listened):
        assert ("sent_on" in read_facts(span("process", sent, kind=KIND_CONSUMER))) is sent_on
