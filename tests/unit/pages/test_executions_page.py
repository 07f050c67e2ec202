"""What the page of the list asks the API for, and what it follows."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from spantree_api.pages.executions import WITHIN, api_parameters, followed, moment, within_of

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("2026-11-20", "2026-11-20T00:00:00Z"),
        ("2026-11-20 10:00", "2026-11-20T10:00:00Z"),
        (" 2026-11-20T10:00:01.5Z ", "2026-11-20T10:00:01.5Z"),
        # As pages show them.
        ("2026-11-20 10:00:00 UTC", "2026-11-20T10:00:00Z"),
        ("2026-11-20 10:00:00.123 UTC", "2026-11-20T10:00:00.123Z"),
        ("2026-11-20 15:30:00.123 +05:30", "2026-11-20T15:30:00.123+05:30"),
        ("2026-11-20T02:00:00-08:00", "2026-11-20T02:00:00-08:00"),
        ("2026-11-20 UTC", "2026-11-20T00:00:00Z"),
        ("yesterday", "yesterday"),
        ("4 min ago", "4 min ago"),
    ],
)
def test_a_moment_is_taken_as_pages_show_it(written: str, asked: str) -> None:
    assert moment(written) == asked


def test_times_within_which_are_counted_back_from_now() -> None:
    asked = api_parameters([("within", "30d"), ("status", "failed"), ("status", "partial"), ("q", "busy")], NOW)
    assert asked == {"since": "2026-10-30T12:00:00Z", "status": ["failed", "partial"], "q": "busy"}
    assert [within_of(days) for days in (1, 7, 30)] == ["24h", "7d", "30d"]
    assert set(map(within_of, (1, 7, 30))) < set(WITHIN)


@pytest.mark.parametrize(
    ("listed", "followed_by"),
    [
        ({"status": ["failed"], "q": "a", "cursor": "c", "limit": "9"}, {"status": ["failed"], "q": "a"}),
        # What ends is told by no stream of what runs.
        ({"status": ["running", "pending"], "workflow": "w"}, {"workflow": "w"}),
        ({"status": ["waiting", "failed"]}, {}),
        ({"status": ["lost"]}, {}),
        ({"max_duration_ms": "5", "min_duration_ms": "1"}, {"min_duration_ms": "1"}),
    ],
)
def test_a_list_follows_what_may_leave_it(
    listed: dict[str, str | list[str]], followed_by: dict[str, str | list[str]]
) -> None:
    assert followed(listed) == followed_by
