"""The API, its pages, Jaeger's port and the commands over TLS."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import grpc
import httpx
import pytest
import trustme
from tests.certificates import Authority
from tests.jaeger_storage import JaegerClient
from tests.waiting import free_port, wait_until

from spantree_api.config import ApiConfig
from spantree_deploy.api_server import serve_api
from spantree_deploy.background import Background
from spantree_deploy.client import NotAnswered, api_at
from spantree_deploy.doctor.checks import certificates
from spantree_deploy.settings import Settings
from spantree_exporter.tls import certificate
from spantree_exporter.tls.certificate import TlsFiles


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.made(tmp_path)


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> TlsFiles:
    return authority.issue(tmp_path)


class _Served:
    def __init__(self, url: str, jaeger_port: int) -> None:
        self.url = url
        self.jaeger_port = jaeger_port


@pytest.fixture
def served(migrated_url: str, files: TlsFiles, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Served]:
    monkeypatch.setattr(certificate, "INTERVAL_S", 0.02)
    yield from _serve(ApiConfig(database_url=migrated_url, tls_certificate=files.certificate, tls_key=files.key))


def _serve(config: ApiConfig) -> Iterator[_Served]:
    config = replace(config, port=0, jaeger_port=free_port())
    listener = socket.create_server(("127.0.0.1", 0))
    server = Background[str]("API under test", partial(serve_api, config, listener))
    url = server.start()
    try:
        yield _Served(url, config.jaeger_port)
    finally:
        server.stop()
        assert server.error is None
        assert not [one for one in threading.enumerate() if one.name == "spantree-tls"]


def test_pages_api_and_jaeger_are_reached_over_tls_and_tell_how_long_yet(
    served: _Served, authority: Authority, files: TlsFiles, tmp_path: Path
) -> None:
    assert served.url.startswith("https://127.0.0.1:")
    with httpx.Client(base_url=served.url, verify=authority.client_context(), timeout=30) as client:
        assert "<html" in client.get("/").text
        shown = client.post("/login", data={"token": "spt_no"})
        assert shown.status_code == 401
        health = client.get("/api/v1/health").json()
        assert health["tls"] == {"status": "ok", "message": "the certificate is good for 30 days"}
        assert 29 < health["certificate_days_left"] <= 30
        figures = client.get("/metrics").text
        assert "spantree_api_certificate_ok 1.0" in figures and "spantree_api_certificate_days_left 29." in figures

        # A new one is met by new connections, while this one goes on; what cannot be used is told and changes nothing.
        authority.issue(tmp_path, days=60, key=trustme.KeyType.RSA)
        wait_until(lambda: client.get("/api/v1/health").json()["certificate_days_left"] > 50, 20, "the new one is used")
        files.key.write_bytes(b"half")
        wait_until(lambda: client.get("/api/v1/health").json()["status"] == "degraded", 20, "it is told")
        assert "cannot be used" in client.get("/api/v1/health").json()["tls"]["message"]
    assert httpx.get(f"{served.url}/healthz", verify=authority.client_context(), timeout=30).status_code == 200
    with pytest.raises(httpx.TransportError):
        httpx.get(served.url.replace("https", "http"), timeout=30)

    trusted = grpc.ssl_channel_credentials(authority.pem.read_bytes())
    with grpc.secure_channel(f"127.0.0.1:{served.jaeger_port}", trusted) as channel:
        assert JaegerClient(channel).services() == []
    with grpc.insecure_channel(f"127.0.0.1:{served.jaeger_port}") as channel, pytest.raises(grpc.RpcError):
        JaegerClient(channel).services()


def test_clients_of_the_api_have_to_show_a_certificate_where_one_is_wanted(
    migrated_url: str, authority: Authority, files: TlsFiles, tmp_path: Path
) -> None:
    of_clients = Authority.made(tmp_path, "clients")
    known = of_clients.issue(tmp_path, "client", "jaeger.example")
    config = ApiConfig(
        database_url=migrated_url,
        tls_certificate=files.certificate,
        tls_key=files.key,
        tls_client_ca=of_clients.pem,
    )
    for served in _serve(config):
        answer = httpx.get(f"{served.url}/healthz", verify=authority.client_context(known), timeout=30)
        assert answer.status_code == 200
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{served.url}/healthz", verify=authority.client_context(), timeout=30)
        for client, may in ((known, True), (None, False)):
            credentials = grpc.ssl_channel_credentials(
                authority.pem.read_bytes(),
                None if client is None else client.key.read_bytes(),
                None if client is None else client.certificate.read_bytes(),
            )
            with grpc.secure_channel(f"127.0.0.1:{served.jaeger_port}", credentials) as channel:
                if may:
                    assert JaegerClient(channel).services() == []
                else:
                    with pytest.raises(grpc.RpcError):
                        JaegerClient(channel).services()
        settings = Settings(ca=authority.pem, client_certificate=known.certificate, client_key=known.key)
        with api_at(served.url, settings) as api:
            assert api.get("executions")["executions"] == []


def test_commands_trust_the_authority_that_they_are_told_and_their_own_server(
    served: _Served, authority: Authority, files: TlsFiles, tmp_path: Path
) -> None:
    with api_at(served.url, Settings(ca=authority.pem)) as api:
        assert api.get("executions")["executions"] == []
    untrusted = r"is not trusted: .*; name its authority with --ca"
    with api_at(served.url, Settings()) as api, pytest.raises(NotAnswered, match=untrusted):
        api.get("executions")
    with api_at(served.url, Settings(ca=Authority.made(tmp_path, "x").pem)) as api, pytest.raises(NotAnswered):
        api.get("executions")
    # On its own machine a server is known by its very certificate, whoever signed it and for whichever name.
    with api_at(served.url, Settings(tls_certificate=files.certificate, tls_key=files.key)) as api:
        assert api.get("executions")["executions"] == []
    another = authority.issue(tmp_path, "another")
    with api_at(served.url, Settings(tls_certificate=another.certificate)) as api, pytest.raises(NotAnswered):
        api.get("executions")


def test_doctor_tells_how_long_certificates_are_good(authority: Authority, tmp_path: Path) -> None:
    def told(files: TlsFiles) -> list[tuple[str, bool]]:
        settings = Settings(tls_certificate=files.certificate, tls_key=files.key)
        return [(one.found.replace(str(tmp_path), ""), one.remedy is not None) for one in certificates(settings)]

    assert told(authority.issue(tmp_path, "a", days=100)) == [("/a.crt is good for 100.0 days", False)]
    assert told(authority.issue(tmp_path, "b", days=3)) == [("/b.crt is good for 3.0 days", True)]
    ((old, is_wrong),) = told(authority.issue(tmp_path, "c", days=-3))
    assert (old.startswith("the certificate in /c.crt is out of date since"), is_wrong) == (True, True)
    ((wrong, is_wrong),) = told(replace(authority.issue(tmp_path, "d"), key=tmp_path / "a.key"))
    assert ("cannot be used" in wrong, is_wrong) == (True, True)
    assert list(certificates(Settings())) == []
