"""`spantree jaeger`: what Jaeger and Grafana read, in a process of its own."""

from __future__ import annotations

import socket
from pathlib import Path

import grpc
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.factories import workflow
from tests.jaeger_storage import JaegerClient
from tests.spantree_process import spantree, started
from tests.waiting import free_port

from spantree_exporter.postgres.store import Store


def test_serves_jaeger_and_tempo_and_nothing_else(migrated_url: str, tmp_path: Path) -> None:
    store = Store(migrated_url)
    store.write(workflow())
    store.close()
    http, storage = free_port(), free_port()
    env = {"SPANTREE_DATABASE_URL": migrated_url, "SPANTREE_API_JAEGER_PORT": str(storage)}
    base = f"http://127.0.0.1:{http}"
    ready = "Jaeger's and Tempo's APIs answer on"
    with (
        started("jaeger", "--api-port", str(http), directory=tmp_path, env=env, ready=ready) as server,
        grpc.insecure_channel(f"127.0.0.1:{storage}") as channel,
        httpx.Client(base_url=base, trust_env=False, timeout=30) as client,
    ):
        assert JaegerClient(channel).services() == ["shop"]
        stub = health_pb2_grpc.HealthStub(channel)
        assert stub.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
        assert client.get("/jaeger/api/services").json()["data"] == ["shop"]
        assert len(client.get("/tempo/api/search", params={"q": "{}", "start": 1, "end": 2**31}).json()["traces"]) == 1
        answers = ("/readyz", "/metrics", "/", "/api/v1/executions")
        assert [client.get(path).status_code for path in answers] == [200, 200, 404, 404]
        assert server.stop() == 0


def test_ends_where_jaeger_could_not_reach_it(migrated_url: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        env = {"SPANTREE_DATABASE_URL": migrated_url, "SPANTREE_API_JAEGER_PORT": str(port)}
        ended = spantree("jaeger", "--api-port", str(free_port()), directory=tmp_path, env=env)
    assert ended.returncode != 0
    assert f"SPANTREE_API_JAEGER_PORT {port} cannot be taken: name one that is free" in ended.stderr
    # gRPC itself says nothing beside it, as it does where it finds out.
    assert "Failed to add port" not in ended.stderr
    assert f"port {port} of 127.0.0.1 cannot be taken" in ended.stderr
