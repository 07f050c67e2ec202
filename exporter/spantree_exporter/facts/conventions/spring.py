"""Spring's own observations (Spring Boot 3 and newer, through Micrometer's tracing): requests, listeners, queries.

Their names are Micrometer's, not those of the semantic conventions. A request has `method`, `uri`, `status`, `outcome`
(read from Spring's `DefaultServerRequestObservationConvention` and `DefaultClientRequestObservationConvention`, which
Micrometer's for Apache's client, OkHttp and Jersey follow); a span that nobody set a status of is OK since Micrometer
tracing 1.4.1 (micrometer-metrics/tracing#896), also one that was answered with a 503. The span of a listener is all its
work on a message, though it says `receive` (spring-projects/spring-kafka#4094). Queries are those of
datasource-micrometer and of r2dbc-proxy, which call each `query`.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.conventions.database import name_of_statement
from spantree_exporter.facts.conventions.http import name_client
from spantree_exporter.facts.conventions.messaging import put_work
from spantree_exporter.facts.reading import Convention, first_text, put_preview, text_of
from spantree_exporter.facts.url_names import path_of, template_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import KIND_CLIENT, KIND_CONSUMER, KIND_PRODUCER, KIND_SERVER, STATUS_ERROR, Span

_OUTCOME: Final = "outcome"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
_NO_URIS: Final = frozenset({"none", "UNKNOWN", "NOT_FOUND", "REDIRECTION", "root"})
_NO_EXCEPTION: Final = "none"
# What a server raises whose client went away before it had all of the answer (`ServerHttpObservationFilter`).
_CLIENT_GONE: Final = frozenset(
    {_NO_EXCEPTION, "AbortedException", "ClientAbortException", "EOFException", "EofException"}
)
_LISTENERS: Final = ("spring.kafka.listener.id", "spring.rabbit.listener.id", "spring.pulsar.listener.id")
_TEMPLATES: Final = ("spring.kafka.template.name", "spring.rabbit.template.name", "spring.pulsar.template.name")
_SOURCES: Final = ("messaging.source.name", "messaging.destination.name")
_QUERIES: Final = ("jdbc.query[0]", "r2dbc.query[0]")
# The connection around queries, and what is read of them.
_AROUND_QUERIES: Final = ("jdbc.datasource.driver", "jdbc.row-count", "jdbc.generated-keys")


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    if span.kind == KIND_PRODUCER:
        facts.setdefault("kind", "message")
    elif span.kind == KIND_CONSUMER:
        if any(key in a for key in _LISTENERS):
            _put_listener(span, facts)
    elif query := first_text(span, _QUERIES):
        facts.setdefault("kind", "db")
        if span.name == "query" and (name := name_of_statement(query)):
            facts.setdefault("name", name)
        put_preview(facts, "input", query)
    elif any(key in a for key in _AROUND_QUERIES):
        if span.status_code != STATUS_ERROR:
            facts.setdefault("fold", "parent")
        facts.setdefault("kind", "db")
    elif span.kind in {KIND_SERVER, KIND_CLIENT} and "uri" in a and "status" in a:
        method = text_of(a.get("method"))
        if method in _METHODS:
            _put_request(span, facts, method)


def _put_request(span: Span, facts: Facts, method: str) -> None:
    a = span.attributes
    uri, url = text_of(a.get("uri")), text_of(a.get("http.url"))
    template = None if uri in _NO_URIS else uri
    if span.kind == KIND_SERVER:
        facts.setdefault("kind", "http_server")
        path = template or (template_of(told) if url and (told := path_of(url)) else None)
        named = f"{method} {path}" if path else span.name
        facts.setdefault("entry", named)
        facts.setdefault("name", named)
    else:
        facts.setdefault("kind", "http_client")
        if url is not None and url not in _NO_URIS:
            name_client(span, facts, method, url, template, is_url=True)
        elif template is not None:
            name_client(span, facts, method, template, template, is_url=False)
    code = text_of(a.get("status")) or ""
    exception = text_of(a.get("exception")) or _NO_EXCEPTION
    if code.isdigit():
        _put_code(span, facts, code)
    elif span.kind == KIND_SERVER and exception in _CLIENT_GONE:
        facts.setdefault("status", "cancelled")
        facts.setdefault("status_reason", "client disconnected")
    elif span.kind == KIND_CLIENT and exception == _NO_EXCEPTION and span.status_code != STATUS_ERROR:
        # Whoever asked did not wait for the answer (a subscription that was cancelled).
        facts.setdefault("status", "cancelled")


def _put_code(span: Span, facts: Facts, code: str) -> None:
    if code[0] == "5":
        facts.setdefault("weak_status", "failed")
    elif code[0] == "4" and (span.kind == KIND_SERVER or span.status_code != STATUS_ERROR):
        # What the handler raised is what the answer says (micrometer-metrics/tracing#1443).
        facts.setdefault("status_reason", f"HTTP {code}")
        if span.kind == KIND_SERVER:
            facts.setdefault("status", "completed")
        return
    if code[0] in "45" and not any(event.name == "exception" for event in span.events):
        facts.setdefault("error_message", f"HTTP {code}")


def _put_listener(span: Span, facts: Facts) -> None:
    a = span.attributes
    partition = text_of(a.get("messaging.kafka.source.partition"))
    offset = text_of(a.get("messaging.kafka.message.offset"))
    place = f"{partition}:{offset}" if partition is not None and offset is not None else None
    put_work(span, facts, first_text(span, _SOURCES) or "", place)


CONVENTION = Convention("spring", _read, keys=(_OUTCOME, *_LISTENERS, *_TEMPLATES, *_QUERIES, *_AROUND_QUERIES))
