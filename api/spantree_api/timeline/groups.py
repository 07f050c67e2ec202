"""Nodes in tree order -> what belongs together among siblings: attempts of a task, turns of a loop. Pure.

A group is a stretch of neighbours with their subtrees, so that a timeline can put a row above it. Attempts that stand
apart, because others ran between them, are no group: their own numbers tell them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from spantree_api.timeline.rows import TimelineRow
from spantree_exporter.statuses import FAILED_NODE, OPEN

GroupKind = Literal["attempts", "iteration"]


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes of sequence number `first` to `end`, which is no more of it. `number`: of the turn; how many attempts."""

    first: int
    end: int
    kind: GroupKind
    number: int
    name: str
    status: str


def groups_of(rows: Sequence[TimelineRow]) -> list[Group]:
    """The groups of a whole tree, `rows` being all of its nodes in order; by `first`, outer ones before inner ones."""
    found: list[Group] = []
    for siblings, ends in _families(rows):
        following = dict(zip((one.sequence for one in siblings), ends, strict=True))
        turns = _stretches(siblings, _same_turn)
        # A row above each single step would say nothing that the step's own mark does not.
        if any(len(turn) > 1 and turn[0].iteration is not None for turn in turns):
            found += [_turn(turn, following) for turn in turns if turn[0].iteration is not None]
        for turn in turns:
            found += [_attempts(task, following) for task in _stretches(turn, _next_attempt) if len(task) > 1]
    return sorted(found, key=lambda group: (group.first, -group.end, group.kind != "iteration"))


def _families(rows: Sequence[TimelineRow]) -> Iterator[tuple[list[TimelineRow], list[int]]]:
    """Nodes with the same parent, two or more, with the sequence number after the subtree of each."""
    after = rows[-1].sequence + 1 if rows else 1
    open_families: list[list[TimelineRow]] = []

    def close(depth: int, end: int) -> Iterator[tuple[list[TimelineRow], list[int]]]:
        while len(open_families) > depth:
            family = open_families.pop()
            if len(family) > 1:
                yield family, [one.sequence for one in family[1:]] + [end]

    for row in rows:
        yield from close(row.depth + 1, row.sequence)
        while len(open_families) <= row.depth:
            open_families.append([])
        open_families[row.depth].append(row)
    yield from close(0, after)


def _stretches(
    rows: Sequence[TimelineRow], belongs: Callable[[TimelineRow, TimelineRow], bool]
) -> list[list[TimelineRow]]:
    """`rows` cut wherever one does not belong to the one before it."""
    stretches = [[rows[0]]]
    for before, row in itertools.pairwise(rows):
        if belongs(before, row):
            stretches[-1].append(row)
        else:
            stretches.append([row])
    return stretches


def _same_turn(before: TimelineRow, row: TimelineRow) -> bool:
    return before.iteration == row.iteration


def _next_attempt(before: TimelineRow, row: TimelineRow) -> bool:
    """By the task's key, by the name where there is none, as a failure report tells tasks apart."""
    return (before.task_key or before.name) == (row.task_key or row.name) and row.attempt > before.attempt


def _turn(turn: Sequence[TimelineRow], following: dict[int, int]) -> Group:
    number = turn[0].iteration
    assert number is not None  # noqa: S101  # of a turn
    # The worst of what is in it: what failed, then what is not over.
    status = max((one.status for one in turn), key=lambda one: (one in FAILED_NODE, one in OPEN, one == "completed"))
    return Group(turn[0].sequence, following[turn[-1].sequence], "iteration", number, "", status)


def _attempts(task: Sequence[TimelineRow], following: dict[int, int]) -> Group:
    last = task[-1]
    return Group(task[0].sequence, following[last.sequence], "attempts", len(task), task[0].name, last.status)
