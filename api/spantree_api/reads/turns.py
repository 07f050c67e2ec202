"""What was said in the turns of a conversation: whole values, of the steps that have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from spantree_api.database import Query
from spantree_api.node_detail import whole_value
from spantree_api.reader import Reader, TraceKey
from spantree_api.reads.lists import LOOKED_THROUGH
from spantree_api.stored_rows import ExecutionRow, NodeRow, node_rows
from spantree_exporter.facts.reading import PREVIEW_CHARS


@dataclass(frozen=True, slots=True)
class Saying:
    """What was given, or came out. `is_whole`: whether `text` is all of it; `node`: of which step, where one has it."""

    node: NodeRow | None
    text: str
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Said:
    """What was asked and answered in a turn, where somebody told it."""

    asked: Saying | None = None
    answered: Saying | None = None


async def said_in(reader: Reader, turns: Sequence[ExecutionRow], most_chars: int) -> dict[UUID, Said]:
    """By execution; of each text `most_chars` at most."""
    looked_through = [turn for turn in turns if turn.execution.total_count <= LOOKED_THROUGH]
    days = await reader.days_of([turn.trace_id for turn in looked_through]) if looked_through else []
    parameters = {
        "tenant_id": reader.config.tenant_id,
        "trace_ids": [turn.trace_id for turn in looked_through],
        "inputs": [turn.execution.input for turn in looked_through],
        "outputs": [turn.execution.output for turn in looked_through],
        "days": days,
    }
    sayings: dict[tuple[UUID, bool], Saying] = {}
    asked, answered = await _speaking(reader, parameters) if looked_through else ([], [])
    for is_asked, row in [*((True, row) for row in asked), *((False, row) for row in answered)]:
        shown = row.node.input if is_asked else row.node.output
        # Lists have the beginning of a longer text; its span has the whole.
        key = TraceKey(reader.config.tenant_id, row.trace_id, tuple(days))
        spans = await reader.spans_of(key, row) if shown is not None and len(shown) >= PREVIEW_CHARS else []
        text, is_whole = whole_value(shown, spans)
        if text is not None:
            sayings[row.trace_id, is_asked] = Saying(row, text[:most_chars], is_whole and len(text) <= most_chars)
    return {
        turn.trace_id: Said(
            sayings.get((turn.trace_id, True)) or _of_execution(turn.execution.input),
            sayings.get((turn.trace_id, False)) or _of_execution(turn.execution.output),
        )
        for turn in turns
    }


def _of_execution(shown: str | None) -> Saying | None:
    return None if shown is None else Saying(None, shown, len(shown) < PREVIEW_CHARS)


async def _speaking(reader: Reader, parameters: dict[str, object]) -> tuple[list[NodeRow], list[NodeRow]]:
    """The nodes that have what was asked, and those that have what was answered."""
    asked, answered = await reader.snapshot.together(
        Query("nodes_asked", parameters, node_rows), Query("nodes_that_answered", parameters, node_rows)
    )
    return asked, answered
