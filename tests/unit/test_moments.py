"""Times as a person types them."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from spantree_deploy.moments import days, moment
from spantree_exporter.errors import SpantreeError

NOW = datetime(2026, 11, 28, 14, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (None, None),
        ("90s", "2026-11-28T14:28:30+00:00"),
        ("2h", "2026-11-28T12:30:00+00:00"),
        ("7 d", "2026-11-21T14:30:00+00:00"),
        ("1w", "2026-11-21T14:30:00+00:00"),
        ("today", "2026-11-28T00:00:00+00:00"),
        ("yesterday", "2026-11-27T00:00:00+00:00"),
        ("2026-11-01", "2026-11-01T00:00:00+00:00"),
        ("2026-11-01T10:00", "2026-11-01T10:00:00+00:00"),
        ("2026-11-01T10:00:00+02:00", "2026-11-01T10:00:00+02:00"),
    ],
)
def test_a_moment_is_what_the_api_takes(typed: str | None, told: str | None) -> None:
    assert moment("--since", typed, NOW) == told


def test_what_is_none_is_said_with_what_is_wanted() -> None:
    with pytest.raises(SpantreeError) as caught:
        moment("--since", "last week", NOW)
    assert str(caught.value) == (
        '--since is "last week": wanted 30m, 2h, 7d, today, yesterday, a day such as 2026-11-28, '
        "or a time such as 2026-11-28T14:00Z"
    )


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (None, None),
        ("2026-11-01", date(2026, 11, 1)),
        ("1d", date(2026, 11, 27)),
        ("yesterday", date(2026, 11, 27)),
        ("2026-11-01T01:00+02:00", date(2026, 10, 31)),
    ],
)
def test_a_day_is_that_of_the_moment_in_utc(typed: str | None, told: date | None) -> None:
    assert days(typed, None, NOW) == (told, None)


def test_a_range_that_ends_before_it_begins_is_refused() -> None:
    assert days("2026-11-02", "2026-11-02", NOW) == (date(2026, 11, 2), date(2026, 11, 2))
    with pytest.raises(SpantreeError) as raised:
        days("2026-11-02", "2026-11-01", NOW)
    assert str(raised.value) == "--until is 2026-11-01, before --since, 2026-11-02: wanted the last day at --until"
