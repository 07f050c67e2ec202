"""A Logfire service whose pending spans are sent as well: `pending_run.py`.

Prints its trace id once the work is under way, waits for a line, then finishes; or is killed before.
"""

from __future__ import annotations

import sys

import logfire
from logfire._internal.tracer import PendingSpanProcessor
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import RandomIdGenerator
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

# Its finished spans go to OTEL_EXPORTER_OTLP_ENDPOINT of its own accord; pending ones only to processors like this.
announce = PendingSpanProcessor(RandomIdGenerator(), SimpleSpanProcessor(OTLPSpanExporter()))
logfire.configure(
    send_to_logfire=False, console=False, service_name="live-pending", additional_span_processors=[announce]
)
with logfire.span("import of {file}", file="prices.csv", _span_name="import") as root:
    with logfire.span("read"):
        pass
    logfire.info("read {rows} rows", rows=3)
    with logfire.span("write"):
        context = root.get_span_context()
        assert context is not None
        logfire.force_flush()
        print(format(context.trace_id, "032x"), flush=True)
        sys.stdin.readline()
logfire.shutdown()
