"""OTLP over TLS: real exporters, certificates that change, clients that have to show one, handshakes never finished."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from tests.certificates import Authority
from tests.collectors import running, settings
from tests.waiting import wait_until

from spantree_collector.app import Addresses
from spantree_collector.config import CollectorConfig
from spantree_exporter.errors import ConfigError
from spantree_exporter.tls import certificate, listener
from spantree_exporter.tls.certificate import TlsFiles


@pytest.fixture(autouse=True)
def _no_other_authorities(monkeypatch: pytest.MonkeyPatch) -> None:
    # requests prefers what they name to what the exporter was given (https://github.com/psf/requests/issues/3829).
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.made(tmp_path)


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> TlsFiles:
    return authority.issue(tmp_path)


def _config(tmp_path: Path, files: TlsFiles, **changes: Any) -> CollectorConfig:
    return settings(tmp_path / "data", writers=0, tls_certificate=files.certificate, tls_key=files.key, **changes)


def _spans() -> list[ReadableSpan]:
    kept: list[ReadableSpan] = []

    class Keeping(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            kept.extend(spans)
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(Keeping()))
    with provider.get_tracer("t").start_as_current_span("a"):
        pass
    return kept


def _sent_over_http(addresses: Addresses, authority: Authority, client: TlsFiles | None = None) -> bool:
    exporter = HttpExporter(
        endpoint=f"{addresses.http_url}/v1/traces",
        certificate_file=str(authority.pem),
        client_certificate_file=None if client is None else str(client.certificate),
        client_key_file=None if client is None else str(client.key),
        timeout=20,
    )
    try:
        return exporter.export(_spans()) is SpanExportResult.SUCCESS
    finally:
        exporter.shutdown()  # type: ignore[no-untyped-call]


def _sent_over_grpc(addresses: Addresses, authority: Authority, client: TlsFiles | None = None) -> bool:
    credentials = grpc.ssl_channel_credentials(
        authority.pem.read_bytes(),
        None if client is None else client.key.read_bytes(),
        None if client is None else client.certificate.read_bytes(),
    )
    exporter = GrpcExporter(
        endpoint=f"https://127.0.0.1:{addresses.otlp_grpc_port}", credentials=credentials, timeout=4
    )
    try:
        return exporter.export(_spans()) is SpanExportResult.SUCCESS
    finally:
        exporter.shutdown()


def _asked(addresses: Addresses, authority: Authority, path: str) -> str:
    connection = http.client.HTTPSConnection(
        addresses.host, addresses.otlp_http_port, timeout=30, context=authority.client_context()
    )
    with contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().read().decode()


@contextlib.contextmanager
def _shaken(port: int, authority: Authority, client: TlsFiles | None = None) -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
        authority.client_context(client).wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        yield secure


def _serial(port: int, authority: Authority) -> str:
    with _shaken(port, authority) as secure:
        shown = secure.getpeercert()
        assert shown is not None
        return str(shown["serialNumber"])


def test_exporters_send_over_https_and_grpcs(tmp_path: Path, authority: Authority, files: TlsFiles) -> None:
    stranger = Authority.made(tmp_path, "stranger")
    with running(_config(tmp_path, files)) as addresses:
        assert addresses.http_url.startswith("https://")
        assert _sent_over_http(addresses, authority)
        assert _sent_over_grpc(addresses, authority)
        # Nobody is taken for the server who is not: a client that trusts another authority sends nothing.
        with pytest.raises(ssl.SSLCertVerificationError), _shaken(addresses.otlp_http_port, stranger):
            pass
        assert 'accepted_total{transport="http"} 1.0' in _asked(addresses, authority, "/metrics")
        assert 'accepted_total{transport="grpc"} 1.0' in _asked(addresses, authority, "/metrics")


def test_what_is_older_than_tls_1_2_or_no_tls_is_refused(tmp_path: Path, authority: Authority, files: TlsFiles) -> None:
    with running(_config(tmp_path, files)) as addresses:
        for port, alpn in ((addresses.otlp_http_port, "http/1.1"), (addresses.otlp_grpc_port, "h2")):
            context = authority.client_context(alpn=alpn)
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                context.minimum_version = context.maximum_version = version
                with (
                    socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
                    context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
                ):
                    assert (secure.version(), secure.selected_alpn_protocol()) == (version.name.replace("_", "."), alpn)
            old = authority.client_context()
            with pytest.warns(DeprecationWarning):
                old.minimum_version = ssl.TLSVersion.TLSv1
                old.maximum_version = ssl.TLSVersion.TLSv1_1
            old.set_ciphers("ALL:@SECLEVEL=0")
            with (
                socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
                pytest.raises(OSError),
                old.wrap_socket(plain, server_hostname="127.0.0.1"),
            ):
                pass
            with socket.create_connection(("127.0.0.1", port), timeout=30) as plain:
                plain.sendall(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
                assert b"200" not in plain.recv(1000)
        assert 'connections_refused_total{reason="tls_handshake"} 4.0' in _asked(addresses, authority, "/metrics")


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_a_client_has_to_show_a_certificate_where_one_is_wanted(
    tmp_path: Path, authority: Authority, files: TlsFiles, transport: str
) -> None:
    of_clients = Authority.made(tmp_path, "clients")
    known = of_clients.issue(tmp_path, "known-client", "client.example")
    unknown = authority.issue(tmp_path, "unknown-client", "client.example")
    old = of_clients.issue(tmp_path, "old-client", "client.example", days=-1)
    send = _sent_over_http if transport == "http" else _sent_over_grpc
    with running(_config(tmp_path, files, tls_client_ca=of_clients.pem)) as addresses:
        assert send(addresses, authority, known)
        for client in (None, unknown, old):
            with pytest.raises((OSError, AssertionError)), _shaken(addresses.otlp_http_port, authority, client) as one:
                # In TLS 1.3 the client hears of it when it reads.
                one.sendall(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
                assert one.recv(1000)
        if transport == "grpc":
            assert not send(addresses, authority, unknown)


def test_a_new_certificate_is_taken_while_connections_go_on(
    tmp_path: Path, authority: Authority, files: TlsFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificate, "INTERVAL_S", 0.02)
    with running(_config(tmp_path, files)) as addresses:
        before = _serial(addresses.otlp_http_port, authority)
        assert _serial(addresses.otlp_grpc_port, authority) == before
        kept = http.client.HTTPSConnection(
            "127.0.0.1", addresses.otlp_http_port, timeout=30, context=authority.client_context()
        )
        with contextlib.closing(kept):
            kept.request("GET", "/healthz")
            assert kept.getresponse().read() == b'{"status":"alive"}'
            held = kept.sock
            authority.issue(tmp_path, days=90, key=trustme.KeyType.RSA)
            wait_until(lambda: _serial(addresses.otlp_http_port, authority) != before, 20, "the new one is shown")
            assert _serial(addresses.otlp_grpc_port, authority) == _serial(addresses.otlp_http_port, authority)
            kept.request("GET", "/readyz")
            told = json.loads(kept.getresponse().read())["tls"]
            assert kept.sock is held, "the connection was made anew"
        assert (89 < told["days_left"] <= 90, told["problem"]) == (True, None)
        assert _sent_over_http(addresses, authority) and _sent_over_grpc(addresses, authority)


def test_files_that_cannot_be_used_leave_the_certificate_that_is(
    tmp_path: Path, authority: Authority, files: TlsFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificate, "INTERVAL_S", 0.02)
    good = files.certificate.read_bytes(), files.key.read_bytes()

    def told(addresses: Addresses) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(_asked(addresses, authority, "/readyz"))["tls"]
        return found

    with running(_config(tmp_path, files)) as addresses:
        before = _serial(addresses.otlp_http_port, authority)
        assert told(addresses)["problem"] is None

        def broken(what: str, expected: str) -> None:
            wait_until(lambda: expected in (told(addresses)["problem"] or ""), 20, f"{what} is told")
            assert _serial(addresses.otlp_http_port, authority) == before, what
            metrics = _asked(addresses, authority, "/metrics")
            assert "spantree_collector_certificate_ok 0.0" in metrics
            files.certificate.write_bytes(good[0])
            files.key.write_bytes(good[1])
            wait_until(lambda: told(addresses)["problem"] is None, 20, "it is well again")

        files.certificate.write_bytes(good[0][:300])
        broken("a half-written certificate", "holds no certificate that can be read")
        files.key.write_bytes(good[1][: len(good[1]) // 2])
        broken("a half-written key", "cannot be used")
        files.certificate.unlink()
        broken("no certificate", "cannot be read")
        other = authority.issue(tmp_path, "other")
        files.key.write_bytes(other.key.read_bytes())
        broken("another's key", "of that certificate")
        authority.issue(tmp_path, days=-1)
        broken("one that is out of date", "is out of date since")


def test_it_does_not_start_with_files_that_cannot_be_used(tmp_path: Path, files: TlsFiles) -> None:
    files.key.write_bytes(b"")
    with (
        pytest.raises(ConfigError, match=r"the key in .* cannot be used .*: wanted PEM"),
        running(_config(tmp_path, files)),
    ):
        pass
    with pytest.raises(ConfigError, match="SPANTREE_TLS_KEY is set, and SPANTREE_TLS_CERTIFICATE is not; give both"):
        settings(tmp_path, tls_key=files.key)


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_handshakes_that_are_never_finished_starve_nobody(
    tmp_path: Path, authority: Authority, files: TlsFiles, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "HANDSHAKES_MAX", 20)
    hello = _client_hello(authority)
    with contextlib.ExitStack() as stack, running(_config(tmp_path, files)) as addresses:
        port = addresses.otlp_http_port if transport == "http" else addresses.otlp_grpc_port
        silent: list[socket.socket] = []
        for number in range(120):
            hostile = stack.enter_context(socket.socket())
            hostile.bind(("127.0.0.3", 0))
            hostile.connect(("127.0.0.1", port))
            if number % 3:
                hostile.sendall(hello[: number % len(hello)])
            silent.append(hostile)
            if number % 40 == 39:
                send = _sent_over_http if transport == "http" else _sent_over_grpc
                assert send(addresses, authority)
        metrics = _asked(addresses, authority, "/metrics")
        assert 'connections_refused_total{reason="tls_made_room"} 1' in metrics, "a hundred made room"

        wait_until(lambda: sum(map(_is_cut, silent)) >= 100, 20, "all but twenty are cut")


def test_a_handshake_has_to_be_finished_in_time(
    tmp_path: Path, authority: Authority, files: TlsFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "HANDSHAKE_S", 0.3)
    with running(_config(tmp_path, files)) as addresses:
        for port in (addresses.otlp_http_port, addresses.otlp_grpc_port):
            with socket.create_connection(("127.0.0.1", port), timeout=30) as silent:
                silent.sendall(_client_hello(authority)[:50])
                assert silent.recv(100) == b""
        assert 'connections_refused_total{reason="tls_handshake"} 2.0' in _asked(addresses, authority, "/metrics")


def _client_hello(authority: Authority) -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    secure = authority.client_context().wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with contextlib.suppress(ssl.SSLWantReadError):
        secure.do_handshake()
    return outgoing.read()


def _is_cut(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1000) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
