"""What PostgreSQL knows about the state of the whole."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from spantree_api.database import Snapshot
from spantree_api.filters import moment_of
from spantree_api.metrics import BacklogRow, CauseRow, RunsRow
from spantree_api.stored_rows import CountRow, HealthRow, StorageRow, records
from spantree_exporter.rollup_names import OTHER_NAMES, SUBJECTS

_HOUR_NS = 3_600_000_000_000
# Executions that started last, among which is the one that was heard of last.
_WALKED = 1_000
# Executions of the last hour that are counted.
_COUNTED = 100_000


@dataclass(frozen=True, slots=True)
class Figures:
    """What /metrics tells of the database."""

    backlog: BacklogRow | None
    causes: list[CauseRow]
    runs: list[RunsRow]
    gathered: list[str]


async def ping(snapshot: Snapshot) -> None:
    """Nothing, of a database that holds the schema. Raises Unavailable through the snapshot for any other."""
    await snapshot.first("ping", {}, records(CountRow))


async def health(snapshot: Snapshot, tenant_id: int, now_ns: int) -> HealthRow | None:
    """State of collector and projection, and how the executions of the last hour went."""
    walk = {"now_ns": now_ns, "walked": _WALKED, "counted": _COUNTED}
    return await snapshot.first("health", _last_hour(tenant_id, now_ns) | walk, records(HealthRow))


async def storage(snapshot: Snapshot) -> list[StorageRow]:
    """The tables that are partitioned by day, by name."""
    return await snapshot.all("storage", {}, records(StorageRow))


async def figures(snapshot: Snapshot, tenant_id: int, now_ns: int) -> Figures:
    """What waits for projection, dead letters, executions of the last hour, subjects that have too many names."""
    parameters = _last_hour(tenant_id, now_ns)
    backlog = await snapshot.first("backlog", parameters, records(BacklogRow))
    causes = await snapshot.all("dead_letters_by_cause", parameters, records(CauseRow))
    runs = await snapshot.all("recent_executions", parameters, records(RunsRow))
    hours = {"tenant_id": tenant_id, "now": moment_of(now_ns), "subjects": list(SUBJECTS), "other": OTHER_NAMES}
    gathered = await snapshot.all("gathered_names", hours, records(CountRow))
    return Figures(backlog, causes, runs, [row.name for row in gathered if row.name is not None])


def _last_hour(tenant_id: int, now_ns: int) -> dict[str, object]:
    today = moment_of(now_ns).date()
    return {
        "tenant_id": tenant_id,
        "first_day": today - timedelta(days=1),
        "last_day": today + timedelta(days=1),
        "since_ns": now_ns - _HOUR_NS,
    }
