"""Messages sent, fetched and worked on."""

from __future__ import annotations

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
