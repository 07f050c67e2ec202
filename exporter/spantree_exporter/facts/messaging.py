"""Messaging semantic conventions: producers and consumers (conventions.md 3)."""

from __future__ import annotations

from spantree_exporter.facts.reading import Convention
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import KIND_CONSUMER, KIND_PRODUCER, Span


def _read(span: Span, facts: Facts) -> None:
    if span.kind == KIND_PRODUCER:
        facts.setdefault("kind", "message")
    elif span.kind == KIND_CONSUMER:
        facts.setdefault("kind", "task")
        facts.setdefault("step", True)
        facts.setdefault("entry", span.name)
    else:
        facts.setdefault("kind", "message")


CONVENTION = Convention("messaging", _read, keys=("messaging.system",))
