"""Which points a trend has, which intervals they are made of, and their values. Pure.

| bucket | made of | when no `since` is given | longest range |
|---|---|---|---|
| 1m | the newest rows | an hour | 6 hours |
| 5m | the newest rows | 6 hours | a day |
| 1h | rollups of hours | a day | 14 days |
| 1d | rollups of days, of hours where a day is outdated | 30 days | 400 days |
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from spantree_api.answers.trends import TrendSeries
from spantree_api.errors import InvalidParameter
from spantree_api.figures.intervals import Interval
from spantree_api.rendering import rfc3339
from spantree_exporter.rollup import quantile_ns

Metric = Literal["runs", "failures", "retries", "success_rate", "p50_ms", "p95_ms", "p99_ms", "tokens", "cost_usd"]
By = Literal["all", "workflow", "node", "service", "user", "model", "project", "category"]
BucketName = Literal["1m", "5m", "1h", "1d"]

QUANTILES: Final[dict[str, float]] = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}
# By what is counted: the subject of its rollups, and what of them names a series.
SUBJECTS: Final[dict[str, tuple[str, str]]] = {
    "all": ("workflow", "all"),
    "workflow": ("workflow", "name"),
    "node": ("node", "name"),
    "service": ("service", "name"),
    "user": ("user", "name"),
    "model": ("model", "name"),
    "project": ("project", "name"),
    "category": ("error", "kind"),
}
_S: Final = 1_000_000_000
_HOUR_S: Final = 3_600
_DAY_S: Final = 86_400
# Days of a time zone are made of hours, 24 times as many rows as days of UTC.
_ZONE_RANGE_S: Final = 62 * _DAY_S


@dataclass(frozen=True, slots=True)
class Bucket:
    """A length of points; `of_rows`: they are counted from rows, for no rollup is so short."""

    seconds: int
    usual_range_s: int
    longest_range_s: int
    of_rows: bool


BUCKETS: Final[dict[str, Bucket]] = {
    "1m": Bucket(60, _HOUR_S, 6 * _HOUR_S, True),
    "5m": Bucket(300, 6 * _HOUR_S, _DAY_S, True),
    "1h": Bucket(_HOUR_S, _DAY_S, 14 * _DAY_S, False),
    "1d": Bucket(_DAY_S, 30 * _DAY_S, 400 * _DAY_S, False),
}


@dataclass(frozen=True, slots=True)
class TrendRange:
    """Whole buckets: the start of the first and the end of the last, in seconds since 1970."""

    from_s: int
    end_s: int
    bucket: Bucket
    starts: Sequence[int]
    """of each bucket, ascending: days of a time zone are not all equally long"""


@dataclass(frozen=True, slots=True)
class PointRow:
    """Sums of one series in one bucket. `failed`: failed, timed out or partial; `retried`: attempts before the last."""

    name: str
    at_s: int
    runs: int
    completed: int
    failed: int
    retried: int
    tokens: int
    cost_usd: float
    quantile_ms: float | None


@dataclass(frozen=True, slots=True)
class HistogramRow:
    """A histogram of durations of one series in one bucket; several of them add up."""

    name: str
    at_s: int
    buckets: list[int]
    counts: list[int]


def range_of_trend(
    bucket_name: str, since_ns: int | None, until_ns: int | None, now_ns: int, tz: str | None = None
) -> TrendRange:
    """The buckets from `since_ns` to `until_ns`, both widened to whole ones. Raises InvalidParameter.

    Days are those of the time zone `tz`, of UTC where it is None.
    """
    bucket = BUCKETS[bucket_name]
    # What is still to come has no figures; clocks that run ahead make a bucket more.
    end_s = -(-min(now_ns if until_ns is None else until_ns, now_ns + bucket.seconds * _S) // _S)
    from_s = end_s - bucket.usual_range_s if since_ns is None else since_ns // _S
    if end_s <= 0:
        raise InvalidParameter("until", "until is before 1970: nothing is counted there")
    if from_s >= end_s:
        raise InvalidParameter("until", "until is not after since: wanted a later time, since is inside the range")
    if end_s - from_s > bucket.longest_range_s:
        raise InvalidParameter(
            "since",
            f"{(end_s - from_s) / _HOUR_S:.0f} hours in points of {bucket_name} are too many: "
            f"wanted {bucket.longest_range_s / _HOUR_S:.0f} at most, or a longer bucket",
        )
    if tz is not None:
        return _days_of_zone(tz, bucket_name, max(0, from_s), end_s)
    first_s = max(0, from_s) // bucket.seconds * bucket.seconds
    last_s = -(-end_s // bucket.seconds) * bucket.seconds
    return TrendRange(first_s, last_s, bucket, range(first_s, last_s, bucket.seconds))


def _days_of_zone(tz: str, bucket_name: str, from_s: int, end_s: int) -> TrendRange:
    """The days of a time zone from that of `from_s` to that before `end_s`, 23 or 25 hours long where clocks change."""
    if bucket_name != "1d":
        raise InvalidParameter(
            "tz", f"points of {bucket_name} begin at the same moment in every time zone: tz is for 1d"
        )
    if end_s - from_s > _ZONE_RANGE_S:
        raise InvalidParameter(
            "since",
            f"{(end_s - from_s) / _DAY_S:.0f} days of a time zone are too many, for they are made of hours: wanted "
            f"{_ZONE_RANGE_S // _DAY_S} at most, or days of UTC",
        )
    try:
        zone = ZoneInfo(tz)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidParameter("tz", f"{tz[:100]!r} is no time zone: wanted a name such as Europe/Oslo") from error
    day = datetime.fromtimestamp(from_s, zone).date()
    starts: list[int] = []
    while not starts or starts[-1] < end_s:
        starts.append(int(datetime.combine(day, time.min, zone).timestamp()))
        day += timedelta(days=1)
    end_s = starts.pop()
    return TrendRange(starts[0], end_s, BUCKETS[bucket_name], starts)


def trend_intervals(wanted: TrendRange, outdated: Collection[tuple[int, int]]) -> list[Interval]:
    """The rollups that the buckets are made of: days where they are right and wanted, else hours; oldest first."""
    found: list[Interval] = []
    # An hour is of the day that it begins in: some time zones are half an hour off.
    hour, end = -(-wanted.from_s // _HOUR_S), -(-wanted.end_s // _HOUR_S)
    hours = wanted.bucket.seconds // _HOUR_S if isinstance(wanted.starts, range) else 1
    while hour < end:
        grain_h = 24 if hours == 24 and (24, hour) not in outdated else 1
        following = hour + hours
        if found and found[-1].grain_h == grain_h:
            hour_before = found.pop().first_hour
            found.append(Interval(grain_h, hour_before, following))
        else:
            found.append(Interval(grain_h, hour, following))
        hour = following
    return found


def with_quantiles(rows: Iterable[PointRow], histograms: Iterable[HistogramRow], quantile: float) -> list[PointRow]:
    """`rows` with the quantile of the histograms of their series and bucket, unless one knows it."""
    summed: dict[tuple[str, int], dict[int, int]] = {}
    for one in histograms:
        counts = summed.setdefault((one.name, one.at_s), {})
        for bucket, count in zip(one.buckets, one.counts, strict=True):
            counts[bucket] = counts.get(bucket, 0) + count
    found: list[PointRow] = []
    for row in rows:
        if row.quantile_ms is not None:
            found.append(row)
            continue
        held = sorted(summed.get((row.name, row.at_s), {}).items())
        ns = quantile_ns([bucket for bucket, _ in held], [count for _, count in held], quantile) if held else None
        found.append(replace(row, quantile_ms=None if ns is None else ns / 1e6))
    return found


def trend_series(metric: str, rows: Iterable[PointRow], names: Sequence[str], wanted: TrendRange) -> list[TrendSeries]:
    """A series for each of `names`, in their order, each with a point for every bucket; without a name: all as one.

    Where nothing ran, counts and sums are 0, rates and durations null.
    """
    by_name: dict[str, dict[int, PointRow]] = {name: {} for name in names}
    for row in rows:
        if row.name in by_name:
            by_name[row.name][row.at_s] = row
    series: list[TrendSeries] = []
    for name, points in by_name.items():
        told = [{"at": rfc3339(at_s * _S), "value": _value(metric, points.get(at_s))} for at_s in wanted.starts]
        series.append({"name": name or None, "points": told})  # type: ignore[typeddict-item]
    return series


def _value(metric: str, row: PointRow | None) -> float | None:
    if row is None:
        return 0 if metric in {"runs", "failures", "retries", "tokens", "cost_usd"} else None
    match metric:
        case "runs":
            return row.runs
        case "failures":
            return row.failed
        case "retries":
            return row.retried
        case "tokens":
            return row.tokens
        case "cost_usd":
            return row.cost_usd
        case "success_rate":
            ended = row.completed + row.failed
            return row.completed / ended if ended else None
        case _:
            return row.quantile_ms
