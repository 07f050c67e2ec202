"""How much of one trace is projected: beyond it all spans stay stored, and the execution says that it is reduced.

A process that projects may hold 768 MiB (SPANTREE_WRITER_MAX_BYTES). A trace of this budget takes some 600 of them,
from reading its spans to COPY.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.rows import Assembled, SpanFacts
from spantree_exporter.span import STATUS_ERROR

# Some 330 MB while they are put together. Real traces of agents and pipelines stay below 20,000.
MAX_NODES: Final = 250_000
NODES_REDUCED: Final = "nodes_reduced"
EDGES_REDUCED: Final = "edges_reduced"
# Joins of the widest rounds that are told in full have 16 edges a step; a trace as a whole has fewer.
EDGES_A_NODE: Final = 8
EDGES_AT_LEAST: Final = 2_000
# While they are found a node takes as much memory as three edges: together a trace has no more of it than this.
_EDGES_IN_MEMORY: Final = 1_000_000
_EDGES_OF_NODE: Final = 3


def within_nodes(spans: list[SpanFacts]) -> tuple[list[SpanFacts], bool]:
    """(what of `spans`, which are canonical, becomes nodes; whether that is less than all).

    What failed, what has no parent and what says that it is a run or a step stays first, then what started first.
    """
    if len(spans) <= MAX_NODES:
        return spans, False
    ranked = sorted(range(len(spans)), key=lambda number: (_is_detail(spans[number]), number))
    return [spans[number] for number in sorted(ranked[:MAX_NODES])], True


def most_edges(nodes: int) -> int:
    """How many edges are told between so many nodes."""
    return min(max(EDGES_AT_LEAST, EDGES_A_NODE * nodes), _EDGES_IN_MEMORY - _EDGES_OF_NODE * nodes)


def tell_left_out(assembled: Assembled, spans: int, last_seen_ns: int) -> None:
    """Let the execution say that `spans` more are stored, which were not read; `last_seen_ns` is of all."""
    execution = assembled.execution
    execution.span_count += spans
    execution.last_seen_ns = max(execution.last_seen_ns, last_seen_ns)
    if NODES_REDUCED not in execution.anomalies:
        execution.anomalies = [NODES_REDUCED, *execution.anomalies]


def _is_detail(span: SpanFacts) -> bool:
    facts = span.facts
    told = "boundary" in facts or "step" in facts
    return span.parent_span_id is not None and span.status_code != STATUS_ERROR and not told
