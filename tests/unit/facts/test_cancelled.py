"""Work that nobody waited for any more, or whose client went away, as libraries tell it."""

from __future__ import annotations

import pytest
from tests.unit.facts.spans import raised, span

from spantree_exporter.facts import Facts, read_facts
from spantree_exporter.span import (
    KIND_CLIENT,
    KIND_CONSUMER,
    KIND_INTERNAL,
    KIND_SERVER,
    STATUS_ERROR,
    STATUS_OK,
    STATUS_UNSET,
    Attributes,
)


@pytest.mark.parametrize(
    ("key", "status"),
    [
        ("reactor.canceled", STATUS_UNSET),
        ("rxjava.canceled", STATUS_UNSET),
        ("guava.canceled", STATUS_UNSET),
        ("jaxrs.canceled", STATUS_UNSET),
        ("grpc.canceled", STATUS_UNSET),
        ("status.interrupted", STATUS_OK),
        ("dagger.io/dag.canceled", STATUS_ERROR),
    ],
)
def test_an_attribute_that_says_so_is_believed_whatever_the_status(key: str, status: int) -> None:
    assert read_facts(span("search", {key: True}, status=status)) == {"status": "cancelled"}
    assert read_facts(span("search", {key: False}, status=STATUS_OK)) == {}


@pytest.mark.parametrize("status", [STATUS_UNSET, STATUS_ERROR])
def test_a_request_whose_client_went_away_was_cancelled(status: int) -> None:
    sent = span("GET /report", {"http.response.status_code": 499}, kind=KIND_SERVER, status=status)
    assert read_facts(sent) == {
        "kind": "http_server",
        "entry": "GET /report",
        "status": "cancelled",
        "status_reason": "HTTP 499: client closed request",
    }


def test_an_answer_that_a_tracer_of_sockets_did_not_see_is_no_failure() -> None:
    code = {"http.response.status_code": 499}
    seen = span("GET", dict(code), scope="go.opentelemetry.io/obi", kind=KIND_CLIENT, status=STATUS_ERROR)
    told = read_facts(span("GET", dict(code), kind=KIND_CLIENT, status=STATUS_ERROR))
    assert read_facts(seen)["status"] == "cancelled"
    assert told == {"error_message": "HTTP 499"}


@pytest.mark.parametrize(
    ("error_type", "message", "status"),
    [
        ("starlette.websockets.WebSocketDisconnect", "(1001, '')", "completed"),
        ("starlette.websockets.WebSocketDisconnect", "1000", "completed"),
        ("starlette.websockets.WebSocketDisconnect", "(<CloseCode.NO_STATUS_RCVD: 1005>, '')", "completed"),
        ("starlette.websockets.WebSocketDisconnect", "", "completed"),
        ("starlette.websockets.WebSocketDisconnect", "(1006, '')", "cancelled"),
        ("websockets.exceptions.ConnectionClosedOK", "received 1000 (OK); then sent 1000 (OK)", "completed"),
        ("*websocket.CloseError", "websocket: close 1001 (going away)", "completed"),
        ("*websocket.CloseError", "websocket: close 1011 (internal server error)", None),
        ("websockets.exceptions.ConnectionClosedError", "received 1011 (internal error)", None),
        ("org.eclipse.jetty.io.EofException", "Broken pipe", "cancelled"),
        ("Microsoft.AspNetCore.Connections.ConnectionResetException", "The client has disconnected", "cancelled"),
    ],
)
def test_the_end_of_a_connection_is_told_by_who_closed_it(error_type: str, message: str, status: str | None) -> None:
    sent = span("GET /feed", kind=KIND_SERVER, status=STATUS_ERROR, events=[raised(error_type, message)])
    assert read_facts(sent).get("status") == status


def test_a_server_of_effects_that_answered_5xx_failed_though_its_span_says_ok() -> None:
    sent = span("http.server GET", {"http.response.status_code": 503}, kind=KIND_SERVER, status=STATUS_OK)
    facts = read_facts(sent)
    assert (facts.get("weak_status"), facts.get("error_message")) == ("failed", "HTTP 503")


@pytest.mark.parametrize(
    ("kind", "error_type", "message", "told"),
    [
        (KIND_CLIENT, "io.vertx.pgclient.PgException", "no such table", {"weak_status": "failed"}),
        (KIND_CONSUMER, "io.vertx.core.eventbus.ReplyException", "boom", {"weak_status": "failed"}),
        (
            KIND_SERVER,
            "io.vertx.core.http.HttpClosedException",
            "Connection was closed",
            {"status": "cancelled", "status_reason": "client disconnected", "error_handled": True},
        ),
    ],
)
def test_what_vertx_recorded_is_why_it_ended(kind: int, error_type: str, message: str, told: Facts) -> None:
    sent = span("Query", scope="io.vertx", kind=kind, events=[raised(error_type, message)])
    assert read_facts(sent) == {"error_type": error_type, "error_message": message, **told}


def test_messages_on_vertx_bus_are_named_for_their_address() -> None:
    for key in ("messaging.destination.name", "message_bus.destination"):
        sent = span("send", {key: "stock.check"}, scope="io.vertx", kind=KIND_CLIENT)
        assert read_facts(sent) == {"kind": "message", "name": "send stock.check"}
    assert read_facts(span("GET", scope="io.vertx", kind=KIND_INTERNAL)) == {}


def test_what_dagger_had_in_its_cache_was_skipped() -> None:
    cached = span("Container.withExec", {"dagger.io/dag.cached": True})
    assert read_facts(cached) == {"status": "skipped", "status_reason": "cached"}


@pytest.mark.parametrize(
    ("status", "message", "others", "told"),
    [
        (STATUS_ERROR, "cancelled", {}, {"status": "cancelled"}),
        (STATUS_ERROR, "deadline_exceeded", {}, {"status": "timed_out"}),
        (STATUS_ERROR, "", {"sentry.status.message": "deadline_exceeded"}, {"status": "timed_out"}),
        (STATUS_ERROR, "internal_error", {}, {}),
        (STATUS_OK, "", {"sentry.idle_span_finish_reason": "cancelled"}, {"status": "cancelled"}),
        (STATUS_OK, "", {"sentry.idle_span_finish_reason": "idleTimeout"}, {}),
        (STATUS_UNSET, "", {"sentry.cancellation_reason": "document.hidden"}, {"status": "cancelled"}),
    ],
)
def test_a_span_of_sentrys_tells_how_it_ended_by_words_of_its_own(
    status: int, message: str, others: Attributes, told: Facts
) -> None:
    sent = span("pageload", {"sentry.op": "pageload", **others}, status=status, message=message)
    facts = read_facts(sent)
    facts.pop("error_message", None)
    assert facts == told
    plain = span("pageload", status=STATUS_ERROR, message="cancelled")
    assert "status" not in read_facts(plain)
