"""Figures, times and statuses as pages tell them. Pure: moments come from the caller."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE_MS: Final = 60_000
_HOUR_MS: Final = 60 * _MINUTE_MS
_DAY_MS: Final = 24 * _HOUR_MS


@dataclass(frozen=True, slots=True)
class StatusWord:
    """A sign and a word for a status; `tone` is its colour, never the only mark."""

    sign: str
    word: str
    tone: str


STATUSES: Final = {
    "completed": StatusWord("✓", "completed", "good"),
    "failed": StatusWord("✕", "failed", "bad"),
    "timed_out": StatusWord("◷", "timed out", "bad"),
    "partial": StatusWord("◐", "partial", "warn"),
    "retried": StatusWord("↻", "retried", "warn"),
    "running": StatusWord("▶", "running", "live"),
    "pending": StatusWord("○", "pending", "calm"),
    "waiting": StatusWord("‖", "waiting", "live"),
    "skipped": StatusWord("↷", "skipped", "calm"),
    "cancelled": StatusWord("⊘", "cancelled", "calm"),
    "lost": StatusWord("?", "lost", "warn"),
}


def status_word(status: str) -> StatusWord:
    """How a status is shown; one that is not known by its own name."""
    return STATUSES.get(status, StatusWord("·", status.replace("_", " "), "calm"))


def duration(ms: float | None) -> str:
    """Two or three digits with a unit: 0.4 ms, 38 ms, 1.25 s, 3 min 12 s, 2 h 5 min, 3 d 4 h; a dash for none."""
    if ms is None:
        return "–"
    if ms < 1:
        return f"{ms * 1000:.0f} µs" if ms > 0 else "0 ms"
    if ms < 10:
        return f"{ms:.1f} ms"
    if ms < 999.5:
        return f"{ms:.0f} ms"
    if ms < 9_995:
        return f"{ms / 1000:.2f} s"
    if ms < 59_950:
        return f"{ms / 1000:.1f} s"
    if ms < _HOUR_MS - 500:
        minutes, seconds = divmod(round(ms / 1000), 60)
        return f"{minutes} min {seconds} s" if seconds else f"{minutes} min"
    if ms < _DAY_MS:
        hours, minutes = divmod(round(ms / _MINUTE_MS), 60)
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(round(ms / _HOUR_MS), 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def ago(then_ns: int, now_ns: int) -> str:
    """How long before now: `just now`, `4 min ago`; `in 3 min` for what is to come."""
    seconds = (now_ns - then_ns) / 1e9
    if abs(seconds) < 5:
        return "just now"
    told = _coarse(abs(seconds))
    return f"{told} ago" if seconds > 0 else f"in {told}"


def moment_ns(moment: str) -> int:
    """A moment as the API writes it, to the microsecond."""
    return (datetime.fromisoformat(moment) - _EPOCH) // timedelta(microseconds=1) * 1_000


def _coarse(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def utc(time_ns: int) -> str:
    """`2026-11-20 10:00:00.000 UTC`: to the millisecond, with its zone."""
    moment = _EPOCH + timedelta(microseconds=time_ns // 1_000)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d} UTC"


def utc_seconds(time_ns: int) -> str:
    """`2026-11-20 10:00:00 UTC`: where many stand in a column."""
    return f"{_EPOCH + timedelta(microseconds=time_ns // 1_000):%Y-%m-%d %H:%M:%S} UTC"


def iso(time_ns: int) -> str:
    """For `<time datetime>`: RFC 3339 to the millisecond."""
    moment = _EPOCH + timedelta(microseconds=time_ns // 1_000)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def short_type(error_type: str) -> str:
    """An error type without its module: `billing.errors.CardDeclined` is `CardDeclined`."""
    return error_type.rpartition(".")[2] or error_type


def count(number: float | None) -> str:
    """With thin spaces between thousands; a dash for none."""
    return "–" if number is None else f"{number:,.0f}".replace(",", "\u202f")


def share(part: float | None) -> str:
    """0 to 1 as a percentage; never 100 % of what is not whole, never 0 % of what is something."""
    if part is None:
        return "–"
    percent = part * 100
    if 99 < percent < 100:
        return f"{min(percent, 99.94):.1f} %"
    if 0 < percent < 1:
        return f"{max(percent, 0.06):.1f} %"
    return f"{percent:.0f} %"


def cost(usd: float | None) -> str:
    """Dollars with as many digits as say something."""
    if usd is None:
        return "–"
    if usd == 0:
        return "$0"
    return f"${usd:.2f}" if usd >= 1 else f"${usd:.4f}"


def size(number_of_bytes: float | None) -> str:
    """Bytes with a unit."""
    if number_of_bytes is None:
        return "–"
    for unit in ("B", "kB", "MB", "GB"):
        if number_of_bytes < 1000 or unit == "GB":
            return f"{number_of_bytes:.0f} {unit}" if unit == "B" else f"{number_of_bytes:.1f} {unit}"
        number_of_bytes /= 1000
    raise AssertionError  # the last unit returns
