"""Which steps of its workflow an execution never came to, learned from other executions. Pure.

Skipped work leaves no span. What an engine declares (a static graph, skipped steps) is in the execution's row; beyond
it, other executions show what follows what: a step that has followed one that ran here, or that follows such a step
in turn, could have run. Steps of another graph that shares the workflow's name are never reached this way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from spantree_exporter.rollup import KEY_LENGTH


@dataclass(frozen=True, slots=True)
class FollowRow:
    """`following` came after `name` in some execution; `name` None: the workflow's definition names `following`.

    Both None: there is a definition.
    """

    name: str | None
    following: str | None


def never_run(declared: Iterable[str], ran: Iterable[str], follows: Iterable[FollowRow]) -> list[str]:
    """Names that could have run and did not: declared ones first, then learned ones in alphabetical order."""
    # Names in figures are cut.
    seen = {name[:KEY_LENGTH] for name in ran}
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
