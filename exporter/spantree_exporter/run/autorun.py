"""What `spantree run` makes of a Python process before its program begins: instrumented, seen as it runs, flushed.

Called by run_site/sitecustomize.py in the service's own interpreter, which may be another than that of `spantree`, with
other packages: nothing but the standard library, the OpenTelemetry packages and the modules named here is imported,
and Python 3.10 has to be able to read it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from opentelemetry import trace
from opentelemetry.instrumentation import auto_instrumentation
from opentelemetry.sdk.environment_variables import OTEL_SDK_DISABLED
from opentelemetry.sdk.trace import TracerProvider

from spantree_exporter import autolive
from spantree_exporter.forked import connect_anew_in_children
from spantree_exporter.live import LiveSpanProcessor
from spantree_exporter.run import django_settings, main_module
from spantree_exporter.run.process_end import OpenSpans, ProcessEnd
from spantree_exporter.run.process_span import ProcessSpan
from spantree_exporter.setting_values import NO

logger = logging.getLogger(__name__)

SPANTREE_PROCESS_SPAN: Final = "SPANTREE_PROCESS_SPAN"
"""``0``: no span for the process itself. ``1`` or unset: a script gets one, a server one when it fails."""

NEEDED: Final = "opentelemetry-distro opentelemetry-exporter-otlp-proto-http"
"""What has to be installed beside the SDK."""


def start(arguments: Sequence[str], *, is_main: bool, environ: Mapping[str, str] | None = None) -> None:
    """Instrument this process, whose command line is `arguments`, interpreter first.

    `is_main` is false in a process that the program spawned to share its work: that one has no span of its own.
    Raises ImportError where the environment lacks what sets up the SDK: nothing is lent to what a shell script starts.
    """
    environ = os.environ if environ is None else environ
    django_settings.wait_for_settings()
    with _said_once(is_main=is_main):
        auto_instrumentation.initialize()
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider) and environ.get(OTEL_SDK_DISABLED, "").lower() != "true":
        raise ImportError(f"nothing sets up the SDK: {sys.executable} -m pip install {NEEDED}")
    if not isinstance(provider, TracerProvider):
        return  # OTEL_SDK_DISABLED, or a distribution of another kind
    for exporter in autolive.exporters_behind(provider):
        connect_anew_in_children(exporter)
    # Where this package is not installed its entry point is not found; added once either way.
    autolive.add_live_marks(environ)
    open_spans = _open_spans(provider)
    process_span = None
    if is_main and environ.get(SPANTREE_PROCESS_SPAN, "").strip().lower() not in NO:
        process_span = ProcessSpan(provider.get_tracer("spantree.run"), arguments)
    end = ProcessEnd(provider, open_spans, process_span)
    end.install()
    if process_span is not None:
        main_module.watch(arguments, process_span.outcome)
        process_span.begin()


@contextlib.contextmanager
def _said_once(*, is_main: bool) -> Iterator[None]:
    # What cannot be instrumented here cannot be in the parent either, which has said so: not once more by each worker.
    loader = logging.getLogger("opentelemetry.instrumentation.auto_instrumentation._load")
    level = loader.level
    if not is_main:
        loader.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        loader.setLevel(level)


def _open_spans(provider: TracerProvider) -> LiveSpanProcessor | OpenSpans:
    for processor in autolive.processors_of(provider):
        if isinstance(processor, LiveSpanProcessor):
            return processor
    watching = OpenSpans()
    provider.add_span_processor(watching)
    return watching
