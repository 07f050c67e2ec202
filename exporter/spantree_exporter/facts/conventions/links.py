"""What links say of themselves: our own `spantree.link.type`, OpenTracing's reference types."""

from __future__ import annotations

from typing import Final

from spantree_exporter import attributes as names
from spantree_exporter.facts.reading import Convention
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span

# Set by OpenTelemetry's OpenTracing shim; `child_of` is the parent of a span that has no parent id.
_REFERENCE: Final = "opentracing.ref_type"
_CHILD_OF: Final = "child_of"


def _read(span: Span, facts: Facts) -> None:
    types: dict[str, str] = {}
    for link in span.links:
        if not link.attributes:
            continue
        kind = link.attributes.get(names.LINK_TYPE)
        if isinstance(kind, str):
            types[link.span_id] = kind
        elif link.attributes.get(_REFERENCE) == _CHILD_OF:
            types[link.span_id] = _CHILD_OF
    if types:
        facts["link_types"] = types


CONVENTION = Convention("links", _read)
