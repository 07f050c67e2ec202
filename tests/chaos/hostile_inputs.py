"""Hostile inputs, one after the other, while ten well-behaved clients send: what it costs these, and whom it harms.

    python -m tests.chaos.hostile_inputs [--only half_sent_grpc ...] [--seconds 6]

For each input, a line: the well-behaved clients' acknowledgements (median, p99, the worst, refused ones); how long
until what they sent meanwhile was projected, and until the spool was empty; the most memory that a process of the
collector had. The machine's other work shows in all of it: compare with the first line, of a quiet time.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import http.client
import itertools
import json
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tests.chaos.client_threads import ClientThreads
from tests.chaos.processes import CollectorProcess, collector_process
from tests.collectors import metric, readiness
from tests.otlp_requests import request, span, trace_request
from tests.waiting import wait_until
from tests.wire import field, varint
from tests.writer_processes import child_pids

from spantree_collector.app import Addresses
from spantree_collector.write.watchdog import resident_bytes
from spantree_deploy.postgres.embedded import EmbeddedPostgres
from spantree_exporter.postgres.migrate import migrate

_CLIENTS = 10
_PAUSE_S = 0.05
_MEMORY_BYTES = 700 * 2**20
_ACKNOWLEDGED_MS = 250
_PROJECTED_S = 5.0
_RECOVERED_S = 10.0
_TIMEOUT_S = 300.0
_FIRST_TRACE = 10**9
_GRPC_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04\x00" + bytes(4)


class WellBehaved(ClientThreads):
    """Ten clients that send a small trace twenty times a second each, over HTTP."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._numbers = itertools.count(_FIRST_TRACE)
        self._took_s: list[float] = []
        self._refused = 0
        self.last_trace = 0
        super().__init__([self._send] * _CLIENTS)

    def take(self) -> tuple[list[float], int]:
        """What acknowledgements took since the last time, sorted, and how many were refused."""
        with self._lock:
            took_s, self._took_s = sorted(self._took_s), []
            refused, self._refused = self._refused, 0
        return took_s, refused

    def _send(self) -> None:
        connection = http.client.HTTPConnection(self._addresses.host, self._addresses.otlp_http_port, timeout=60)
        while not self._stop.wait(_PAUSE_S):
            number = next(self._numbers)
            body = trace_request(number, 5).SerializeToString()
            began_s = time.perf_counter()
            try:
                connection.request("POST", "/v1/traces", body, {"content-type": "application/x-protobuf"})
                answer = connection.getresponse()
                answer.read()
                is_taken = answer.status == 200
            except (OSError, http.client.HTTPException):
                connection.close()
                is_taken = False
            with self._lock:
                if is_taken:
                    self._took_s.append(time.perf_counter() - began_s)
                    self.last_trace = max(self.last_trace, number)
                else:
                    self._refused += 1
        connection.close()


def _post(
    addresses: Addresses, body: bytes, encoding: str = "", signal: str = "traces", kind: str = "x-protobuf"
) -> str:
    connection = http.client.HTTPConnection(addresses.host, addresses.otlp_http_port, timeout=60)
    headers = {"content-type": f"application/{kind}"} | ({"content-encoding": encoding} if encoding else {})
    try:
        connection.request("POST", f"/v1/{signal}", body, headers)
        answer = connection.getresponse()
        return f"{answer.status} {answer.read()[:80]!r}"
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()


def _posting(body: bytes, encoding: str = "", **how: str) -> Callable[[Addresses], str]:
    return lambda addresses: _post(addresses, body, encoding, **how)


def _empty_spans() -> Callable[[Addresses], str]:
    return _posting(gzip.compress(field(1, field(2, field(2, b"") * 8_000_000))), "gzip")


def _empty_resources() -> Callable[[Addresses], str]:
    return _posting(gzip.compress(field(1, b"") * 8_000_000), "gzip")


def _empty_log_records() -> Callable[[Addresses], str]:
    return _posting(gzip.compress(field(1, field(2, field(2, b"") * 8_000_000))), "gzip", signal="logs")


def _empty_events() -> Callable[[Addresses], str]:
    one = span(1, 1).SerializeToString()
    return _posting(gzip.compress(field(1, field(2, field(2, one + field(11, b"") * 8_000_000)))), "gzip")


def _empty_links() -> Callable[[Addresses], str]:
    one = span(1, 1).SerializeToString()
    return _posting(gzip.compress(field(1, field(2, field(2, one + field(13, b"") * 8_000_000)))), "gzip")


def _events_after_a_group() -> Callable[[Addresses], str]:
    """Readers of protobuf pass over a group, of which OTLP knows none, and go on."""
    group = b"\xa3\x06\xa4\x06" + b"\x30" + b"\xff" * 9 + b"\x7f"
    return _posting(gzip.compress(field(1, field(2, field(2, group + field(11, b"") * 8_000_000)))), "gzip")


def _gzip_members() -> Callable[[Addresses], str]:
    return _posting(gzip.compress(b"") * 250_000, "gzip")


def _nested_json() -> Callable[[Addresses], str]:
    return _posting(b'{"resourceSpans":' + b"[" * 30_000_000, kind="json")


def _json_keys() -> Callable[[Addresses], str]:
    attributes = [{"key": f"key{n}", "value": {"stringValue": ""}} for n in range(300_000)]
    one = {"traceId": "5b" * 16, "spanId": "5b" * 8, "name": "keys", "attributes": attributes}
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [one]}]}]}).encode()
    return _posting(gzip.compress(body), "gzip", kind="json")


def _quotes_in_json() -> Callable[[Addresses], str]:
    """Strings of escaped quotes, beside more braces in a text than a body may have objects."""
    quotes = b'"%s"' % (b'\\"' * 60_000)
    body = b'{"x":"%s","y":[%s]}' % (b"{" * 1_100_000, b",".join([quotes] * 200))
    return _posting(gzip.compress(body), "gzip", kind="json")


def _large_json(secrets: bool) -> Callable[[Addresses], str]:
    """12 MB within all budgets: taken, without holding up others."""
    attributes = [{"key": f"key{n}", "value": {"stringValue": "x" * 30}} for n in range(24)]
    if secrets:
        attributes[0] = {"key": "password", "value": {"stringValue": "hunter2hunter2"}}
    spans = [
        {"traceId": f"{10**8 + n // 50:032x}", "spanId": f"{n:016x}", "name": "step", "attributes": attributes}
        for n in range(1, 6_400)
    ]
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()
    return _posting(body, kind="json")


def _random_keys() -> Callable[[Addresses], str]:
    """A hundred thousand keys, none of which comes twice."""
    spans = [span(81 + number // 100, number) for number in range(1, 5_001)]
    for number, one in enumerate(spans):
        for other in range(20):
            one.attributes.add(key=f"key.{number}.{other}").value.int_value = number
    return _posting(request(*spans).SerializeToString())


def _choices() -> Callable[[Addresses], str]:
    """1,500 steps of a graph that each choose by a label, and 1,500 that follow."""
    spans = [span(80, 1)]
    for number in range(2, 3_002):
        node = f"n{number}"
        step = {"langgraph_node": node, "langgraph_step": 1 + number % 2, "langgraph_checkpoint_ns": f"{node}:1"}
        spans.append(_described(span(80, number, parent=1, name=node), metadata=json.dumps(step)))
        if number % 2 == 0:
            note = {"gen_ai.operation.name": "goto", "langgraph.command.goto_node": "label"}
            spans.append(_described(span(80, 10_000 + number, parent=number), **note))
    built = request(*spans)
    built.resource_spans[0].scope_spans[0].scope.name = "openinference.instrumentation.langchain"
    return _posting(built.SerializeToString())


def _described(one: Span, **attributes: str) -> Span:
    for key, value in attributes.items():
        one.attributes.add(key=key).value.string_value = value
    one.attributes.add(key="openinference.span.kind").value.string_value = "CHAIN"
    return one


def _parallel_bands() -> Callable[[Addresses], str]:
    """20,000 steps at once, and then 20,000 more."""
    spans = [span(82, number, parent=1 if number > 1 else None, name=f"band {number}") for number in range(1, 40_002)]
    began_ns = spans[0].start_time_unix_nano
    for number, one in enumerate(spans[1:]):
        one.start_time_unix_nano = began_ns + (10_000_000 if number >= 20_000 else 0)
        one.end_time_unix_nano = one.start_time_unix_nano + 5_000_000
    spans[0].end_time_unix_nano = began_ns + 20_000_000
    return _posting(request(*spans).SerializeToString())


def _with_attributes(scope: str, *attributes: dict[str, str]) -> Callable[[Addresses], str]:
    spans = [span(77, number, parent=1 if number > 1 else None) for number in range(1, len(attributes) + 1)]
    for one, sent in zip(spans, attributes, strict=True):
        for key, value in sent.items():
            one.attributes.add(key=key).value.string_value = value
    built = request(*spans)
    built.resource_spans[0].scope_spans[0].scope.name = scope
    return _posting(built.SerializeToString())


def _command_message() -> Callable[[Addresses], str]:
    node = {"langgraph.node": "a", "exception.message": "Command(" * 60_000, "output.value": "Command(" * 60_000}
    return _with_attributes("openinference.instrumentation.langchain", {}, node)


def _literal_text() -> Callable[[Addresses], str]:
    sent = {"openinference.span.kind": "AGENT", "input.value": "[" + "'a', " * 800_000 + "]"}
    return _with_attributes("openinference.instrumentation.openai_agents", sent)


def _many_siblings(
    name: str, count: int, *, shared_id: bool = False, failed: bool = False
) -> Callable[[Addresses], str]:
    spans = [span(78, 1)]
    for number in range(2, count + 2):
        one = span(78, 2 if shared_id else number, parent=1, name=name)
        one.start_time_unix_nano += number
        one.end_time_unix_nano += number
        if failed:
            one.status.code = 2  # type: ignore[assignment]
        spans.append(one)
    return _posting(request(*spans).SerializeToString())


def _many_days() -> Callable[[Addresses], str]:
    spans = [span(10**6 + number, 1) for number in range(3_000)]
    for number, one in enumerate(spans):
        one.start_time_unix_nano -= number * 86_400_000_000_000
        one.end_time_unix_nano = one.start_time_unix_nano + 1
    return _posting(request(*spans).SerializeToString())


def _refused_spans() -> Callable[[Addresses], str]:
    spans = [span(79, number) for number in range(1, 4_001)]
    for one in spans:
        one.trace_id = b"short"
    return _posting(request(*spans).SerializeToString())


def _connect(host: str, port: int) -> socket.socket:
    return socket.create_connection((host, port), timeout=10)


def _half_sent_grpc(addresses: Addresses) -> str:
    """24 messages of 60 MB over 24 connections, each sent by half and left so."""
    head = _grpc_headers()
    held = []
    cut = 0
    piece = b"\x00\x40\x00\x00\x00\x00\x00\x00\x01" + bytes(16_384)
    for _ in range(24):
        connection = _connect(addresses.host, addresses.otlp_grpc_port)
        held.append(connection)
        try:
            connection.sendall(_GRPC_PREFACE + head)
            first = b"\x00" + (60 * 2**20).to_bytes(4, "big")
            connection.sendall(len(first).to_bytes(3, "big") + b"\x00\x00\x00\x00\x00\x01" + first)
            # It takes what its window allows; more is asked for as it is read.
            connection.setblocking(False)
            until_s = time.monotonic() + 0.25
            while time.monotonic() < until_s:
                with contextlib.suppress(BlockingIOError):
                    connection.recv(65_536)
                try:
                    connection.send(piece)
                except BlockingIOError:
                    time.sleep(0.001)
        except OSError:
            cut += 1
    time.sleep(1)
    for connection in held:
        connection.close()
    return f"{cut} of 24 connections cut"


def _grpc_headers() -> bytes:
    path = b"/opentelemetry.proto.collector.trace.v1.TraceService/Export"
    fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"a")]
    fields += [(b"content-type", b"application/grpc"), (b"te", b"trailers")]
    block = b"".join(b"\x00" + bytes([len(k)]) + k + varint(len(v)) + v for k, v in fields)
    return len(block).to_bytes(3, "big") + b"\x01\x04\x00\x00\x00\x01" + block


def _flood(frames: bytes) -> Callable[[Addresses], str]:
    def send(addresses: Addresses) -> str:
        sent_bytes = 0
        connection = _connect(addresses.host, addresses.otlp_grpc_port)
        connection.settimeout(1)
        with contextlib.suppress(OSError), connection:
            connection.sendall(_GRPC_PREFACE + _grpc_headers())
            until_s = time.monotonic() + 4
            while time.monotonic() < until_s:
                sent_bytes += connection.send(frames)
        return f"took {sent_bytes} bytes of frames"

    return send


def _endless_header(addresses: Addresses) -> str:
    sent_bytes = 0
    with contextlib.suppress(OSError), _connect(addresses.host, addresses.otlp_http_port) as connection:
        connection.sendall(b"POST /v1/traces HTTP/1.1\r\nhost: a\r\nx: ")
        until_s = time.monotonic() + 4
        while time.monotonic() < until_s:
            sent_bytes += connection.send(b"a" * 65_536)
    return f"took {sent_bytes} bytes of header"


def _idle_connections(addresses: Addresses) -> str:
    held: list[socket.socket] = []
    with contextlib.suppress(OSError):
        for _ in range(450):
            held.append(_connect(addresses.host, addresses.otlp_http_port))
            held.append(_connect(addresses.host, addresses.otlp_grpc_port))
    time.sleep(3)
    for connection in held:
        connection.close()
    return f"{len(held)} connections"


def _half_sent_http(addresses: Addresses) -> str:
    held: list[socket.socket] = []
    for _ in range(24):
        connection = _connect(addresses.host, addresses.otlp_http_port)
        held.append(connection)
        head = b"POST /v1/traces HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-protobuf\r\n"
        head += b"content-length: 60000000\r\n\r\n"
        connection.settimeout(0.5)
        with contextlib.suppress(OSError):
            connection.sendall(head + bytes(30_000_000))
    time.sleep(1)
    for connection in held:
        connection.close()
    return "24 connections"


_PING = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + bytes(8)
_EMPTY_DATA = b"\x00\x00\x00\x00\x00\x00\x00\x00\x01"
_SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"

INPUTS: dict[str, Callable[[], Callable[[Addresses], str]]] = {
    "nothing": lambda: lambda addresses: "",
    "empty_spans": _empty_spans,
    "empty_resources": _empty_resources,
    "empty_log_records": _empty_log_records,
    "empty_events": _empty_events,
    "empty_links": _empty_links,
    "events_after_group": _events_after_a_group,
    "gzip_members": _gzip_members,
    "nested_json": _nested_json,
    "json_keys": _json_keys,
    "quotes_in_json": _quotes_in_json,
    "large_json": lambda: _large_json(secrets=False),
    "secrets_in_json": lambda: _large_json(secrets=True),
    "random_keys": _random_keys,
    "command_message": _command_message,
    "literal_text": _literal_text,
    "choices": _choices,
    "parallel_bands": _parallel_bands,
    "parallel_steps": lambda: _many_siblings("band", 40_000),
    "retried_siblings": lambda: _many_siblings("try", 16_000, failed=True),
    "shared_id": lambda: _many_siblings("same", 70_000, shared_id=True),
    "many_days": _many_days,
    "refused_spans": _refused_spans,
    "endless_header": lambda: _endless_header,
    "idle_connections": lambda: _idle_connections,
    "half_sent_http": lambda: _half_sent_http,
    "half_sent_grpc": lambda: _half_sent_grpc,
    "ping_flood": lambda: _flood(_PING * 4_000),
    "empty_data_flood": lambda: _flood(_EMPTY_DATA * 7_000),
    "settings_flood": lambda: _flood(_SETTINGS * 7_000),
}


def _watch_memory(collector: CollectorProcess, done: threading.Event, most: list[int]) -> None:
    while not done.wait(0.05):
        with contextlib.suppress(OSError):
            most[0] = max(most[0], *map(resident_bytes, [collector.pid, *child_pids(collector.pid)]))


def _is_projected(connection: psycopg.Connection[Any], number: int) -> bool:
    query = "SELECT FROM spantree.execution WHERE trace_id = %s::text::uuid"
    return connection.execute(query, [f"{number:032x}"]).fetchone() is not None


def _is_drained(collector: CollectorProcess) -> bool:
    # Never quite empty: the well-behaved clients go on.
    return float(readiness(collector.addresses)["spool"]["oldest_age_s"]) < 1


@dataclass(frozen=True)
class Suffered:
    """What an input cost: acknowledgements of the well-behaved clients in seconds, sorted, and what they saw of it."""

    name: str
    answer: str
    took_s: list[float]
    refused: int
    projected_s: float  # until what they had sent was projected
    recovered_s: float  # until nothing waited any more
    most_bytes: int  # of a process of the collector

    def line(self) -> str:
        """For a person."""
        took_ms = [took_s * 1e3 for took_s in self.took_s] or [float("inf")]
        return (
            f"{self.name:18} p50 {took_ms[len(took_ms) // 2]:5.0f} p99 {took_ms[int(len(took_ms) * 0.99)]:5.0f} "
            f"worst {took_ms[-1]:5.0f} ms of {len(self.took_s)}, {self.refused} refused; projected after "
            f"{self.projected_s:4.1f} s, recovered after {self.recovered_s:4.1f} s; at most "
            f"{self.most_bytes / 2**20:4.0f} MiB; {self.answer}"
        )

    def harm(self) -> list[str]:
        """What must not be, however busy the machine, a sentence each."""
        wrong = []
        if self.refused:
            wrong.append(f"{self.name}: {self.refused} requests of well-behaved clients were refused")
        if self.most_bytes > _MEMORY_BYTES:
            wrong.append(f"{self.name}: a process took {self.most_bytes / 2**20:.0f} MiB")
        return wrong

    def slowness(self) -> list[str]:
        """What took too long, a sentence each."""
        wrong = []
        if self.took_s and (p99_ms := self.took_s[int(len(self.took_s) * 0.99)] * 1e3) > _ACKNOWLEDGED_MS:
            wrong.append(f"{self.name}: of a hundred acknowledgements one took {p99_ms:.0f} ms or more")
        if self.projected_s > _PROJECTED_S:
            wrong.append(f"{self.name}: a trace was projected after {self.projected_s:.1f} s only")
        if self.recovered_s > _RECOVERED_S:
            wrong.append(f"{self.name}: it recovered after {self.recovered_s:.1f} s only")
        return wrong


def run(
    folder: Path,
    database_url: str,
    names: Sequence[str],
    seconds: float,
    say: Callable[[str], None] = lambda line: None,
) -> list[Suffered]:
    """Try the inputs of these names, one after the other. Raises AssertionError where a writer ended over one."""
    suffered: list[Suffered] = []
    # Made before anybody's time is taken: what holds the interpreter here keeps the clients from reading their answers.
    attacks = {name: INPUTS[name]() for name in names}
    with (
        collector_process(folder / "data", database_url) as collector,
        psycopg.connect(database_url, autocommit=True) as connection,
        WellBehaved(collector.addresses) as clients,
    ):
        wait_until(lambda: clients.last_trace, _TIMEOUT_S, "well-behaved clients are answered")
        for name, attack in attacks.items():
            clients.take()
            most, done = [0], threading.Event()
            watching = threading.Thread(target=_watch_memory, args=(collector, done, most))
            watching.start()
            began_s = time.monotonic()
            answer = attack(collector.addresses)
            time.sleep(max(0.0, seconds - (time.monotonic() - began_s)))
            took_s, refused = clients.take()
            seen, seen_s = clients.last_trace, time.monotonic()
            wait_until(lambda: _is_projected(connection, seen), _TIMEOUT_S, f"{name}: a trace is projected")  # noqa: B023
            projected_s = time.monotonic() - seen_s
            wait_until(lambda: _is_drained(collector), _TIMEOUT_S, f"{name}: it recovers")
            recovered_s = time.monotonic() - seen_s
            done.set()
            watching.join()
            suffered.append(Suffered(name, answer, took_s, refused, projected_s, recovered_s, most[0]))
            say(suffered[-1].line())
        restarts = metric(collector.addresses, "spantree_collector_writer_restarts_total")
        assert not restarts, f"{restarts:.0f} writers ended; the log is\n{collector.log()[-4_000:]}"
    return suffered


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(INPUTS), default=list(INPUTS))
    parser.add_argument("--seconds", type=float, default=6.0)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="spantree-hostile-") as folder,
        EmbeddedPostgres(Path(folder) / "server") as server,
    ):
        migrate(server.url)
        suffered = run(
            Path(folder), server.url, arguments.only, arguments.seconds, lambda line: print(line, flush=True)
        )
    if wrong := [sentence for one in suffered for sentence in (*one.harm(), *one.slowness())]:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
