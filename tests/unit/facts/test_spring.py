"""Spring's own observations: requests by Micrometer's names, listeners, queries."""

from __future__ import annotations

import pytest
from tests.unit.facts.spans import raised, span

from spantree_exporter.facts import Facts, read_facts
from spantree_exporter.span import (
    KIND_CLIENT,
    KIND_CONSUMER,
    KIND_PRODUCER,
    KIND_SERVER,
    STATUS_ERROR,
    STATUS_OK,
    STATUS_UNSET,
    Attributes,
)


def request(status: str, **others: str) -> Attributes:
    """What an observation of `GET /orders/7` tells; of its outcome only the word matters that says there is none."""
    sent = {"exception": "none", "method": "GET", "outcome": "UNKNOWN", "status": status, "uri": "/orders/{id}"}
    return {**sent, "http.url": "/orders/7", **others}


SERVED: Facts = {"kind": "http_server", "entry": "GET /orders/{id}", "name": "GET /orders/{id}"}


@pytest.mark.parametrize(
    ("attributes", "status", "told"),
    [
        (request("200"), STATUS_OK, {}),
        # Micrometer's tracing 1.4.1 and newer says OK of all that raised nothing, older ones nothing.
        (request("503"), STATUS_OK, {"weak_status": "failed", "error_message": "HTTP 503"}),
        (request("503"), STATUS_UNSET, {"weak_status": "failed", "error_message": "HTTP 503"}),
        (request("404", uri="NOT_FOUND"), STATUS_OK, {"status": "completed", "status_reason": "HTTP 404"}),
        (request("404"), STATUS_ERROR, {"status": "completed", "status_reason": "HTTP 404"}),
        (request("UNKNOWN"), STATUS_OK, {"status": "cancelled", "status_reason": "client disconnected"}),
        (
            request("UNKNOWN", exception="AbortedException"),
            STATUS_ERROR,
            {"status": "cancelled", "status_reason": "client disconnected"},
        ),
        (request("UNKNOWN", exception="IllegalStateException"), STATUS_ERROR, {}),
    ],
)
def test_a_request_that_was_served_ended_as_its_code_says(attributes: Attributes, status: int, told: Facts) -> None:
    sent = span("http get /orders/{id}", attributes, kind=KIND_SERVER, status=status)
    assert read_facts(sent) == {**SERVED, **told}


def test_an_exception_says_more_than_the_code_that_it_was_answered_with() -> None:
    sent = span(
        "http get /orders/{id}",
        request("500", exception="IllegalStateException"),
        kind=KIND_SERVER,
        status=STATUS_ERROR,
        events=[raised("java.lang.IllegalStateException", "no stock")],
    )
    assert read_facts(sent) == {
        **SERVED,
        "weak_status": "failed",
        "error_type": "java.lang.IllegalStateException",
        "error_message": "no stock",
    }


@pytest.mark.parametrize(
    ("attributes", "status", "told"),
    [
        (request("200"), STATUS_OK, {}),
        (request("404"), STATUS_OK, {"status_reason": "HTTP 404"}),
        (request("404"), STATUS_ERROR, {"error_message": "HTTP 404"}),
        (request("502"), STATUS_OK, {"weak_status": "failed", "error_message": "HTTP 502"}),
        # Nobody waited for the answer: WebClient says so of a subscription that was cancelled.
        (request("CLIENT_ERROR"), STATUS_OK, {"status": "cancelled"}),
        (request("CLIENT_ERROR", exception="ConnectException"), STATUS_ERROR, {}),
        (request("IO_ERROR", exception="IOException"), STATUS_ERROR, {}),
    ],
)
def test_a_request_that_was_made_ended_as_its_code_says(attributes: Attributes, status: int, told: Facts) -> None:
    sent = span("http get", {**attributes, "http.url": "http://shop:80/orders/7"}, kind=KIND_CLIENT, status=status)
    facts = read_facts(sent)
    digest = facts.pop("input_digest")
    assert digest
    assert facts == {"kind": "http_client", "name": "GET /orders/{id}", "input": "http://shop:80/orders/7", **told}


def test_a_request_without_a_template_is_named_for_its_path() -> None:
    sent = span("http get", request("200", uri="none", **{"http.url": "http://shop/stock/9"}), kind=KIND_CLIENT)
    assert read_facts(sent)["name"] == "GET /stock/{id}"


def test_a_probe_is_hidden_unless_it_fails() -> None:
    up, down = request("200", **{"http.url": "/actuator/health"}), request("503", **{"http.url": "/actuator/health"})
    assert read_facts(span("http get", up, kind=KIND_SERVER, status=STATUS_OK)).get("hidden") is True
    assert "hidden" not in read_facts(span("http get", down, kind=KIND_SERVER, status=STATUS_OK))


def test_an_outcome_of_ones_own_is_no_request() -> None:
    assert read_facts(span("price", {"outcome": "SUCCESS", "method": "by hand", "uri": "/x", "status": "500"})) == {}
    assert read_facts(span("price", {"outcome": "SUCCESS", "status": "500"}, kind=KIND_CLIENT)) == {}


def test_a_listener_works_on_a_message_though_it_says_receive() -> None:
    attributes: Attributes = {
        "spring.kafka.listener.id": "billing-0",
        "messaging.system": "kafka",
        "messaging.operation": "receive",
        "messaging.source.name": "orders",
        "messaging.kafka.consumer.group": "billing",
        "messaging.kafka.source.partition": "0",
        "messaging.kafka.message.offset": "17",
    }
    assert read_facts(span("orders receive", attributes, kind=KIND_CONSUMER)) == {
        "kind": "task",
        "step": True,
        "entry": "orders receive",
        "task_key": "orders/billing/0:17",
    }
    rabbit: Attributes = {"spring.rabbit.listener.id": "l#0", "messaging.destination.name": ""}
    told: Facts = {"kind": "task", "step": True, "entry": "orders receive"}
    assert read_facts(span("orders receive", rabbit, kind=KIND_CONSUMER)) == told
    sent = span("orders send", {"spring.rabbit.template.name": "t"}, kind=KIND_PRODUCER)
    assert read_facts(sent) == {"kind": "message"}


def test_a_query_is_named_for_its_first_word_and_its_connection_is_no_step() -> None:
    query = span("query", {"jdbc.query[0]": "select * from orders", "name": "pool"}, kind=KIND_CLIENT)
    assert read_facts(query) == {"kind": "db", "name": "SELECT", "input": "select * from orders"}
    for attributes in ({"jdbc.datasource.driver": "org.postgresql.Driver"}, {"jdbc.row-count": "3"}):
        around = span("connection", dict(attributes), kind=KIND_CLIENT, status=STATUS_OK)
        assert read_facts(around) == {"fold": "parent", "kind": "db"}
    failed = span("connection", {"jdbc.datasource.driver": "d"}, kind=KIND_CLIENT, status=STATUS_ERROR)
    assert read_facts(failed) == {"kind": "db"}
