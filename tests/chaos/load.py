"""A bounded load that remembers what was acknowledged, and the question whether PostgreSQL has all of it, once."""

from __future__ import annotations

import http.client
import itertools

import grpc
import psycopg
from tests.chaos.client_threads import ClientThreads
from tests.otlp_requests import trace_request

from spantree_collector.app import Addresses

SPANS_PER_REQUEST = 20
_TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class Load(ClientThreads):
    """Clients that send one new trace after the other, over HTTP and gRPC, and never send one again.

    Each waits for its answer and then `pause_s`, so that a test with a deadline is not drowned on a small machine.
    Traces are numbered from `first` on.
    """

    def __init__(
        self,
        addresses: Addresses,
        *,
        http_clients: int = 3,
        grpc_clients: int = 1,
        pause_s: float = 0.002,
        first: int = 1,
    ) -> None:
        self.addresses = addresses
        self.acknowledged: set[int] = set()
        self.unanswered: set[int] = set()
        self._pause_s = pause_s
        self._numbers = itertools.count(first)
        super().__init__([self._send_over_http] * http_clients + [self._send_over_grpc] * grpc_clients)

    def _next(self) -> tuple[int, bytes]:
        with self._lock:
            number = next(self._numbers)
        return number, trace_request(number, SPANS_PER_REQUEST, payload="x" * 200).SerializeToString()

    def _note(self, number: int, acknowledged: bool) -> None:
        with self._lock:
            (self.acknowledged if acknowledged else self.unanswered).add(number)

    def _send_over_http(self) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self._stop.wait(self._pause_s):
            number, body = self._next()
            if connection is None:
                connection = http.client.HTTPConnection(self.addresses.host, self.addresses.otlp_http_port, timeout=30)
            try:
                connection.request("POST", "/v1/traces", body, {"content-type": "application/x-protobuf"})
                response = connection.getresponse()
                response.read()
                self._note(number, response.status == 200)
            except (OSError, http.client.HTTPException):
                self._note(number, False)
                connection.close()
                connection = None
                self._stop.wait(0.05)
        if connection is not None:
            connection.close()

    def _send_over_grpc(self) -> None:
        target = f"{self.addresses.host}:{self.addresses.otlp_grpc_port}"
        options = [("grpc.max_reconnect_backoff_ms", 200), ("grpc.initial_reconnect_backoff_ms", 50)]
        with grpc.insecure_channel(target, options=options) as channel:
            call = channel.unary_unary(_TRACES)
            while not self._stop.wait(self._pause_s):
                number, body = self._next()
                try:
                    call(body, timeout=30)
                    self._note(number, True)
                except grpc.RpcError:
                    self._note(number, False)
                    self._stop.wait(0.05)


def span_counts(database_url: str) -> dict[int, int]:
    """How many rows there are of each trace, by its number."""
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT trace_id, count(*) FROM spantree.span GROUP BY trace_id").fetchall()
    return {trace_id.int: count for trace_id, count in rows}


def assert_each_once(load: Load, database_url: str) -> None:
    """Every acknowledged span is a row, and no span is two; what got no answer may be there, whole, or not."""
    counts = span_counts(database_url)
    missing = sorted(number for number in load.acknowledged if number not in counts)
    assert missing == [], f"{len(missing)} of {len(load.acknowledged)} acknowledged requests are lost"
    wrong = {number: count for number, count in counts.items() if count != SPANS_PER_REQUEST}
    assert wrong == {}, f"of {SPANS_PER_REQUEST} spans each there are: {wrong}"
    assert set(counts) <= load.acknowledged | load.unanswered
