"""Reads and the one change of groups of failures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from spantree_api.answers.failure_groups import GroupState
from spantree_api.cursor import GroupCursor
from spantree_api.failures.stored_groups import ChangeRow, CountsRow, ExampleRow, GroupRow
from spantree_api.figures.intervals import interval_parameters, intervals
from spantree_api.filters import moment_of
from spantree_api.reader import Reader
from spantree_api.reads.stats import outdated_intervals
from spantree_api.stored_rows import CountRow, records
from spantree_exporter.postgres.partitions import date_of, day_of
from spantree_exporter.rollup import KEY_LENGTH

_HISTORY_MAX = 100


@dataclass(frozen=True, slots=True)
class GroupFilter:
    """Which groups, and of which executions they are counted."""

    since_ns: int
    state: GroupState | None = None
    workflow: str | None = None
    category: str | None = None
    hidden: bool = False

    def parameters(self) -> dict[str, object]:
        """For the statements of failure_groups.sql."""
        return {
            "since_ns": self.since_ns,
            "state": self.state,
            "workflow": None if self.workflow is None else self.workflow[:KEY_LENGTH],
            "category": self.category,
            "hidden": self.hidden,
        }


async def groups_of_range(
    reader: Reader, wanted: GroupFilter, limit: int, after: GroupCursor | None
) -> tuple[list[GroupRow], GroupCursor | None]:
    """A page of groups seen since `wanted.since_ns`, last seen first, and where the next one starts."""
    parameters = {
        **wanted.parameters(),
        **await _parts(reader, wanted.since_ns, 192),
        "before_ns": None if after is None else after.last_seen_ns,
        "before_fingerprint": None if after is None else after.fingerprint,
        "limit": limit + 1,
    }
    rows = await reader.snapshot.all("failure_groups_of_range", parameters, records(GroupRow))
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], GroupCursor(rows[limit - 1].last_seen_ns, rows[limit - 1].fingerprint)


async def group(reader: Reader, fingerprint: str) -> GroupRow | None:
    """One group, None where nothing ever failed of it."""
    return await reader.snapshot.first("failure_group", _key(reader, fingerprint), records(GroupRow))


async def counts_of_groups(
    reader: Reader, groups: Sequence[GroupRow], wanted: GroupFilter, bucket_h: int
) -> list[CountsRow]:
    """Executions of `groups` by workflow and bucket, in no order that matters."""
    if not groups:
        return []
    parameters = {
        **wanted.parameters(),
        **await _parts(reader, wanted.since_ns, bucket_h),
        "fingerprints": [one.fingerprint for one in groups],
        "bucket_h": bucket_h,
    }
    return await reader.snapshot.all("failure_group_counts", parameters, records(CountsRow))


async def examples_of_groups(reader: Reader, groups: Sequence[GroupRow]) -> list[ExampleRow]:
    """The newest execution of each of `groups` that is still there."""
    days: list[date] = [date_of(day_of(one.last_seen_ns)) for one in groups]
    parameters = {
        "tenant_id": reader.config.tenant_id,
        "fingerprints": [one.fingerprint for one in groups],
        "newest_days": days,
        "days": sorted({date_of(0), *days}),
    }
    return await reader.snapshot.all("failure_group_examples", parameters, records(ExampleRow))


async def changes_of_group(reader: Reader, fingerprint: str) -> list[ChangeRow]:
    """The newest hundred changes of one group's state, newest first."""
    parameters = {**_key(reader, fingerprint), "limit": _HISTORY_MAX}
    return await reader.snapshot.all("failure_group_changes", parameters, records(ChangeRow))


async def change_group(
    reader: Reader, fingerprint: str, state: GroupState | None, note: str | None, changed_by: str | None
) -> bool:
    """Note a change by somebody; False where there is no such group. The reader's transaction has to write."""
    parameters = {
        **_key(reader, fingerprint),
        "state": state,
        "note": note,
        "changed_by": changed_by,
        "changed_at": moment_of(reader.now_ns),
    }
    return await reader.snapshot.first("change_failure_group", parameters, records(CountRow)) is not None


def _key(reader: Reader, fingerprint: str) -> dict[str, Any]:
    return {"tenant_id": reader.config.tenant_id, "fingerprint": fingerprint}


async def _parts(reader: Reader, since_ns: int, longest_h: int) -> dict[str, object]:
    parts = intervals(since_ns, reader.now_ns, await outdated_intervals(reader, since_ns, ("error",)), longest_h)
    return {"tenant_id": reader.config.tenant_id, **interval_parameters(parts)}
