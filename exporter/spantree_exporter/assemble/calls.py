"""Which services of a trace called each other, and how often."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from spantree_exporter.rows import SpanFacts
from spantree_exporter.span import KIND_CONSUMER, KIND_SERVER

# Of more pairs those that called most often are told: a sender that puts ids into service.name has one for each span.
PAIRS_MAX: Final = 500
_TAKING_SIDE: Final = frozenset({KIND_SERVER, KIND_CONSUMER})


def calls_of(spans: Sequence[SpanFacts]) -> list[str]:
    """Caller, called and number of calls of each pair of services, one after the other, in order of the names.

    A call is a span whose parent is of another service, as Jaeger counts them. `spans` has each span once.
    """
    if len({span.service for span in spans}) < 2:
        return []
    service_of: dict[int, str] = {}
    for span in spans:
        # Of the two sides of one call that share an id, the one that took it has the children.
        if span.span_id not in service_of or span.kind in _TAKING_SIDE:
            service_of[span.span_id] = span.service
    counts: dict[tuple[str, str], int] = {}
    for span in spans:
        caller = "" if span.parent_span_id is None else service_of.get(span.parent_span_id, "")
        called = span.service
        if caller and called and caller != called and span.facts.get("fold") != "pending":
            counts[caller, called] = counts.get((caller, called), 0) + 1
    pairs = sorted(counts)
    if len(pairs) > PAIRS_MAX:
        pairs = sorted(sorted(pairs, key=lambda pair: -counts[pair])[:PAIRS_MAX])
    return [text for pair in pairs for text in (*pair, str(counts[pair]))]
