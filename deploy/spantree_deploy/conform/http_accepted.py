"""OTLP/HTTP with protobuf: what a receiver has to take, and how it says so."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from spantree_deploy.conform import messages
from spantree_deploy.conform.check import (
    BINARY,
    COMPRESSION,
    DUPLICATES,
    ENVELOPES,
    HTTP_CONCURRENT,
    HTTP_CONNECTION,
    HTTP_PARTIAL,
    HTTP_REQUEST,
    HTTP_RESPONSE,
    HTTP_SUCCESS,
    MUST,
    OTHER_RESPONSES,
    SHOULD,
    Check,
    NotServed,
    expect,
    expect_full_success,
)
from spantree_deploy.conform.targets import JSON, LOGS, PROTOBUF, Answer, Targets, json_of


def checks() -> Iterator[Check]:
    """The checks of this module."""
    for section, level, what, run in _CHECKS:
        yield Check("http", section, level, what, run)
    for what, section, made in messages.VALID:
        yield Check("http", section, MUST, f"protobuf: {what} is taken", _taken(made))


def accepted(answer: Answer) -> ExportTraceServiceResponse:
    """The response in a protobuf answer of success. Raises Deviation where it is none."""
    expect(answer.status == 200, f"answers {answer.status} {answer.body[:200]!r}")
    expect(answer.content_type == PROTOBUF, f'the content-type of the answer is "{answer.content_type}"')
    try:
        return ExportTraceServiceResponse.FromString(answer.body)
    except DecodeError:
        expect(False, f"the body of the answer is no ExportTraceServiceResponse: {answer.body[:80]!r}")
        raise


def _taken(made: Callable[[], bytes]) -> Callable[[Targets], None]:
    def run(targets: Targets) -> None:
        _rejects_none(accepted(targets.over_http.post(made())))

    return run


def _rejects_none(response: ExportTraceServiceResponse) -> None:
    rejected = response.partial_success.rejected_spans
    expect(rejected == 0, f"rejects {rejected} spans: {response.partial_success.error_message}")


def _answers_200(targets: Targets) -> None:
    answer = targets.over_http.post(messages.body())
    expect(answer.status == 200, f"answers {answer.status}")


def _same_content_type(targets: Targets) -> None:
    answer = targets.over_http.post(messages.body())
    expect(answer.content_type == PROTOBUF, f'the content-type of the answer is "{answer.content_type}"')


def _is_a_response(targets: Targets) -> None:
    accepted(targets.over_http.post(messages.body()))


def _partial_success_is_unset(targets: Targets) -> None:
    expect_full_success(accepted(targets.over_http.post(messages.body())))


def _partial_success_is_not_there(targets: Targets) -> None:
    response = accepted(targets.over_http.post(messages.body()))
    expect(not response.HasField("partial_success"), "partial_success is there, empty")


def _empty(targets: Targets) -> None:
    accepted(targets.over_http.post(b""))


def _empty_envelope(sent: bytes) -> Callable[[Targets], None]:
    return lambda targets: _rejects_none(accepted(targets.over_http.post(sent)))


def _gzip(targets: Targets) -> None:
    _rejects_none(accepted(targets.over_http.post(gzip.compress(messages.body()), content_encoding="gzip")))


def _gzip_members(targets: Targets) -> None:
    whole = messages.body()
    sent = gzip.compress(whole[:20]) + gzip.compress(whole[20:])
    _rejects_none(accepted(targets.over_http.post(sent, content_encoding="gzip")))


def _gzip_upper_case(targets: Targets) -> None:
    accepted(targets.over_http.post(gzip.compress(messages.body()), content_encoding="GZIP"))


def _gzip_large(targets: Targets) -> None:
    sent = messages.body(*(messages.span(name="x" * 1000) for _ in range(3000)))
    _rejects_none(accepted(targets.over_http.post(gzip.compress(sent, 1), content_encoding="gzip")))


def _accepts_gzip(targets: Targets) -> None:
    accepted(targets.over_http.post(messages.body(), accept_encoding="gzip"))


def _chunked(targets: Targets) -> None:
    sent = messages.body()
    pieces = (sent[start : start + 16] for start in range(0, len(sent), 16))
    _rejects_none(accepted(targets.over_http.post(pieces)))


def _offers_http2(targets: Targets) -> None:
    # In JSON, of which nothing is no request: of protobuf it is one without spans.
    sent = json.dumps(messages.json_request(messages.json_span())).encode()
    answer = targets.over_http.post(
        sent, JSON, Connection="Upgrade, HTTP2-Settings", Upgrade="h2c", HTTP2_Settings="AAMAAABkAAQAAP__"
    )
    expect(answer.status == 200, f"answers {answer.status} {answer.body[:200]!r}")


def _one_connection(targets: Targets) -> None:
    connection = targets.over_http.connection()
    try:
        for _ in range(20):
            accepted(targets.over_http.post(messages.body(), connection=connection))
    finally:
        connection.close()


def _parallel(targets: Targets) -> None:
    with ThreadPoolExecutor(8) as threads:
        for answer in threads.map(lambda _: targets.over_http.post(messages.body()), range(32)):
            accepted(answer)


def _json_and_protobuf(targets: Targets) -> None:
    connection = targets.over_http.connection()
    try:
        accepted(targets.over_http.post(messages.body(), connection=connection))
        answer = targets.over_http.post(b"{}", JSON, connection=connection)
        expect((answer.status, answer.content_type) == (200, JSON), f"JSON is answered {answer.status}")
        accepted(targets.over_http.post(messages.body(), connection=connection))
    finally:
        connection.close()


def _duplicate(targets: Targets) -> None:
    sent = messages.body()
    for _ in range(2):
        _rejects_none(accepted(targets.over_http.post(sent)))


def _ten_mib(targets: Targets) -> None:
    sent = messages.body(*(messages.span(name="x" * 2**20) for _ in range(10)))
    _rejects_none(accepted(targets.over_http.post(sent)))


def _expect_continue(targets: Targets) -> None:
    http, sent = targets.over_http, messages.body()
    if http.tls or http.headers:
        raise NotServed("asked without TLS and headers only")
    head = f"POST {http.prefix}/v1/traces HTTP/1.1\r\nhost: {http.host}\r\ncontent-type: {PROTOBUF}\r\n"
    came = http.raw(
        f"{head}connection: close\r\nexpect: 100-continue\r\ncontent-length: {len(sent)}\r\n\r\n".encode() + sent
    )
    expect(b"HTTP/1.1 200" in came, f"answers {came[:80]!r}")


def _invalid_ids(targets: Targets) -> None:
    spans = [messages.span(), messages.span(trace_id=bytes(16)), messages.span(span_id=b"short")]
    answer = targets.over_http.post(messages.body(*spans))
    if answer.status == 400:
        return
    response = accepted(answer)
    partial = response.partial_success
    expect(partial.rejected_spans or partial.error_message, "takes spans with invalid ids without a word")
    expect(partial.rejected_spans == 2, f"says that it rejects {partial.rejected_spans} of 2 spans with invalid ids")


def _reason_for_rejection(targets: Targets) -> None:
    answer = targets.over_http.post(messages.body(messages.span(), messages.span(trace_id=os.urandom(3))))
    if answer.status == 400:
        raise NotServed("refuses the whole request")
    partial = accepted(answer).partial_success
    if not partial.rejected_spans:
        raise NotServed("rejects none of the spans")
    expect(partial.error_message, "rejects a span and does not say why")


def _logs(count: int) -> Callable[[Targets], None]:
    def run(targets: Targets) -> None:
        answer = targets.over_http.post(messages.log_body(count) if count else b"", path=LOGS)
        if answer.status == 404:
            raise NotServed("takes no logs")
        expect(answer.status == 200, f"answers {answer.status}")
        expect(answer.content_type == PROTOBUF, f'the content-type of the answer is "{answer.content_type}"')
        expect_full_success(ExportLogsServiceResponse.FromString(answer.body))

    return run


def _logs_in_json(targets: Targets) -> None:
    answer = targets.over_http.post(b'{"resourceLogs":[]}', JSON, LOGS)
    if answer.status == 404:
        raise NotServed("takes no logs")
    expect((answer.status, answer.content_type) == (200, JSON), f"answers {answer.status} {answer.content_type}")
    expect(json_of(answer.body) in ({}, {"partialSuccess": {}}), f"answers {answer.body[:80]!r}")


_CHECKS: list[tuple[str, str, str, Callable[[Targets], None]]] = [
    (HTTP_SUCCESS, MUST, "protobuf: a span is answered 200", _answers_200),
    (HTTP_RESPONSE, MUST, "protobuf is answered in protobuf", _same_content_type),
    (HTTP_SUCCESS, MUST, "protobuf: the answer is an ExportTraceServiceResponse", _is_a_response),
    (HTTP_SUCCESS, MUST, "protobuf: partial_success is unset in a success", _partial_success_is_unset),
    (HTTP_SUCCESS, SHOULD, "protobuf: partial_success is left out, not sent empty", _partial_success_is_not_there),
    (HTTP_SUCCESS, SHOULD, "protobuf: an empty request is a success", _empty),
    (ENVELOPES, MUST, "protobuf: a ResourceSpans without scopes is no error", _empty_envelope(b"\x0a\x00")),
    (ENVELOPES, MUST, "protobuf: a ScopeSpans without spans is no error", _empty_envelope(b"\x0a\x02\x12\x00")),
    (COMPRESSION, MUST, "gzip is taken", _gzip),
    (COMPRESSION, SHOULD, "gzip of several members is taken (RFC 1952)", _gzip_members),
    (COMPRESSION, MUST, "gzip of 3 MB is taken", _gzip_large),
    (COMPRESSION, SHOULD, "the name of an encoding is read in any case (RFC 9110)", _gzip_upper_case),
    (HTTP_RESPONSE, MUST, "an answer to Accept-Encoding: gzip can be read", _accepts_gzip),
    (HTTP_REQUEST, MUST, "a body in chunks is taken (RFC 9112)", _chunked),
    (HTTP_REQUEST, SHOULD, "a request of 10 MiB is taken, for clients may send 20 MiB", _ten_mib),
    (OTHER_RESPONSES, MUST, "Expect: 100-continue is no hindrance (RFC 9110)", _expect_continue),
    (OTHER_RESPONSES, MUST, "an offer of HTTP/2 is no hindrance, as Java's client makes it (RFC 9110)", _offers_http2),
    (HTTP_CONNECTION, MUST, "twenty requests come through one connection", _one_connection),
    (HTTP_CONCURRENT, MUST, "eight connections at a time are served", _parallel),
    (HTTP_CONNECTION, SHOULD, "protobuf and JSON are told apart by the content-type", _json_and_protobuf),
    (DUPLICATES, MUST, "the same request sent again is a success", _duplicate),
    (HTTP_PARTIAL, SHOULD, "spans with invalid ids are rejected, and counted exactly", _invalid_ids),
    (HTTP_PARTIAL, SHOULD, "a rejection has a reason", _reason_for_rejection),
    (BINARY, MUST, "logs: a record is taken", _logs(1)),
    (BINARY, MUST, "logs: 1,000 records are taken", _logs(1000)),
    (HTTP_SUCCESS, SHOULD, "logs: an empty request is a success", _logs(0)),
    (HTTP_SUCCESS, SHOULD, "logs: an empty request in JSON is a success", _logs_in_json),
]
