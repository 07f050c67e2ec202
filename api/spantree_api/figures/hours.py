"""Which hours figures are of: the last days, or from a moment on, up to another."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

from fastapi import Query
from typing_extensions import TypedDict

from spantree_api.errors import InvalidParameter
from spantree_api.http.params import Moment
from spantree_api.rendering import ns_of, rfc3339

_HOUR_NS: Final = 3_600_000_000_000
_DAY_NS: Final = 24 * _HOUR_NS
DAYS_MAX: Final = 30

DaysQuery = Annotated[int, Query(ge=1, le=DAYS_MAX, description="how far back")]
SinceQuery = Annotated[
    Moment | None, Query(description="instead of days: RFC 3339, at most 30 days ago; its hour counts as a whole")
]
UntilQuery = Annotated[
    Moment | None, Query(description="RFC 3339; outside the range, but the hour that it is within counts as a whole")
]


class RangeTold(TypedDict):
    """What answers tell of a range; `days` counts begun ones as whole."""

    days: int
    since: str
    until: str | None


@dataclass(frozen=True, slots=True)
class FiguresRange:
    """Whole hours, since figures are kept by hours: from `since_ns` on, up to `until_ns`; None for no end."""

    since_ns: int
    until_ns: int | None

    def told(self, now_ns: int) -> RangeTold:
        """As answers tell it."""
        end_ns = now_ns if self.until_ns is None else self.until_ns
        return {
            "days": max(1, -(-(end_ns - self.since_ns - _HOUR_NS) // _DAY_NS)),
            "since": rfc3339(self.since_ns),
            "until": None if self.until_ns is None else rfc3339(self.until_ns),
        }

    def words(self) -> str:
        """For a sentence: `since ...`, `from ... to ...`."""
        since = rfc3339(self.since_ns)
        return f"since {since}" if self.until_ns is None else f"from {since} to {rfc3339(self.until_ns)}"


def figures_range(now_ns: int, days: int, since: datetime | None = None, until: datetime | None = None) -> FiguresRange:
    """The range that was asked for: `days` end now, or at `until`. Raises InvalidParameter."""
    until_ns = None if until is None else -(-ns_of(until) // _HOUR_NS) * _HOUR_NS
    end_ns = now_ns if until is None else ns_of(until)
    since_ns = end_ns - days * _DAY_NS if since is None else ns_of(since)
    if not now_ns - DAYS_MAX * _DAY_NS <= since_ns <= now_ns:
        raise InvalidParameter(
            "since" if since is not None else "until",
            f"figures from {rfc3339(since_ns)} on were asked for: wanted are some within the last {DAYS_MAX} days",
        )
    if end_ns < since_ns or (until is not None and end_ns == since_ns):
        raise InvalidParameter("until", f"until is not after since: {rfc3339(end_ns)}, {rfc3339(since_ns)}")
    return FiguresRange(since_ns // _HOUR_NS * _HOUR_NS, until_ns)
