"""Services that send over the official exporters, and remember which spans were acknowledged."""

from __future__ import annotations

import itertools
from functools import partial

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import set_span_in_context
from tests.chaos.client_threads import ClientThreads

from spantree_collector.app import Addresses

SpanKey = tuple[int, int]
"""(trace id, span id)."""
SPANS_PER_TRACE = 20


class _Numbered(IdGenerator):
    """The trace that is asked for, and its spans from 1 on."""

    def __init__(self) -> None:
        self.trace_id = 0
        self._span_ids = itertools.count(1)

    def begin(self, trace_id: int) -> None:
        self.trace_id = trace_id
        self._span_ids = itertools.count(1)

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return next(self._span_ids)


class ExporterLoad(ClientThreads):
    """Clients, each with an exporter of its own, that send one new trace after the other."""

    def __init__(self, addresses: Addresses, pause_s: float = 0.01) -> None:
        url = f"{addresses.http_url}/v1/traces"
        self.acknowledged: set[SpanKey] = set()
        self.unanswered: set[SpanKey] = set()
        self._pause_s = pause_s
        self._numbers = itertools.count(1)
        exporters: list[SpanExporter] = [
            HttpExporter(endpoint=url, timeout=10),
            HttpExporter(endpoint=url, timeout=10, compression=Compression.Gzip),
            GrpcExporter(endpoint=f"{addresses.host}:{addresses.otlp_grpc_port}", insecure=True, timeout=10),
        ]
        super().__init__([partial(self._send, exporter) for exporter in exporters])

    @property
    def traces(self) -> int:
        """How many traces were acknowledged."""
        return len(self.acknowledged) // SPANS_PER_TRACE

    def _send(self, exporter: SpanExporter) -> None:
        ids = _Numbered()
        tracer = TracerProvider(id_generator=ids, shutdown_on_exit=False).get_tracer("chaos")
        while not self._stop.wait(self._pause_s):
            with self._lock:
                number = next(self._numbers)
            ids.begin(number)
            root = tracer.start_span("root")
            children = [
                tracer.start_span(f"step {index}", set_span_in_context(root)) for index in range(1, SPANS_PER_TRACE)
            ]
            spans = [span for span in (*children, root) if isinstance(span, ReadableSpan)]
            for span in (*children, root):
                span.end()
            keys = {(number, span.context.span_id) for span in spans if span.context is not None}
            result = exporter.export(spans)
            with self._lock:
                (self.acknowledged if result is SpanExportResult.SUCCESS else self.unanswered).update(keys)
        exporter.shutdown()
