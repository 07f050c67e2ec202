"""Database semantic conventions, old names and new."""

from __future__ import annotations

import re
from typing import Final

from spantree_exporter.facts.reading import Convention, put_preview, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span

_COMMENTS: Final = ("--", "/*")
_WORD: Final = re.compile(r"[A-Za-z]{1,30}\b")
_MAX_COMMENTS: Final = 32
_STATEMENT_CHARS: Final = 10_000
_SQLALCHEMY: Final = "opentelemetry.instrumentation.sqlalchemy"


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    if span.name == "connect" and "db.statement" not in a and "db.query.text" not in a:
        # SQLAlchemy's pool check-out before each statement: no step of anybody's.
        facts.setdefault("fold", "parent")
    elif span.scope.name == _SQLALCHEMY:
        facts.setdefault("by_driver", True)
    facts.setdefault("kind", "db")
    # SQLite's database is a file: `SELECT /srv/shop/orders.db` tells a list nothing that `SELECT orders.db` does not.
    database = text_of(a.get("db.namespace")) or text_of(a.get("db.name"))
    if database is not None and ("/" in database or "\\" in database) and database in span.name:
        base = database.replace("\\", "/").rstrip("/").rpartition("/")[2]
        facts.setdefault("name", span.name.replace(database, base or "database"))
    if span.name.startswith(_COMMENTS) and (
        word := name_of_statement(text_of(a.get("db.query.text", a.get("db.statement"))))
    ):
        facts.setdefault("name", word)
    put_preview(facts, "input", a.get("db.query.text", a.get("db.statement")))


def name_of_statement(statement: str | None) -> str | None:
    """The first word of a statement, in capitals, past the comments that a file or a library's tag has before it."""
    text = (statement or "")[:_STATEMENT_CHARS].lstrip()
    for _ in range(_MAX_COMMENTS):
        end = "\n" if text.startswith("--") else "*/" if text.startswith("/*") else None
        if end is None:
            break
        text = text.partition(end)[2].lstrip()
    found = _WORD.match(text)
    return found[0].upper() if found else None


CONVENTION = Convention("database", _read, keys=("db.system.name", "db.system"))
