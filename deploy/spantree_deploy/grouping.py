"""Failed executions -> groups of the same cause, in the shape of the API's groups. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def groups_of(failures: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One group for each error fingerprint, the most frequent first; `failures` are those of /failures, newest first.

    What has no fingerprint is a group for each summary, so that failures nobody could classify stay apart.
    """
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    for failure in failures:
        fingerprint = failure["error_fingerprint"]
        key = ("fingerprint", fingerprint) if fingerprint else ("summary", failure["error_summary"] or "")
        group = groups.get(key)
        if group is None:
            first = failure["first_failed_node"]
            summary = failure["error_summary"] or (first and (first["error_message"] or first["error_type"]))
            group = groups[key] = {
                "fingerprint": fingerprint,
                "category": failure["error_category"],
                "example": {"execution_id": failure["execution_id"], "error_summary": summary},
                "count": 0,
                "first_seen_at": failure["started_at"],
                "last_seen_at": failure["started_at"],
                "workflows": [],
            }
        group["count"] += 1
        group["first_seen_at"] = min(group["first_seen_at"], failure["started_at"])
        group["last_seen_at"] = max(group["last_seen_at"], failure["started_at"])
        workflow = failure["workflow_name"] or failure["name"]
        if workflow not in group["workflows"]:
            group["workflows"].append(workflow)
    return sorted(groups.values(), key=lambda group: (-group["count"], group["last_seen_at"]))
