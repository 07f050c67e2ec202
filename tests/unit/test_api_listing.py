"""How a list of executions is read: by which parts, over which days."""

from __future__ import annotations

from datetime import date, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spantree_api.cursor import ExecutionCursor
from spantree_api.filters import ExecutionFilter
from spantree_api.listing import NS_MAX, NS_MIN, Range, Window, listing_of, range_of, start_of, windows_of

DAY = date(2026, 11, 20)
EPOCH = date(1970, 1, 1)


@pytest.mark.parametrize(
    ("wanted", "conditions", "ordered"),
    [
        (ExecutionFilter(), ("where_visible",), True),
        (ExecutionFilter(hidden=True), (), True),
        (ExecutionFilter(kind="agent"), ("where_kind", "where_visible"), True),
        (ExecutionFilter(statuses=("failed",)), ("where_status", "where_visible"), True),
        (ExecutionFilter(statuses=("running",)), ("where_statuses", "where_visible"), False),
        (ExecutionFilter(statuses=("failed", "partial")), ("where_statuses", "where_visible"), False),
        (ExecutionFilter(service="bank"), ("where_service", "where_visible"), False),
        (ExecutionFilter(kind="agent", user_id="ada"), ("where_user", "where_kind", "where_visible"), False),
        (ExecutionFilter(q="order"), ("where_search", "where_visible"), False),
        (ExecutionFilter(q="!?"), ("where_visible",), False),
    ],
)
def test_only_one_filter_with_an_index_by_start_is_read_in_order(
    wanted: ExecutionFilter, conditions: tuple[str, ...], ordered: bool
) -> None:
    listing = listing_of(wanted, None)
    assert (listing.conditions, listing.ordered) == (conditions, ordered)


def test_days_are_looked_through_by_what_few_have_and_the_clock_is_asked_of_what_was_found() -> None:
    def found(wanted: ExecutionFilter) -> tuple[str, ...]:
        parts = listing_of(wanted, None).found_parts("of_range")
        assert parts[:3] == ("begin_found", "select_executions", "of_range")
        return parts[3:]

    assert found(ExecutionFilter(statuses=("lost",), min_duration_ns=5)) == (
        *("of_tenant", "in_any_order"),
        *("where_stored_statuses", "where_may_have_lasted", "where_visible", "end_found"),
        *("where_statuses", "where_lasted", "newest_first"),
    )
    assert found(ExecutionFilter(service="bank", hidden=True)) == (
        "of_tenant_by_words", "in_any_order", "where_service", "end_found", "newest_first",
    )  # fmt: skip
    assert found(ExecutionFilter(run_id="r", service="bank", statuses=("lost",))) == (
        *("of_tenant", "in_any_order"),
        *("where_run", "end_found", "where_statuses", "where_service", "where_visible", "newest_first"),
    )
    # What was found is not asked for its words: they are not read.
    assert found(ExecutionFilter(run_id="r", q="order")) == (
        *("of_tenant_by_words", "in_any_order", "where_run", "where_search", "where_visible", "end_found"),
        "newest_first",
    )


def test_turns_of_a_conversation_are_gone_through_in_order_and_held_against_other_filters() -> None:
    wanted = ExecutionFilter(conversation_id="c", kind="agent", run_id="r")
    listing = listing_of(wanted, ExecutionCursor(5, UUID(int=7)))
    assert listing.by_turns
    walk = ("begin_walk", "of_range", "of_tenant", "in_order", "of_turns", "end_walk")
    assert listing.turns_parts("of_range") == (
        *("select_executions", *walk, "where_visible", "where_before", "where_kind", "where_run", "newest_first"),
    )
    assert listing.turns_parts("of_range", walked_to=True) == ("select_turns_walked", *walk)
    # Alone an index has it in order; with words the index of words has less.
    assert not listing_of(ExecutionFilter(conversation_id="c"), None).by_turns
    assert not listing_of(ExecutionFilter(conversation_id="c", q="order"), None).by_turns


def test_of_days_further_back_keys_are_looked_for() -> None:
    def keys(wanted: ExecutionFilter, *, whole: bool = False) -> tuple[str, ...]:
        return listing_of(wanted, None).key_parts("of_range", whole=whole)

    assert keys(ExecutionFilter(kind="agent"), whole=True) == (
        "select_keys", "of_range", "of_tenant", "in_order", "where_kind", "where_visible", "newest_first",
    )  # fmt: skip
    assert keys(ExecutionFilter(service="bank", hidden=True)) == (
        *("begin_found", "select_keys", "of_range", "of_tenant_by_words", "in_any_order", "where_service"),
        *("end_found", "newest_first"),
    )
    # Where all starts of the days are wanted, they are asked of what was found.
    assert keys(ExecutionFilter(service="bank", hidden=True), whole=True) == (
        *("begin_found", "select_keys", "of_range", "of_tenant_by_words", "where_service"),
        *("end_found", "in_any_order", "newest_first"),
    )
    # Few are found: they are held against all else, and so read whole.
    assert keys(ExecutionFilter(run_id="r", kind="agent", hidden=True), whole=True) == (
        *("begin_found", "select_executions", "of_range", "of_tenant", "where_run"),
        *("end_found", "in_any_order", "where_kind", "newest_first"),
    )


def test_a_next_page_starts_at_its_cursor() -> None:
    after = ExecutionCursor(start_of(DAY) + 5, UUID(int=7))
    assert listing_of(ExecutionFilter(), after).conditions == ("where_visible", "where_before")
    assert range_of(ExecutionFilter(until_ns=start_of(DAY) + 3), after) == Range(NS_MIN, start_of(DAY) + 2)
    assert range_of(ExecutionFilter(since_ns=1), after) == Range(1, start_of(DAY) + 5)


def test_the_first_look_is_at_two_days() -> None:
    everything = Range(NS_MIN, NS_MAX)
    assert everything.newest(start_of(DAY) + 1) == Range(start_of(DAY - timedelta(days=1)), NS_MAX)
    assert Range(start_of(DAY) + 9, NS_MAX).newest(start_of(DAY) + 1) == Range(start_of(DAY) + 9, NS_MAX)


def test_windows_go_back_over_the_days_that_there_are() -> None:
    days = [DAY - timedelta(days=back) for back in (0, 1, 2, 9, 30)]
    starts = Range(NS_MIN, start_of(DAY + timedelta(days=1)) - 1)
    assert list(windows_of(starts, [*days, EPOCH], sizes=(2, 2))) == [
        Window((days[0], days[1], EPOCH), Range(start_of(days[1]), starts.to_ns)),
        Window((days[2], days[3], EPOCH), Range(start_of(days[3]), start_of(days[1]) - 1)),
        Window((days[4], EPOCH), Range(NS_MIN, start_of(days[3]) - 1)),
    ]
    assert list(windows_of(starts, [])) == [Window((EPOCH,), starts)]


def test_a_window_without_the_sentinels_day_is_named_by_its_first_and_last() -> None:
    window = Window((DAY, DAY - timedelta(days=3), EPOCH), Range(5, 9))
    bounds = {"first_day": DAY - timedelta(days=3), "last_day": DAY, "from_ns": 5, "to_ns": 9, "from_inside": False}
    assert window.parameters_without_sentinel() == bounds
    assert Window((EPOCH,), Range(5, 9)).parameters_without_sentinel() is None


def test_a_window_is_whole_where_no_start_of_its_days_is_left_out() -> None:
    days = (DAY, DAY - timedelta(days=3), EPOCH)
    first, last = start_of(days[1]), start_of(DAY + timedelta(days=1)) - 1
    bounds = [(first, last), (NS_MIN, NS_MAX), (first + 1, last), (first, last - 1)]
    assert [Window(days, Range(*starts)).is_whole for starts in bounds] == [True, True, False, False]
    assert not Window((EPOCH,), Range(NS_MIN, NS_MAX)).is_whole


@given(
    st.lists(st.integers(0, 300), max_size=40, unique=True),
    st.integers(-100, 400),
    st.integers(0, 500),
    st.lists(st.integers(1, 9), min_size=1, max_size=3),
)
def test_every_start_is_in_just_one_window_that_has_its_day(
    backs: list[int], from_day: int, length: int, sizes: list[int]
) -> None:
    partitions = [DAY - timedelta(days=back) for back in backs]
    first = start_of(DAY) - from_day * 86_400_000_000_000
    starts = Range(first, first + length * 3_600_000_000_000)
    windows = list(windows_of(starts, [*partitions, EPOCH], sizes))
    edges = [starts.to_ns, *(window.starts.from_ns - 1 for window in windows)]
    assert [window.starts.to_ns for window in windows] == edges[:-1]
    assert edges[-1] == starts.from_ns - 1
    for day in partitions:
        noon = start_of(day) + 43_200_000_000_000
        holding = [window for window in windows if window.starts.from_ns <= noon <= window.starts.to_ns]
        assert len(holding) == (starts.from_ns <= noon <= starts.to_ns)
        assert all(day in window.days and EPOCH in window.days for window in holding)
