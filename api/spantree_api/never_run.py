"""Which steps of its workflow an execution never came to, learned from other executions. Pure.

Skipped work leaves no span. What an engine declares (a static graph, skipped steps) is in the execution's row; beyond
it, other executions show what follows what: a step that has followed one that ran here, or that follows such a step
in turn, could have run. Steps of another graph that shares the workflow's name are never reached this way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from uuid import UUID


@dataclass(frozen=True, slots=True)
class FollowRow:
    """`following` came after `name` in some execution; `name` None: the workflow's definition names `following`."""

    name: str | None
    following: str | None


@dataclass(frozen=True, slots=True)
class NearRow:
    """Another execution of the workflow; `skipped_nodes` of a definition are all the steps that it names."""

    trace_id: UUID
    day: date
    kind: str
    skipped_nodes: list[str]
    total_count: int


def within_budget(near: Iterable[NearRow], nodes_max: int) -> list[NearRow]:
    """The first of `near` that have no more than `nodes_max` nodes together; one too large for the rest is left out."""
    kept: list[NearRow] = []
    for row in near:
        if row.total_count <= nodes_max:
            nodes_max -= row.total_count
            kept.append(row)
    return kept


def named_by_definitions(near: Iterable[NearRow]) -> list[FollowRow]:
    """The steps that definitions of the workflow name, as rows of no predecessor."""
    return [FollowRow(None, name) for row in near if row.kind == "definition" for name in row.skipped_nodes]


def never_run(declared: Iterable[str], ran: Iterable[str], follows: Iterable[FollowRow]) -> list[str]:
    """Names that could have run and did not: declared ones first, then learned ones in alphabetical order."""
    seen = set(ran)
    after: dict[str, set[str]] = {}
    reached: set[str] = set()
    for row in follows:
        if row.following is None:
            continue
        if row.name is None:
            reached.add(row.following)
        else:
            after.setdefault(row.name, set()).add(row.following)
    frontier = list(seen | reached)
    while frontier:
        for name in after.get(frontier.pop(), ()):
            if name not in seen and name not in reached:
                reached.add(name)
                frontier.append(name)
    names = dict.fromkeys(declared)
    names.update(dict.fromkeys(sorted(reached - seen)))
    return list(names)
