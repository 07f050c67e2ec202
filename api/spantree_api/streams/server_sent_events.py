"""Events of a stream as Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html). Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal
from uuid import UUID

import orjson

from spantree_api.rendering import clock_of, execution_answer
from spantree_api.stored_rows import ExecutionRow, NodeRow
from spantree_api.streams.changes import PlannedEvent
from spantree_api.tree import node_answer
from spantree_exporter.changes import NodeKey
from spantree_exporter.ids import node_id, span_id_to_hex

Kind = Literal["execution", "node", "reload"]

HEARTBEAT: Final = b": heartbeat\n\n"
# A browser tries again after this time where a stream was closed.
_RETRY: Final = b"retry: 2000\n"
# Whole values are large, and whoever shows one asks for it.
# Who went on with a waiting execution is no change of its own.
_LEFT_OUT: Final = ("input", "output", "analysis", "resumed_by")


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `row`: the execution that it is about, as filters see it."""

    number: int
    kind: Kind
    trace_id: UUID
    row: ExecutionRow
    frame: bytes


def position_frame(position: int) -> bytes:
    """The first event of a stream."""
    return _RETRY + _frame(position, "position", {"position": str(position)})


def reload_frame(position: int, reason: str, trace_id: UUID | None = None) -> bytes:
    """That more changed than is told."""
    return _frame(position, "reload", {"execution_id": None if trace_id is None else trace_id.hex, "reason": reason})


def told_events(
    planned: Sequence[PlannedEvent],
    executions: Mapping[UUID, ExecutionRow],
    nodes: Mapping[tuple[UUID, NodeKey], NodeRow],
    new_nodes: Mapping[UUID, Sequence[NodeRow]],
    now_ns: int,
    lost_after_s: float,
) -> Iterator[Event]:
    """The events with their states, ascending. Of an execution that is gone there are none."""
    for plan in planned:
        row = executions.get(plan.trace_id)
        if row is None:
            continue
        execution = execution_answer(row, now_ns, lost_after_s)
        clock_ns = clock_of(row.execution, execution["status"], now_ns)
        if plan.many:
            frame = reload_frame(plan.number, "too many of its nodes changed to be told one by one", plan.trace_id)
            yield Event(plan.number, "reload", plan.trace_id, row, frame)
        elif plan.new_nodes:
            rows = [
                one
                for one in new_nodes.get(plan.trace_id, ())
                if (one.node.span_id, one.node.ordinal) not in plan.except_keys
            ][: plan.new_nodes]
            # Counted from the end: a node that others before it have left has no smaller number than it had.
            for number, one in enumerate(rows, start=plan.last + 1 - len(rows)):
                yield Event(number, "node", plan.trace_id, row, _node_frame(number, plan.trace_id, one, clock_ns))
        elif plan.key is not None:
            found = nodes.get((plan.trace_id, plan.key))
            if found is None:
                frame = _removed_frame(plan.number, plan.trace_id, plan.key)
            else:
                frame = _node_frame(plan.number, plan.trace_id, found, clock_ns)
            yield Event(plan.number, "node", plan.trace_id, row, frame)
        else:
            data = {name: value for name, value in execution.items() if name not in _LEFT_OUT}
            yield Event(plan.number, "execution", plan.trace_id, row, _frame(plan.number, "execution", data))


def _node_frame(number: int, trace_id: UUID, row: NodeRow, clock_ns: int) -> bytes:
    answer = node_answer(row.node, clock_ns)
    data = {name: value for name, value in answer.items() if name not in _LEFT_OUT}
    return _frame(number, "node", {"execution_id": trace_id.hex, "removed": False, **data})


def _removed_frame(number: int, trace_id: UUID, key: NodeKey) -> bytes:
    span_id, ordinal = key
    data = {
        "execution_id": trace_id.hex,
        "removed": True,
        "id": node_id(span_id, ordinal),
        "span_id": span_id_to_hex(span_id),
    }
    return _frame(number, "node", data)


def _frame(number: int, kind: str, data: Mapping[str, Any]) -> bytes:
    # JSON has no line break outside of a string, and in one it is escaped.
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (number, kind.encode(), orjson.dumps(data))
