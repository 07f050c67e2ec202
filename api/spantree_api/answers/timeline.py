"""A timeline: the shape of the answers. Columns instead of objects: 5,000 nodes are some 100 kB when compressed."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

from spantree_api.answers.executions import documented


@documented
class TimelineColumns(TypedDict):
    """One entry a node in each list, in sequence order."""

    id: list[str]
    depth: list[int]
    end: list[int | None]
    """sequence number of the first node after it that is not below it; null: the last nodes are below it, or that is
    not known for it"""
    name: list[int]
    """index into `names`"""
    kind: list[int]
    """index into `kinds`"""
    status: list[int]
    """index into `statuses`"""
    service: list[int]
    """index into `services`"""
    start_us: list[int]
    """microseconds after `started_ns`; negative where it began before the execution"""
    duration_us: list[int | None]
    """null: it has not ended"""
    attempt: list[int]
    attempts: list[int]
    """how many attempts of its task are on this page; 1 where it tells none"""
    iteration: list[int | None]
    error: list[int | None]
    """index into `errors`"""
    critical: list[int]
    """1 on the critical path, else 0"""
    folded: list[int]
    """spans that belong to it and are no nodes of their own"""
    tokens: list[int | None]
    """into a model and out of it"""
    cost_usd: list[float | None]


@documented
class GroupColumns(TypedDict):
    """What belongs together among neighbours: one entry a group in each list, outer ones before inner ones."""

    first: list[int]
    """sequence number of its first node"""
    end: list[int]
    """sequence number of the first node after it"""
    kind: list[Literal["attempts", "iteration"]]
    number: list[int]
    """how many attempts; which iteration"""
    name: list[int]
    """index into `names`: of the task; empty of an iteration"""
    status: list[int]
    """index into `statuses`: of the last attempt; of an iteration the worst of its steps"""


@documented
class TimelineAnswer(TypedDict):
    """A part of an execution's nodes as a timeline draws them."""

    execution_id: str
    status: str
    started_ns: int
    ended_ns: int
    """until now where it has not ended, until the last sign of life when it is lost"""
    total: int
    """nodes of the whole execution"""
    first: int
    """sequence number of the first entry; the following entries count up"""
    names: list[str]
    kinds: list[str]
    statuses: list[str]
    services: list[str]
    errors: list[str]
    """error types"""
    nodes: TimelineColumns
    groups: GroupColumns
    """attempts of a task and iterations of a loop; empty where not all nodes of the execution are on this page"""


@documented
class FoldedColumns(TypedDict):
    """One entry a span in each list, by the node that it is folded into, then by start."""

    sequence: list[int]
    """sequence number of that node"""
    span_id: list[str]
    name: list[int]
    """index into `names`"""
    scope: list[int]
    """index into `scopes`"""
    start_us: list[int]
    """microseconds after the execution's `started_ns`"""
    duration_us: list[int]
    failed: list[int]
    """1 where its own status is an error, else 0"""


@documented
class FoldedAnswer(TypedDict):
    """Spans that belong to nodes and are none of their own."""

    execution_id: str
    names: list[str]
    scopes: list[str]
    """instrumentation scopes: what made the spans"""
    spans: FoldedColumns
    truncated: bool
    """whether there are more"""


@documented
class BandColumns(TypedDict):
    """One entry a band of neighbours in each list, in sequence order; times as in a timeline."""

    first: list[int]
    """sequence number of its first node"""
    start_us: list[int]
    """when the first of it began: microseconds after the execution's `started_ns`"""
    end_us: list[int | None]
    """when the last of it ended; null: something of it has not"""
    failed_start_us: list[int | None]
    """when what failed of it began; null: nothing did"""
    failed_end_us: list[int | None]
    """when what failed of it ended"""


@documented
class TimelineOverview(TypedDict):
    """When the nodes of an execution ran, some hundred bands of them from the first to the last."""

    execution_id: str
    total: int
    """nodes of the whole execution"""
    size: int
    """nodes of a band"""
    bands: BandColumns
    """from the first to the last"""


@documented
class TimelineMatches(TypedDict):
    """Which nodes have a text in name or error, or failed."""

    sequences: list[int]
    ids: list[str]
    truncated: bool
    """whether there are more"""
