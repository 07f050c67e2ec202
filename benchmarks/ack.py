"""How fast requests are acknowledged, fsync included: acks/s, p50 and p99 by the number of clients.

    python -m benchmarks.ack                      PostgreSQL away: receiver and spool alone
    python -m benchmarks.ack --database-url URL   with the pump at work beside it

Each client waits for its answer before it sends again, over one kept connection. Clients and collector share the
machine, so the figures are a lower bound. Bounded: --seconds for each number of clients.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import os
import re
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_AWAY_URL = "postgresql://nobody@127.0.0.1:1/nowhere?connect_timeout=1"


@dataclass(frozen=True)
class Load:
    """One body, sent again and again with other trace ids of the same length."""

    template: bytes
    trace_id: bytes
    spans: int

    def fresh(self) -> bytes:
        """The body as a new trace."""
        return self.template.replace(self.trace_id, secrets.token_bytes(16))


def main() -> None:
    """Run the benchmark and print a table."""
    arguments = _arguments()
    load = _load(arguments.body_kb * 1000)
    print(f"body {len(load.template) / 1000:.0f} kB, {load.spans} spans, {arguments.encoding or 'identity'}")
    print(f"{'clients':>8} {'acks/s':>8} {'MB/s':>7} {'spans/s':>9} {'p50 ms':>7} {'p99 ms':>7} {'max ms':>7}")
    with tempfile.TemporaryDirectory(prefix="spantree-bench-", dir=arguments.dir) as folder:
        process, port = _start_collector(folder, arguments.database_url)
        try:
            for clients in arguments.clients:
                elapsed_s, latencies_s = asyncio.run(_measure(port, load, arguments, clients))
                _print(clients, elapsed_s, latencies_s, load)
            print(f"peak memory of the collector {_peak_mb(process.pid):.0f} MB")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--body-kb", type=int, default=300)
    parser.add_argument("--encoding", choices=["", "gzip"], default="")
    parser.add_argument("--database-url", default=_AWAY_URL)
    parser.add_argument("--dir", default=None, help="where the spool lies; a disk, not a memory file system")
    return parser.parse_args()


def _load(size_bytes: int) -> Load:
    trace_id = secrets.token_bytes(16)
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    resource_spans.resource.attributes.add(key="service.name").value.string_value = "ack-benchmark"
    scope_spans = resource_spans.scope_spans.add()
    now_ns = time.time_ns()
    spans = 0
    while request.ByteSize() < size_bytes:
        for _ in range(10):
            spans += 1
            span = scope_spans.spans.add(
                trace_id=trace_id,
                span_id=spans.to_bytes(8, "big"),
                parent_span_id=(1).to_bytes(8, "big") if spans > 1 else b"",
                name=f"step {spans % 20}",
                start_time_unix_nano=now_ns,
                end_time_unix_nano=now_ns + spans,
            )
            for key in range(8):
                span.attributes.add(key=f"attribute.{key}").value.string_value = f"value {spans} " + "x" * 30
    return Load(request.SerializeToString(), trace_id, spans)


def _start_collector(folder: str, database_url: str) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen(
        [sys.executable, "-m", "spantree_collector"],
        env=os.environ
        | {
            "SPANTREE_DATABASE_URL": database_url,
            "SPANTREE_DATA_DIR": folder,
            "SPANTREE_OTLP_HTTP_PORT": "0",
            "SPANTREE_OTLP_GRPC_PORT": "0",
            "SPANTREE_DRAIN_S": "0",
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        found = re.search(r"takes OTLP/HTTP on http://127\.0\.0\.1:(\d+)", line)
        if found:
            return process, int(found[1])
    raise SystemExit(f"the collector ended with {process.wait()}: {said}")


async def _measure(port: int, load: Load, arguments: argparse.Namespace, clients: int) -> tuple[float, list[float]]:
    latencies_s: list[float] = []
    started_s = time.perf_counter()
    await asyncio.gather(
        *(_client(port, load, arguments.encoding, started_s + arguments.seconds, latencies_s) for _ in range(clients))
    )
    return time.perf_counter() - started_s, latencies_s


async def _client(port: int, load: Load, encoding: str, until_s: float, latencies_s: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < until_s:
        body = load.fresh()
        head = "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n"
        if encoding:
            body = gzip.compress(body, compresslevel=1)
            head += "content-encoding: gzip\r\n"
        sent_s = time.perf_counter()
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        latencies_s.append(time.perf_counter() - sent_s)
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise SystemExit(answer.decode())
    writer.close()
    await writer.wait_closed()


def _print(clients: int, elapsed_s: float, latencies_s: list[float], load: Load) -> None:
    rate = len(latencies_s) / elapsed_s
    percentiles = statistics.quantiles(latencies_s, n=100)
    print(
        f"{clients:>8} {rate:>8.0f} {rate * len(load.template) / 1e6:>7.0f} {rate * load.spans:>9.0f} "
        f"{percentiles[49] * 1000:>7.1f} {percentiles[98] * 1000:>7.1f} {max(latencies_s) * 1000:>7.1f}",
        flush=True,
    )


def _peak_mb(pid: int) -> float:
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) / 1000 if found else 0.0


if __name__ == "__main__":
    main()
