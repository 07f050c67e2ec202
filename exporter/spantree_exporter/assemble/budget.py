"""How much of one trace is projected: beyond it all spans stay stored, and the execution says that it is reduced."""

from __future__ import annotations

from typing import Final

from spantree_exporter.rows import SpanFacts
from spantree_exporter.span import STATUS_ERROR

# Some 250 MB while they are put together. Real traces of agents and pipelines stay below 20,000.
MAX_NODES: Final = 250_000
NODES_REDUCED: Final = "nodes_reduced"
EDGES_REDUCED: Final = "edges_reduced"
# Joins of the widest rounds that are told in full have 16 edges a step; a trace as a whole has fewer.
EDGES_A_NODE: Final = 8
EDGES_AT_LEAST: Final = 2_000


def within_nodes(spans: list[SpanFacts]) -> tuple[list[SpanFacts], bool]:
    """(what of `spans`, which are canonical, becomes nodes; whether that is less than all).

    What failed, what has no parent and what says that it is a run or a step stays first, then what started first.
    """
    if len(spans) <= MAX_NODES:
        return spans, False
    ranked = sorted(range(len(spans)), key=lambda number: (_is_detail(spans[number]), number))
    return [spans[number] for number in sorted(ranked[:MAX_NODES])], True


def _is_detail(span: SpanFacts) -> bool:
    facts = span.facts
    told = "boundary" in facts or "step" in facts
    return span.parent_span_id is not None and span.status_code != STATUS_ERROR and not told
