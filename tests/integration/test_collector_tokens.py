"""Sending with a token: over HTTP and gRPC, to the token's tenant and to no other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import httpx
import pytest
from tests.otlp_requests import request, span
from tests.tables import query
from tests.waiting import wait_until

from spantree_collector.app import Collector
from spantree_collector.config import CollectorConfig
from spantree_collector.receive.receiver_grpc import LOGS_SERVICE, TRACE_SERVICE
from spantree_collector.receive.receiver_http import SIGNALS, TRACES_PATH
from spantree_exporter.errors import ConfigError
from spantree_exporter.tokens import TokenBook


def _config(url: str, folder: Path, **settings: object) -> CollectorConfig:
    return CollectorConfig(
        database_url=url,
        data_dir=folder,
        otlp_http_port=0,
        otlp_grpc_port=0,
        writers=0,
        **settings,  # type: ignore[arg-type]
    )


def test_spans_go_to_the_tenant_of_their_token(migrated_url: str, tmp_path: Path) -> None:
    with TokenBook(migrated_url) as book:
        book.add_tenant("blue")
        book.add_tenant("green")
        blue = book.create_token("blue", "ingest")
        green = book.create_token("green", "admin")
        reading = book.create_token("blue", "read")
        expired = book.create_token("blue", "ingest", datetime.now(UTC) - timedelta(seconds=1))
        revoked = book.create_token("blue", "ingest")
        book.revoke_token(revoked[:12])
        operator = book.create_token("default", "read")
        default_ingest = book.create_token("default", "ingest")
    collector = Collector(_config(migrated_url, tmp_path))
    addresses = collector.start()
    body = request(span(1, 1, name="same"))
    try:
        with (
            httpx.Client(base_url=addresses.http_url, timeout=20) as http,
            grpc.insecure_channel(f"127.0.0.1:{addresses.otlp_grpc_port}") as channel,
        ):

            def send(path: str, token: str | None) -> int:
                headers = {"content-type": "application/x-protobuf"}
                headers |= {} if token is None else {"authorization": f"Bearer {token}"}
                content = body.SerializeToString() if path == TRACES_PATH else b""
                return http.post(path, content=content, headers=headers).status_code

            def call(service: str, token: str | None) -> str:
                metadata = [] if token is None else [("authorization", f"Bearer {token}")]
                sent = body.SerializeToString() if service == TRACE_SERVICE else b""
                try:
                    channel.unary_unary(f"/{service}/Export")(sent, timeout=20, metadata=metadata)
                except grpc.RpcError as error:
                    return str(error.code().name)
                return "OK"

            refused = (None, "spt_nobody", "x" * 5000, expired, revoked)
            assert {(path, send(path, token)) for path in SIGNALS for token in refused} == {
                (path, 401) for path in SIGNALS
            }
            assert {(path, token): send(path, token) for path in SIGNALS for token in (reading, blue)} == {
                (path, token): status for path in SIGNALS for token, status in ((reading, 403), (blue, 200))
            }
            services = (TRACE_SERVICE, LOGS_SERVICE)
            assert {call(service, token) for service in services for token in refused} == {"UNAUTHENTICATED"}
            assert {call(service, reading) for service in services} == {"PERMISSION_DENIED"}
            assert {call(service, green) for service in services} == {"OK"}
            counted = "SELECT tenant_id, count(*) FROM spantree.execution GROUP BY 1 ORDER BY 1"
            wait_until(lambda: query(migrated_url, counted) == [(1, 1), (2, 1)], 30, "each has its own")

            def metrics(token: str | None) -> str:
                headers = {} if token is None else {"authorization": f"Bearer {token}"}
                return http.get("/metrics", headers=headers).text

            # Nobody but who runs it learns of the tenants; a stranger's token shows what none does.
            for token in (None, "spt_nobody", blue, green, reading, default_ingest):
                assert "spantree_collector_stored_spans_total" in metrics(token)
                assert "tenant" not in metrics(token)
                assert "blue" not in metrics(token)
            wait_until(lambda: 'projected_traces_total{tenant="green"} 1.0' in metrics(operator), 30, "all is counted")
            shown = metrics(operator)
            assert 'tenant_received_spans_total{tenant="blue"} 1.0' in shown
            assert 'tenant_stored_spans_total{tenant="green"} 1.0' in shown
            assert 'tenant_requests_refused_total{reason="forbidden",tenant="blue"} 4.0' in shown
            assert 'tenant_spool_bytes{tenant="blue"} 0.0' in shown
            with TokenBook(migrated_url) as book:
                book.rename_tenant("blue", "navy")
            wait_until(
                lambda: 'received_spans_total{tenant="navy"} 1.0' in metrics(operator), 30, "it has its new name"
            )
    finally:
        collector.stop()
    # Each cause, sender and port is a line, and the other tenant's are not its own to read.
    told = (
        "SELECT tenant_id, channel, actor_kind, status, times, details FROM spantree.own_audit"
        " WHERE object_type = 'ingest' ORDER BY 1, 2"
    )
    assert query(migrated_url, told) == [
        (0, "grpc", "nobody", 401, 10, {"reason": "unauthenticated"}),
        (0, "http", "nobody", 401, 10, {"reason": "unauthenticated"}),
        (1, "grpc", "token", 403, 2, {"reason": "forbidden"}),
        (1, "http", "token", 403, 2, {"reason": "forbidden"}),
    ]


def test_a_network_is_not_listened_to_without_a_token(migrated_url: str, tmp_path: Path) -> None:
    collector = Collector(_config(migrated_url, tmp_path, host="0.0.0.0"))
    with pytest.raises(ConfigError, match="spantree token create --scope ingest"):
        collector.start()
    open_to_all = Collector(_config(migrated_url, tmp_path, host="0.0.0.0", insecure=True))
    open_to_all.start()
    open_to_all.stop()


def test_a_restart_without_the_database_knows_the_tokens(migrated_url: str, tmp_path: Path) -> None:
    with TokenBook(migrated_url) as book:
        token = book.create_token("default", "ingest")
    first = Collector(_config(migrated_url, tmp_path))
    first.start()
    first.stop()
    second = Collector(_config("postgresql://127.0.0.1:1/away", tmp_path, drain_s=0))
    addresses = second.start()
    try:
        statuses = [
            httpx.post(f"{addresses.http_url}/v1/traces", json={}, headers=headers, timeout=20).status_code
            for headers in ({}, {"authorization": f"Bearer {token}"})
        ]
        assert statuses == [401, 200]
    finally:
        second.stop()
