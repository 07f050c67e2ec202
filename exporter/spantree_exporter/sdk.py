"""`PostgresSpanExporter`: spans of the OpenTelemetry SDK into PostgreSQL, without a collector between.

Their rows are those that the same spans have over OTLP (`readable`). What a collector adds is the spool: here a
database that is away for longer than the export timeout costs the batch, as with any exporter.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from spantree_exporter.config import ExporterConfig
from spantree_exporter.in_process import Complaints, InProcessWriter, untraced
from spantree_exporter.readable import SpanReader
from spantree_exporter.redaction import redactor_of
from spantree_exporter.setting_fields import variable


class PostgresSpanExporter(SpanExporter):
    """Writes spans to PostgreSQL, and the executions, nodes and edges that they make up.

        provider.add_span_processor(BatchSpanProcessor(PostgresSpanExporter("postgresql://localhost/app")))

    What is not given is read from the environment (`ExporterConfig`); all of it with
    `opentelemetry-instrument --traces_exporter spantree`. The schema must be there (`spantree migrate`), unless
    `schema` is "create". Raises ConfigError for a wrong setting, and connects at the first export only. From then on
    nothing raises into the host: a batch that cannot be stored is a FAILURE and a log record, at most one a minute.
    May be used before a fork and in both processes after it.
    """

    def __init__(
        self, database_url: str | None = None, *, schema: str | None = None, export_timeout_s: float | None = None
    ) -> None:
        given = {"database_url": database_url, "schema": schema, "export_timeout_s": export_timeout_s}
        named = {variable(name): str(value) for name, value in given.items() if value is not None}
        config = ExporterConfig.from_env({**os.environ, **named})
        self._export_timeout_s = config.export_timeout_s
        self._complaints = Complaints()
        self._writer = InProcessWriter(config, self._complaints)
        self._reader = SpanReader(redactor_of(config.redact, config.redact_hash_key))
        self._closed = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Store `spans`; SUCCESS after the commit. Takes at most the export timeout while PostgreSQL is away."""
        if self._closed:
            return SpanExportResult.FAILURE
        deadline_s = time.monotonic() + self._export_timeout_s
        try:
            with untraced():
                read = self._reader.read(spans, time.time_ns())
                for error in read.errors:
                    self._complaints.warn("a span cannot be encoded as OTLP and is dropped: %s", error=error)
                self._writer.write(read, deadline_s)
        except Exception as error:
            self._complaints.warn("%d spans could not be stored: %s", len(spans), error=error)
            return SpanExportResult.FAILURE
        return SpanExportResult.FAILURE if read.errors else SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Project the traces that are due; what was exported is stored already. False if that failed."""
        if self._closed:
            return True
        try:
            with untraced():
                self._writer.project(time.monotonic() + timeout_millis / 1000)
        except Exception as error:
            self._complaints.warn("traces are stored, but cannot be projected for now: %s", error=error)
            return False
        return True

    def shutdown(self) -> None:
        """Wait up to 3 s for the last traces to be projected, then close the connection."""
        if self._closed:
            return
        self._closed = True
        try:
            with untraced():
                self._writer.close()
        except Exception as error:
            self._complaints.warn("the last traces are stored, but not projected yet: %s", error=error)
