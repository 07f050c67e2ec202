"""ASGI instrumentation (FastAPI, Starlette): a span for each message of a request, which nobody wants as a step.

A message that was waited for and never came (the client had nothing more to say when the answer was done) has no type:
its span is left before that is known (opentelemetry-instrumentation-asgi, `_get_otel_receive`).
"""

from __future__ import annotations

from spantree_exporter.facts.reading import Convention
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import KIND_INTERNAL, Span

_ENDS = (" http receive", " http send", " websocket receive", " websocket send")


def _read(span: Span, facts: Facts) -> None:
    if "asgi.event.type" in span.attributes or (span.kind == KIND_INTERNAL and span.name.endswith(_ENDS)):
        facts.setdefault("fold", "parent")


CONVENTION = Convention(
    "asgi",
    _read,
    scopes=(
        "opentelemetry.instrumentation.asgi",
        "opentelemetry.instrumentation.fastapi",
        "opentelemetry.instrumentation.starlette",
    ),
    keys=("asgi.event.type",),
)
