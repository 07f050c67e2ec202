"""Logfire (scope `logfire` and those of its integrations): span types, pending spans, messages, levels."""

from __future__ import annotations

from spantree_exporter.facts.own import put_pending
from spantree_exporter.facts.reading import Convention, text_of, whole_number
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span

# logfire/_internal/constants.py: level numbers as OpenTelemetry's severity numbers.
_WARN, _ERROR = 13, 17


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    span_type = a.get("logfire.span_type")
    if span_type == "pending_span":
        put_pending(span, facts, a.get("logfire.pending_parent_id"))
    elif span_type == "log":
        facts.setdefault("fold", "event")
    if (message := text_of(a.get("logfire.msg"))) and message != span.name:
        facts.setdefault("name", message)
    level = whole_number(a.get("logfire.level_num"))
    if level is not None and level >= _WARN:
        facts.setdefault("level", "error" if level >= _ERROR else "warning")


CONVENTION = Convention("logfire", _read, keys=("logfire.span_type", "logfire.msg"))
