"""Which execution went on with one that waited: the next of its run, or the next that resumes its conversation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from spantree_api.reader import Reader
from spantree_api.stored_rows import ExecutionRow, records

# Executions of runs and conversations that are read at once, oldest first, until each that waits has its own.
_ROWS = 2_000
# Turns after one that waits, of some days, among which is one that takes the conversation up again.
_TURNS = 1_000


@dataclass(frozen=True, slots=True)
class LaterRow:
    """An execution of a run or conversation, by its start."""

    name: str
    started_ns: int
    trace_id: UUID


async def resumed(reader: Reader, rows: Iterable[ExecutionRow]) -> dict[UUID, UUID]:
    """Of those among `rows` that wait and were taken up, by which execution; nothing is read where none waits.

    The snapshot may be renewed: it is no time to hold a cursor.
    """
    waiting = [row for row in rows if row.execution.status == "waiting"]
    found: dict[UUID, LaterRow] = {}
    for column, statement in (("run_id", "later_of_runs"), ("conversation_id", "later_of_conversations")):
        of_key: dict[str, list[ExecutionRow]] = {}
        for row in waiting:
            if (key := getattr(row.execution, column)) is not None:
                of_key.setdefault(key, []).append(row)
        for waited, later in (await _later(reader, statement, of_key)).items():
            if waited not in found or later.started_ns < found[waited].started_ns:
                found[waited] = later
    return {waited: later.trace_id for waited, later in found.items()}


async def _later(reader: Reader, statement: str, of_key: dict[str, list[ExecutionRow]]) -> dict[UUID, LaterRow]:
    """By the trace id of who waits, the first execution that started after it under the same key."""
    open_ = {key: sorted(rows, key=lambda row: row.execution.started_ns, reverse=True) for key, rows in of_key.items()}
    found: dict[UUID, LaterRow] = {}
    if not open_:
        return found
    first_day = min(row.day for rows in of_key.values() for row in rows)
    async for days in reader.all_days(first_day):
        names = sorted(open_)
        while names:
            parameters = {
                "tenant_id": reader.config.tenant_id,
                "names": names,
                "waited_ns": [open_[name][-1].execution.started_ns for name in names],
                "limit": _ROWS,
                "turns": _TURNS,
                **days,
            }
            page = await reader.snapshot.all(statement, parameters, records(LaterRow))
            for later in page:
                rows = open_.get(later.name, [])
                while rows and rows[-1].execution.started_ns < later.started_ns:
                    found[rows.pop().trace_id] = later
                if not rows:
                    open_.pop(later.name, None)
            # Of which nothing came there is nothing more on these days, unless others came before it.
            told = names if len(page) == _ROWS else sorted({later.name for later in page})
            names = [name for name in told if name in open_]
        if not open_:
            break
    return found
