"""What an execution is compared with."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from spantree_api.database import Query
from spantree_api.reader import Reader, TraceKey
from spantree_api.stored_rows import ExecutionRow, StepRow, execution_rows, records

LAST_GOOD_DAYS: Final = 30


async def last_good(reader: Reader, row: ExecutionRow) -> ExecutionRow | None:
    """The newest completed execution of the same workflow in the LAST_GOOD_DAYS before; None where there is none."""
    execution = row.execution
    return await reader.snapshot.first(
        "last_good_before",
        {
            "tenant_id": row.tenant_id,
            "trace_id": row.trace_id,
            "started_ns": execution.started_ns,
            "service": execution.service,
            "workflow": execution.workflow_name,
            "name": execution.name,
            "first_day": row.day - timedelta(days=LAST_GOOD_DAYS),
            "last_day": row.day,
        },
        execution_rows,
    )


async def steps_of_both(reader: Reader, a: TraceKey, b: TraceKey) -> tuple[list[StepRow], list[StepRow]]:
    """The nodes of two executions as comparisons take them, in sequence order, for one round trip."""
    one, other = await reader.snapshot.together(
        Query("steps_of_trace", a.parameters(), records(StepRow)),
        Query("steps_of_trace", b.parameters(), records(StepRow)),
    )
    return one, other
