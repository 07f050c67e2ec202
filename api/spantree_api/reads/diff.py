"""What an execution is compared with."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from spantree_api.reader import Reader
from spantree_api.stored_rows import ExecutionRow, execution_rows

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
