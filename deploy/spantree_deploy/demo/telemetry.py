"""How a service of the demo is instrumented: what anybody would write, from the OTEL_* environment."""

from __future__ import annotations

import os
from typing import Final

from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from sqlalchemy import Engine

from spantree_exporter.autolive import exporters_of
from spantree_exporter.live import LiveSpanProcessor

EXPORT_DELAY_MS: Final = 200
"""The SDK's own default is 5 s: too long for somebody who watches a demo. OTEL_BSP_SCHEDULE_DELAY wins."""


def configure(service: str) -> None:
    """Make the tracer provider and its exporters, unless `opentelemetry-instrument` (`spantree run`) has done it."""
    if isinstance(trace.get_tracer_provider(), TracerProvider):
        return
    name = os.environ.get("OTEL_SERVICE_NAME", service)
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name, "service.namespace": "spantree-demo"}))
    delay_ms = float(os.environ.get("OTEL_BSP_SCHEDULE_DELAY", EXPORT_DELAY_MS))
    for exporter in exporters_of(os.environ):
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=delay_ms))
    for exporter in exporters_of(os.environ):
        provider.add_span_processor(LiveSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    HTTPXClientInstrumentor().instrument()


def instrument(app: FastAPI, engine: Engine) -> None:
    """Instrument what is this process's own, once it is set up: what happened before is no part of any request."""
    if not getattr(app, "_is_instrumented_by_opentelemetry", False):
        FastAPIInstrumentor.instrument_app(app, excluded_urls="health")
    if not SQLAlchemyInstrumentor().is_instrumented_by_opentelemetry:
        SQLAlchemyInstrumentor().instrument(engine=engine)


def flush() -> None:
    """Send what is still waiting, before the process ends."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        provider.force_flush(5_000)
        provider.shutdown()
