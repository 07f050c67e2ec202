"""What listeners were told lately, kept once for all of them; each reads on in it at its own speed.

    start              end
      | part | part | part |      a part: events, ascending, and which of them are for whom
               ^     ^     ^
               listeners: the number of the last event that each was told

It is bounded in bytes and time. Who falls behind its start is let go and reads what is missed from the database.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias
from uuid import UUID

from spantree_api.filters import ExecutionFilter
from spantree_api.matching import matches
from spantree_api.streams.server_sent_events import Event, Kind, reload_frame

# What is sent to one listener before others have their turn.
_PIECE_BYTES: Final = 64 * 2**10
# An event beside its frame: the row that filters see, lists that it is in; measured with executions of five nodes.
_EVENT_BYTES: Final = 1_000
# Parts of a single event each are bounded, too.
_PARTS: Final = 10_000

Frames: TypeAlias = list[tuple[int, bytes]]
"""(number, frame), ascending."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one listener asks for. `trace_id`: of one execution only, whatever the filter."""

    kinds: frozenset[Kind]
    filter: ExecutionFilter
    trace_id: UUID | None = None

    @property
    def only(self) -> frozenset[UUID] | None:
        """The executions that are read for it; None for all."""
        return None if self.trace_id is None else frozenset({self.trace_id})


@dataclass(frozen=True, slots=True)
class Scope:
    """What was read of changes: with nodes or without; of these executions only, None for all."""

    nodes: bool
    only: frozenset[UUID] | None

    def covers(self, wanted: Wanted) -> bool:
        """Whether nothing is left out that `wanted` asks for."""
        return (self.nodes or "node" not in wanted.kinds) and (self.only is None or wanted.trace_id in self.only)


def scope_of(all_wanted: Iterable[Wanted]) -> Scope:
    """The least that covers all of them."""
    every = list(all_wanted)
    traces = [one.trace_id for one in every]
    only = frozenset(trace_id for trace_id in traces if trace_id is not None) if all(traces) else None
    return Scope(any("node" in one.kinds for one in every), only)


class Part:
    """All events with numbers after `start` up to `end`, and which of them each `Wanted` is told.

    Those who ask for the same share the answer. `searched`: text -> the executions of these events that it finds.
    `reload`: instead of events everybody is told to load anew, for that reason.
    """

    def __init__(
        self,
        start: int,
        end: int,
        scope: Scope,
        events: Sequence[Event],
        searched: dict[str, frozenset[UUID]],
        now_ns: int,
        lost_after_s: float,
        reload: str | None = None,
    ) -> None:
        self.start = start
        self.end = end
        self.scope = scope
        self.trace_ids = frozenset(event.trace_id for event in events)
        self.size_bytes = sum(len(event.frame) + _EVENT_BYTES for event in events)
        self._events = events
        self._searched = searched
        self._now_ns = now_ns
        self._lost_after_s = lost_after_s
        self._reload: Frames | None = None if reload is None else [(end, reload_frame(end, reload))]
        self._by_wanted: dict[Wanted, Frames] = {}
        self._by_trace: dict[UUID, list[Event]] = {}
        for event in events:
            self._by_trace.setdefault(event.trace_id, []).append(event)

    @classmethod
    def to_reload(cls, start: int, end: int, reason: str) -> Part:
        """That everybody has to load anew."""
        return cls(start, end, Scope(nodes=True, only=None), (), {}, 0, 0.0, reason)

    def lacks_search(self, wanted: Wanted) -> bool:
        """Whether it is not known yet what the text that `wanted` searches for finds."""
        return self._reload is None and wanted.filter.q is not None and wanted.filter.q not in self._searched

    def found(self, q: str, trace_ids: frozenset[UUID]) -> None:
        """Of its events those of `trace_ids` are found by the text."""
        self._searched[q] = trace_ids

    def is_chosen(self, wanted: Wanted) -> bool:
        """Whether `of` is quick."""
        return self._reload is not None or wanted in self._by_wanted

    def choose(self, of_listeners: Iterable[Wanted]) -> None:
        """Have the answers of `of` ready, for those whose search is known."""
        for wanted in of_listeners:
            if not self.lacks_search(wanted):
                self.of(wanted)

    def of(self, wanted: Wanted) -> Frames:
        """What `wanted` is told."""
        if self._reload is not None:
            return self._reload
        if (chosen := self._by_wanted.get(wanted)) is None:
            of_traces = self._events if wanted.trace_id is None else self._by_trace.get(wanted.trace_id, [])
            chosen = [(event.number, event.frame) for event in of_traces if self._lets_through(wanted, event)]
            self._by_wanted[wanted] = chosen
        return chosen

    def _lets_through(self, wanted: Wanted, event: Event) -> bool:
        # That nodes are too many to be told is for those who want to be told of nodes.
        if ("node" if event.kind == "reload" else event.kind) not in wanted.kinds:
            return False
        if wanted.trace_id is not None:
            return True
        q = wanted.filter.q
        if q is not None and event.trace_id not in self._searched[q]:
            return False
        return matches(wanted.filter, event.row, self._now_ns, self._lost_after_s)


class Listener:
    """One client. `after`: the number of the last event that it was told, or was told not to wait for.

    `follows`: it reads what is kept for all; before, it is told what it has missed.
    """

    def __init__(self, wanted: Wanted, after: int, *, follows: bool) -> None:
        self.wanted = wanted
        self.after = after
        self.follows = follows
        self.ended = False
        self._wake = asyncio.Event()

    def end(self) -> None:
        """Nothing more comes."""
        self.ended = True
        self._wake.set()

    def hear(self, part: Part) -> None:
        """Of a part that was added: pass over it where nothing in it is asked for, else wake up."""
        if self.follows and self.after >= part.start and part.is_chosen(self.wanted) and not part.of(self.wanted):
            self.after = max(self.after, part.end)
        else:
            self._wake.set()

    async def news(self, within_s: float) -> bool:
        """Wait for a part, or the end; False where neither came in time."""
        self._wake.clear()
        if self.ended:
            return True
        try:
            async with asyncio.timeout(within_s):
                await self._wake.wait()
        except TimeoutError:
            return False
        return True

    def piece(self, part: Part) -> bytes:
        """What of a part it has not been told, some of it where that is much; it counts as told."""
        chosen = part.of(self.wanted)
        frames: list[bytes] = []
        size_bytes = 0
        for index in range(bisect_right(chosen, self.after, key=_number), len(chosen)):
            number, frame = chosen[index]
            if frames and size_bytes + len(frame) > _PIECE_BYTES:
                break
            frames.append(frame)
            size_bytes += len(frame)
            self.after = number
        else:
            self.after = max(self.after, part.end)
        return b"".join(frames)


class StreamLog:
    """Parts without a gap: all that was told of numbers after `start` up to `end`."""

    def __init__(self) -> None:
        self.start = self.end = 0
        self._parts: deque[tuple[float, Part]] = deque()
        self._bytes = 0

    def begin(self, position: int) -> None:
        """Forget everything; go on after `position`."""
        self._parts.clear()
        self._bytes = 0
        self.start = self.end = position

    def add(self, part: Part, now_s: float) -> None:
        """Go on with a part; one that lies before the end, for it was begun anew meanwhile, is left out."""
        if part.end > self.end:
            self._parts.append((now_s, part))
            self._bytes += part.size_bytes
            self.end = part.end

    def put_before(self, parts: Sequence[Part], now_s: float) -> None:
        """Let it begin earlier, if it still begins where the parts end."""
        if parts and parts[-1].end == self.start:
            self._parts.extendleft((now_s, part) for part in reversed(parts))
            self._bytes += sum(part.size_bytes for part in parts)
            self.start = parts[0].start

    def trim(self, most_bytes: int, since_s: float) -> None:
        """Forget the oldest parts until no more is kept than that, but for the newest part, and none that is older."""
        while self._parts and (
            (self._bytes > most_bytes and len(self._parts) > 1)
            or len(self._parts) > _PARTS
            or self._parts[0][0] < since_s
        ):
            part = self._parts.popleft()[1]
            self._bytes -= part.size_bytes
            self.start = part.end

    def after(self, number: int) -> Part:
        """The part with what comes after a number from `start` on and before `end`."""
        return self._parts[bisect_right(self._parts, number, key=_end)][1]


def _number(numbered: tuple[int, bytes]) -> int:
    return numbered[0]


def _end(kept: tuple[float, Part]) -> int:
    return kept[1].end
