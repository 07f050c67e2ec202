"""Workflow histories that spantree read from Temporal (temporal_history.py): what our own attributes cannot say.

A child workflow has a span in its parent's history and one in its own, where that was imported: they are one step.
"""

from __future__ import annotations

from spantree_exporter.facts.reading import Convention
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span


def _read(span: Span, facts: Facts) -> None:
    if span.attributes.get("temporal.child") is True:
        facts.setdefault("fold", "inner")
    facts.setdefault("step", True)


CONVENTION = Convention("temporal_history", _read, scopes=("spantree.temporal",))
