"""Reading of recorded spans."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan

Spans = Callable[[], dict[str, ReadableSpan]]


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def parent_name(span: ReadableSpan, spans: dict[str, ReadableSpan]) -> str | None:
    by_id = {s.context.span_id: s.name for s in spans.values() if s.context}
    return by_id.get(span.parent.span_id) if span.parent else None
