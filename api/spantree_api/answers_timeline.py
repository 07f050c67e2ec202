"""A timeline: the shape of the answers. Columns instead of objects: 5,000 nodes are some 100 kB when compressed."""

from __future__ import annotations

from typing_extensions import TypedDict

from spantree_api.answers import documented


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


@documented
class TimelineMatches(TypedDict):
    """Which nodes have a text in name or error, or failed."""

    sequences: list[int]
    ids: list[str]
    truncated: bool
    """whether there are more"""
