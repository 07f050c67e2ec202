"""One run over all its traces."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import Path, Response

from spantree_api.answers.executions import RunAnswer, RunHead
from spantree_api.errors import NotFound
from spantree_api.http.any_text import any_text
from spantree_api.http.params import Text
from spantree_api.http.responses import error_answers, json_parts
from spantree_api.reader import Reader
from spantree_api.reads.resumed import resumed
from spantree_api.reads.runs import run_executions, run_rows
from spantree_api.rendering import clock_of, execution_answer
from spantree_api.routes.api_router import api_router
from spantree_api.run import Part, merged_execution, merged_status, merged_tree, part_of_run
from spantree_api.service import ServiceOf
from spantree_api.stored_rows import ExecutionRow
from spantree_api.tree import outline_of
from spantree_api.tree_json import TreeWriter

router = api_router("runs")
# A poller may make a trace every few seconds: the oldest of a run are shown, and that there are more.
_TRACES_MAX = 500


@router.get(f"/runs/{any_text('run_id')}", response_model=RunAnswer, responses=error_answers(404, 422, 503))
async def get_run(
    service: ServiceOf, run_id: Annotated[Text, Path(description="the declared id of the run")]
) -> Response:
    """The tree over all traces that share a run id, shown as one execution.

    A run is its executions, and of other executions the nodes that declare the run id with what is below them.
    """
    async with service.reader() as reader:
        own, foreign = await run_executions(reader, run_id, _TRACES_MAX + 1)
        traces_left_out = len(own) > _TRACES_MAX or len(foreign) > _TRACES_MAX
        own, foreign = own[:_TRACES_MAX], foreign[:_TRACES_MAX]
        if not own and not foreign:
            raise NotFound(f"no execution and no node of a run {run_id[:200]!r}", {"run_id": run_id[:200]})
        parts, statuses = await _parts(reader, run_id, own, foreign)
    tree = merged_tree(parts)
    execution = merged_execution(parts, run_id, merged_status(parts, statuses), tree.counts, reader.now_ns)
    if traces_left_out:
        execution["anomalies"] = [*execution["anomalies"], f"only the first {_TRACES_MAX} traces are told"]
    never_run = [name for part in parts if part.own for name in part.row.execution.skipped_nodes]
    outline = replace(outline_of(tree.outline, never_run), roots=tree.roots)
    writer = TreeWriter(nested=False)
    writer.add_nodes(tree.nodes)
    writer.add_edges(tree.edges)
    head: RunHead = {
        **execution,
        "executions": [part.answer for part in parts if part.own],
        "trace_ids": [part.row.trace_id.hex for part in parts],
    }
    return json_parts(writer.finish(head, tree.counts, outline, None))


async def _parts(
    reader: Reader, run_id: str, own: list[ExecutionRow], foreign: list[ExecutionRow]
) -> tuple[list[Part], list[tuple[str, int]]]:
    """The parts in order of their start, and what engines said of the run's state, and when, oldest first."""
    rows = sorted((*own, *foreign), key=lambda row: (row.execution.started_ns, row.trace_id))
    found = await run_rows(reader, run_id, [row.trace_id for row in rows])
    own_ids = {row.trace_id for row in own}
    over = await resumed(reader, own)
    parts: list[Part] = []
    for row in rows:
        answer = execution_answer(row, reader.now_ns, reader.config.lost_after_s, resumed=over)
        part = Part(
            row=row,
            answer=answer,
            own=row.trace_id in own_ids,
            nodes=found.nodes.get(row.trace_id, []),
            edges=found.edges.get(row.trace_id, []),
            clock_ns=clock_of(row.execution, answer["status"], reader.now_ns),
        )
        parts.append(part_of_run(part, run_id))
    return parts, found.statuses
