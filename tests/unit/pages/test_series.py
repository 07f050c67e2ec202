"""Bars, lines and changes of series: heights in proportion, gaps kept, sentences that say the same."""

from __future__ import annotations

import pytest

from spantree_api.pages import wording
from spantree_api.pages.series import Bar, Change, bars_of, change_of, chart_of, count_bars, short_time, values_of

DAYS = [f"2026-11-{day:02d}T00:00:00Z" for day in range(1, 15)]


def points(*values: float | None) -> list[tuple[str, float | None]]:
    return list(zip(DAYS, values, strict=False))


def test_bars_are_as_high_as_their_part_of_the_highest() -> None:
    assert bars_of(points(4, 0, 2), points(1, None, 2), points(3)) == [
        Bar(32.0, 8.0, "1 Nov UTC: 4, 1 failed, 3 retried", 24.0),
        Bar(0.0, 0.0, "2 Nov UTC: 0"),
        Bar(16.0, 16.0, "3 Nov UTC: 2, 2 failed"),
    ]


def test_a_bar_never_leaves_the_picture() -> None:
    [bar] = bars_of(points(1), points(9), points(9))
    assert (bar.bad, bar.retried) == (32.0, 0.0)


def test_failures_are_all_bad() -> None:
    trend = [{"at": DAYS[0], "count": 2}, {"at": "2026-11-01T14:00:00Z", "count": 1}]
    assert count_bars(trend) == [Bar(0.0, 32.0, "1 Nov UTC: 2"), Bar(0.0, 16.0, "1 Nov 14:00 UTC: 1")]


def test_values_are_those_of_the_series_of_that_name() -> None:
    answer = {
        "series": [
            {"name": "a", "points": [{"at": DAYS[0], "value": 1}]},
            {"name": "b", "points": [{"at": DAYS[0], "value": None}]},
        ]
    }
    assert values_of(answer) == [(DAYS[0], 1)]
    assert values_of(answer, "b") == [(DAYS[0], None)]
    assert values_of(answer, "c") == values_of({"series": []}) == []


@pytest.mark.parametrize(
    ("change", "told", "is_worse"),
    [
        (Change(0, 0, 0, 0), "", False),
        (Change(5, 1, 0, 0), "new this week", False),
        (Change(0, 0, 5, 0), "did not run this week", False),
        (Change(100, 4, 100, 1), "3 points more failures", True),
        (Change(100, 1, 100, 4), "3 points fewer failures", False),
        (Change(1500, 15, 1000, 10), "more runs: 1\u202f500, were 1\u202f000", False),
        (Change(1000, 10, 1500, 15), "fewer runs: 1\u202f000, were 1\u202f500", False),
        (Change(110, 1, 100, 1), "", False),
        (Change(100, 1, 100, 1, 2_000, 1_000), "slower: 2.00 s, was 1.00 s", True),
        (Change(100, 1, 100, 1, 1_000, 2_000), "faster: 1.00 s, was 2.00 s", False),
        (Change(100, 4, 100, 1, 2_000, 1_000), "3 points more failures; slower: 2.00 s, was 1.00 s", True),
        (Change(100, 1, 100, 1, 1_200, 1_000), "", False),
        (Change(100, 1, 100, 1, 2_000, None), "", False),
    ],
)
def test_a_change_says_what_is_worth_a_word(change: Change, told: str, is_worse: bool) -> None:
    assert (change.told, change.is_worse) == (told, is_worse)


def test_a_change_is_the_last_seven_days_against_those_before() -> None:
    runs, failures = points(*[1] * 7, *[2] * 7), points(*[None] * 6, 3, *[1] * 7)
    assert change_of(runs, failures) == Change(runs=14, failures=7, runs_before=7, failures_before=3)
    p95_ms = points(*[None] * 6, 9, 1, 2, 30, *[None] * 4)
    change = change_of(runs, failures, p95_ms)
    assert (change.p95_ms, change.p95_before_ms) == (2, None), "of one day nothing is said"


def test_a_chart_keeps_gaps_and_shows_single_points() -> None:
    chart = chart_of("Success rate", [("success", points(1.0, 0.5, None, 0.0))], wording.share, 1.0)
    assert chart is not None
    assert [line.parts for line in chart.lines] == [["0.0,1.0 200.0,60.0", "600.0,119.0 604.0,119.0"]]
    assert (chart.top, chart.since, chart.until) == ("100 %", "1 Nov UTC", "4 Nov UTC")
    assert chart.told == "Success rate over time. success: last 0 %"


def test_values_that_stand_alone_are_joined() -> None:
    """A workflow that runs a few times a day was a picture of dots."""
    chart = chart_of("Duration", [("p50", points(1, None, None, 2, None, 1, None, 2, 2))], wording.duration)
    assert chart is not None
    [joined] = [line.parts for line in chart.lines]
    assert joined == ["0.0,60.0 225.0,1.0 375.0,60.0 525.0,1.0 600.0,1.0"]


def test_lines_of_a_chart_share_one_axis() -> None:
    chart = chart_of("Duration", [("p50", points(50, 100)), ("p95", points(100, 200))], wording.duration)
    assert chart is not None
    assert [line.parts for line in chart.lines] == [["0.0,89.5 600.0,60.0"], ["0.0,60.0 600.0,1.0"]]
    assert [(line.number, line.name, line.last) for line in chart.lines] == [(0, "p50", "100 ms"), (1, "p95", "200 ms")]


def test_without_a_value_there_is_no_chart() -> None:
    assert chart_of("Duration", [("p50", points(None, None))], wording.duration) is None
    assert chart_of("Duration", [("p50", [])], wording.duration) is None


def test_times_of_points_are_short_and_say_their_zone_where_they_have_a_time() -> None:
    assert short_time("2026-11-08T00:00:00.000000000Z") == "8 Nov UTC"
    assert short_time("2026-11-08T04:05:00Z") == "8 Nov 04:05 UTC"
