"""ASGI instrumentation (FastAPI, Starlette): a span for each message of a request, which nobody wants as a step."""

from __future__ import annotations

from spantree_exporter.facts.reading import Convention
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span


def _read(span: Span, facts: Facts) -> None:
    facts.setdefault("fold", "parent")


CONVENTION = Convention("asgi", _read, keys=("asgi.event.type",))
