"""Prisma's own tracing (`@prisma/instrumentation`): an operation of the client, and what its engine does for it.

All operations are called `prisma:client:operation`, which one is an attribute (prisma/orm#14843); queries are called
for the engine or the client that sent them. Serializing, compiling and waiting for a connection are no steps.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.conventions.database import name_of_statement
from spantree_exporter.facts.reading import Convention, first_text, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import STATUS_ERROR, Span

_OPERATION: Final = "prisma:client:operation"
_QUERIES: Final = frozenset({"prisma:engine:db_query", "prisma:client:db_query"})
_TEXTS: Final = ("db.query.text", "db.statement")


def _read(span: Span, facts: Facts) -> None:
    if not span.name.startswith("prisma:"):
        return
    if span.name == _OPERATION:
        facts.setdefault("kind", "db")
        if name := text_of(span.attributes.get("name")):
            facts.setdefault("name", name)
    elif span.name in _QUERIES:
        facts.setdefault("kind", "db")
        if name := name_of_statement(first_text(span, _TEXTS)):
            facts.setdefault("name", name)
    elif span.status_code != STATUS_ERROR and span.parent_span_id is not None:
        facts.setdefault("fold", "parent")


CONVENTION = Convention("prisma", _read, scopes=("prisma", "@prisma/"))
