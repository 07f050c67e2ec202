"""Figures of rollups, groups of failures among them, held against the rows that they were made of."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import psycopg
from tests.tables import query

from spantree_exporter.postgres.connection import StoreConnection
from spantree_exporter.postgres.rollup_store import Difference, RollupFolder, differences

_GRAINS = (24, 192)
_EDGES_OF_ROWS = """
    SELECT
        execution.trace_id, execution.workflow_name, execution.service, earlier.name, later.kind, later.name, type,
        bool_or(later.status IN ('failed', 'timed_out'))
    FROM spantree.edge
    JOIN spantree.execution USING (tenant_id, trace_id)
    JOIN spantree.node AS earlier ON earlier.trace_id = edge.trace_id
        AND (earlier.span_id, earlier.ordinal) = (from_span_id, from_ordinal)
    JOIN spantree.node AS later ON later.trace_id = edge.trace_id
        AND (later.span_id, later.ordinal) = (to_span_id, to_ordinal)
    WHERE from_trace_id IS NULL AND execution.workflow_name IS NOT NULL
    GROUP BY 1, 2, 3, 4, 5, 6, 7
"""
_EDGES_OF_ROLLUPS = """
    SELECT workflow_name, service, name, kind, target, role, sum(total)::bigint, sum(failed)::bigint
    FROM (
        SELECT workflow_name, service, name, kind, target, role, total, failed FROM spantree.rollup
        WHERE subject = 'edge' AND grain_h = %(grain)s
    ) AS held
    GROUP BY 1, 2, 3, 4, 5, 6
    HAVING sum(total) <> 0
    ORDER BY 1, 2, 3, 4, 5, 6
"""
_SUMS = """
    SELECT
        subject, workflow_name, name, kind, role, sum(total), sum(completed), sum(failed), sum(duration_ns),
        sum(input_tokens), sum((SELECT sum(held) FROM unnest((durations).counts) AS held))
    FROM spantree.rollup
    WHERE grain_h = %(grain)s
    GROUP BY 1, 2, 3, 4, 5
    HAVING sum(total) <> 0
    ORDER BY 1, 2, 3, 4, 5
"""
# Calls between services, counted from the spans themselves.
_CALLS_OF_SPANS = """
    SELECT caller_sent.service_name, called_sent.service_name, count(*)
    FROM spantree.span AS called
    JOIN spantree.span AS caller ON caller.trace_id = called.trace_id AND caller.span_id = called.parent_span_id
    JOIN spantree.resource AS called_sent ON called_sent.id = called.resource_id
    JOIN spantree.resource AS caller_sent ON caller_sent.id = caller.resource_id
    WHERE called_sent.service_name <> caller_sent.service_name
    GROUP BY 1, 2
    ORDER BY 1, 2
"""
CALLS_OF_ROLLUPS = """
    SELECT name, kind, sum(total)::bigint
    FROM spantree.rollup
    WHERE subject = 'call' AND grain_h = %(grain)s
    GROUP BY 1, 2
    HAVING sum(total) <> 0
    ORDER BY 1, 2
"""

# Groups of failures that still have some.
_GROUPS = """
    SELECT fingerprint, first_seen_ns, last_seen_ns
    FROM spantree.failure_group
    WHERE fingerprint IN (SELECT name FROM spantree.rollup WHERE subject = 'error' AND grain_h = 1 AND total > 0)
    ORDER BY fingerprint
"""
_GROUPS_OF_ROWS = """
    SELECT error_fingerprint, min(started_ns), max(started_ns)
    FROM spantree.execution
    WHERE status IN ('failed', 'partial', 'timed_out') AND error_fingerprint IS NOT NULL
    GROUP BY error_fingerprint
    ORDER BY error_fingerprint
"""


def fold(url: str) -> None:
    """Fold all that waits for it; returns when whoever folds beside has done so, too."""
    connection = StoreConnection(url, "spantree test")
    try:
        while RollupFolder(connection).fold() or query(url, "SELECT 1 FROM spantree.rollup_delta LIMIT 1"):
            pass
    finally:
        connection.close()


def wrong_figures(url: str, days: Sequence[date]) -> list[Difference]:
    """Figures by the hour that are not what the rows of these days say, once all is folded."""
    fold(url)
    with psycopg.connect(url, autocommit=True) as connection:
        return differences(connection, 0, days)


def sum_up(url: str, now: datetime = datetime(2027, 1, 1, tzinfo=UTC)) -> None:
    """Make days and eight days of their hours, as if it were `now`."""
    connection = StoreConnection(url, "spantree test")
    query(url, "UPDATE spantree.rollup_outdated SET since = '-infinity'")
    while RollupFolder(connection).sum_up(now):
        pass
    connection.close()
    assert query(url, "SELECT count(*) FROM spantree.rollup_outdated") == [(0,)]


def assert_all_is_counted(url: str, days: Sequence[date], now: datetime = datetime(2027, 1, 1, tzinfo=UTC)) -> None:
    """Figures of every grain, steps that followed others, calls and groups of failures are those of the rows.

    All that is pending has been projected; `days` are all days with rows.
    """
    wrong = wrong_figures(url, days)
    assert not wrong, f"{wrong}"
    assert query(url, "SELECT count(*) FROM spantree.rollup_delta") == [(0,)]
    _assert_groups_are_those_of_the_rows(query(url, _GROUPS), query(url, _GROUPS_OF_ROWS))
    calls = query(url, _CALLS_OF_SPANS)
    assert query(url, CALLS_OF_ROLLUPS, grain=1) == calls
    assert_edges_are_counted(url, 1)
    sum_up(url, now)
    for grain in _GRAINS:
        assert_edges_are_counted(url, grain)
        assert query(url, CALLS_OF_ROLLUPS, grain=grain) == calls
        assert query(url, _SUMS, grain=grain) == query(url, _SUMS, grain=1)


def assert_edges_are_counted(url: str, grain: int) -> None:
    """Which step followed which, and how often."""
    expected = query(
        url,
        f"SELECT workflow_name, service, name, kind, target, type, count(*), count(*) FILTER (WHERE failed) "
        f"FROM ({_EDGES_OF_ROWS}) AS taken (trace_id, workflow_name, service, name, kind, target, type, failed) "
        "GROUP BY 1, 2, 3, 4, 5, 6 "
        "ORDER BY 1, 2, 3, 4, 5, 6",
    )
    assert query(url, _EDGES_OF_ROLLUPS, grain=grain) == expected


def _assert_groups_are_those_of_the_rows(groups: list[tuple[Any, ...]], of_rows: list[tuple[Any, ...]]) -> None:
    # What was seen to fail and is told otherwise since, of another cause for instance, was seen all the same.
    assert [fingerprint for fingerprint, _, _ in groups] == [fingerprint for fingerprint, _, _ in of_rows]
    astray = [
        (group, rows) for group, rows in zip(groups, of_rows, strict=True) if group[1] > rows[1] or group[2] < rows[2]
    ]
    assert not astray, f"(group, what its rows say), each with the first and the last start: {astray}"
