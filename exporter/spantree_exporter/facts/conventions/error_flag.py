"""How tracers before OpenTelemetry say that a span failed: the attribute `error`, and what exporters make of a status.

OpenTracing and Zipkin have no status but the tag `error`; exporters without a field for one write `otel.status_code`
(semantic conventions, "mapping to non-OTLP formats"). Either comes as it is where no receiver translated it. A status
that is set says more than both.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, first_text, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import STATUS_UNSET, Span

_MESSAGES: Final = ("otel.status_description", "error.message", "error.msg")
_MESSAGE_CHARS: Final = 1000


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    if span.status_code != STATUS_UNSET or not (_is_true(a.get("error")) or a.get("otel.status_code") == "ERROR"):
        return
    facts.setdefault("weak_status", "failed")
    if message := first_text(span, _MESSAGES):
        facts.setdefault("error_message", message[:_MESSAGE_CHARS])
    if error_type := text_of(a.get("error.type")):
        facts.setdefault("error_type", error_type)


def _is_true(value: object) -> bool:
    return value is True or (isinstance(value, str) and value.lower() == "true")


CONVENTION = Convention("error_flag", _read, keys=("error", "otel.status_code"))
