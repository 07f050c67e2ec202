"""Whose days bars and lines are of: those of UTC, or of the zone that somebody has chosen to see times in."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import Request

ZONE_COOKIE: Final = "spantree_zone"
"""Set by chosen.js while times are local; a name as Europe/Oslo."""
_NAME_MAX: Final = 64


def zone_of(request: Request) -> tzinfo:
    """The zone of the one who looks; UTC where none is chosen, or none that is known here."""
    name = request.cookies.get(ZONE_COOKIE, "")
    if not name or len(name) > _NAME_MAX:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def days_of(zone: tzinfo) -> dict[str, str]:
    """What makes points of `1d` those of the zone."""
    return {"tz": zone.key} if isinstance(zone, ZoneInfo) else {}


def start_of_day(now: datetime, days_ago: int, zone: tzinfo) -> str:
    """When the day of so many days ago began in the zone, as the API takes it."""
    day = now.astimezone(zone).date() - timedelta(days=days_ago)
    return f"{datetime.combine(day, time.min, zone).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
