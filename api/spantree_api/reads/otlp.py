"""Spans and log records of a trace as they are stored."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from uuid import UUID

from spantree_api.reader import Reader, TraceKey
from spantree_api.stored_logs import LogDay, OtlpLog
from spantree_api.stored_rows import OtlpSpan, otlp_spans, records, together


async def span_chunks(reader: Reader, key: TraceKey) -> AsyncGenerator[list[OtlpSpan], None]:
    """Every span, some thousands at once, in each of these lists those of one resource and scope together."""
    async for spans in reader.snapshot.chunks("spans_of_trace", key.parameters(), otlp_spans):
        yield together(spans)


async def log_chunks(reader: Reader, trace_id: UUID) -> AsyncGenerator[list[OtlpLog], None]:
    """Every log record, those of one resource and scope together, some thousands at once."""
    trace = {"tenant_id": reader.config.tenant_id, "trace_id": trace_id}
    days = await reader.snapshot.all("days_with_logs", trace, records(LogDay))
    parameters = {**trace, "days": [one.day for one in days]}
    async for logs in reader.snapshot.chunks("logs_of_trace", parameters, records(OtlpLog)):
        yield logs
