"""Spans in by the official exporters, counts out of both stores: the two halves of `try-collector.sh`.

    try_collector_traffic.py send  --acknowledged FILE --http URL --grpc HOST:PORT --seconds S
    try_collector_traffic.py count --acknowledged FILE --deadline S [--spantree URL] [--jaeger URL]

`send` writes a trace's id into FILE once the exporter has reported success for it, and not before. `count` waits until
each of these traces is there with each span once, in every store it was given, and fails at the deadline.
"""

# ruff: noqa: T201 - what it prints is what it is for

from __future__ import annotations

import argparse
import json
import logging
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

SPANS_PER_TRACE = 20
EXPORT_TIMEOUT_S = 10.0  # the SDKs' default: after this a service drops the batch
SENDERS_PER_PROTOCOL = 4
READERS_PER_STORE = 4
READ_TIMEOUT_S = 10.0
POLL_INTERVAL_S = 0.5


def ended_trace() -> list[ReadableSpan]:
    """The spans of one trace, all ended: a root with steps under it, `SPANS_PER_TRACE` in all."""
    finished = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource.create({"service.name": "try-collector"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(finished))
    tracer = provider.get_tracer("try-collector")
    with tracer.start_as_current_span("run"):
        for step in range(SPANS_PER_TRACE - 1):
            with tracer.start_as_current_span(f"step {step}", attributes={"step.number": step, "step.note": "x" * 200}):
                pass
    return list(finished.get_finished_spans())


class Acknowledged:
    """What the Collector answered: the ids it accepted, in a file that survives this process, and how it answered."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("a", encoding="ascii")
        self._lock = threading.Lock()
        self.traces = 0
        self.refused = 0
        self.slowest_s = 0.0

    def record(self, trace_id: str, result: SpanExportResult, elapsed_s: float) -> None:
        """Count one export; keep its trace's id if it succeeded."""
        with self._lock:
            self.slowest_s = max(self.slowest_s, elapsed_s)
            if result is not SpanExportResult.SUCCESS:
                self.refused += 1
                return
            self.traces += 1
            self._stream.write(trace_id + "\n")
            self._stream.flush()


def send(options: argparse.Namespace) -> int:
    """Send traces from several threads over both protocols for a number of seconds."""
    acknowledged = Acknowledged(options.acknowledged)
    stop_at = time.monotonic() + options.seconds

    def keep_sending(exporter: SpanExporter) -> None:
        while time.monotonic() < stop_at:
            spans = ended_trace()
            started = time.monotonic()
            result = exporter.export(spans)
            acknowledged.record(_trace_id(spans[0]), result, time.monotonic() - started)
        exporter.shutdown()

    builders: Sequence[Callable[[], SpanExporter]] = (
        lambda: HttpSpanExporter(endpoint=f"{options.http}/v1/traces", timeout=EXPORT_TIMEOUT_S),
        lambda: GrpcSpanExporter(endpoint=options.grpc, insecure=True, timeout=EXPORT_TIMEOUT_S),
    )
    started = time.monotonic()
    senders = [
        threading.Thread(target=keep_sending, args=(build(),))
        for build in builders
        for _ in range(SENDERS_PER_PROTOCOL)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    elapsed_s = time.monotonic() - started
    spans = acknowledged.traces * SPANS_PER_TRACE
    print(
        f"  acknowledged {spans} spans in {acknowledged.traces} requests, {spans / elapsed_s:.0f} spans/s; "
        f"{acknowledged.refused} requests given up by the exporter; slowest answer {acknowledged.slowest_s:.2f} s"
    )
    return 0


def span_ids_in_jaeger(url: str, trace_id: str) -> list[str]:
    """The ids of the spans that Jaeger has of a trace, without its copies of re-sent ones, which it keeps in memory."""
    answer = _read(f"{url}/api/traces/{trace_id}")
    traces = [] if answer is None else answer["data"]
    return sorted({span["spanID"] for trace in traces for span in trace["spans"]})


def span_ids_in_spantree(url: str, trace_id: str) -> list[str]:
    """The ids of the nodes that spantree has of a trace: each span sent here is a node of its own."""
    answer = _read(f"{url}/api/v1/executions/{trace_id}/tree")
    return [] if answer is None else [node["span_id"] for node in answer["tree"]["nodes"]]


def count(options: argparse.Namespace) -> int:
    """Wait until every acknowledged trace is whole in each store; 1 if one is not at the deadline."""
    expected = options.acknowledged.read_text(encoding="ascii").split()
    stores: dict[str, Callable[[str], list[str]]] = {}
    if options.spantree:
        stores["spantree"] = lambda trace_id: span_ids_in_spantree(options.spantree, trace_id)
    if options.jaeger:
        stores["Jaeger"] = lambda trace_id: span_ids_in_jaeger(options.jaeger, trace_id)
    stop_at = time.monotonic() + options.deadline
    outcomes = [_count_in(store, span_ids, expected, stop_at) for store, span_ids in stores.items()]
    return 0 if all(outcomes) else 1


def _count_in(store: str, span_ids: Callable[[str], list[str]], expected: Sequence[str], stop_at: float) -> bool:
    started = time.monotonic()
    open_traces = list(expected)
    found: Counter[str] = Counter()
    with ThreadPoolExecutor(READERS_PER_STORE) as readers:
        while True:
            spans_of = dict(zip(open_traces, readers.map(span_ids, open_traces), strict=True))
            found.update({trace_id: len(ids) for trace_id, ids in spans_of.items() if _is_whole(ids)})
            open_traces = [trace_id for trace_id, ids in spans_of.items() if not _is_whole(ids)]
            if not open_traces or time.monotonic() > stop_at:
                break
            time.sleep(POLL_INTERVAL_S)
    print(
        f"  {store}: {found.total()} spans of {len(expected) * SPANS_PER_TRACE} acknowledged, each once, "
        f"after {time.monotonic() - started:.1f} s"
    )
    for trace_id in open_traces[:3]:
        print(f"  {store}: trace {trace_id} has {len(spans_of[trace_id])} spans, not {SPANS_PER_TRACE}")
    return not open_traces


def _is_whole(span_ids: Sequence[str]) -> bool:
    return len(span_ids) == len(set(span_ids)) == SPANS_PER_TRACE


def _trace_id(span: ReadableSpan) -> str:
    context = span.context
    if context is None:
        raise RuntimeError("the SDK ended a span without a context")
    return format(context.trace_id, "032x")


def _read(url: str) -> Any:
    """The JSON at `url`, or None where there is nothing (404)."""
    try:
        with urllib.request.urlopen(url, timeout=READ_TIMEOUT_S) as answer:  # noqa: S310 - the script's own addresses
            return json.load(answer)
    except urllib.error.HTTPError as refusal:
        if refusal.code == 404:
            return None
        raise


def main() -> int:
    """Parse the command line and run one half."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    halves = parser.add_subparsers(required=True)
    sending = halves.add_parser("send")
    sending.add_argument("--acknowledged", type=Path, required=True)
    sending.add_argument("--http", required=True)
    sending.add_argument("--grpc", required=True)
    sending.add_argument("--seconds", type=float, required=True)
    sending.set_defaults(run=send)
    counting = halves.add_parser("count")
    counting.add_argument("--acknowledged", type=Path, required=True)
    counting.add_argument("--deadline", type=float, required=True)
    counting.add_argument("--spantree", default="")
    counting.add_argument("--jaeger", default="")
    counting.set_defaults(run=count)
    options = parser.parse_args()
    logging.disable()  # a killed Collector makes the exporters log a line for each attempt
    outcome: int = options.run(options)
    return outcome


if __name__ == "__main__":
    sys.exit(main())
