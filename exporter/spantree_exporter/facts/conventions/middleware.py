"""Node web frameworks (Express, Koa, Fastify, Connect, hapi): a span for each middleware, which nobody wants as a step.

Attribute names as @opentelemetry/instrumentation-express, -koa, -fastify, -connect and -hapi send them. One that failed
stays: it is where the request ended.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, first_text
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import KIND_INTERNAL, STATUS_ERROR, Span

# The router of Express 5 tells again what Express does, handlers included.
_TOLD_AGAIN: Final = "router.type"
_TYPES: Final = ("express.type", "koa.type", "fastify.type", "connect.type", "hapi.type")
_NO_STEPS: Final = frozenset({"middleware", "router", "hook", "server.ext"})


# What Java's agent tells of a servlet's answer: a code or another address, which the request tells itself.
_SERVLET: Final = "io.opentelemetry.servlet-"
_ANSWERS: Final = frozenset({"sendError", "sendRedirect"})


def _read(span: Span, facts: Facts) -> None:
    if span.status_code != STATUS_ERROR and (first_text(span, _TYPES) in _NO_STEPS or _TOLD_AGAIN in span.attributes):
        facts.setdefault("fold", "parent")


def _read_servlet(span: Span, facts: Facts) -> None:
    if span.kind == KIND_INTERNAL and span.name.rpartition(".")[2] in _ANSWERS and span.parent_span_id is not None:
        facts.setdefault("fold", "parent")


SERVLET = Convention("servlet", _read_servlet, scopes=(_SERVLET,))
CONVENTION = Convention("middleware", _read, keys=(*_TYPES, _TOLD_AGAIN))
