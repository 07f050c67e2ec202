"""Figures over days, from rollups: of nodes, of workflows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spantree_api.figures.hours import FiguresRange
from spantree_api.figures.intervals import bounded_intervals, interval_parameters, intervals
from spantree_api.filters import moment_of
from spantree_api.reader import Reader
from spantree_api.stored_rows import (
    BucketRow,
    CountRow,
    IntervalRow,
    NodeStatRow,
    WorkflowStatRow,
    records,
)
from spantree_exporter.rollup import KEY_LENGTH
from spantree_exporter.rollup_names import OTHER_NAMES


@dataclass(frozen=True, slots=True)
class WorkflowFigures:
    """Figures of one workflow: its durations, how often it failed for each category, the step that it runs most."""

    row: WorkflowStatRow
    durations: list[BucketRow]
    errors: list[CountRow]
    most_used_node: str | None


async def node_totals(
    reader: Reader, of: FiguresRange, workflow: str | None, kind: str | None, limit: int
) -> tuple[list[NodeStatRow], list[BucketRow]]:
    """Nodes by workflow and name, worst success rate first, and their durations."""
    key = None if workflow is None else workflow[:KEY_LENGTH]
    ranged = await range_parameters(reader, of, of_workflow=() if key is None else ("node",))
    wanted = {**ranged, "kind": kind, "workflow": key}
    rows = await reader.snapshot.all("node_totals", wanted | {"limit": limit}, records(NodeStatRow))
    shown = {"workflows": [row.workflow_name or "" for row in rows], "names": [row.name for row in rows]}
    return rows, await reader.snapshot.all("node_durations", wanted | shown, records(BucketRow))


async def workflow_totals(
    reader: Reader, of: FiguresRange, limit: int, *, hidden: bool
) -> tuple[list[WorkflowStatRow], list[BucketRow]]:
    """Executions by workflow, most runs first, and their durations."""
    wanted = {**await range_parameters(reader, of), "hidden": hidden}
    rows = await reader.snapshot.all(
        "workflow_totals", wanted | {"workflow": None, "limit": limit}, records(WorkflowStatRow)
    )
    return rows, await _durations(reader, wanted, [row.name for row in rows])


async def workflow_figures(reader: Reader, of: FiguresRange, workflow: str) -> WorkflowFigures | None:
    """Figures of one workflow, hidden runs as well; None where it has no run."""
    key = workflow[:KEY_LENGTH]
    ranged = await range_parameters(reader, of, of_workflow=("workflow", "node", "error"))
    wanted = {**ranged, "workflow": key, "hidden": True}
    row = await reader.snapshot.first("workflow_totals", wanted | {"limit": 1}, records(WorkflowStatRow))
    if row is None:
        return None
    durations = await _durations(reader, wanted, [key])
    errors = await reader.snapshot.all("workflow_errors", wanted, records(CountRow))
    most_used = await reader.snapshot.first("most_used_node", wanted, records(CountRow))
    return WorkflowFigures(row, durations, errors, None if most_used is None else most_used.name)


async def range_parameters(
    reader: Reader, of: FiguresRange, named: Sequence[str] = (), of_workflow: Sequence[str] = ()
) -> dict[str, object]:
    """For the statements of stats.sql: the rollups of a range; `named`, `of_workflow` as in `outdated_intervals`."""
    if of.until_ns is None:
        return await since_parameters(reader, of.since_ns, named, of_workflow)
    return await bounded_parameters(reader, of.since_ns, of.until_ns - 1, named, of_workflow)


async def since_parameters(
    reader: Reader, since_ns: int, named: Sequence[str] = (), of_workflow: Sequence[str] = ()
) -> dict[str, object]:
    """For the statements of stats.sql: the rollups from the hour of `since_ns` on."""
    outdated = await outdated_intervals(reader, since_ns, named, of_workflow)
    return {
        "tenant_id": reader.config.tenant_id,
        **interval_parameters(intervals(since_ns, reader.now_ns, outdated)),
    }


async def bounded_parameters(
    reader: Reader, since_ns: int, until_ns: int, named: Sequence[str] = (), of_workflow: Sequence[str] = ()
) -> dict[str, object]:
    """As `since_parameters`, up to the hour of `until_ns`, this one included."""
    outdated = await outdated_intervals(reader, since_ns, named, of_workflow)
    return {
        "tenant_id": reader.config.tenant_id,
        **interval_parameters(bounded_intervals(since_ns, until_ns, outdated)),
    }


async def outdated_intervals(
    reader: Reader, since_ns: int, named: Sequence[str] = (), of_workflow: Sequence[str] = ()
) -> set[tuple[int, int]]:
    """(hours, first hour) of days, and intervals of eight, that are to be read from their parts.

    `named`, `of_workflow`: the subjects of which one name, or those of one workflow, are asked for: where a day has too
    many it may be among the others, while the hours have it still.
    """
    asked: dict[str, object] = {"tenant_id": reader.config.tenant_id, "since": moment_of(since_ns)}
    rows = await reader.snapshot.all("outdated_intervals", asked, records(IntervalRow))
    if named or of_workflow:
        subjects = [*named, *of_workflow]
        asked |= {"subjects": subjects, "by_workflow": [False] * len(named) + [True] * len(of_workflow)}
        asked |= {"until": moment_of(reader.now_ns), "other": OTHER_NAMES}
        rows += await reader.snapshot.all("gathering_intervals", asked, records(IntervalRow))
    return {(row.grain_h, row.hour) for row in rows}


async def _durations(reader: Reader, wanted: dict[str, object], names: Sequence[str]) -> list[BucketRow]:
    return await reader.snapshot.all("workflow_durations", wanted | {"names": list(names)}, records(BucketRow))
