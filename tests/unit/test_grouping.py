"""Failures of the same cause are one group."""

from __future__ import annotations

from typing import Any

from spantree_deploy.grouping import groups_of


def failure(number: int, fingerprint: str | None, **more: Any) -> dict[str, Any]:
    return {
        "execution_id": f"{number:032x}",
        "name": "order",
        "workflow_name": "order",
        "error_fingerprint": fingerprint,
        "error_summary": "busy",
        "error_category": "network",
        "first_failed_node": None,
        "started_at": f"2026-11-28T00:00:{number:02}.000000000Z",
        **more,
    }


def test_the_most_frequent_cause_is_first_and_its_newest_failure_the_example() -> None:
    groups = groups_of(
        [
            failure(9, "b", error_summary="declined", error_category=None),
            failure(8, "a"),
            failure(7, "a", workflow_name="refund"),
            failure(1, "a"),
        ]
    )
    assert groups == [
        {
            "fingerprint": "a",
            "category": "network",
            "example": {"execution_id": f"{8:032x}", "error_summary": "busy"},
            "count": 3,
            "first_seen_at": "2026-11-28T00:00:01.000000000Z",
            "last_seen_at": "2026-11-28T00:00:08.000000000Z",
            "workflows": ["order", "refund"],
        },
        {
            "fingerprint": "b",
            "category": None,
            "example": {"execution_id": f"{9:032x}", "error_summary": "declined"},
            "count": 1,
            "first_seen_at": "2026-11-28T00:00:09.000000000Z",
            "last_seen_at": "2026-11-28T00:00:09.000000000Z",
            "workflows": ["order"],
        },
    ]


def test_failures_without_a_fingerprint_are_told_apart_by_what_they_say() -> None:
    groups = groups_of([failure(1, None), failure(2, None, error_summary="other"), failure(3, None)])
    assert [(group["count"], group["example"]["error_summary"]) for group in groups] == [(2, "busy"), (1, "other")]
