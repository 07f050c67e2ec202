"""Nodes -> the columns of a timeline. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spantree_api.answers_timeline import TimelineColumns
from spantree_exporter.ids import node_id

_NAME_CHARS = 200


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """What a timeline needs of a node."""

    span_id: int
    ordinal: int
    sequence: int
    depth: int
    name: str
    kind: str
    status: str
    service: str
    started_ns: int
    ended_ns: int | None
    attempt: int
    task_key: str | None
    iteration: int | None
    error_type: str | None
    on_critical_path: bool
    folded_count: int


class Index:
    """Texts by their number; each is kept once."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number_of(self, text: str) -> int:
        """The number of `text`, a new one where it is new."""
        return self._numbers.setdefault(text, len(self._numbers))

    @property
    def texts(self) -> list[str]:
        """Every text, by its number."""
        return list(self._numbers)


@dataclass(frozen=True, slots=True)
class Texts:
    """The dictionaries that the columns point into."""

    names: Index
    kinds: Index
    statuses: Index
    services: Index
    errors: Index


def columns_of(
    rows: Sequence[TimelineRow], started_ns: int, ends_after: dict[int, int]
) -> tuple[TimelineColumns, Texts]:
    """The columns of `rows`, which are consecutive.

    `ends_after` has, by depth, where the subtrees that are open after the last row end.
    """
    texts = Texts(Index(), Index(), Index(), Index(), Index())
    attempts: dict[str, int] = {}
    for row in rows:
        if row.task_key is not None:
            attempts[row.task_key] = max(attempts.get(row.task_key, 1), row.attempt)
    columns: TimelineColumns = {
        "id": [node_id(row.span_id, row.ordinal) for row in rows],
        "depth": [row.depth for row in rows],
        "end": ends_of(rows, ends_after),
        "name": [texts.names.number_of(row.name[:_NAME_CHARS]) for row in rows],
        "kind": [texts.kinds.number_of(row.kind) for row in rows],
        "status": [texts.statuses.number_of(row.status) for row in rows],
        "service": [texts.services.number_of(row.service) for row in rows],
        "start_us": [(row.started_ns - started_ns) // 1_000 for row in rows],
        "duration_us": [
            None if row.ended_ns is None else max(0, row.ended_ns - row.started_ns) // 1_000 for row in rows
        ],
        "attempt": [row.attempt for row in rows],
        "attempts": [1 if row.task_key is None else attempts[row.task_key] for row in rows],
        "iteration": [row.iteration for row in rows],
        "error": [
            None if row.error_type is None else texts.errors.number_of(row.error_type[:_NAME_CHARS]) for row in rows
        ],
        "critical": [int(row.on_critical_path) for row in rows],
        "folded": [row.folded_count for row in rows],
    }
    return columns, texts


def ends_of(rows: Sequence[TimelineRow], ends_after: dict[int, int]) -> list[int | None]:
    """For each row the sequence number of the first node after it that is not deeper; None where that is not known."""
    ends: list[int | None] = [None] * len(rows)
    still_open: list[int] = []
    for at, row in enumerate(rows):
        while still_open and rows[still_open[-1]].depth >= row.depth:
            ends[still_open.pop()] = row.sequence
        still_open.append(at)
    for at in still_open:
        ends[at] = ends_after.get(rows[at].depth)
    return ends


def open_depths(rows: Sequence[TimelineRow]) -> list[int]:
    """Depths of the subtrees that are still open after the last row, outermost first."""
    return list(range(rows[-1].depth + 1)) if rows else []
