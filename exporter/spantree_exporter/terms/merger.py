"""Merges small rows of `span_terms` now and then: a service that sends ten spans a second makes one for each batch.

A row is merged when there are some of about its size, so that what is stored once is written anew three times at most,
and of a day and tenant a hundred small rows are left at most, however small the batches. In one transaction: whoever
searches sees the rows or what became of them. What retention has dropped meanwhile is not there to be taken.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import date
from typing import Any, Final
from uuid import UUID

import psycopg

from spantree_exporter.postgres.connection import StoreConnection
from spantree_exporter.postgres.upkeep import Turns
from spantree_exporter.sql import statements
from spantree_exporter.terms.merge import Part, Small, merged, together
from spantree_exporter.terms.segment import Segment

_log = logging.getLogger(__name__)
_SQL: Final = statements("span_terms")

# Merging takes up to this share of the time. After a look that found nothing it rests.
_SHARE: Final = 0.05
_INTERVAL_S: Final = 10.0
_RETRY_S: Final = 600.0
# Spans of the rows that are merged with each other, and how many rows there have to be: to merge some of a few spans
# takes as long as some of many. A busy writer's batches are of the second.
_LEVELS: Final = ((1, 256, 64), (256, 4_096, 16), (4_096, 32_768, 16))
# Rows that are looked at for those which fit together, and days and tenants.
_ROWS_READ: Final = 128
_LEVELS_READ: Final = 20


class TermMerger:
    """Merges over one connection."""

    def __init__(self, connection: StoreConnection) -> None:
        self._connection = connection
        # Where it fails, all else goes on before it is tried again.
        self._turns = Turns(connection, "merge", share=_SHARE, retry_s=_RETRY_S)

    def merge_when_due(self) -> int:
        """Merge some rows, if it is time and nobody else is at it; how many. Raises psycopg.Error."""
        if not self._turns.begin():
            return 0
        try:
            taken = self.merge()
        except (ValueError, IndexError) as error:
            # Nothing here writes such a row; projections, which are waited for, go on all the same.
            _log.error("rows of span_terms are not as their columns say, and stay as they are: %s", error)
            return 0
        self._turns.end(rest_s=0.0 if taken else _INTERVAL_S)
        return taken

    def merge(self) -> int:
        """Make one row of some; of how many: 0 where there are not enough, or somebody else merges just now."""
        connection = self._connection.open()
        with connection.transaction(), connection.cursor(binary=True) as cursor:
            row = cursor.execute(_SQL["try_merge"]).fetchone()
            if not row or not row[0]:
                return 0
            levels = cursor.execute(
                _SQL["levels_to_merge"],
                {
                    "least": [least for least, _, _ in _LEVELS],
                    "below": [below for _, below, _ in _LEVELS],
                    "rows": [rows for _, _, rows in _LEVELS],
                    "limit": _LEVELS_READ,
                },
            ).fetchall()
            for tenant_id, day, least, below in levels:
                if taken := _merge_of(cursor, tenant_id, day, least, below):
                    return taken
        return 0


def _merge_of(cursor: psycopg.Cursor[Any], tenant_id: int, day: date, least: int, below: int) -> int:
    level = {"tenant_id": tenant_id, "day": day, "least": least, "below": below, "limit": _ROWS_READ}
    found = cursor.execute(_SQL["segments_to_merge"], level).fetchall()
    some = together([Small(spans, size, frozenset(resources)) for _, _, spans, size, resources in found])
    if not some:
        return 0
    keys: list[tuple[int, UUID]] = [(found[at][0], found[at][1]) for at in some]
    taken = cursor.execute(
        _SQL["take_segments"],
        {
            "tenant_id": tenant_id,
            "day": day,
            "last_ns": [last_ns for last_ns, _ in keys],
            "ids": [one for _, one in keys],
        },
    ).fetchall()
    if not taken:
        return 0
    segment, parts = merged([_segment_and_parts(row) for row in taken])
    cursor.execute(
        _SQL["insert_merged"],
        {
            "tenant_id": tenant_id,
            "day": day,
            "spans": segment.spans,
            "traces": segment.traces,
            "first_ns": segment.first_ns,
            "last_ns": segment.last_ns,
            "resources": segment.resources,
            "resource_ends": segment.resource_ends,
            "octave_ends": segment.octave_ends,
            "entry_fences": segment.entry_fences,
            "list_fences": segment.list_fences,
            "lists": segment.lists,
            "part_ends": [part.end for part in parts],
            "part_first_ns": [part.first_ns for part in parts],
            "part_last_ns": [part.last_ns for part in parts],
        },
    )
    return len(taken)


def _segment_and_parts(row: Sequence[Any]) -> tuple[Segment, list[Part]]:
    """Of the columns of `take_segments`."""
    *columns, ends, first_ns, last_ns = row
    parts = [] if ends is None else [Part(*part) for part in zip(ends, first_ns, last_ns, strict=True)]
    return Segment(*columns), parts
