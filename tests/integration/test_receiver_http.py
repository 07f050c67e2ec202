"""OTLP/HTTP as the specification wants it, over a real socket, while PostgreSQL is away."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import cramjam
import lz4.frame
import pytest
import zstandard
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from tests.collectors import (
    JSON_TYPE,
    PROTOBUF_TYPE,
    Answer,
    metric,
    post,
    read_answer,
    readiness,
    running,
    send,
    settings,
)
from tests.otlp_requests import request, span, trace_request
from tests.waiting import wait_until

from spantree_collector.app import Addresses

MIB = 2**20


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    with running(settings(tmp_path_factory.mktemp("data"), max_body_bytes=2 * MIB)) as addresses:
        yield addresses


def bodies(addresses: Addresses) -> int:
    return int(readiness(addresses)["spool"]["bodies"])


def json_request(count: int = 1) -> bytes:
    spans = [
        {
            "traceId": "5B8EFFF798038103D269B633813FC60C",
            "spanId": f"{number:016X}",
            "name": "café",
            "kind": 2,
            "startTimeUnixNano": "1544712660000000000",
            "endTimeUnixNano": "1544712661000000000",
        }
        for number in range(1, count + 1)
    ]
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()


def status_of(answer: Answer) -> Status:
    """The google.rpc.Status in an answer, in whichever encoding its content type says."""
    if answer.headers["content-type"] == JSON_TYPE:
        told = answer.json()
        return Status(code=told.get("code", 0), message=told.get("message", ""))
    assert answer.headers["content-type"] == PROTOBUF_TYPE
    return Status.FromString(answer.body)


def test_protobuf_is_answered_in_protobuf_with_partial_success_unset(collector: Addresses) -> None:
    answer = post(collector, trace_request(1, 3).SerializeToString())
    assert (answer.status, answer.headers["content-type"], answer.body) == (200, PROTOBUF_TYPE, b"")
    assert not ExportTraceServiceResponse.FromString(answer.body).HasField("partial_success")


def test_json_is_answered_in_json_with_or_without_a_charset(collector: Addresses) -> None:
    for content_type in (JSON_TYPE, "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"):
        answer = post(collector, json_request(), content_type)
        assert (answer.status, answer.headers["content-type"], answer.json()) == (200, JSON_TYPE, {})


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "identity"])
def test_the_content_encodings_that_servers_must_know(collector: Addresses, encoding: str) -> None:
    body = trace_request(2, 10).SerializeToString()
    before = bodies(collector)
    answer = post(collector, gzip.compress(body) if encoding.lower() == "gzip" else body, content_encoding=encoding)
    assert (answer.status, answer.body) == (200, b"")
    assert bodies(collector) == before + 1


def test_a_chunked_body_is_taken(collector: Addresses) -> None:
    body = trace_request(3, 200).SerializeToString()
    pieces = (body[start : start + 1000] for start in range(0, len(body), 1000))
    before = bodies(collector)
    answer = send(collector, "POST", "/v1/traces", pieces, {"content-type": PROTOBUF_TYPE}, encode_chunked=True)
    assert answer.status == 200
    assert bodies(collector) == before + 1


def test_two_requests_that_are_sent_at_once_on_one_connection_are_both_answered(collector: Addresses) -> None:
    body = trace_request(4, 1).SerializeToString()
    head = (
        f"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: {PROTOBUF_TYPE}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((collector.host, collector.otlp_http_port), timeout=10) as client:
        client.sendall((head.encode() + body) * 2)
        received = b""
        while received.count(b"HTTP/1.1 200 OK") < 2:
            part = client.recv(65_536)
            assert part, received
            received += part


@pytest.mark.parametrize("body", [b"", b"\x0a\x00", b"\x0a\x02\x12\x00"])
def test_an_empty_request_is_a_success_and_is_not_kept(collector: Addresses, body: bytes) -> None:
    before = bodies(collector)
    assert (post(collector, body).status, post(collector, b"{}", JSON_TYPE).json()) == (200, {})
    assert bodies(collector) == before


def test_spans_with_invalid_ids_are_rejected_by_number_and_kept_for_the_dead_letters(collector: Addresses) -> None:
    sent = request(span(5, 1), span(5, 2), span(5, 3))
    sent.resource_spans[0].scope_spans[0].spans[1].span_id = b"short"
    sent.resource_spans[0].scope_spans[0].spans[2].trace_id = bytes(16)
    before = bodies(collector)
    answer = post(collector, sent.SerializeToString())
    assert answer.status == 200
    partial = ExportTraceServiceResponse.FromString(answer.body).partial_success
    assert partial.rejected_spans == 2
    assert "id" in partial.error_message
    assert bodies(collector) == before + 1


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"this is no protobuf", PROTOBUF_TYPE),
        (trace_request(6, 3).SerializeToString()[:-5], PROTOBUF_TYPE),
        (b"{not json", JSON_TYPE),
        (b"", JSON_TYPE),
        (b"[1, 2]", JSON_TYPE),
        (b'{"resourceSpans": 5}', JSON_TYPE),
    ],
)
def test_a_body_that_is_no_request_is_400_with_a_bad_request_status(
    collector: Addresses, body: bytes, content_type: str
) -> None:
    before = bodies(collector)
    answer = post(collector, body, content_type)
    assert (answer.status, answer.headers["content-type"]) == (400, content_type)
    assert (status_of(answer).code, status_of(answer).message != "") == (3, True)
    if content_type == PROTOBUF_TYPE:
        detail = BadRequest()
        assert status_of(answer).details[0].Unpack(detail)
        assert detail.field_violations[0].field == "body"
    assert "retry-after" not in answer.headers
    assert bodies(collector) == before


@pytest.mark.parametrize(
    "body", [b"this is no gzip", gzip.compress(trace_request(7, 50).SerializeToString())[:-20], b""]
)
def test_a_body_that_is_not_the_gzip_it_claims_to_be_is_400(collector: Addresses, body: bytes) -> None:
    answer = post(collector, body, content_encoding="gzip")
    assert (answer.status, status_of(answer).code) == (400, 3)
    assert "gzip" in status_of(answer).message


@pytest.mark.parametrize("content_type", ["text/plain", "", "application/x-protobuf-but-not-quite"])
def test_another_content_type_is_415(collector: Addresses, content_type: str) -> None:
    answer = post(collector, b"x", content_type)
    assert (answer.status, answer.headers["content-type"]) == (415, JSON_TYPE)
    assert status_of(answer).message == (
        f'the content-type is "{content_type}"; send application/x-protobuf or application/json'
    )
    assert answer.headers["accept"] == "application/x-protobuf, application/json"


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("deflate", zlib.compress),
        ("zlib", zlib.compress),
        ("zstd", zstandard.compress),
        ("snappy", lambda body: bytes(cramjam.snappy.compress_raw(body))),
        ("snappy", lambda body: bytes(cramjam.snappy.compress(body))),
        ("x-snappy-framed", lambda body: bytes(cramjam.snappy.compress(body))),
        ("lz4", lz4.frame.compress),
    ],
    ids=["deflate", "zlib", "zstd", "snappy-block", "snappy-framed", "x-snappy-framed", "lz4"],
)
def test_what_a_collector_can_be_set_to_send_is_taken_and_bounded(
    collector: Addresses, encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    before = bodies(collector)
    # One that is inflated at once, and one that goes to a thread.
    for body in (trace_request(2, 10).SerializeToString(), request(span(2, 1, payload="x" * MIB)).SerializeToString()):
        answer = post(collector, compress(body), content_encoding=encoding)
        assert (answer.status, answer.body) == (200, b"")
    assert bodies(collector) == before + 2
    answer = post(collector, compress(bytes(100 * MIB)), content_encoding=encoding)
    assert (answer.status, status_of(answer).code) == (413, 8)
    answer = post(collector, compress(body)[:-8], content_encoding=encoding)
    assert (answer.status, status_of(answer).code) == (400, 3)
    assert metric(collector, "spantree_collector_in_flight_bytes") == 0


def test_another_content_encoding_is_415_and_says_which_are_known(collector: Addresses) -> None:
    answer = post(collector, b"x", content_encoding="br")
    known = "gzip, deflate, zlib, zstd, snappy, x-snappy-framed, lz4, identity"
    assert (answer.status, answer.headers["accept-encoding"]) == (415, known)
    assert status_of(answer).message == f'the content-encoding is "br"; send one of {known}'


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
def test_another_method_is_405(collector: Addresses, method: str) -> None:
    answer = send(collector, method, "/v1/traces")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert answer.json()["message"] == f"/v1/traces takes POST, not {method}"


@pytest.mark.parametrize("path", ["/v1/metrics", "/v1development/profiles", "/v1/trace", "/"])
def test_another_signal_or_path_is_404_in_the_encoding_of_the_request(collector: Addresses, path: str) -> None:
    answer = send(collector, "POST", path, b"", {"content-type": PROTOBUF_TYPE})
    assert (answer.status, answer.headers["content-type"]) == (404, PROTOBUF_TYPE)
    assert (status_of(answer).code, "/v1/traces" in status_of(answer).message) == (12, True)


def test_a_declared_length_beyond_the_limit_is_413_before_the_body(collector: Addresses) -> None:
    with socket.create_connection((collector.host, collector.otlp_http_port), timeout=10) as client:
        client.sendall(
            f"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: {PROTOBUF_TYPE}\r\n"
            f"content-length: {3 * MIB}\r\n\r\n".encode()
        )
        assert client.recv(65_536).startswith(b"HTTP/1.1 413 ")


def test_a_body_beyond_the_limit_is_413_and_the_connection_goes_on(collector: Addresses) -> None:
    connection = http.client.HTTPConnection(collector.host, collector.otlp_http_port, timeout=30)
    try:
        for _ in range(2):
            connection.request("POST", "/v1/traces", bytes(3 * MIB), {"content-type": PROTOBUF_TYPE})
            answer = read_answer(connection)
            assert (answer.status, status_of(answer).code) == (413, 8)
            assert status_of(answer).message == (
                "the request body is larger than 2097152 bytes; send smaller batches, or raise SPANTREE_MAX_BODY_BYTES"
            )
            assert "retry-after" not in answer.headers
        connection.request("POST", "/v1/traces", json_request(), {"content-type": JSON_TYPE})
        assert read_answer(connection).status == 200
    finally:
        connection.close()


def test_a_chunked_body_beyond_the_limit_is_413(collector: Addresses) -> None:
    pieces = (bytes(100_000) for _ in range(30))
    answer = send(collector, "POST", "/v1/traces", pieces, {"content-type": PROTOBUF_TYPE}, encode_chunked=True)
    assert answer.status == 413


def test_a_gzip_bomb_is_413_and_leaves_no_bytes_in_flight(collector: Addresses) -> None:
    answer = post(collector, gzip.compress(bytes(100 * MIB)), content_encoding="gzip")
    assert (answer.status, status_of(answer).code) == (413, 8)
    assert metric(collector, "spantree_collector_in_flight_bytes") == 0


def test_the_largest_body_is_taken_as_it_is_and_inflated(collector: Addresses) -> None:
    body = request(span(8, 1, payload="x" * (2 * MIB - 200))).SerializeToString()
    assert 2 * MIB - 200 < len(body) <= 2 * MIB
    assert post(collector, body).status == 200
    assert post(collector, gzip.compress(body), content_encoding="gzip").status == 200


def test_what_is_no_http_is_400_with_a_status(collector: Addresses) -> None:
    with socket.create_connection((collector.host, collector.otlp_http_port), timeout=10) as client:
        client.sendall(b"\x16\x03\x01 this is TLS\r\n\r\n")
        head, _, body = client.makefile("rb").read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["code"] == 3


def test_every_refusal_is_counted_by_its_reason(collector: Addresses) -> None:
    def refused(reason: str) -> float:
        return metric(collector, f'spantree_collector_requests_refused_total{{reason="{reason}",transport="http"}}')

    reasons = ("malformed", "unsupported_type", "method", "no_such_path", "too_large")
    before = {reason: refused(reason) for reason in reasons}
    post(collector, b"no protobuf")
    post(collector, b"", "text/plain")
    send(collector, "GET", "/v1/traces")
    send(collector, "POST", "/v1/metrics")
    post(collector, bytes(3 * MIB))
    assert {reason: refused(reason) - before[reason] for reason in reasons} == dict.fromkeys(reasons, 1.0)


def test_accepted_spans_and_bytes_are_counted(collector: Addresses) -> None:
    names = [
        f'spantree_collector_{name}_total{{transport="http"}}'
        for name in ("requests_accepted", "received_spans", "received_bytes")
    ]
    before = [metric(collector, name) for name in names]
    body = trace_request(9, 7).SerializeToString()
    post(collector, body)
    assert [metric(collector, name) - was for name, was in zip(names, before, strict=True)] == [1, 7, len(body)]


def test_live_and_ready_while_postgresql_is_away(collector: Addresses) -> None:
    assert send(collector, "GET", "/healthz").json() == {"status": "alive"}
    assert send(collector, "HEAD", "/healthz").body == b""
    assert send(collector, "POST", "/healthz").headers["allow"] == "GET, HEAD"
    wait_until(lambda: readiness(collector)["store"]["state"] == "unavailable", 20, "the pump has met the database")
    answer = send(collector, "GET", "/readyz")
    assert answer.status == 200
    told = answer.json()
    assert (told["status"], told["projector"]["state"] in ("unavailable", "starting")) == ("ready", True)
    assert set(told["spool"]) == {"bodies", "bytes", "max_bytes", "oldest_age_s"}


def test_a_full_spool_is_503_with_a_retry_hint_and_not_ready(tmp_path: Path) -> None:
    with running(settings(tmp_path, spool_max_bytes=10_000)) as addresses:
        assert post(addresses, request(span(1, 1, payload="x" * 6_000)).SerializeToString()).status == 200
        answer = post(addresses, request(span(1, 2, payload="x" * 6_000)).SerializeToString())
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert status_of(answer).code == 14
        assert "SPANTREE_SPOOL_MAX_BYTES sets the limit" in status_of(answer).message
        assert bodies(addresses) == 1
        # What still fits is taken.
        assert post(addresses, json_request(), JSON_TYPE).status == 200


def test_a_slow_body_is_cut_where_others_need_its_room(tmp_path: Path) -> None:
    with running(settings(tmp_path, writers=0, max_body_bytes=MIB, max_in_flight_bytes=MIB)) as addresses:
        head = f"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: {PROTOBUF_TYPE}\r\n".encode()
        with socket.create_connection((addresses.host, addresses.otlp_http_port), timeout=20) as slow:
            slow.sendall(head + b"content-length: %d\r\n\r\n" % MIB + bytes(MIB - 1000))
            wait_until(
                lambda: metric(addresses, "spantree_collector_in_flight_bytes") == MIB - 1000, 10, "it is in memory"
            )
            wait_until(
                lambda: post(addresses, trace_request(1, 20).SerializeToString()).status == 200,
                10,
                "another request is taken",
            )
            assert slow.recv(65_536).startswith(b"HTTP/1.1 503 ")


def test_too_many_bytes_in_flight_are_503_and_room_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spantree_collector.receive.intake._SLOW_S", 60.0)
    with running(settings(tmp_path, max_body_bytes=MIB, max_in_flight_bytes=MIB)) as addresses:
        body = request(span(1, 1, payload="x" * (MIB - 500))).SerializeToString()
        head = f"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: {PROTOBUF_TYPE}\r\n".encode()
        with socket.create_connection((addresses.host, addresses.otlp_http_port), timeout=10) as slow:
            slow.sendall(head + b"content-length: %d\r\n\r\n" % len(body) + body[:-10])
            wait_until(
                lambda: metric(addresses, "spantree_collector_in_flight_bytes") > MIB - 1000,
                10,
                "the body is in memory",
            )
            answer = post(addresses, trace_request(1, 20).SerializeToString())
            assert (answer.status, answer.headers["retry-after"], status_of(answer).code) == (503, "1", 14)
            slow.sendall(body[-10:])
            assert slow.recv(65_536).startswith(b"HTTP/1.1 200 ")
        assert post(addresses, trace_request(1, 20).SerializeToString()).status == 200


def test_slow_headers_bodies_and_idle_connections_are_cut(tmp_path: Path) -> None:
    config = settings(tmp_path, header_deadline_s=0.3, body_deadline_s=0.3, idle_timeout_s=1.0)
    with running(config) as addresses:
        where = (addresses.host, addresses.otlp_http_port)

        def reply(sent: bytes) -> bytes:
            with socket.create_connection(where, timeout=10) as client:
                client.sendall(sent)
                return _rest_of(client)

        assert reply(b"") == b""
        assert reply(b"POST /v1/traces HTTP/1.1\r\nhost: x\r\n") == b""
        head = b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n"
        answer = reply(head + b"{")
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"the body was not complete after 0.3 s, 1 bytes had come" in answer
        # Idle after an answer: closed in order.
        assert reply(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").endswith(b'{"status":"alive"}')
        assert metric(addresses, 'spantree_collector_connections_refused_total{reason="headers"}') == 2
        assert (
            metric(addresses, 'spantree_collector_requests_refused_total{reason="body_timeout",transport="http"}') == 1
        )


def _rest_of(client: socket.socket) -> bytes:
    """What still comes until the connection is closed or cut."""
    received = b""
    try:
        while part := client.recv(65_536):
            received += part
    except ConnectionResetError:
        pass
    return received


def test_the_rest_of_a_refused_body_is_not_awaited_for_ever(tmp_path: Path) -> None:
    with running(settings(tmp_path, max_body_bytes=1000, body_deadline_s=0.3)) as addresses:
        with socket.create_connection((addresses.host, addresses.otlp_http_port), timeout=10) as client:
            client.sendall(
                b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n"
            )
            assert _rest_of(client).startswith(b"HTTP/1.1 413 ")
        assert metric(addresses, 'spantree_collector_connections_refused_total{reason="rest_of_body"}') == 1


def test_connections_beyond_the_limit_are_closed_and_the_others_go_on(tmp_path: Path) -> None:
    with running(settings(tmp_path, max_connections=3)) as addresses:
        where = (addresses.host, addresses.otlp_http_port)
        held = [http.client.HTTPConnection(*where, timeout=10) for _ in range(3)]
        try:
            for connection in held:
                connection.request("GET", "/healthz")
                assert read_answer(connection).status == 200
            # They were busy a moment ago.
            with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected, BrokenPipeError)):
                send(addresses, "GET", "/healthz")
            held[0].request("GET", "/healthz")
            assert read_answer(held[0]).status == 200
        finally:
            for connection in held:
                connection.close()
        wait_until(lambda: _is_taken(addresses), 10, "a connection is taken again")


def _is_taken(addresses: Addresses) -> bool:
    try:
        return send(addresses, "GET", "/healthz").status == 200
    except (ConnectionResetError, http.client.RemoteDisconnected, BrokenPipeError):
        return False


def test_a_client_that_goes_away_within_its_body_leaves_nothing(tmp_path: Path) -> None:
    with running(settings(tmp_path)) as addresses:
        with socket.create_connection((addresses.host, addresses.otlp_http_port), timeout=10) as client:
            client.sendall(
                b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"
            )
            wait_until(lambda: metric(addresses, "spantree_collector_in_flight_bytes") == 1, 10, "the byte has come")
        wait_until(
            lambda: metric(addresses, 'spantree_collector_requests_disconnected_total{transport="http"}') == 1,
            10,
            "the disconnection is counted",
        )
        assert metric(addresses, "spantree_collector_in_flight_bytes") == 0
        assert bodies(addresses) == 0
