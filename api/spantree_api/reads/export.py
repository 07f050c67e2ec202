"""The rows of an export, some at a time: each piece is read in a transaction of its own, which ends before it is sent.

A slow client therefore holds no connection and no snapshot, and what is in memory is one piece. An export is of no one
moment: executions come newest first from where it began, so what starts later is not in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from datetime import date
from typing import Final, TypeVar
from uuid import UUID

import orjson

from spantree_api.audit import AuditFilter, AuditRow
from spantree_api.cursor import ExecutionCursor, SpanCursor
from spantree_api.errors import Unavailable
from spantree_api.filters import ExecutionFilter
from spantree_api.reader import Reader
from spantree_api.reads import audit, lists
from spantree_api.stored_rows import ExecutionRow, NodeRow, OtlpSpan, node_rows, otlp_spans, records

# Executions that one piece names, and the days that it names with them.
_EXECUTIONS: Final = 200
_TRACES: Final = 50
_DAYS: Final = 8
_NODES: Final = 2_000
# Spans may be large: a piece ends after this many bytes of their texts, and few are taken from the cursor at once.
_SPANS: Final = 1_000
_SPAN_BYTES: Final = 4 * 2**20
_SPANS_AT_ONCE: Final = 32
# PostgreSQL may be away for some seconds without the export being cut off.
_WAITS_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
_INT8_MIN: Final = -(1 << 63)

ReaderOf = Callable[[], AbstractAsyncContextManager[Reader]]
Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class _DaysOfTrace:
    trace_id: UUID
    days: list[date]


@dataclass(frozen=True, slots=True)
class _Group:
    """Traces that are read together, and their days."""

    trace_ids: list[UUID]
    days: list[date]


@dataclass(frozen=True, slots=True)
class ExecutionsPiece:
    """Some executions, by the clock of their reading. `following` is None after the last."""

    rows: list[ExecutionRow]
    now_ns: int
    following: ExecutionCursor | None
    resumed: Mapping[UUID, UUID]


class Export:
    """Reads for one export. `reader` opens a Reader, anew for each piece."""

    def __init__(self, reader: ReaderOf) -> None:
        self._reader = reader

    async def start_after(self, trace_id: UUID) -> ExecutionCursor:
        """Where an export goes on after this execution. Raises NotFound, Unavailable."""
        async with self._reader() as reader:
            row = await reader.execution(await reader.look_up(trace_id))
        return ExecutionCursor(row.execution.started_ns, row.trace_id)

    async def executions(
        self, wanted: ExecutionFilter, after: ExecutionCursor | None, limit: int | None
    ) -> AsyncIterator[ExecutionsPiece]:
        """The executions, newest first, at most `limit`; one piece at least. Raises Unavailable."""
        left = limit
        while True:
            at_once = _EXECUTIONS if left is None else min(_EXECUTIONS, left)
            piece = await self._patiently(lambda reader: _executions(reader, wanted, at_once, after))  # noqa: B023
            yield piece
            left = None if left is None else left - len(piece.rows)
            after = piece.following
            if after is None or left == 0:
                return

    async def nodes(self, rows: Sequence[ExecutionRow]) -> AsyncIterator[list[NodeRow]]:
        """The nodes of some executions, in their order, each in sequence order."""
        for group in await self._groups([row.trace_id for row in rows]):
            position, sequence = 1, 0
            while True:
                found = await self._patiently(
                    lambda reader: _nodes(reader, group, position, sequence)  # noqa: B023
                )
                if found:
                    yield found
                if len(found) < _NODES:
                    break
                position = group.trace_ids.index(found[-1].trace_id) + 1
                sequence = found[-1].node.sequence

    async def spans(self, rows: Sequence[ExecutionRow]) -> AsyncIterator[list[OtlpSpan]]:
        """The spans of some executions, in their order, each in order of the spans' ids."""
        async for spans in self.spans_of([row.trace_id for row in rows]):
            yield spans

    async def spans_of(self, trace_ids: Sequence[UUID]) -> AsyncIterator[list[OtlpSpan]]:
        """The spans of some traces, in their order, each in order of the spans' ids."""
        for group in await self._groups(trace_ids):
            position, span_id, fingerprint = 1, _INT8_MIN, _INT8_MIN
            while True:
                found, more = await self._patiently(
                    lambda reader: _spans(reader, group, position, span_id, fingerprint)  # noqa: B023
                )
                if found:
                    yield found
                if not more:
                    break
                last = found[-1].span
                position = group.trace_ids.index(last.trace_id) + 1
                span_id, fingerprint = last.span_id, last.fingerprint

    async def audit(self, wanted: AuditFilter, after: SpanCursor | None) -> AsyncIterator[list[AuditRow]]:
        """The entries of the audit, newest first; one list at least. Raises Unavailable."""
        while True:
            page = await self._patiently(lambda reader: audit.entries(reader, wanted, _EXECUTIONS, after))  # noqa: B023
            yield page.rows
            after = page.following
            if after is None:
                return

    async def _groups(self, trace_ids: Sequence[UUID]) -> list[_Group]:
        ids = list(trace_ids)
        parameters = {"trace_ids": ids}

        async def read(reader: Reader) -> list[_DaysOfTrace]:
            keys = {**parameters, "tenant_id": reader.config.tenant_id}
            return await reader.snapshot.all("days_of_each_trace", keys, records(_DaysOfTrace))

        return list(groups_of(ids, {row.trace_id: row.days for row in await self._patiently(read)}))

    async def _patiently(self, read: Callable[[Reader], Awaitable[Read]]) -> Read:
        for wait_s in _WAITS_S:
            try:
                async with self._reader() as reader:
                    return await read(reader)
            except Unavailable as error:
                if error.code != "database_unavailable":
                    raise
            await asyncio.sleep(wait_s)
        async with self._reader() as reader:
            return await read(reader)


def groups_of(trace_ids: Sequence[UUID], days: dict[UUID, list[date]]) -> Iterator[_Group]:
    """Traces in their order, in groups of few days each; a trace of more days is alone."""
    some: list[UUID] = []
    of_group: set[date] = set()
    for trace_id in trace_ids:
        more = of_group.union(days.get(trace_id, ()))
        if some and (len(some) == _TRACES or len(more) > _DAYS):
            yield _Group(some, sorted(of_group))
            some, more = [], set(days.get(trace_id, ()))
        some.append(trace_id)
        of_group = more
    if some:
        yield _Group(some, sorted(of_group))


async def _executions(
    reader: Reader, wanted: ExecutionFilter, limit: int, after: ExecutionCursor | None
) -> ExecutionsPiece:
    found = await lists.executions(reader, wanted, limit, after)
    return ExecutionsPiece(found.rows, reader.now_ns, found.following, found.resumed)


async def _nodes(reader: Reader, group: _Group, position: int, sequence: int) -> list[NodeRow]:
    parameters = _keys(reader, group, position) | {"sequence": sequence, "limit": _NODES}
    return await reader.snapshot.all("next_nodes", parameters, node_rows)


async def _spans(
    reader: Reader, group: _Group, position: int, span_id: int, fingerprint: int
) -> tuple[list[OtlpSpan], bool]:
    """(the next spans, whether there may be more)."""
    parameters = _keys(reader, group, position) | {"span_id": span_id, "fingerprint": fingerprint, "limit": _SPANS}
    found: list[OtlpSpan] = []
    size = 0
    async with aclosing(reader.snapshot.chunks("next_spans", parameters, otlp_spans, _SPANS_AT_ONCE)) as chunks:
        async for spans in chunks:
            found += spans
            size += sum(len(orjson.dumps([one.span.attributes, one.span.events])) for one in spans)
            if size > _SPAN_BYTES:
                return found, True
    return found, len(found) == _SPANS


def _keys(reader: Reader, group: _Group, position: int) -> dict[str, object]:
    return {
        "tenant_id": reader.config.tenant_id,
        "trace_ids": group.trace_ids,
        "days": group.days,
        "position": position,
    }
