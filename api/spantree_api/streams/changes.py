"""What changed since a position -> the events that tell it: each execution and node once, where it changed last. Pure.

    changes    5 A{root,x}    7 B{root}    9 A{x,y}            a number for each execution and each of its nodes
    events     6 A.root       7 B  8 B.root    9 A  10 A.x  11 A.y

The state that an event tells is read in the same snapshot as the changes, so it may be a later one than its change
made; what changed again is told at its last change only, and so each state once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from spantree_exporter.changes import ChangedTrace, NodeKey, decoded


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """A row of `change`."""

    position: int
    events: int
    changed: bytes

    def traces(self) -> Iterable[ChangedTrace]:
        """What it says, in order."""
        return decoded(self.changed, self.position - self.events + 1)


@dataclass(frozen=True, slots=True)
class PlannedEvent:
    """An event whose state is still to be read. `number` is its id.

    `new_nodes`: all nodes of a new execution but `except_keys`, in their order, the last one numbered `last`.
    `many`: that its nodes changed, and are too many to be told. Else `key` names the node, None the execution.
    """

    number: int
    trace_id: UUID
    key: NodeKey | None = None
    new_nodes: int = 0
    except_keys: frozenset[NodeKey] = frozenset()
    many: bool = False

    @property
    def is_of_execution(self) -> bool:
        """Whether it tells an execution, and no nodes."""
        return self.key is None and not self.new_nodes and not self.many

    @property
    def last(self) -> int:
        """The number of the last event that it stands for."""
        return self.number + max(0, self.new_nodes - 1)


def planned_events(
    rows: Sequence[ChangeRow],
    later: Sequence[ChangeRow],
    after: int,
    only: frozenset[UUID] | None = None,
) -> list[PlannedEvent]:
    """The events of `rows` with numbers after `after`, ascending; what `later` changes as well is left for then.

    `only`: of these traces.
    """
    events: list[PlannedEvent] = []
    # Backwards: what was met already changes later. The execution of a trace is met with each of its changes.
    met: dict[bytes, set[NodeKey]] = {}
    whole: set[bytes] = set()
    for row in (*rows, *later)[::-1]:
        is_later = row.position == 0
        for one in reversed(list(row.traces())):
            trace_id = UUID(bytes=one.trace_id)
            if only is not None and trace_id not in only:
                continue
            seen = met.get(one.trace_id)
            if seen is None:
                seen = met[one.trace_id] = set()
                if not is_later and one.first > after:
                    events.append(PlannedEvent(one.first, trace_id))
            if one.trace_id in whole:
                continue
            if one.keys is None:
                whole.add(one.trace_id)
                if not is_later and one.last > after and one.nodes:
                    events.append(_new_nodes(one, trace_id, frozenset(seen)))
                continue
            for offset, key in enumerate(one.keys, start=1):
                if key not in seen and not is_later and one.first + offset > after:
                    events.append(PlannedEvent(one.first + offset, trace_id, key))
            seen.update(one.keys)
    events.sort(key=lambda event: event.number)
    return events


def first_of(events: Sequence[PlannedEvent], limit: int) -> Sequence[PlannedEvent]:
    """As many of the first of `events` as are `limit` events when told, at least one."""
    told = 0
    for index, event in enumerate(events):
        if told >= limit:
            return events[:index]
        told += max(1, event.new_nodes)
    return events


def _new_nodes(one: ChangedTrace, trace_id: UUID, later: frozenset[NodeKey]) -> PlannedEvent:
    if one.many:
        return PlannedEvent(one.first + 1, trace_id, many=True)
    return PlannedEvent(one.first + 1, trace_id, new_nodes=one.nodes, except_keys=later)
