"""smolagents through OpenInference: `Step 1`, `Step 2` ... of an agent are turns of one loop."""

from __future__ import annotations

import re
from typing import Final

from spantree_exporter.facts.reading import Convention
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span

_STEP: Final = re.compile(r"Step \d{1,6}\Z")


def _read(span: Span, facts: Facts) -> None:
    if span.attributes.get("openinference.span.kind") == "CHAIN" and _STEP.match(span.name):
        facts["kind"] = "turn"
        facts["name"] = "step"


CONVENTION = Convention("smolagents", _read, scopes=("openinference.instrumentation.smolagents",))
