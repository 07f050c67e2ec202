"""What spans are found by, in PostgreSQL: written beside them, in their transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final, TypeAlias

import psycopg

from spantree_exporter.postgres.array_text import array_text
from spantree_exporter.postgres.partitions import date_of
from spantree_exporter.span import Span
from spantree_exporter.sql import statements
from spantree_exporter.terms.segment import Segment, segments_of

_SQL: Final = statements("span_terms")


SpansAndDays: TypeAlias = tuple[Sequence[Span], Sequence[int]]
"""(spans, the day of the partition of each)."""


def insert_terms(cursor: psycopg.Cursor[Any], of_tenants: Mapping[int, SpansAndDays]) -> None:
    """Store the terms of the spans of each tenant, in the caller's transaction. Raises psycopg.Error.

    Storing some again does no harm.
    """
    made: list[tuple[int, date, Segment]] = []
    for tenant_id, (spans, days) in of_tenants.items():
        by_day = {days[0]: spans} if len(set(days)) == 1 else _by_day(spans, days)
        made += [(tenant_id, date_of(day), one) for day, some in by_day.items() for one in segments_of(some)]
    segments = [segment for _, _, segment in made]
    cursor.execute(
        _SQL["insert_segments"],
        {
            "tenant_ids": [tenant_id for tenant_id, _, _ in made],
            "days": [day for _, day, _ in made],
            "last_ns": [segment.last_ns for segment in segments],
            "first_ns": [segment.first_ns for segment in segments],
            "spans": [segment.spans for segment in segments],
            "traces": [segment.traces for segment in segments],
            "resources": [array_text(segment.resources) for segment in segments],
            "resource_ends": [array_text(segment.resource_ends) for segment in segments],
            "octave_ends": [array_text(segment.octave_ends) for segment in segments],
            "entry_fences": [array_text(segment.entry_fences) for segment in segments],
            "list_fences": [array_text(segment.list_fences) for segment in segments],
            "lists": [segment.lists for segment in segments],
        },
    )


def _by_day(spans: Sequence[Span], days: Sequence[int]) -> dict[int, Sequence[Span]]:
    by_day: dict[int, list[Span]] = {}
    for span, day in zip(spans, days, strict=True):
        by_day.setdefault(day, []).append(span)
    return dict(by_day)


def is_gap(cursor: psycopg.Cursor[Any], tenant_id: int, day: date) -> bool:
    """Whether spans of the day may have no terms, for an earlier version wrote them. Raises psycopg.Error."""
    row = cursor.execute(_SQL["is_gap"], {"tenant_id": tenant_id, "day": day}).fetchone()
    return bool(row and row[0])


def close_gap(cursor: psycopg.Cursor[Any], tenant_id: int, day: date) -> None:
    """Note that all spans of the day have terms. Raises psycopg.Error."""
    cursor.execute(_SQL["delete_gap"], {"tenant_id": tenant_id, "day": day})
