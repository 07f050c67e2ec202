"""What spans cost a service: CPU a span of live marks and of the in-process exporter, beside batch and OTLP/HTTP.

    python -m benchmarks.service [--spans 20000] [--rounds 3] [--database-url URL]

The last line is JSON. Without a URL a PostgreSQL of its own is started.

Every variant makes the same spans, traces of ten with twelve attributes each, in a process of its own; the collector
is a stand-in in another process that answers at once, so that only the service's own work is counted. CPU time, so that
other load on the machine matters little; the best of several rounds, since load only ever adds. `caller` is what the
threads of the service pay (time.thread_time), `all` the whole process with the exporting threads (time.process_time).

    batch        BatchSpanProcessor + OTLP/HTTP exporter: what the ratios are against
    live         the same and a LiveSpanProcessor, all spans shorter than its delay
    live, long   the same, all spans open for longer than the delay: each is announced by a mark
    in process   BatchSpanProcessor + PostgresSpanExporter; PostgreSQL's own work is not the service's
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, Tracer

from spantree_deploy.postgres.embedded import EmbeddedPostgres
from spantree_exporter.live import LiveSpanProcessor

TRACE_SPANS = 10
# Of the SDK's queue of 2,048: more at a time would be dropped, and dropping is cheap.
CHUNK_SPANS = 400
BATCH, LIVE, LONG, IN_PROCESS = "batch", "live", "live, long", "in process"
LIMITS = {LIVE: (1.2, 1.2), LONG: (1.2, 2.0), IN_PROCESS: (1.2, 1.4)}
"""At most so many times `batch`: (in the caller, in all)."""


class Answering(BaseHTTPRequestHandler):
    """Takes every request."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Read and answer."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


def serve() -> None:
    """Be the collector: print the port, answer until killed."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def attributes(number: int) -> dict[str, Any]:
    """Twelve, as a request handler or a tool call has them."""
    return {
        "http.request.method": "GET",
        "http.route": "/orders/{order_id}",
        "url.path": f"/orders/{number}",
        "url.scheme": "http",
        "server.address": "orders.internal",
        "server.port": 8080,
        "network.protocol.version": "1.1",
        "http.response.status_code": 200,
        "user.id": f"user-{number % 100}",
        "order.total": number * 0.25,
        "order.express": number % 3 == 0,
        "user_agent.original": "python-httpx/0.28.1",
    }


def make(tracer: Tracer, first: int, spans: int) -> None:
    """Traces of a root and nine children, as code of a service makes them."""
    for number in range(first, first + spans, TRACE_SPANS):
        with tracer.start_as_current_span(
            "GET /orders/{order_id}", kind=SpanKind.SERVER, attributes=attributes(number)
        ):
            for child in range(1, TRACE_SPANS):
                with tracer.start_as_current_span(f"step {child}", attributes=attributes(number + child)):
                    pass


def make_long(tracer: Tracer, first: int, spans: int, live: LiveSpanProcessor) -> float:
    """The same number of spans, all of them announced before the first ends; CPU seconds of the caller."""
    began_s = time.thread_time()
    made = [tracer.start_span(f"step {number % 10}", attributes=attributes(number)) for number in range(spans)]
    caller_s = time.thread_time() - began_s
    live.force_flush()
    began_s = time.thread_time()
    for span in made:
        span.end()
    return caller_s + time.thread_time() - began_s


def measure(variant: str, spans: int, endpoint: str, database_url: str) -> tuple[float, float]:
    """(caller, all): CPU microseconds a span."""
    provider = TracerProvider(resource=Resource({"service.name": "shop", "host.name": "h1"}), shutdown_on_exit=False)
    live = None
    exporter: SpanExporter
    if variant == IN_PROCESS:
        from spantree_exporter.sdk import PostgresSpanExporter

        exporter = PostgresSpanExporter(database_url, schema="create")
    else:
        exporter = OTLPSpanExporter(endpoint)
    batch = BatchSpanProcessor(exporter, max_queue_size=8_192)
    provider.add_span_processor(batch)
    if variant in (LIVE, LONG):
        live = LiveSpanProcessor(OTLPSpanExporter(endpoint), delay_s=3600 if variant == LONG else 0.5)
        provider.add_span_processor(live)
    tracer = provider.get_tracer("shop", "1.0")
    make(tracer, 0, 1000)
    provider.force_flush()
    began_s, caller_s = time.process_time(), 0.0
    for first in range(0, spans, CHUNK_SPANS):
        if variant == LONG and live is not None:
            caller_s += make_long(tracer, first, CHUNK_SPANS, live)
        else:
            caller_began_s = time.thread_time()
            make(tracer, first, CHUNK_SPANS)
            caller_s += time.thread_time() - caller_began_s
        # Somebody waits for the exporter, outside of what the caller is charged: nothing may be dropped.
        provider.force_flush()
    all_s = time.process_time() - began_s
    provider.shutdown()
    return 1e6 * caller_s / spans, 1e6 * all_s / spans


def in_own_process(variant: str, options: argparse.Namespace, endpoint: str) -> tuple[float, float]:
    """As `measure`."""
    command = [sys.executable, __file__, "--only", variant, "--spans", str(options.spans), "--endpoint", endpoint]
    command += ["--database-url", options.database_url]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    caller, everything = json.loads(done.stdout)
    return caller, everything


def main() -> None:
    """Print a table, and JSON in the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spans", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--database-url", default="", help="a PostgreSQL whose schema spantree may be created")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("--endpoint", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only == "serve":
        serve()
    elif options.only:
        print(json.dumps(measure(options.only, options.spans, options.endpoint, options.database_url)))
    elif options.database_url:
        report(options)
    else:
        with (
            tempfile.TemporaryDirectory(prefix="spantree-bench-") as folder,
            EmbeddedPostgres(Path(folder) / "postgres") as server,
        ):
            options.database_url = server.url
            report(options)


def report(options: argparse.Namespace) -> None:
    """Run every variant, round by round, and print what each cost at best."""
    variants = [BATCH, LIVE, LONG, IN_PROCESS]
    best: dict[str, tuple[float, float]] = {}
    with subprocess.Popen(
        [sys.executable, __file__, "--only", "serve"], stdout=subprocess.PIPE, text=True
    ) as collector:
        assert collector.stdout is not None
        try:
            endpoint = f"http://127.0.0.1:{int(collector.stdout.readline())}/v1/traces"
            for _ in range(options.rounds):
                for variant in variants:
                    found = in_own_process(variant, options, endpoint)
                    before = best.get(variant, found)
                    best[variant] = min(before[0], found[0]), min(before[1], found[1])
        finally:
            collector.kill()
    base = best[BATCH]
    rows = [
        {
            "variant": variant,
            "caller_us": round(caller, 1),
            "all_us": round(everything, 1),
            "caller_ratio": round(caller / base[0], 2),
            "all_ratio": round(everything / base[1], 2),
            "caller_ratio_at_most": LIMITS.get(variant, (1, 1))[0],
            "all_ratio_at_most": LIMITS.get(variant, (1, 1))[1],
        }
        for variant, (caller, everything) in best.items()
    ]
    print("CPU microseconds a span, 12 attributes (in brackets: times `batch`, and at most)\n")
    for row in rows:
        line = f"{row['variant']:<12}"
        for what in ("caller", "all"):
            line += f"   {what} {row[f'{what}_us']:6} ({row[f'{what}_ratio']:4} <= {row[f'{what}_ratio_at_most']})"
        print(line)
    print(json.dumps({"spans": options.spans, "variants": rows}))


if __name__ == "__main__":
    main()
