"""Figures by name, over time and along a workflow's steps: from rollups, below an hour from the newest rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from spantree_api.figures.by_name import ConditionRow, LongestRow, MapEdgeRow, MapNodeRow, NameRow
from spantree_api.figures.hours import FiguresRange
from spantree_api.figures.intervals import interval_parameters
from spantree_api.figures.trend import (
    QUANTILES,
    SUBJECTS,
    HistogramRow,
    PointRow,
    TrendRange,
    trend_intervals,
    with_quantiles,
)
from spantree_api.reader import Reader
from spantree_api.reads.stats import outdated_intervals, range_parameters, since_parameters
from spantree_api.stored_rows import BucketRow, CountRow, TraceRow, records
from spantree_exporter.postgres.partitions import date_of, day_of
from spantree_exporter.rollup import GAMMA, KEY_LENGTH

_S: Final = 1_000_000_000
_DAY_NS: Final = 86_400 * _S
_HOUR_NS: Final = 3_600 * _S
# Executions that buckets below an hour count, and executions whose nodes they count: a second's work at most.
_WALKED: Final = 100_000
_WALKED_FOR_NODES: Final = 5_000
_NODES: Final = 1_000
_EDGES: Final = 2_000
# Executions whose conditions are read for a map.
_CONDITIONS_OF: Final = 50
_QUEUES_OF: Final = 1_000
_WORKFLOWS_NAMED: Final = 1_000
_WORKFLOWS_TOLD: Final = 50


@dataclass(frozen=True, slots=True)
class Trend:
    """Points of the named series. `counted_back_to_ns`: older rows of the range are not counted."""

    names: list[str]
    points: list[PointRow]
    counted_back_to_ns: int | None


@dataclass(frozen=True, slots=True)
class ProjectFigures:
    """What a project did; `workflows` by runs, `workflow_count` of them at most 1,000."""

    row: NameRow
    durations: list[BucketRow]
    workflows: list[CountRow]
    workflow_count: int
    node: str | None
    queue: str | None
    longest: LongestRow | None


@dataclass(frozen=True, slots=True)
class WorkflowMap:
    """Steps of a workflow and the ways between them."""

    since_ns: int
    runs: int
    nodes: list[MapNodeRow]
    durations: list[BucketRow]
    edges: list[MapEdgeRow]
    conditions: list[ConditionRow]


async def trend(
    reader: Reader,
    metric: str,
    by: str,
    wanted: TrendRange,
    name: str | None,
    workflow: str | None,
    limit: int,
    *,
    hidden: bool,
) -> Trend:
    """The series with most runs in the range, or the one of `name`, most runs first."""
    subject, series = SUBJECTS[by]
    parameters: dict[str, object] = {
        "tenant_id": reader.config.tenant_id,
        "subject": subject,
        "series": series,
        "by": by,
        "name": None if name is None else name[:KEY_LENGTH],
        "workflow": None if workflow is None else workflow[:KEY_LENGTH],
        "hidden": hidden,
        "limit": limit,
        "quantile": QUANTILES.get(metric, 0.5),
    }
    if by == "workflow" and name is not None:
        # The same, by the index of workflows.
        parameters["workflow"] = name[:KEY_LENGTH]
    if wanted.bucket.of_rows:
        return await _trend_of_rows(reader, by, wanted, parameters)
    named, of_workflow = ((subject,) if given is not None else () for given in (name, workflow))
    outdated = await outdated_intervals(reader, wanted.from_s * _S, named, of_workflow)
    parts = trend_intervals(wanted, outdated)
    parameters |= {**interval_parameters(parts), "starts": list(wanted.starts)}
    names = [one.name or "" for one in await reader.snapshot.all("trend_names", parameters, records(CountRow))]
    parameters["names"] = names
    points = await reader.snapshot.all("trend_points", parameters, records(PointRow))
    if metric in QUANTILES:
        histograms = await reader.snapshot.all("trend_durations", parameters, records(HistogramRow))
        points = with_quantiles(points, histograms, QUANTILES[metric])
    return Trend(names, points, None)


async def _trend_of_rows(reader: Reader, by: str, wanted: TrendRange, parameters: dict[str, object]) -> Trend:
    of_nodes = by in {"node", "model"}
    parameters |= {
        "days": _days(wanted.from_s * _S, wanted.end_s * _S),
        "from_ns": wanted.from_s * _S,
        "end_ns": wanted.end_s * _S,
        "step_s": wanted.bucket.seconds,
        "walked": _WALKED_FOR_NODES if of_nodes else _WALKED,
    }
    if of_nodes:
        # Rollups do not know of steps whose they are; both tell the same.
        parameters["hidden"] = True
    points = await reader.snapshot.all(
        "trend_of_nodes" if of_nodes else "trend_of_executions", parameters, records(PointRow)
    )
    oldest = await reader.snapshot.first("trend_walked_to", parameters, records(CountRow))
    totals: dict[str, int] = {}
    for point in points:
        totals[point.name] = totals.get(point.name, 0) + point.runs
    names = sorted(totals, key=lambda name: (-totals[name], name))
    return Trend(names, points, None if oldest is None else oldest.count)


async def name_totals(
    reader: Reader, subject: str, of: FiguresRange, limit: int, name: str | None = None, *, hidden: bool = False
) -> tuple[list[NameRow], list[BucketRow]]:
    """Figures by name of a subject of rollups, most runs first, and their durations."""
    ranged = await range_parameters(reader, of, () if name is None else (subject,))
    return await _name_totals(reader, ranged, subject, limit, name, hidden=hidden)


async def _name_totals(
    reader: Reader, ranged: dict[str, object], subject: str, limit: int, name: str | None, *, hidden: bool
) -> tuple[list[NameRow], list[BucketRow]]:
    wanted: dict[str, object] = {
        **ranged,
        "subject": subject,
        "name": None if name is None else name[:KEY_LENGTH],
        # The same, by the index of workflows.
        "workflow": name[:KEY_LENGTH] if subject == "workflow" and name is not None else None,
        "hidden": hidden,
        "limit": limit,
    }
    rows = await reader.snapshot.all("name_totals", wanted, records(NameRow))
    wanted["names"] = [row.name for row in rows]
    return rows, await reader.snapshot.all("name_durations", wanted, records(BucketRow))


async def project(reader: Reader, name: str, of: FiguresRange) -> ProjectFigures | None:
    """What a project did in a range; None where it did nothing."""
    rows, durations = await name_totals(reader, "project", of, 1, name, hidden=True)
    if not rows:
        return None
    key = name[:KEY_LENGTH]
    ranged = await range_parameters(reader, of, ("project",))
    workflows = await reader.snapshot.all(
        "names_of_workflows",
        {**ranged, "subject": "project", "name": key, "limit": _WORKFLOWS_NAMED},
        records(CountRow),
    )
    named = [one.name for one in workflows[:_WORKFLOWS_TOLD]]
    node = await reader.snapshot.first(
        "most_used_nodes_of_workflows", {**ranged, "workflows": named}, records(CountRow)
    )
    # As long as figures: the longest of them is looked for by its bucket.
    end_ns = reader.now_ns + _DAY_NS if of.until_ns is None else of.until_ns
    of_rows: dict[str, object] = {
        "tenant_id": reader.config.tenant_id,
        "project": name,
        "days": _days(of.since_ns, end_ns),
        "from_ns": of.since_ns,
        "end_ns": end_ns,
        "walked": _QUEUES_OF,
        # No longer one than those of the last bucket.
        "min_duration_ns": int(GAMMA ** (max((row.bucket for row in durations), default=0) - 1) * 0.999),
    }
    longest = await reader.snapshot.first("longest_of_project", of_rows, records(LongestRow)) if durations else None
    queue = await reader.snapshot.first("queues_of_project", of_rows, records(CountRow))
    return ProjectFigures(
        rows[0],
        durations,
        workflows[:_WORKFLOWS_TOLD],
        len(workflows),
        None if node is None else node.name,
        None if queue is None else queue.name,
        longest,
    )


async def workflow_map(reader: Reader, workflow: str, since_ns: int) -> WorkflowMap | None:
    """Steps and ways of a workflow from the hour of `since_ns` on; None where it has no run."""
    ranged = await since_parameters(reader, since_ns, of_workflow=("workflow", "node", "edge"))
    rows, _ = await _name_totals(reader, ranged, "workflow", 1, workflow, hidden=True)
    if not rows:
        return None
    key = workflow[:KEY_LENGTH]
    wanted = {**ranged, "workflow": key, "kind": None}
    nodes = await reader.snapshot.all("map_nodes", wanted | {"limit": _NODES}, records(MapNodeRow))
    shown = {"workflows": [key] * len(nodes), "names": [node.name for node in nodes]}
    durations = await reader.snapshot.all("node_durations", wanted | shown, records(BucketRow))
    edges = await reader.snapshot.all("map_edges", wanted | {"limit": _EDGES}, records(MapEdgeRow))
    conditions: list[ConditionRow] = []
    if any(edge.type == "conditional" for edge in edges):
        of_rows: dict[str, object] = {
            "tenant_id": reader.config.tenant_id,
            "workflow": workflow,
            "days": _days(since_ns, reader.now_ns + _DAY_NS),
            "limit": _CONDITIONS_OF,
        }
        newest = await reader.snapshot.all("newest_of_workflow", of_rows, records(TraceRow))
        trace_ids = [one.trace_id for one in newest]
        of_traces = {
            "tenant_id": reader.config.tenant_id,
            "trace_ids": trace_ids,
            "days": await reader.days_of(trace_ids),
            "limit": _EDGES,
        }
        conditions = await reader.snapshot.all("conditions_of_traces", of_traces, records(ConditionRow))
    return WorkflowMap(since_ns // _HOUR_NS * _HOUR_NS, rows[0].runs, nodes, durations, edges, conditions)


def _days(from_ns: int, end_ns: int) -> Sequence[date]:
    return [date_of(day) for day in range(day_of(from_ns), day_of(end_ns) + 1)]
