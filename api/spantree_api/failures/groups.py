"""Rows of groups and their figures -> answers. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from spantree_api.answers.failure_groups import FailureGroup, GroupChange, TrendPoint
from spantree_api.failures.stored_groups import ChangeRow, CountsRow, ExampleRow, GroupRow
from spantree_api.rendering import ns_of, rfc3339

_HOUR_NS = 3_600_000_000_000
_DAY_H = 24


def bucket_hours(since_ns: int, now_ns: int) -> int:
    """Hours of a bucket of the trend: one up to two days back, a day up to ninety, else eight days."""
    hours = (now_ns - since_ns) // _HOUR_NS
    if hours <= 2 * _DAY_H:
        return 1
    return _DAY_H if hours <= 90 * _DAY_H else 8 * _DAY_H


def group_answers(
    groups: Sequence[GroupRow],
    counts: Iterable[CountsRow],
    examples: Iterable[ExampleRow],
    since_ns: int,
    now_ns: int,
) -> list[FailureGroup]:
    """`groups` in their order, each with its figures; those that nothing is counted of in the range are left out.

    That happens where executions were projected anew and failed of something else then.
    """
    bucket_h = bucket_hours(since_ns, now_ns)
    figures: defaultdict[str, list[CountsRow]] = defaultdict(list)
    for row in counts:
        figures[row.fingerprint].append(row)
    by_fingerprint = {one.fingerprint: one for one in examples}
    return [
        _group_answer(
            group, figures[group.fingerprint], by_fingerprint.get(group.fingerprint), (since_ns, now_ns), bucket_h
        )
        for group in groups
        if group.fingerprint in figures
    ]


def group_answer(
    group: GroupRow, counts: Sequence[CountsRow], example: ExampleRow | None, since_ns: int, now_ns: int
) -> FailureGroup:
    """One group, also where nothing is counted in the range."""
    return _group_answer(group, counts, example, (since_ns, now_ns), bucket_hours(since_ns, now_ns))


def change_answer(row: ChangeRow) -> GroupChange:
    """A line of a group's history."""
    return {
        "at": rfc3339(ns_of(row.changed_at)),
        "state": row.state,
        "note": row.note,
        "by": row.changed_by,
        "version": row.version,
    }


def _group_answer(
    group: GroupRow,
    counts: Sequence[CountsRow],
    example: ExampleRow | None,
    bounds_ns: tuple[int, int],
    bucket_h: int,
) -> FailureGroup:
    by_workflow: defaultdict[str, int] = defaultdict(int)
    by_hour: defaultdict[int, int] = defaultdict(int)
    for row in counts:
        by_workflow[row.workflow_name] += row.count
        by_hour[row.hour] += row.count
    return {
        "fingerprint": group.fingerprint,
        "state": group.state,
        "category": group.category or "unknown",
        "example": None
        if example is None
        else {
            "execution_id": example.trace_id.hex,
            "name": example.name,
            "error_summary": example.error_summary,
            "started_at": rfc3339(example.started_ns),
        },
        "count": sum(by_hour.values()),
        "first_seen_at": rfc3339(group.first_seen_ns),
        "last_seen_at": rfc3339(group.last_seen_ns),
        "trend": _trend(by_hour, bounds_ns, bucket_h),
        "workflows": [name for name, _ in sorted(by_workflow.items(), key=lambda item: (-item[1], item[0])) if name],
        "versions": group.versions,
        "reopened_at": None if group.reopened_at is None else rfc3339(ns_of(group.reopened_at)),
        "reopened_version": group.reopened_version,
        "note": group.note,
        "changed_by": group.changed_by,
        "changed_at": None if group.changed_at is None else rfc3339(ns_of(group.changed_at)),
    }


def _trend(by_hour: dict[int, int], bounds_ns: tuple[int, int], bucket_h: int) -> list[TrendPoint]:
    since_h, now_h = (bound_ns // _HOUR_NS // bucket_h * bucket_h for bound_ns in bounds_ns)
    # What is said to start in the future has a bucket only where something is in it: clocks differ.
    hours = sorted({*range(since_h, now_h + 1, bucket_h), *by_hour})
    return [{"at": rfc3339(hour * _HOUR_NS), "count": by_hour.get(hour, 0)} for hour in hours]
