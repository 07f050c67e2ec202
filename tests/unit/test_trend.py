"""Which points a trend has, and what they tell."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from spantree_api.errors import InvalidParameter
from spantree_api.figures.trend import BUCKETS, PointRow, TrendRange, range_of_trend, trend_intervals, trend_series

S = 1_000_000_000
NOW_S = 1_000_000_000 // 3_600 * 3_600


def ranged(bucket: str, since_s: float | None, until_s: float | None) -> tuple[int, int]:
    """The first and the end of the range, by its distance from now."""
    since_ns, until_ns = (None if at is None else int((NOW_S + at) * S) for at in (since_s, until_s))
    found = range_of_trend(bucket, since_ns, until_ns, NOW_S * S)
    return found.from_s - NOW_S, found.end_s - NOW_S


def test_a_range_is_widened_to_whole_buckets() -> None:
    assert ranged("1h", None, None) == (-86_400, 0)
    assert ranged("1h", -3_599, -1) == (-3_600, 0)
    assert ranged("1h", -3_600, -3_599.5) == (-3_600, 0)
    assert ranged("1m", -61, -60) == (-120, -60)
    # What is still to come has no points, but for one bucket of clocks that run ahead.
    assert ranged("1m", -60, 86_400) == (-60, 60)


@pytest.mark.parametrize(("bucket", "longest_s"), [("1m", 6 * 3_600), ("5m", 86_400), ("1h", 14 * 86_400)])
def test_a_range_may_be_as_long_as_its_bucket_allows_and_not_empty(bucket: str, longest_s: int) -> None:
    assert ranged(bucket, -longest_s, 0) == (-longest_s, 0)
    with pytest.raises(InvalidParameter, match="are too many"):
        ranged(bucket, -longest_s - 1, 0)
    with pytest.raises(InvalidParameter, match="until is not after since"):
        ranged(bucket, -60, -60)
    with pytest.raises(InvalidParameter, match="until is before 1970"):
        ranged(bucket, -NOW_S - 60, -NOW_S)


def test_days_of_a_time_zone_are_as_long_as_its_clocks_make_them() -> None:
    def days(tz: str, since: str, until: str, now: str = "2026-12-01T00:00:00+00:00") -> list[str]:
        since_ns, until_ns, now_ns = (int(datetime.fromisoformat(at).timestamp()) * S for at in (since, until, now))
        found = range_of_trend("1d", since_ns, until_ns, now_ns, tz)
        assert found.from_s == found.starts[0]
        return [f"{datetime.fromtimestamp(at, UTC):%m-%dT%H:%M}" for at in (*found.starts, found.end_s)]

    # Clocks went back on 25 October: that day had 25 hours.
    assert days("Europe/Oslo", "2026-10-24T12:00:00+02:00", "2026-10-26T00:00:00+01:00") == [
        "10-23T22:00", "10-24T22:00", "10-25T23:00",
    ]  # fmt: skip
    assert days("America/New_York", "2026-03-08T05:00:00+00:00", "2026-03-08T05:00:01+00:00") == [
        "03-08T05:00", "03-09T04:00",
    ]  # fmt: skip
    assert days("Asia/Kolkata", "2026-11-19T18:30:00+00:00", "2026-11-20T18:30:00+00:00") == [
        "11-19T18:30", "11-20T18:30",
    ]  # fmt: skip
    wanted = range_of_trend("1d", NOW_S * S, (NOW_S + 1) * S, (NOW_S + 9) * S, "Asia/Kolkata")
    [hours] = trend_intervals(wanted, set())
    assert (hours.grain_h, hours.first_hour * 3600 - wanted.from_s, hours.end_hour) == (
        1, 1800, hours.first_hour + 24,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("tz", "bucket", "since_s", "said"),
    [
        ("Mars/Base", "1d", -60, "is no time zone: wanted a name such as Europe/Oslo"),
        ("../../etc/passwd", "1d", -60, "is no time zone"),
        ("", "1d", -60, "is no time zone"),
        ("Europe/Oslo", "1h", -60, "tz is for 1d"),
        ("Europe/Oslo", "1d", -63 * 86_400, "63 days of a time zone are too many"),
    ],
)
def test_what_is_no_time_zone_and_what_has_none_is_refused(tz: str, bucket: str, since_s: int, said: str) -> None:
    with pytest.raises(InvalidParameter, match=said):
        range_of_trend(bucket, (NOW_S + since_s) * S, NOW_S * S, NOW_S * S, tz)


def test_a_success_rate_is_of_those_that_ended_and_what_did_not_run_has_none() -> None:
    wanted = TrendRange(0, 180, BUCKETS["1m"], range(0, 180, 60))
    rows = [
        PointRow("a", 0, 10, 3, 1, 2, 7, 0.5, 12.0),
        PointRow("a", 60, 10, 0, 0, 0, 0, 0.0, None),
        PointRow("b", 0, 1, 1, 0, 0, 0, 0.0, None),
    ]

    def values(metric: str) -> list[float | None]:
        [series] = trend_series(metric, rows, ["a"], wanted)
        return [point["value"] for point in series["points"]]

    assert values("success_rate") == [0.75, None, None]
    assert values("runs") == [10, 10, 0]
    assert values("failures") == [1, 0, 0]
    assert values("retries") == [2, 0, 0]
    assert values("tokens") == [7, 0, 0]
    assert values("cost_usd") == [0.5, 0.0, 0]
    assert values("p95_ms") == [12.0, None, None]
