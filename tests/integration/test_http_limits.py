"""What clients cannot make the two HTTP servers do: wait, or hold memory, without end."""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import logging
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.collectors import AWAY_URL, metric, post, running, settings
from tests.otlp_requests import trace_request
from tests.waiting import wait_until

from spantree_api.config import ApiConfig
from spantree_collector.app import Addresses
from spantree_collector.receive import file_limit
from spantree_collector.receive.file_limit import connections_within
from spantree_deploy.api_server import serve_api
from spantree_deploy.background import Background
from spantree_deploy.ports import listen

MIB = 2**20
HEAD = b"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Addresses]:
    with running(settings(tmp_path, writers=0)) as addresses:
        yield addresses


@contextlib.contextmanager
def api(host: str = "127.0.0.1", allowed_hosts: tuple[str, ...] = ()) -> Iterator[int]:
    """The API as it is served, without a database; its port."""
    with contextlib.closing(listen(host, 0, "api_port")) as listener:
        config = ApiConfig(host=host, database_url=AWAY_URL, insecure=True, jaeger_port=0)
        server = Background[str]("api under test", partial(serve_api, config, listener, allowed_hosts=allowed_hosts))
        server.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.stop()


@contextlib.contextmanager
def connected(port: int, count: int = 1) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20)) for _ in range(count)]


def reply(port: int, sent: bytes) -> bytes:
    """Everything that comes back until the connection ends."""
    received = b""
    with connected(port) as (client,), contextlib.suppress(ConnectionResetError, BrokenPipeError):
        client.sendall(sent)
        while part := client.recv(65_536):
            received += part
    return received


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What spantree says; psycopg's pool tells that there is no database."""
    return [record.getMessage() for record in caplog.records if record.name.startswith("spantree")]


def get(port: int, path: str, host: str | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path, headers={} if host is None else {"host": host})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize("endless", [b"GET /" + b"a" * MIB, HEAD + b"x: " + b"a" * MIB, HEAD + b"a: b\r\n" * 200_000])
def test_headers_without_an_end_are_refused(collector: Addresses, endless: bytes) -> None:
    with api() as api_port:
        for port, key in ((collector.otlp_http_port, "message"), (api_port, "error")):
            head, _, body = reply(port, endless).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 431 "), (port, head)
            assert key in json.loads(body)
    assert post(collector, trace_request(1, 3).SerializeToString()).status == 200


def test_a_body_is_not_outweighed_by_what_frames_it(collector: Addresses) -> None:
    chunked = HEAD + b"transfer-encoding: chunked\r\n\r\n"
    assert reply(collector.otlp_http_port, chunked + b"1;%s\r\n{\r\n" % (b"x" * 2000) * 1000) == b""
    assert reply(collector.otlp_http_port, chunked + b"1\r\n{\r\n0\r\n" + b"a: b\r\n" * 200_000) == b""
    assert metric(collector, 'spantree_collector_connections_refused_total{reason="framing"}') == 2


def test_connections_that_say_nothing_make_room_for_those_that_do(tmp_path: Path) -> None:
    with (
        running(settings(tmp_path, writers=0, max_connections=20)) as addresses,
        connected(addresses.otlp_http_port, 30) as silent,
    ):
        wait_until(lambda: _answers(addresses), 5, "another client is answered")
        for number in range(1, 40):
            assert post(addresses, trace_request(number, 3).SerializeToString()).status == 200
        assert len(silent) == 30


def _is_healthy(port: int) -> bool:
    try:
        return get(port, "/healthz")[0] == 200
    except (ConnectionError, http.client.HTTPException):
        return False


def _answers(addresses: Addresses) -> bool:
    try:
        return post(addresses, trace_request(1, 3).SerializeToString()).status == 200
    except (ConnectionError, http.client.HTTPException):
        return False


def test_the_api_answers_beside_idle_connections_beyond_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spantree_collector.receive.bounded_http._IDLE_S", 0.0)
    with api() as port, connected(port, 620):
        for _ in range(5):
            assert get(port, "/healthz")[0] == 200


def test_half_sent_bodies_of_one_address_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spantree_deploy.api_server.connections_within", lambda *_: 20)
    monkeypatch.setattr("spantree_collector.receive.bounded_http._HALF_SENT_S", 0.2)
    half_sent = b"POST /login HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\na"
    with api() as port, connected(port, 20) as clients:
        for client in clients:
            client.sendall(half_sent)
        wait_until(lambda: _is_healthy(port), 10, "one of them made room")
        for _ in range(5):
            assert get(port, "/healthz")[0] == 200


def test_answers_that_nobody_reads_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spantree_collector.receive.bounded_http._UNREAD_DEADLINE_S", 0.3)
    with api() as port, connected(port) as (client,):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        request = b"GET /api/v1/openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n"
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            for _ in range(3000):
                client.sendall(request)
                time.sleep(0.002)
        assert get(port, "/healthz")[0] == 200


def test_requests_that_are_none_are_no_flood_of_lines(
    collector: Addresses, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = b"\x16\x03\x01 hello\r\n\r\n"
    monkeypatch.setattr("spantree_collector.receive.bounded_http._ONCE_A_MINUTE._told_s", {})
    with api() as port:
        for one in (port, collector.otlp_http_port):
            for _ in range(10):
                with connected(one) as (client,):
                    client.sendall(sent)
                    assert client.recv(65_536).startswith(b"HTTP/1.1 ")
    lines = [record.getMessage() for record in caplog.records if record.name == "uvicorn.error"]
    assert len(lines) == len(set(lines)) >= 1


@pytest.mark.parametrize("offer", ["h2c", "websocket"])
def test_a_request_that_offers_another_protocol_is_answered_as_it_is(collector: Addresses, offer: str) -> None:
    head = b"host: localhost\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: %s\r\n" % offer.encode()
    body = trace_request(1, 3).SerializeToString()
    export = b"POST /v1/traces HTTP/1.1\r\n" + head + b"content-type: application/x-protobuf\r\n"
    whole = export + b"content-length: %d\r\n\r\n" % len(body) + body
    chunked = export + b"transfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    health = b"GET /healthz HTTP/1.1\r\n" + head + b"\r\n"
    with connected(collector.otlp_http_port) as (client,), client.makefile("rb") as answers:
        client.sendall(health + whole + chunked + health)
        for sent in (whole, chunked):
            # The body comes later than its head, and in pieces.
            client.sendall(sent[: len(sent) - len(body)])
            client.sendall(sent[len(sent) - len(body) : -9])
            client.sendall(sent[-9:])
        statuses = []
        for _ in range(6):
            statuses.append(answers.readline().split()[1])
            length = 0
            while (line := answers.readline().strip().lower()) != b"":
                length = int(line.removeprefix(b"content-length:")) if line.startswith(b"content-length:") else length
            answers.read(length)
    assert statuses == [b"200"] * 6
    assert metric(collector, 'spantree_collector_received_spans_total{transport="http"}') == 12


def test_a_client_that_sends_no_more_is_answered_what_came_whole(collector: Addresses) -> None:
    body = trace_request(1, 1).SerializeToString()
    head = HEAD.replace(b"json", b"x-protobuf") + b"content-length: %d\r\n\r\n" % len(body)
    for sent, wanted in ((head + body) * 3, [b"200"] * 3), (head + body[:-1], []), (b"", []):
        with connected(collector.otlp_http_port) as (client,):
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
            told = b"".join(iter(partial(client.recv, 65_536), b""))
        assert [line.split()[1] for line in told.split(b"\r\n") if b"HTTP/1.1 " in line] == wanted


@pytest.mark.parametrize("path", ["/login", "/login/tenant", "/api/v1/alerts/rules"])
def test_a_client_that_goes_away_in_the_midst_of_a_body_is_no_defect(
    caplog: pytest.LogCaptureFixture, path: str
) -> None:
    head = b"POST %s HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n" % path.encode()
    with api() as port:
        for _ in range(3):
            with connected(port) as (client,):
                client.sendall(head + b"content-length: 100\r\n\r\n{")
        # Of a body that is too large the rest is not read, either.
        chunk = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
        answer = reply(port, head + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n" + 3 * chunk)
        assert answer.startswith((b"HTTP/1.1 413 ", b"HTTP/1.1 503 ")), answer
        assert get(port, "/healthz")[0] == 200
    assert not [record for record in caplog.records if record.exc_info and record.levelno >= logging.ERROR]


def test_a_body_that_the_api_has_no_use_for_is_refused_by_its_size_and_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("spantree_deploy.api_server._BODY_DEADLINE_S", 0.3)
    with api() as port:
        head = b"POST /jaeger/api/transform HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        large = reply(port, head + b"content-length: 99999999\r\n\r\n" + b" " * (17 * MIB))
        assert large == b"" or b" 413 " in large or b" 404 " in large
        started_s = time.monotonic()
        reply(port, head + b"content-length: 100\r\n\r\n{")
        assert time.monotonic() - started_s < 15


def test_the_api_on_a_loopback_answers_to_its_own_names_only(caplog: pytest.LogCaptureFixture) -> None:
    with api(allowed_hosts=("traces.example",)) as port:
        for host in (None, f"localhost:{port}", "127.0.0.1", "[::1]:8000", "app.localhost:9", "traces.example"):
            assert get(port, "/healthz", host)[0] == 200, host
        for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8000", ""):
            status, body = get(port, "/healthz", host)
            assert (status, json.loads(body)["error"]["code"]) == (421, "misdirected"), host
    assert told(caplog) == []


def test_the_api_on_every_address_warns_where_that_is_wanted_and_answers_to_any_name(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING), api("0.0.0.0") as port:
        assert get(port, "/healthz", "traces.example")[0] == 200
    assert told(caplog) == ["the API listens on 0.0.0.0 and answers everybody who reaches it (SPANTREE_INSECURE)"]


def test_the_api_answers_without_room_for_temporary_files(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "TemporaryDirectory", full)
    with api() as port:
        assert get(port, "/healthz")[0] == 200
    assert told(caplog) == [
        "Jaeger cannot read from here: [Errno 28] No space left on device; choose another with "
        "SPANTREE_API_JAEGER_PORT, -1 for none"
    ]


def test_ports_have_files_apart() -> None:
    assert connections_within(10**6, 0.3) + connections_within(10**6, 0.2) < connections_within(10**6, 0.6)
    assert (connections_within(10, 0.3), connections_within(10**6, 0.0)) == (10, 1)


def test_few_files_are_told_by_what_they_leave(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_limit, "raise_file_limit", lambda: 1024)
    assert (connections_within(1_000, 0.3), caplog.records) == (230, [])
    monkeypatch.setattr(file_limit, "raise_file_limit", lambda: 300)
    assert connections_within(1_000, 0.3) == 13
    assert [record.getMessage() for record in caplog.records] == [
        "this process may have 300 files open, which leaves one of its ports 13 connections of at most 1000; let it "
        "have some thousand (ulimit -n, LimitNOFILE= of systemd)"
    ]
