"""Database semantic conventions, old names and new (conventions.md 2.8 and 3)."""

from __future__ import annotations

from spantree_exporter.facts.reading import Convention, put_preview
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    if span.name == "connect" and "db.statement" not in a and "db.query.text" not in a:
        # SQLAlchemy's pool check-out before each statement: no step of anybody's.
        facts.setdefault("fold", "parent")
    facts.setdefault("kind", "db")
    put_preview(facts, "input", a.get("db.query.text", a.get("db.statement")))


CONVENTION = Convention("database", _read, keys=("db.system.name", "db.system"))
