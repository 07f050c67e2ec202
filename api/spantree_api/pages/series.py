"""Series of the API as bars and lines: numbers for a picture, and the sentence that says the same. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from statistics import median
from typing import Any

from spantree_api.pages import wording

_BAR_HEIGHT = 32.0
# Times as long as last week that are worth a word: a day's p95 of few runs differs by less from day to day.
_SLOWER = 1.3
_WIDTH, _HEIGHT = 600.0, 120.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One bucket: heights of all, of what is bad of it and of what was tried again (above that), and what it says."""

    height: float
    bad: float
    told: str
    retried: float = 0.0


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart; `parts` are the points of each stretch without a gap."""

    number: int
    name: str
    parts: list[str]
    last: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines on one axis from 0 to `top`."""

    title: str
    range: str
    lines: list[Line]
    top: str
    since: str
    until: str
    told: str


@dataclass(frozen=True, slots=True)
class Change:
    """How many runs there were, how many of them failed, how long they took: this week and the one before.

    `p95_ms`: what it was on most days of the week; None where it ran on too few to say.
    """

    runs: float
    failures: float
    runs_before: float
    failures_before: float
    p95_ms: float | None = None
    p95_before_ms: float | None = None

    @property
    def slower(self) -> float:
        """How many times as long as a week before; 1 where that is not known."""
        return self.p95_ms / self.p95_before_ms if self.p95_ms and self.p95_before_ms else 1.0

    @property
    def told(self) -> str:
        """What changed against last week, in a few words; empty where nothing did that is worth a word."""
        if not self.runs_before:
            return "new this week" if self.runs else ""
        if not self.runs:
            return "did not run this week"
        points = (self.failures / self.runs - self.failures_before / self.runs_before) * 100
        told = []
        if abs(points) >= 1:
            told.append(f"{abs(points):.0f} points {'more' if points > 0 else 'fewer'} failures")
        if not 1 / _SLOWER < self.slower < _SLOWER:
            word = "slower" if self.slower > 1 else "faster"
            told.append(f"{word}: {wording.duration(self.p95_ms)}, was {wording.duration(self.p95_before_ms)}")
        return "; ".join(told) or self._more_or_fewer()

    def _more_or_fewer(self) -> str:
        ratio = self.runs / self.runs_before
        if ratio >= 1.5 or ratio <= 1 / 1.5:
            more_or_fewer = "more" if ratio > 1 else "fewer"
            return f"{more_or_fewer} runs: {wording.count(self.runs)}, were {wording.count(self.runs_before)}"
        return ""

    @property
    def is_worse(self) -> bool:
        """Whether a larger part of its runs failed than a week before, by a point or more, or they took longer."""
        if not self.runs or not self.runs_before:
            return False
        return self.slower >= _SLOWER or self.failures / self.runs - self.failures_before / self.runs_before >= 0.01


def values_of(answer: Mapping[str, Any], name: str | None = None) -> list[tuple[str, float | None]]:
    """(start, value) of the series of that name, of the first one for None; empty where there is none."""
    for series in answer["series"]:
        if name is None or series["name"] == name:
            return [(point["at"], point["value"]) for point in series["points"]]
    return []


def bars_of(
    all_of: Sequence[tuple[str, float | None]],
    bad: Sequence[tuple[str, float | None]] = (),
    retried: Sequence[tuple[str, float | None]] = (),
    zone: tzinfo = UTC,
) -> list[Bar]:
    """Bars of counts, with the bad ones of each at its foot, and those that were tried again on top of these."""
    bad_at = {at: value or 0.0 for at, value in bad}
    retried_at = {at: value or 0.0 for at, value in retried}
    most = max([value or 0.0 for _, value in all_of] + [1.0])
    bars = []
    for at, value in all_of:
        failed, again = bad_at.get(at, 0.0), retried_at.get(at, 0.0)
        told = [f"{short_time(at, zone)}: {wording.count(value or 0)}"]
        told += [f"{failed:.0f} failed"] if failed else []
        told += [f"{again:.0f} retried"] if again else []
        foot = min(failed / most, 1.0)
        bars.append(
            Bar(
                round((value or 0.0) / most * _BAR_HEIGHT, 1),
                round(foot * _BAR_HEIGHT, 1),
                ", ".join(told),
                round(min(again / most, 1.0 - foot) * _BAR_HEIGHT, 1),
            )
        )
    return bars


def count_bars(trend: Sequence[Mapping[str, Any]]) -> list[Bar]:
    """Bars of failures, all of them bad."""
    points = [(str(point["at"]), float(point["count"])) for point in trend]
    return [Bar(0.0, bar.height, bar.told) for bar in bars_of(points)]


def change_of(
    runs: Sequence[tuple[str, float | None]],
    failures: Sequence[tuple[str, float | None]],
    p95_ms: Sequence[tuple[str, float | None]] = (),
) -> Change:
    """The last seven days against those before, of values by day."""
    return Change(
        _sum(runs[-7:]),
        _sum(failures[-7:]),
        _sum(runs[:-7]),
        _sum(failures[:-7]),
        _usual(p95_ms[-7:]),
        _usual(p95_ms[:-7]),
    )


def chart_of(
    title: str,
    series: Sequence[tuple[str, Sequence[tuple[str, float | None]]]],
    told: Callable[[float | None], str],
    top: float | None = None,
    zone: tzinfo = UTC,
) -> Chart | None:
    """A chart of named series on one axis; None where there is not a single value."""
    values = [value for _, points in series for _, value in points if value is not None]
    if not values:
        return None
    highest = top or max(values) or 1.0
    times = [at for at, _ in series[0][1]]
    lines = [
        Line(number, name, _stretches(points, highest), told(_last(points)))
        for number, (name, points) in enumerate(series)
    ]
    said = "; ".join(f"{line.name}: last {line.last}" for line in lines)
    return Chart(
        title,
        "",
        lines,
        told(highest),
        short_time(times[0], zone),
        short_time(times[-1], zone),
        f"{title} over time. {said}",
    )


def short_time(at: str, zone: tzinfo = UTC) -> str:
    """`28 Nov UTC` of a start of day in the zone, `28 Nov 14:00 UTC` of another moment."""
    moment = datetime.fromisoformat(at[:19]).replace(tzinfo=UTC).astimezone(zone)
    is_day = (moment.hour, moment.minute) == (0, 0)
    return f"{moment:%-d %b %Z}" if is_day else f"{moment:%-d %b %H:%M %Z}"


def _sum(points: Sequence[tuple[str, float | None]]) -> float:
    return sum(value or 0.0 for _, value in points)


def _usual(points: Sequence[tuple[str, float | None]]) -> float | None:
    """The median of the days; None of fewer than two."""
    values = [value for _, value in points if value is not None]
    return median(values) if len(values) >= 2 else None


def _last(points: Sequence[tuple[str, float | None]]) -> float | None:
    return next((value for _, value in reversed(points) if value is not None), None)


def _stretches(points: Sequence[tuple[str, float | None]], highest: float) -> list[str]:
    """Lines from value to value; where hardly a value stands beside another one over the gaps, too."""
    step = _WIDTH / max(1, len(points) - 1)
    known = [value is not None for _, value in points]
    is_sparse = sum(map(all, itertools.pairwise(known))) * 2 < sum(known) - 1
    stretches: list[list[str]] = [[]]
    for at, (_, value) in enumerate(points):
        if value is None:
            if not is_sparse:
                stretches.append([])
        else:
            y = _HEIGHT - min(value / highest, 1.0) * (_HEIGHT - 2) - 1
            stretches[-1].append(f"{at * step:.1f},{y:.1f}")
    return [" ".join(part if len(part) > 1 else _stroke(part[0])) for part in stretches if part]


def _stroke(point: str) -> list[str]:
    """A single point as a short stroke, which is seen."""
    x, y = point.split(",")
    return [point, f"{float(x) + 4:.1f},{y}"]
