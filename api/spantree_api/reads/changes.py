"""What changed since a position, and the state that executions and nodes are in now: of one snapshot."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from uuid import UUID

from spantree_api.database import Database, Query, Snapshot
from spantree_api.filters import attribute_forms, search_query
from spantree_api.stored_rows import DayRow, ExecutionRow, NodeRow, TraceRow, execution_rows, node_rows, records
from spantree_api.streams.changes import ChangeRow, PlannedEvent, planned_events
from spantree_exporter.changes import NAMED_NODES, NodeKey

# What one look at the changes takes in, some 50,000 events in 0.2 s; who is further behind has to load anew instead.
_ROWS = 2_000
_BYTES = 512 * 2**10
_NUMBERED_AT_ONCE = 2_000
# Traces and nodes that one statement names.
_TRACES_AT_ONCE = 200
_NODES_AT_ONCE = 2_000


Computed = Callable[..., Awaitable[list[PlannedEvent]]]
"""Calls a function with arguments where it holds up no request."""


@dataclass(frozen=True, slots=True)
class ChangeState:
    """The newest number, and whether there are changes without one."""

    position: int
    waiting: bool


@dataclass(frozen=True, slots=True)
class PositionRow:
    """A number of an event."""

    position: int


@dataclass(frozen=True, slots=True)
class LockRow:
    """Whether a lock was to be had."""

    mine: bool


@dataclass(frozen=True, slots=True)
class Found:
    """The events after a position, still without their states. `position`: the number up to which all was looked at.

    `missed`: not everything after the position asked for is there, or it is too much.
    """

    events: list[PlannedEvent]
    position: int
    missed: bool


@dataclass(slots=True)
class States:
    """Executions and nodes as they are now; what is not in there is gone."""

    executions: dict[UUID, ExecutionRow] = field(default_factory=dict)
    nodes: dict[tuple[UUID, NodeKey], NodeRow] = field(default_factory=dict)
    new_nodes: dict[UUID, list[NodeRow]] = field(default_factory=dict)


def state_query(tenant_id: int) -> Query[ChangeState]:
    """What a snapshot is opened with to see whether anything has changed."""
    return Query("change_state", {"tenant_id": tenant_id}, records(ChangeState))


async def newest_position(database: Database, tenant_id: int) -> int:
    """The number of the newest event; what was committed before the call is numbered, unless another is at it.

    Raises Unavailable.
    """
    async with database.snapshot(opening=state_query(tenant_id)) as snapshot:
        state: ChangeState = snapshot.opened[0]
    if not state.waiting:
        return state.position
    await number_changes(database, tenant_id)
    async with database.snapshot(opening=state_query(tenant_id)) as snapshot:
        state = snapshot.opened[0]
    return state.position


async def number_changes(database: Database, tenant_id: int) -> None:
    """Number what has no number, unless somebody else is at it. Raises Unavailable."""
    async with database.transaction() as transaction:
        lock = await transaction.first("try_number", {"tenant_id": tenant_id}, records(LockRow))
        if lock is not None and lock.mine:
            numbered = {"tenant_id": tenant_id, "limit": _NUMBERED_AT_ONCE}
            await transaction.all("number_changes", numbered, records(PositionRow))


async def changes_after(
    snapshot: Snapshot, tenant_id: int, after: int, computed: Computed, only: frozenset[UUID] | None = None
) -> Found:
    """What changed after `after`, of the traces `only` where given; the events are planned by `computed`."""
    tenant = {"tenant_id": tenant_id}
    states, oldest, rows, later = await snapshot.together(
        state_query(tenant_id),
        Query("first_change", tenant, records(PositionRow)),
        Query("changes_after", {**tenant, "after": after, "rows": _ROWS + 1, "bytes": _BYTES}, records(ChangeRow)),
        Query("changes_without_number", {**tenant, "rows": _ROWS}, records(ChangeRow)),
    )
    position = states[0].position
    first = oldest[0].position if oldest else position + 1
    reaches = rows[-1].position if rows else after
    # A position from elsewhere, of a database that was restored for example, is beyond the counter.
    if after > position or after + 1 < first or reaches < position:
        return Found([], position, missed=True)
    return Found(await computed(planned_events, rows, later, after, only), position, missed=False)


async def traces_after(
    snapshot: Snapshot, tenant_id: int, after: int, rows: int, most_bytes: int
) -> tuple[dict[UUID, int], int]:
    """The traces that changed after a position, of some changes, and where last; the position reached."""
    parameters = {"tenant_id": tenant_id, "after": after, "rows": rows, "bytes": most_bytes}
    found = await snapshot.all("changes_after", parameters, records(ChangeRow))
    traces = {UUID(bytes=one.trace_id): one.last for row in found for one in row.traces()}
    return traces, found[-1].position if found else after


async def read_executions(snapshot: Snapshot, tenant_id: int, trace_ids: Sequence[UUID]) -> dict[UUID, ExecutionRow]:
    """Those of the executions that are there."""
    found: dict[UUID, ExecutionRow] = {}
    for some in _parts(trace_ids, _TRACES_AT_ONCE):
        parameters = {"tenant_id": tenant_id, "trace_ids": some, "days": await _days(snapshot, tenant_id, some)}
        for row in await snapshot.all("changed_executions", parameters, execution_rows):
            found[row.trace_id] = row
    return found


async def read_states(snapshot: Snapshot, tenant_id: int, events: Sequence[PlannedEvent], *, nodes: bool) -> States:
    """The states that `events` tell; of executions alone where not `nodes`."""
    states = States()
    states.executions = await read_executions(
        snapshot, tenant_id, list(dict.fromkeys(event.trace_id for event in events))
    )
    if not nodes:
        return states
    keys = [(event.trace_id, event.key) for event in events if event.key is not None]
    for some in _parts(keys, _NODES_AT_ONCE):
        trace_ids = [trace_id for trace_id, _ in some]
        parameters = {
            "tenant_id": tenant_id,
            "trace_ids": trace_ids,
            "span_ids": [key[0] for _, key in some],
            "ordinals": [key[1] for _, key in some],
            "days": await _days(snapshot, tenant_id, list(dict.fromkeys(trace_ids))),
        }
        for row in await snapshot.all("changed_nodes", parameters, node_rows):
            states.nodes[row.trace_id, (row.node.span_id, row.node.ordinal)] = row
    for some_new in _parts([event.trace_id for event in events if event.new_nodes], _TRACES_AT_ONCE // 10):
        parameters = {
            "tenant_id": tenant_id,
            "trace_ids": some_new,
            "days": await _days(snapshot, tenant_id, some_new),
            "limit": NAMED_NODES,
        }
        for row in await snapshot.all("new_nodes", parameters, node_rows):
            states.new_nodes.setdefault(row.trace_id, []).append(row)
    return states


async def matching_search(snapshot: Snapshot, tenant_id: int, trace_ids: Collection[UUID], q: str) -> frozenset[UUID]:
    """Those of the executions that a list with this `q` would hold."""
    found: set[UUID] = set()
    for some in _parts(list(trace_ids), _TRACES_AT_ONCE):
        parameters: dict[str, Any] = {
            "tenant_id": tenant_id,
            "trace_ids": some,
            "days": await _days(snapshot, tenant_id, some),
            "search": search_query(q),
            "text": q.lower(),
            "attributes": attribute_forms(q),
        }
        found.update(
            row.trace_id for row in await snapshot.all("changed_matching_words", parameters, records(TraceRow))
        )
        if parameters["attributes"] is not None:
            rows = await snapshot.all("changed_matching_attribute", parameters, records(TraceRow))
            found.update(row.trace_id for row in rows)
    return frozenset(found)


async def _days(snapshot: Snapshot, tenant_id: int, trace_ids: Sequence[UUID]) -> list[date]:
    parameters = {"tenant_id": tenant_id, "trace_ids": list(trace_ids)}
    return [row.day for row in await snapshot.all("days_of_traces", parameters, records(DayRow))]


def _parts(items: Sequence[Any], size: int) -> Iterable[list[Any]]:
    for first in range(0, len(items), size):
        yield list(items[first : first + size])
