"""Apache Flink's trace reporters (FLIP-384): a span for each checkpoint, whose end is an attribute and no status."""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span

_STATUS: Final = "checkpointStatus"


def _read(span: Span, facts: Facts) -> None:
    if span.attributes.get(_STATUS) == "FAILED":
        facts.setdefault("weak_status", "failed")
        facts.setdefault("error_message", "checkpoint failed")


CONVENTION = Convention("flink", _read, keys=(_STATUS,))
