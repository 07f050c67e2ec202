"""Collectors under test: in the test's process, listening on free ports of 127.0.0.1."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.waiting import wait_until

from spantree_collector.app import Addresses, Collector
from spantree_collector.config import CollectorConfig

# Nothing listens on port 1 of the loopback: a database that is away.
AWAY_URL = "postgresql://nobody@127.0.0.1:1/nowhere?connect_timeout=1"
PROTOBUF_TYPE = "application/x-protobuf"
JSON_TYPE = "application/json"


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, read whole; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def settings(data_dir: Path, database_url: str = AWAY_URL, **changes: Any) -> CollectorConfig:
    """Settings for a test: any free ports, a short drain."""
    config = CollectorConfig(
        database_url=database_url, data_dir=data_dir, otlp_http_port=0, otlp_grpc_port=0, drain_s=0.0
    )
    return replace(config, **changes)


@contextlib.contextmanager
def running(config: CollectorConfig) -> Iterator[Addresses]:
    """A collector that is stopped in order afterwards."""
    collector = Collector(config)
    addresses = collector.start()
    try:
        yield addresses
    finally:
        collector.stop()


def send(
    addresses: Addresses,
    method: str,
    path: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
    **how: Any,
) -> Answer:
    """One request over a connection of its own."""
    connection = http.client.HTTPConnection(addresses.host, addresses.otlp_http_port, timeout=30)
    try:
        connection.request(method, path, body=body, headers=dict(headers or {}), **how)
        return read_answer(connection)
    finally:
        connection.close()


def read_answer(connection: http.client.HTTPConnection) -> Answer:
    """The answer to the request that `connection` has sent."""
    response = connection.getresponse()
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())


def post(addresses: Addresses, body: bytes, content_type: str = PROTOBUF_TYPE, **headers: str) -> Answer:
    """POST /v1/traces; `content_encoding="gzip"` and the like become headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return send(addresses, "POST", "/v1/traces", body, {"content-type": content_type, **named})


def readiness(addresses: Addresses) -> Any:
    """What GET /readyz tells."""
    return send(addresses, "GET", "/readyz").json()


def wait_until_drained(addresses: Addresses, timeout_s: float = 60.0) -> None:
    """Wait until all that the collector has taken is in PostgreSQL."""
    wait_until(lambda: readiness(addresses)["spool"]["bodies"] == 0, timeout_s, "the spool was drained")


def metric(addresses: Addresses, sample: str) -> float:
    """The value of one sample of GET /metrics, as `name{label="value"}`; 0 where it is not there yet."""
    for line in send(addresses, "GET", "/metrics").body.decode().splitlines():
        name, _, value = line.rpartition(" ")
        if name == sample:
            return float(value)
    return 0.0
