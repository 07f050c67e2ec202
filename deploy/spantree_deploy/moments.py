"""Times as a person types them -> RFC 3339, as the API takes them. Pure: the present is passed in."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Final

from spantree_exporter.errors import SpantreeError

_AGO: Final = re.compile(r"(\d{1,6})\s*([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment(option: str, text: str | None, now: datetime) -> str | None:
    """`2h` ago, `today`, a day or a time; what names no zone is UTC. Raises SpantreeError naming `option`."""
    if text is None:
        return None
    stripped = text.strip()
    if match := _AGO.fullmatch(stripped):
        return (now - timedelta(**{_UNITS[match[2]]: int(match[1])})).isoformat()
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if stripped in ("today", "yesterday"):
        return (midnight - timedelta(days=stripped == "yesterday")).isoformat()
    try:
        found = datetime.fromisoformat(stripped)
    except ValueError:
        raise SpantreeError(
            f'{option} is "{stripped[:80]}": wanted 30m, 2h, 7d, today, yesterday, a day such as 2026-11-28, '
            "or a time such as 2026-11-28T14:00Z"
        ) from None
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).isoformat()


def days(since: str | None, until: str | None, now: datetime) -> tuple[date | None, date | None]:
    """The UTC days of --since and --until, both inside the range, which has one at least. Raises SpantreeError."""
    first, last = _day("--since", since, now), _day("--until", until, now)
    if first is not None and last is not None and last < first:
        raise SpantreeError(f"--until is {last}, before --since, {first}: wanted the last day at --until")
    return first, last


def _day(option: str, text: str | None, now: datetime) -> date | None:
    """The UTC day of a moment. Raises SpantreeError naming `option`."""
    found = moment(option, text, now)
    return None if found is None else datetime.fromisoformat(found).astimezone(UTC).date()
