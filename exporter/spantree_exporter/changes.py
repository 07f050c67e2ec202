"""Which executions and nodes a transaction changed, as one value beside the rows: the source of streams and alerts.

    new trace      trace id, minus the number of its nodes     all of them are new, none is named
    changed trace  trace id, number of nodes, their keys       rows that were put there, replaced or taken away

An execution and each of its changed nodes are an event each, in this order, and are numbered in it.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from spantree_exporter.postgres.connection import StoreConnection
from spantree_exporter.sql import statements

_SQL: Final = statements("changes")

# An execution with more changed nodes than this is told to have changed as a whole: one event stands for them.
NAMED_NODES: Final = 1_000
_TRACE: Final = struct.Struct(">16si")
_KEY: Final = struct.Struct(">qi")
_MANY: Final = -(1 << 31)
# How long changes can be followed later on, and so how long a listener or the alerts may be away.
_KEPT_S: Final = 86_400.0
_PRUNE_INTERVAL_S: Final = 60.0
_PRUNED_ROWS: Final = 10_000

NodeKey = tuple[int, int]


@dataclass(frozen=True, slots=True)
class ChangedTrace:
    """What one transaction changed of one trace. `first` is the number of its execution's event, nodes follow.

    `keys` are the (span id, ordinal) of the changed nodes; None where all `nodes` were new, or too many to be named.
    """

    trace_id: bytes
    first: int
    nodes: int
    keys: tuple[NodeKey, ...] | None
    many: bool

    @property
    def last(self) -> int:
        """The number of its last event."""
        return self.first + self.nodes


class Changes:
    """Collects what a transaction changes. `events`: how many events that is."""

    __slots__ = ("_parts", "events")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.events = 0

    def add_new(self, trace_id: bytes, nodes: int) -> None:
        """A trace that had no rows and has so many nodes now."""
        self._add(trace_id, _MANY if nodes > NAMED_NODES else -nodes, 1 if nodes > NAMED_NODES else nodes)

    def add_changed(self, trace_id: bytes, keys: Iterable[NodeKey]) -> None:
        """A trace whose execution, or the named nodes, changed."""
        named = sorted(keys)
        if len(named) > NAMED_NODES:
            self._add(trace_id, _MANY, 1)
            return
        self._add(trace_id, len(named), len(named))
        self._parts += [_KEY.pack(span_id, ordinal) for span_id, ordinal in named]

    def merge(self, other: Changes) -> None:
        """Add all that `other` holds."""
        self._parts += other._parts
        self.events += other.events

    def encoded(self) -> bytes:
        """What `decoded` reads."""
        return b"".join(self._parts)

    def _add(self, trace_id: bytes, count: int, nodes: int) -> None:
        self._parts.append(_TRACE.pack(trace_id, count))
        self.events += 1 + nodes


class Touched:
    """Rows that are replaced: passes them on without their last columns, which are their keys, and notes these."""

    def __init__(self) -> None:
        self._traces: dict[bytes, set[NodeKey]] = {}

    def executions(self, rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        """Rows whose last column is the trace id."""
        for *row, trace_id in rows:
            self._traces.setdefault(trace_id, set())
            yield tuple(row)

    def nodes(self, rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        """Rows whose last columns are trace id, span id and ordinal."""
        for *row, trace_id, span_id, ordinal in rows:
            self._traces.setdefault(trace_id, set()).add((span_id, ordinal))
            yield tuple(row)

    def changes(self) -> Changes:
        """What was passed on."""
        changes = Changes()
        for trace_id, keys in self._traces.items():
            changes.add_changed(trace_id, keys)
        return changes


def decoded(changed: bytes, first: int) -> Iterator[ChangedTrace]:
    """The traces of one row of `change`, in order; `first` is the number of its first event."""
    at = 0
    while at < len(changed):
        trace_id, count = _TRACE.unpack_from(changed, at)
        at += _TRACE.size
        if count == _MANY:
            one = ChangedTrace(trace_id, first, 1, None, many=True)
        elif count < 0:
            one = ChangedTrace(trace_id, first, -count, None, many=False)
        else:
            end = at + count * _KEY.size
            keys = tuple((span_id, ordinal) for span_id, ordinal in _KEY.iter_unpack(changed[at:end]))
            one = ChangedTrace(trace_id, first, count, keys, many=False)
            at = end
        first = one.last + 1
        yield one


def insert_changes(cursor: psycopg.Cursor[Any], changes: Mapping[int, Changes]) -> None:
    """Note the `changes` of each tenant in the caller's transaction. Raises psycopg.Error."""
    some = {tenant_id: of_tenant for tenant_id, of_tenant in changes.items() if of_tenant.events}
    if some:
        cursor.execute(
            _SQL["insert_changes"],
            {
                "tenant_ids": list(some),
                "events": [of_tenant.events for of_tenant in some.values()],
                "changed": [of_tenant.encoded() for of_tenant in some.values()],
            },
        )


class ChangePruner:
    """Drops changes of more than a day ago, over one connection, once a minute."""

    def __init__(self, connection: StoreConnection, tenant_id: int) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._prune_at_s = 0.0

    def prune_when_due(self) -> None:
        """Drop some, if it is time. Raises psycopg.Error."""
        if time.monotonic() >= self._prune_at_s:
            self._prune_at_s = time.monotonic() + _PRUNE_INTERVAL_S
            self.prune(_KEPT_S)

    def prune(self, kept_s: float) -> int:
        """Drop what is older than `kept_s`, ten thousand transactions' changes at most; how many."""
        row = self._connection.open().execute(
            _SQL["prune_changes"], {"tenant_id": self._tenant_id, "kept_s": kept_s, "limit": _PRUNED_ROWS}
        ).fetchone()  # fmt: skip
        return int(row[0]) if row else 0
