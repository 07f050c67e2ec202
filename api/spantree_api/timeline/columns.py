"""Nodes, their groups and the spans folded into them -> the columns of a timeline. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spantree_api.answers.timeline import BandColumns, FoldedColumns, GroupColumns, TimelineColumns
from spantree_api.timeline.groups import Group
from spantree_api.timeline.rows import BandRow, FoldedRow, TimelineRow
from spantree_exporter.ids import node_id, span_id_to_hex

_NAME_CHARS = 200


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
        "tokens": [row.tokens for row in rows],
        "cost_usd": [row.cost_usd for row in rows],
    }
    return columns, texts


def band_columns(rows: Sequence[BandRow], size: int, started_ns: int) -> BandColumns:
    """The columns of bands of `size` nodes."""

    def us(time_ns: int | None) -> int | None:
        return None if time_ns is None else (time_ns - started_ns) // 1_000

    return {
        "first": [row.band * size + 1 for row in rows],
        "start_us": [(row.started_ns - started_ns) // 1_000 for row in rows],
        "end_us": [None if row.is_open else us(row.ended_ns) for row in rows],
        "failed_start_us": [us(row.failed_from_ns) for row in rows],
        "failed_end_us": [us(row.failed_to_ns) for row in rows],
    }


def group_columns(groups: Sequence[Group], texts: Texts) -> GroupColumns:
    """The columns of `groups`; their texts go to those of the nodes."""
    return {
        "first": [group.first for group in groups],
        "end": [group.end for group in groups],
        "kind": [group.kind for group in groups],
        "number": [group.number for group in groups],
        "name": [texts.names.number_of(group.name[:_NAME_CHARS]) for group in groups],
        "status": [texts.statuses.number_of(group.status) for group in groups],
    }


def folded_columns(rows: Sequence[FoldedRow], started_ns: int) -> tuple[FoldedColumns, Index, Index]:
    """The columns of spans that are no nodes, the names and the scopes that they point into."""
    names, scopes = Index(), Index()
    columns: FoldedColumns = {
        "sequence": [row.sequence for row in rows],
        "span_id": [span_id_to_hex(row.span_id) for row in rows],
        "name": [names.number_of(row.name[:_NAME_CHARS]) for row in rows],
        "scope": [scopes.number_of((row.scope or "")[:_NAME_CHARS]) for row in rows],
        "start_us": [(row.start_ns - started_ns) // 1_000 for row in rows],
        "duration_us": [max(0, row.end_ns - row.start_ns) // 1_000 for row in rows],
        "failed": [int(row.status_code == 2) for row in rows],
    }
    return columns, names, scopes


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
