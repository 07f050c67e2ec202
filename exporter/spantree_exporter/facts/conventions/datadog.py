"""Spans of Datadog's tracers, as the Collector's receiver translates them (scope `Datadog`).

A span of theirs is named for the operation (`servlet.request`, `postgresql.query`) and says of what in its resource
(open-telemetry/opentelemetry-collector-contrib#23150); the class of an error and its message are attributes.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.conventions.database import name_of_statement
from spantree_exporter.facts.reading import Convention, first_text, put_preview, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import STATUS_ERROR, Span

_RESOURCE: Final = "dd.span.Resource"
_DATABASES: Final = ("db.type", "db.system.name", "db.system")
_MESSAGES: Final = ("error.msg", "error.message")
_MESSAGE_CHARS: Final = 1000


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    resource = text_of(a.get(_RESOURCE))
    if any(key in a for key in _DATABASES):
        facts.setdefault("kind", "db")
        if resource is not None:
            facts.setdefault("name", name_of_statement(resource) or span.name)
            put_preview(facts, "input", resource)
    elif resource is not None and resource != span.name:
        facts.setdefault("name", resource)
    if span.status_code == STATUS_ERROR and not span.events:
        if message := first_text(span, _MESSAGES):
            facts.setdefault("error_message", message[:_MESSAGE_CHARS])
        if error_type := text_of(a.get("error.type")):
            facts.setdefault("error_type", error_type)


CONVENTION = Convention("datadog", _read, keys=(_RESOURCE,))
