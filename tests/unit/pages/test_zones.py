"""Whose days pages tell."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

import pytest
from fastapi import Request

from spantree_api.pages.series import bars_of, short_time
from spantree_api.pages.zones import days_of, start_of_day, zone_of

TOKYO, LOS_ANGELES = ZoneInfo("Asia/Tokyo"), ZoneInfo("America/Los_Angeles")


@pytest.mark.parametrize(
    ("cookie", "zone"),
    [
        ("spantree_zone=Asia/Tokyo", TOKYO),
        ("a=b; spantree_zone=America/Los_Angeles", LOS_ANGELES),
        ("", UTC),
        ("spantree_zone=", UTC),
        ("spantree_zone=Nowhere/At_all", UTC),
        ("spantree_zone=../../etc/passwd", UTC),
        ("spantree_zone=/etc/localtime", UTC),
        ("spantree_zone=" + "a/" * 400, UTC),
    ],
)
def test_the_zone_is_the_one_that_was_chosen(cookie: str, zone: tzinfo) -> None:
    request = Request({"type": "http", "headers": [(b"cookie", cookie.encode())]})
    assert zone_of(request) == zone


def test_days_are_those_of_the_zone() -> None:
    now = datetime(2026, 11, 29, 20, tzinfo=UTC)  # the 30th in Tokyo
    assert [start_of_day(now, 13, zone) for zone in (UTC, TOKYO, LOS_ANGELES)] == [
        "2026-11-16T00:00:00Z",
        "2026-11-16T15:00:00Z",
        "2026-11-16T08:00:00Z",
    ]
    assert [days_of(zone) for zone in (UTC, TOKYO)] == [{}, {"tz": "Asia/Tokyo"}]
    assert short_time("2026-11-16T15:00:00.000000000Z", TOKYO) == "17 Nov JST"
    assert short_time("2026-11-16T15:00:00Z", LOS_ANGELES) == "16 Nov 07:00 PST"
    [bar] = bars_of([("2026-11-16T08:00:00Z", 2.0)], zone=LOS_ANGELES)
    assert bar.told == "16 Nov PST: 2"
