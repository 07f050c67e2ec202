"""Which parts of sql/executions.sql a list is made of, and the days that are looked at one after the other. Pure.

Four ways to read the executions of some days:

    ordered   an index holds the filter's column, then the start: the newest that match, and nothing else is read
    walked    the newest few, whatever they are, and of these those that match: what is common is among them
    found     all that match, by an index without order or several filters at once, then the newest of them
    turns     of a conversation the newest few, and of these those that match other filters; then those before them

A list of at most one filter with such an index is read in order. Any other is walked first and then found, and so
costs what it has few of: what is common by the walk, what is rare by the index. A conversation has few turns, or a
hundred thousand: they are gone through in order until a page is full or it took too long. Days are looked at newest
first, more at a time the further back, until a page is full. Of days further back only keys are looked for, and then
the rows of these: each column that a statement reads is planned for in each of its days.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from spantree_api.cursor import ExecutionCursor
from spantree_api.filters import ExecutionFilter, search_query
from spantree_exporter.postgres.partitions import LAST_DAY
from spantree_exporter.statuses import RUNNING

NS_MIN, NS_MAX = -(1 << 63), (1 << 63) - 1
_EPOCH = date(1970, 1, 1)
# The partition of starts that are out of range; it belongs to every window, by their starts.
_SENTINEL_DAY = _EPOCH
_DAY_NS = 86_400_000_000_000
# Days of a first look, of a second and of each further one. A partition costs some 0.13 ms to plan for, and while it
# is read a lock on itself and each of its indexes.
NEWEST_DAYS = 2
_FURTHER_DAYS = (14, 48)

_LAST_NAMED_DAY = LAST_DAY + timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Listing:
    """How a filter is read. `conditions` are parts; `ordered` tells whether one index gives them newest first."""

    conditions: tuple[str, ...]
    ordered: bool

    def ordered_parts(self, days: str, select: str = "select_executions") -> tuple[str, ...]:
        """The newest that match, of `days` (of_newest_days, of_days or of_range)."""
        return (select, days, "of_tenant", "in_order", *self.conditions, "newest_first")

    def walked_parts(self, days: str, *more: str) -> tuple[str, ...]:
        """Those that match, and `more`, among the newest `walked`."""
        shown = tuple(part for part in self.conditions if part in _WALKED)
        rest = tuple(part for part in self.conditions if part not in _WALKED)
        walk = ("begin_walk", days, "of_tenant", "in_order", *shown, "end_walk")
        return ("select_executions", *walk, *rest, *more, "newest_first")

    def walked_to_parts(self, days: str) -> tuple[str, ...]:
        """How far back `walked` executions reach."""
        shown = tuple(part for part in self.conditions if part in _WALKED)
        return ("select_walked_to", "begin_walk", days, "of_tenant", "in_order", *shown, "end_walk")

    @property
    def by_turns(self) -> bool:
        """Whether the turns of a conversation are gone through, for other filters than words."""
        return not self.ordered and "where_conversation" in self.conditions and "where_search" not in self.conditions

    def turns_parts(self, days: str, *, walked_to: bool = False) -> tuple[str, ...]:
        """Those that match among the newest `walked` turns of a conversation; or how far back these reach."""
        rest = tuple(part for part in self.conditions if part not in _WALKED | {"where_conversation"})
        walk = ("begin_walk", days, "of_tenant", "in_order", "of_turns", "end_walk")
        if walked_to:
            return ("select_turns_walked", *walk)
        shown = tuple(part for part in self.conditions if part in _WALKED)
        return ("select_executions", *walk, *shown, *rest, "newest_first")

    def key_parts(self, days: str, *, whole: bool = False) -> tuple[str, ...]:
        """The keys of what either way finds. `whole`: all starts of these days are wanted."""
        if self.ordered:
            return self.ordered_parts(days, "select_keys")
        return self.found_parts(days, "select_keys", whole=whole)

    def found_parts(self, days: str, select: str = "select_executions", *, whole: bool = False) -> tuple[str, ...]:
        """All that match, then the newest of them."""
        tenant = "of_tenant" if _BY_WORDS.isdisjoint(self.conditions) else "of_tenant_by_words"
        indexed = tuple(_BY_THE_CLOCK.get(part, part) for part in self.conditions)
        judged = tuple(part for part in self.conditions if part in _BY_THE_CLOCK)
        rarest = next((part for part in _FEW_HAVE if part in self.conditions), None)
        if rarest is not None and "where_search" not in self.conditions:
            tenant, indexed = "of_tenant", (rarest,)
            judged = tuple(part for part in self.conditions if part != rarest)
            select = "select_executions"  # whatever they are judged by
        if whole:
            # Nothing is to be planned for starts, day by day; but an execution may stand on another day than its own,
            # where that has no partition.
            judged = ("in_any_order", *judged)
        else:
            indexed = ("in_any_order", *indexed)
        found = ("begin_found", select, days, tenant, *indexed, "end_found")
        return (*found, *judged, "newest_first")

    def without(self, condition: str) -> Listing:
        """The same without one of the conditions."""
        return Listing(tuple(part for part in self.conditions if part != condition), self.ordered)


# Conditions of a walk itself: served by execution_visible_idx and execution_started_idx.
_WALKED = frozenset({"where_visible", "where_before"})
# Conditions that execution_search_idx serves.
_BY_WORDS = frozenset({"where_service", "where_search"})
# Conditions that so few executions satisfy that no other index is wanted beside theirs. PostgreSQL does not know that
# where it keeps no statistics of texts. What `search` says of them cannot be asked of what was found: it is not read.
_FEW_HAVE = ("where_run",)
# Conditions that the clock decides, and for each what an index gives that holds more.
_BY_THE_CLOCK = {"where_statuses": "where_stored_statuses", "where_lasted": "where_may_have_lasted"}
# Filters with an index that holds the column and then the start.
_ORDERED = {
    "workflow": "where_workflow",
    "conversation_id": "where_conversation",
    "user_id": "where_user",
    "project": "where_project",
    "kind": "where_kind",
    "error_category": "where_category",
}


def listing_of(wanted: ExecutionFilter, after: ExecutionCursor | None) -> Listing:
    """How a list with these filters is read, from the cursor on."""
    conditions = [part for field, part in _ORDERED.items() if getattr(wanted, field) is not None]
    ordered = True
    if wanted.statuses is not None:
        single = len(wanted.statuses) == 1 and wanted.statuses[0] not in RUNNING | {"lost", "completed"}
        conditions.append("where_status" if single else "where_statuses")
        ordered = ordered and single
    for is_wanted, part in (
        (wanted.workflows is not None, "where_workflows"),
        (wanted.run_id is not None, "where_run"),
        (wanted.service is not None, "where_service"),
        (wanted.min_duration_ns is not None or wanted.max_duration_ns is not None, "where_lasted"),
        (wanted.q is not None and search_query(wanted.q) is not None, "where_search"),
    ):
        if is_wanted:
            conditions.append(part)
            ordered = False
    ordered = ordered and wanted.q is None
    several = len(conditions) > 1
    if not wanted.hidden:
        conditions.append("where_visible")
    if after is not None:
        conditions.append("where_before")
    return Listing(tuple(conditions), ordered and not several)


@dataclass(frozen=True, slots=True)
class Range:
    """The starts that a page can hold, both bounds inside."""

    from_ns: int
    to_ns: int

    @property
    def first_day(self) -> date:
        """The earliest day that a start in it can be on, but for the sentinel's."""
        return day_named(self.from_ns)

    @property
    def last_day(self) -> date:
        """The latest."""
        return day_named(self.to_ns)

    def newest(self, now_ns: int) -> Range:
        """The part of it to look at first: the last days up to now, or to its end where that is before."""
        newest_day = day_named(min(now_ns, self.to_ns))
        first = max(_EPOCH, newest_day - timedelta(days=NEWEST_DAYS - 1))
        return Range(max(self.from_ns, start_of(first)), self.to_ns)

    def parameters(self) -> dict[str, object]:
        """For the part `of_newest_days`."""
        return {"first_day": self.first_day, "last_day": self.last_day, **self.bounds(self.first_day)}

    def bounds(self, first_day: date) -> dict[str, object]:
        """For the parts `in_order` and `in_any_order`, of days from the first one on."""
        return {"from_ns": self.from_ns, "to_ns": self.to_ns, "from_inside": self.from_ns > start_of(first_day)}


def range_of(wanted: ExecutionFilter, after: ExecutionCursor | None) -> Range:
    """The starts that the page after the cursor can hold."""
    to_ns = NS_MAX if wanted.until_ns is None else wanted.until_ns - 1
    if after is not None:
        to_ns = min(to_ns, after.started_ns)
    return Range(NS_MIN if wanted.since_ns is None else wanted.since_ns, to_ns)


@dataclass(frozen=True, slots=True)
class Window:
    """Some partitions' days, the sentinel's among them, and the starts that are looked for in them."""

    days: tuple[date, ...]
    starts: Range

    def parameters(self) -> dict[str, object]:
        """For the part `of_days`."""
        return {"days": list(self.days), **self.starts.bounds(self._first_day)}

    @property
    def _first_day(self) -> date:
        """But for the sentinel's, which has starts of any time."""
        return min((day for day in self.days if day != _SENTINEL_DAY), default=_SENTINEL_DAY)

    @property
    def is_whole(self) -> bool:
        """Whether all starts on its days are looked for; of the sentinel's day there is none in it."""
        days = [day for day in self.days if day != _SENTINEL_DAY]
        if not days:
            return False
        return self.starts.from_ns <= start_of(days[-1]) and self.starts.to_ns >= start_of(days[0]) + _DAY_NS - 1

    def parameters_without_sentinel(self) -> dict[str, object] | None:
        """For the part `of_range`; None where it has no other day."""
        days = [day for day in self.days if day != _SENTINEL_DAY]
        if not days:
            return None
        return {"first_day": days[-1], "last_day": days[0], **self.starts.bounds(days[-1])}


def windows_of(starts: Range, partitions: Sequence[date], sizes: Sequence[int] = _FURTHER_DAYS) -> Iterator[Window]:
    """Windows over `starts`, newest first; together they leave out none. `partitions`: the days that there are."""
    inside = [day for day in partitions if starts.first_day <= day <= starts.last_day and day != _SENTINEL_DAY]
    days = sorted(inside, reverse=True)
    to_ns = starts.to_ns
    first = turn = 0
    while to_ns >= starts.from_ns:
        size = sizes[min(turn, len(sizes) - 1)]
        chunk = days[first : first + size]
        first, turn = first + size, turn + 1
        # Older starts than those of the last partition are on the sentinel's day.
        from_ns = starts.from_ns if first >= len(days) else max(starts.from_ns, start_of(chunk[-1]))
        yield Window((*chunk, _SENTINEL_DAY), Range(from_ns, to_ns))
        to_ns = from_ns - 1


def day_named(start_ns: int) -> date:
    """The day of a start, or the nearest that a partition can have."""
    return _EPOCH + timedelta(days=max(0, min(start_ns // _DAY_NS, (_LAST_NAMED_DAY - _EPOCH).days)))


def start_of(day: date) -> int:
    """The first nanosecond of a day."""
    return (day - _EPOCH).days * _DAY_NS
