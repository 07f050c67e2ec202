"""Live marks without a line of code: what `opentelemetry-instrument` calls once its SDK is configured.

`opentelemetry-instrument` loads, in this order: distro, configurator (it makes the global tracer provider and its
exporters from OTEL_*), entry points of group ``opentelemetry_pre_instrument``, the instrumentors, then
``opentelemetry_post_instrument``. `add_live_marks` stands in the pre group: the provider is complete by then, and an
instrumentor that fails, which ends the loading, comes after it. It acts only where SPANTREE_LIVE asks for it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Final

from opentelemetry import trace
from opentelemetry.sdk.environment_variables import OTEL_EXPORTER_OTLP_PROTOCOL, OTEL_EXPORTER_OTLP_TRACES_PROTOCOL
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter

from spantree_exporter.forked import connect_anew_in_children
from spantree_exporter.live import DELAY_S, LiveSpanProcessor
from spantree_exporter.setting_values import NO, YES

logger = logging.getLogger(__name__)

SPANTREE_LIVE: Final = "SPANTREE_LIVE"
"""``1``: running spans are announced. ``0`` or unset: they are not."""
SPANTREE_LIVE_DELAY_S: Final = "SPANTREE_LIVE_DELAY_S"
"""Seconds a span must be open before it is announced; 0.5 by default."""

_EXPORTER_OF_PROTOCOL: Final = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
_TRACES_EXPORTER: Final = "OTEL_TRACES_EXPORTER"
_OURS: Final = "spantree"


def add_live_marks(environ: Mapping[str, str] | None = None) -> None:
    """Give the global provider a `LiveSpanProcessor` for each exporter of OTEL_TRACES_EXPORTER that understands marks.

    Those are OTLP (by OTEL_EXPORTER_OTLP_*, as the SDK reads them) and spantree's own. A provider that has such a
    processor is left as it is. Never raises: a fault here would end the loading of every instrumentation, so it is
    logged and the service runs without marks.
    """
    environ = os.environ if environ is None else environ
    wanted = environ.get(SPANTREE_LIVE, "").strip().lower()
    if wanted not in YES:
        if wanted and wanted not in NO:
            logger.warning("no live marks: %s is %r, must be 1 or 0", SPANTREE_LIVE, wanted)
        return
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        logger.warning("no live marks: the tracer provider is %s, not the OpenTelemetry SDK's", type(provider).__name__)
        return
    if any(isinstance(one, LiveSpanProcessor) for one in processors_of(provider)):
        return
    try:
        delay_s = float(environ.get(SPANTREE_LIVE_DELAY_S, "") or DELAY_S)
        for exporter in exporters_of(environ):
            connect_anew_in_children(exporter)
            provider.add_span_processor(LiveSpanProcessor(exporter, delay_s=delay_s))
    except Exception:
        logger.exception("no live marks: could not set them up")


def processors_of(provider: TracerProvider) -> Sequence[SpanProcessor]:
    """The processors of a provider, in the order in which they were added; the SDK has no public name for them."""
    processors: Sequence[SpanProcessor] = getattr(
        getattr(provider, "_active_span_processor", None), "_span_processors", ()
    )
    return processors


def exporters_behind(provider: TracerProvider) -> Iterator[SpanExporter]:
    """The exporters of the provider's processors; of a processor that has none under a name known here, none."""
    for processor in processors_of(provider):
        for name in ("span_exporter", "exporter"):
            exporter = getattr(processor, name, None)
            if exporter is not None:
                yield exporter
                break


def exporters_of(environ: Mapping[str, str]) -> Iterator[SpanExporter]:
    """A new exporter for each name in OTEL_TRACES_EXPORTER (otlp by default) that understands live marks."""
    for name in environ.get(_TRACES_EXPORTER, "otlp").split(","):
        entry = _entry_name(name.strip(), environ)
        if entry is None:
            continue
        found = next(iter(entry_points(group="opentelemetry_traces_exporter", name=entry)), None)
        if found is None:
            logger.warning("no live marks over %s: no package here provides that exporter", entry)
            continue
        exporter = found.load()()
        if isinstance(exporter, SpanExporter):
            yield exporter


def _entry_name(exporter: str, environ: Mapping[str, str]) -> str | None:
    if exporter in (*_EXPORTER_OF_PROTOCOL.values(), _OURS):
        return exporter
    if exporter != "otlp":
        return None
    # the SDK falls back to gRPC as well
    protocol = environ.get(OTEL_EXPORTER_OTLP_TRACES_PROTOCOL) or environ.get(OTEL_EXPORTER_OTLP_PROTOCOL) or "grpc"
    return _EXPORTER_OF_PROTOCOL.get(protocol.strip())
