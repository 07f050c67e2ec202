"""What an execution is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from spantree_api.database import Query
from spantree_api.filters import moment_of
from spantree_api.listing import day_named, start_of
from spantree_api.reader import Reader, TraceKey
from spantree_api.stored_rows import ExecutionRow, StepRow, execution_rows, records

LAST_GOOD_DAYS: Final = 30
LAST_GOOD_WALKED: Final = 5_000
"""Executions of any kind that are looked at for one that completed, where there is no workflow."""
# Of a workflow few: PostgreSQL knows little of names, takes many for all that there are, and would sort them.
_WALKED_OF_WORKFLOW: Final = 200
# Hours that are looked at further back, where figures say that one did.
_HOURS: Final = 5
_HOUR_NS: Final = 3_600_000_000_000


@dataclass(frozen=True, slots=True)
class _HourRow:
    started_ns: int


async def last_good(reader: Reader, row: ExecutionRow) -> ExecutionRow | None:
    """The newest completed execution of the same workflow in the LAST_GOOD_DAYS before; None where there is none.

    Of a workflow that has failed ever since, figures tell in which hour that was; where there is no workflow, only
    the newest executions are looked at.
    """
    execution = row.execution
    first_day = row.day - timedelta(days=LAST_GOOD_DAYS)
    parameters = {
        "tenant_id": row.tenant_id,
        "trace_id": row.trace_id,
        "started_ns": execution.started_ns,
        "service": execution.service,
        "workflow": execution.workflow_name,
        "name": execution.name,
    }
    walk = {
        "first_day": first_day,
        "last_day": row.day,
        "walked": LAST_GOOD_WALKED if execution.workflow_name is None else _WALKED_OF_WORKFLOW,
    }
    found = await reader.snapshot.first("last_good_before", parameters | walk, execution_rows)
    if found is not None or execution.workflow_name is None:
        return found
    of_figures = {"since": moment_of(start_of(first_day)), "until": moment_of(execution.started_ns), "limit": _HOURS}
    for hour in await reader.snapshot.all("good_hours", parameters | of_figures, records(_HourRow)):
        of_hour = {
            "day": day_named(hour.started_ns),
            "from_ns": hour.started_ns,
            "to_ns": min(execution.started_ns, hour.started_ns + _HOUR_NS),
        }
        found = await reader.snapshot.first("last_good_in_hour", parameters | of_hour, execution_rows)
        if found is not None:
            break
    return found


async def steps_of_both(reader: Reader, a: TraceKey, b: TraceKey) -> tuple[list[StepRow], list[StepRow]]:
    """The nodes of two executions as comparisons take them, in sequence order, for one round trip."""
    one, other = await reader.snapshot.together(
        Query("steps_of_trace", a.parameters(), records(StepRow)),
        Query("steps_of_trace", b.parameters(), records(StepRow)),
    )
    return one, other
