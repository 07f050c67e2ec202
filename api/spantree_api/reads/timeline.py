"""Nodes as a timeline shows them, a part at a time, and which of them match."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass

from spantree_api.reader import Reader, TraceKey
from spantree_api.stored_rows import records
from spantree_api.timeline.columns import open_depths
from spantree_api.timeline.find import Find
from spantree_api.timeline.flame import FlameGraph
from spantree_api.timeline.rows import BandRow, FlameRow, FoldedRow, TimelineRow

# Subtrees whose end is looked up: one look into the index each. The ends of deeper ones are not told.
_ENDS_MAX = 100


@dataclass(frozen=True, slots=True)
class _EndRow:
    depth: int
    sequence: int | None


@dataclass(frozen=True, slots=True)
class MatchRow:
    """A node that matches."""

    sequence: int
    span_id: int
    ordinal: int


async def nodes_from(
    reader: Reader, key: TraceKey, from_sequence: int, limit: int
) -> tuple[list[TimelineRow], dict[int, int]]:
    """Nodes from a sequence number on, and by depth where the subtrees end that are open after the last of them."""
    parameters = key.parameters() | {"from_sequence": from_sequence, "limit": limit}
    rows = await reader.snapshot.all("timeline_of_trace", parameters, records(TimelineRow))
    if len(rows) < limit:
        return rows, {}
    asked = {"sequence": rows[-1].sequence, "depths": open_depths(rows)[:_ENDS_MAX]}
    ends = await reader.snapshot.all("ends_of_subtrees", key.parameters() | asked, records(_EndRow))
    return rows, {end.depth: end.sequence for end in ends if end.sequence is not None}


async def bands(reader: Reader, key: TraceKey, size: int) -> list[BandRow]:
    """All nodes, `size` neighbours together, in sequence order."""
    return await reader.snapshot.all("overview_of_trace", key.parameters() | {"size": size}, records(BandRow))


async def matching(reader: Reader, key: TraceKey, find: Find, limit: int, *, failed: bool) -> list[MatchRow]:
    """The nodes that are as `find` says; only those that failed with `failed`."""
    asked = find.parameters() | {"failed": failed, "limit": limit}
    return await reader.snapshot.all("nodes_that_match", key.parameters() | asked, records(MatchRow))


async def folded_into(reader: Reader, key: TraceKey, from_sequence: int, limit: int) -> list[FoldedRow]:
    """The spans that are folded into nodes from a sequence number on, by node and start."""
    asked = {"from_sequence": from_sequence, "limit": limit}
    return await reader.snapshot.all("folded_spans", key.parameters() | asked, records(FoldedRow))


async def flame_graph(reader: Reader, key: TraceKey, limit: int) -> FlameGraph:
    """The flame graph of the first `limit` nodes, of which some are in memory at a time."""
    graph = FlameGraph()
    async with aclosing(
        reader.snapshot.chunks("flame_of_trace", key.parameters() | {"limit": limit}, records(FlameRow))
    ) as chunks:
        async for rows in chunks:
            graph.add(rows)
    return graph
