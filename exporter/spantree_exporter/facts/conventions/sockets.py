"""Connections and look-ups of names that Node.js makes (@opentelemetry/instrumentation-net, -dns): no steps, no runs.

What needed the connection fails where it does, and is told itself.
"""

from __future__ import annotations

from spantree_exporter.facts.reading import Convention
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import STATUS_ERROR, Span


def _read(span: Span, facts: Facts) -> None:
    facts.setdefault("kind", "rpc")
    if span.parent_span_id is None:
        facts.setdefault("hidden", True)
    elif span.status_code != STATUS_ERROR:
        facts.setdefault("fold", "parent")


CONVENTION = Convention(
    "sockets", _read, scopes=("@opentelemetry/instrumentation-net", "@opentelemetry/instrumentation-dns")
)
