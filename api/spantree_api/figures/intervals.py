"""A range of time -> the intervals of the rollups that make it up: as few, and so as long, as there are. Pure.

    hours until midnight | days until an interval of eight days | eight days ... | days | hours, the last one open

Intervals are aligned to 1970-01-01 UTC. A day, or eight days, that is outdated is made of its parts.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR_NS = 3_600_000_000_000
_GRAINS_H = (192, 24, 1)
# What is said to start after the range's end is counted in its last hours: clocks differ.
_OPEN = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Interval:
    """Consecutive intervals of one grain, from an hour up to but not including another; None for no end."""

    grain_h: int
    first_hour: int
    end_hour: int | None


def intervals(
    since_ns: int, until_ns: int, outdated: Collection[tuple[int, int]], longest_h: int = _GRAINS_H[0]
) -> list[Interval]:
    """The intervals from the hour of `since_ns` on; all that starts after the hour of `until_ns` is in the last one.

    `outdated`: (hours, first hour) of intervals whose own figures are not right. `longest_h`: none is of more hours.
    """
    hour, end = since_ns // _HOUR_NS, until_ns // _HOUR_NS
    found: list[Interval] = []
    while hour < end:
        grain_h = next(
            grain
            for grain in _GRAINS_H
            if grain == 1
            or (grain <= longest_h and hour % grain == 0 and hour + grain <= end and (grain, hour) not in outdated)
        )
        _append(found, grain_h, hour, hour + grain_h)
        hour += grain_h
    _append(found, 1, hour, None)
    return found


def bounded_intervals(since_ns: int, until_ns: int, outdated: Collection[tuple[int, int]]) -> list[Interval]:
    """As `intervals`, but nothing that starts after the hour of `until_ns` is in the last one."""
    *others, last = intervals(since_ns, until_ns, outdated)
    return [*others, replace(last, end_hour=max(last.first_hour, until_ns // _HOUR_NS) + 1)]


def interval_parameters(parts: Collection[Interval]) -> dict[str, object]:
    """For the statements of stats.sql."""
    return {
        "grains": [part.grain_h for part in parts],
        "since": [moment_of_hour(part.first_hour) for part in parts],
        "until": [_OPEN if part.end_hour is None else moment_of_hour(part.end_hour) for part in parts],
    }


def moment_of_hour(hour: int) -> datetime:
    """The begin of an hour counted from 1970."""
    return _EPOCH + timedelta(hours=hour)


def _append(found: list[Interval], grain_h: int, first_hour: int, end_hour: int | None) -> None:
    if found and found[-1].grain_h == grain_h and found[-1].end_hour == first_hour:
        first_hour = found.pop().first_hour
    found.append(Interval(grain_h, first_hour, end_hour))
