"""Who listens to changes: one reader of them for all listeners of a process, each with a bounded queue of its own.

    database --(four looks a second, while somebody listens)--> feed --+--> queue --> client
                                                                       +--> queue --> client

Nothing is kept for a client that is away: what it has missed is read from the database when it comes back with the
number of its last event, to any process. One that does not read as fast as things change is let go when its queue is
full, and comes back in the same way.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, TypeVar
from uuid import UUID

from spantree_api.changes import PlannedEvent, first_of
from spantree_api.config import ApiConfig
from spantree_api.database import Database, Snapshot
from spantree_api.errors import ApiError, Unavailable
from spantree_api.events import HEARTBEAT, Event, Kind, position_frame, reload_frame, told_events
from spantree_api.filters import ExecutionFilter
from spantree_api.matching import matches
from spantree_api.reads import changes as reads

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_LOOK_S: Final = 0.25
# Looks without any listener after which the reader ends.
_QUIET_LOOKS: Final = 40
_HEARTBEAT_S: Final = 15.0
_LOG_INTERVAL_S: Final = 60.0
# What waits for one client at most; some hundred events.
_QUEUE_BYTES: Final = 512 * 2**10
# Events that one look tells; where more changed, everybody is told to load anew.
_EVENTS_AT_ONCE: Final = 20_000
# Events that one client that came back is told before it has taken them, and numbers that it may be behind: each part
# is planned anew out of all that it has missed, and after a restart all come back at once.
_MISSED_AT_ONCE: Final = 200
_MISSED: Final = 5_000
# Clients that read what they missed at the same time: the pool is for other requests, too.
_CATCHING_UP: Final = 3
# Listeners that are given their events before other requests have their turn.
_LISTENERS_AT_ONCE: Final = 20
# Different texts that listeners search for; each is asked of the database at every change.
_SEARCHES: Final = 20


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


class Listener:
    """One client. `after`: the number of the last event that it was told, or was told not to wait for.

    Its queue holds what it has not taken yet, while it follows; before, it is told what it has missed.
    """

    def __init__(self, wanted: Wanted, after: int) -> None:
        self.wanted = wanted
        self.after = after
        self.ended = False
        self._follows = False
        self._queue: deque[tuple[int, bytes]] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()

    def follow(self, *, follows: bool) -> None:
        """Begin to queue what comes, or stop it and drop what waits."""
        self._follows = follows
        if not follows:
            self._drop()

    def put(self, number: int, frame: bytes) -> None:
        """Queue a frame; a listener whose queue is full is ended, and what waits is dropped: it comes back for it."""
        if self.ended or not self._follows or number <= self.after:
            return
        self._bytes += len(frame)
        if self._bytes > _QUEUE_BYTES:
            self._drop()
            self.end()
            return
        self._queue.append((number, frame))
        self._wake.set()

    def put_all(self, events: Sequence[Event], size_bytes: int) -> None:
        """Queue the frames of events, ascending, which are of so many bytes together."""
        if not events or self.ended or not self._follows:
            return
        if events[0].number > self.after and self._bytes + size_bytes > _QUEUE_BYTES:
            self._drop()
            self.end()
            return
        for event in events:
            self.put(event.number, event.frame)

    def end(self) -> None:
        """Nothing more comes."""
        self.ended = True
        self._wake.set()

    def catch_up(self, position: int) -> None:
        """All up to `position` was told otherwise."""
        self.after = position
        while self._queue and self._queue[0][0] <= position:
            self._bytes -= len(self._queue.popleft()[1])

    def _drop(self) -> None:
        self._queue.clear()
        self._bytes = 0

    async def frames(self) -> AsyncIterator[bytes]:
        """All that waits, as one piece, whenever there is something; a heartbeat where there is nothing for long."""
        while True:
            self._wake.clear()
            if self._queue:
                piece = b"".join(frame for _, frame in self._queue)
                self.after = self._queue[-1][0]
                self._drop()
                yield piece
                continue
            if self.ended:
                return
            try:
                async with asyncio.timeout(_HEARTBEAT_S):
                    await self._wake.wait()
            except TimeoutError:
                yield HEARTBEAT


class TenantStreams:
    """The streams of each tenant of whom somebody listens in this process."""

    def __init__(self, database: Database, config: ApiConfig, clock: Callable[[], int]) -> None:
        self._database = database
        self._config = config
        self._clock = clock
        self._streams: dict[int, Streams] = {}

    def of(self, tenant_id: int) -> Streams:
        """One tenant's streams."""
        if (streams := self._streams.get(tenant_id)) is None:
            config = replace(self._config, tenant_id=tenant_id)
            streams = self._streams[tenant_id] = Streams(self._database, config, self._clock)
        return streams

    async def close(self) -> None:
        """End every listener of every tenant."""
        for streams in self._streams.values():
            await streams.close()


class Streams:
    """The listeners of one tenant in one process and the reader that serves them. Made in the event loop."""

    def __init__(self, database: Database, config: ApiConfig, clock: Callable[[], int]) -> None:
        self._database = database.of(config.tenant_id)
        self._config = config
        self._clock = clock
        self._listeners: set[Listener] = set()
        self._position = 0
        self._reader: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._catching_up = asyncio.Semaphore(_CATCHING_UP)
        # What is computed for streams takes turns in a thread, so that other requests are answered meanwhile.
        self._thread = ThreadPoolExecutor(1, "spantree-streams")
        self._closed = False
        self._logged_at_s = float("-inf")

    @property
    def count(self) -> int:
        """How many listen."""
        return len(self._listeners)

    async def listen(self, wanted: Wanted, after: int | None) -> Listener:
        """A new listener, from the event numbered `after` on, or from now. Give it back with `leave`.

        Raises Unavailable where the database is away, this process is about to end or has too many listeners.
        """
        if self._closed:
            raise Unavailable("stopping", "the server is about to stop: try again")
        if self.count >= self._config.streams_max:
            raise Unavailable(
                "too_many_streams",
                f"{self.count} clients listen already, and SPANTREE_API_STREAMS_MAX allows no more: try again later",
            )
        searches = {one.wanted.filter.q for one in self._listeners} | {wanted.filter.q}
        if len(searches - {None}) > _SEARCHES:
            raise Unavailable(
                "too_many_searches",
                f"listeners search for {_SEARCHES} different texts already: leave out q, or try again later",
            )
        await self._start()
        listener = Listener(wanted, self._position if after is None else after)
        listener.follow(follows=after is None)
        self._listeners.add(listener)
        return listener

    def leave(self, listener: Listener) -> None:
        """The client is gone."""
        listener.end()
        self._listeners.discard(listener)

    async def told(self, listener: Listener) -> AsyncIterator[bytes]:
        """What a client is sent, from its first event on; ends where the listener does, or the database is away.

        What it has missed is read in small parts, the next one when it has taken the one before.
        """
        yield position_frame(listener.after)
        left = listener.after != self._position
        while left and not listener.ended:
            # What comes while the rest is read is queued; what is in both is told once, by its number.
            listener.follow(follows=True)
            try:
                async with self._catching_up:
                    frames, left = await self._missed(listener)
            except ApiError as error:
                self._complain("what a client has missed cannot be read: %s; it will come back", error)
                return
            if left:
                listener.follow(follows=False)
            if frames:
                yield b"".join(frames)
        async for piece in listener.frames():
            yield piece

    async def close(self) -> None:
        """End every listener, and the reader."""
        self._closed = True
        for listener in self._listeners:
            listener.end()
        if self._reader is not None:
            # Cancelled in the midst of a query, the driver complains.
            await asyncio.wait((self._reader,), timeout=4 * _LOOK_S)
            self._reader.cancel()
            with suppress(asyncio.CancelledError):
                await self._reader
        self._thread.shutdown(wait=False)

    async def _start(self) -> None:
        async with self._starting:
            # A reader without listeners does not look.
            if self._reader is None or self._reader.done() or not self._listeners:
                self._position = await reads.newest_position(self._database, self._config.tenant_id)
            if self._reader is None or self._reader.done():
                self._reader = asyncio.create_task(self._read(), name="spantree-streams")

    async def _read(self) -> None:
        """Look for changes until nobody has listened for a while."""
        quiet_looks = 0
        while quiet_looks < _QUIET_LOOKS and not self._closed:
            await asyncio.sleep(_LOOK_S)
            quiet_looks = 0 if self._listeners else quiet_looks + 1
            if not self._listeners:
                continue
            try:
                await self._look()
            except ApiError as error:
                self._complain("changes cannot be read: %s; listeners wait", error)
            except Exception:
                self._complain("a defect in reading changes; listeners are told to load anew", trace=True)
                self._tell_reload("changes could not be told")

    async def _look(self) -> None:
        tenant_id = self._config.tenant_id
        position = await reads.newest_position(self._database, tenant_id)
        if position == self._position:
            return
        listeners = list(self._listeners)
        traces = [one.wanted.trace_id for one in listeners]
        only = frozenset(trace_id for trace_id in traces if trace_id is not None) if all(traces) else None
        async with self._database.snapshot() as snapshot:
            found = await reads.changes_after(snapshot, tenant_id, self._position, self._computed, only)
            if found.missed or sum(max(1, event.new_nodes) for event in found.events) > _EVENTS_AT_ONCE:
                self._position = found.position
                self._tell_reload("more changed than can be told one by one")
                return
            nodes = any("node" in one.wanted.kinds for one in listeners)
            events = await self._events(snapshot, found.events, nodes=nodes)
            searched = await self._searched(snapshot, listeners, events)
        chosen = _Chosen(events, searched, self._clock(), self._config.lost_after_s)
        await self._computed(chosen.choose, {one.wanted for one in listeners})
        self._position = found.position
        # With those that came while this was read: they are told what they have not got by its number.
        for count, listener in enumerate(list(self._listeners), 1):
            q = listener.wanted.filter.q
            if q is not None and q not in searched:
                listener.end()
                continue
            listener.put_all(*chosen.of(listener.wanted))
            if not count % _LISTENERS_AT_ONCE:
                await asyncio.sleep(0)

    async def _missed(self, listener: Listener) -> tuple[list[bytes], bool]:
        """The next of what changed after the listener's position, and whether there is more."""
        wanted, tenant_id = listener.wanted, self._config.tenant_id
        if wanted.only is None and self._position - listener.after > _MISSED:
            return self._reloaded(listener, self._position), False
        async with self._database.snapshot() as snapshot:
            found = await reads.changes_after(snapshot, tenant_id, listener.after, self._computed, wanted.only)
            if found.missed or sum(max(1, event.new_nodes) for event in found.events) > _MISSED:
                return self._reloaded(listener, found.position), False
            some = first_of(found.events, _MISSED_AT_ONCE)
            left = len(some) < len(found.events)
            events = await self._events(snapshot, some, nodes="node" in wanted.kinds)
            searched = await self._searched(snapshot, [listener], events)
        chosen = _Chosen(events, searched, self._clock(), self._config.lost_after_s)
        await self._computed(chosen.choose, {wanted})
        frames = [event.frame for event in chosen.of(wanted)[0] if event.number > listener.after]
        listener.catch_up(some[-1].last if left else found.position)
        return frames, left

    def _reloaded(self, listener: Listener, position: int) -> list[bytes]:
        listener.catch_up(position)
        return [reload_frame(position, "changes since then are not kept any more, or are too many")]

    async def _computed(self, function: Callable[..., _T], *arguments: object) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    async def _events(self, snapshot: Snapshot, planned: Sequence[PlannedEvent], *, nodes: bool) -> list[Event]:
        states = await reads.read_states(snapshot, self._config.tenant_id, planned, nodes=nodes)
        if not nodes:
            planned = [event for event in planned if event.is_of_execution]
        now_ns, lost_after_s = self._clock(), self._config.lost_after_s

        def told() -> list[Event]:
            return list(told_events(planned, states.executions, states.nodes, states.new_nodes, now_ns, lost_after_s))

        return await self._computed(told)

    async def _searched(
        self, snapshot: Snapshot, listeners: Sequence[Listener], events: Sequence[Event]
    ) -> dict[str, frozenset[UUID]]:
        """Text -> the executions that it finds."""
        trace_ids = {event.trace_id for event in events}
        return {
            q: await reads.matching_search(snapshot, self._config.tenant_id, trace_ids, q)
            for q in {one.wanted.filter.q for one in listeners}
            if q is not None
        }

    def _tell_reload(self, reason: str) -> None:
        for listener in self._listeners:
            listener.put(self._position, reload_frame(self._position, reason))

    def _complain(self, template: str, *arguments: object, trace: bool = False) -> None:
        if time.monotonic() - self._logged_at_s >= _LOG_INTERVAL_S:
            self._logged_at_s = time.monotonic()
            _log.warning(template, *arguments, exc_info=trace)


class _Chosen:
    """Some events, and which of them each listener asked for; those who ask for the same share the answer."""

    def __init__(
        self, events: Sequence[Event], searched: dict[str, frozenset[UUID]], now_ns: int, lost_after_s: float
    ) -> None:
        self._events = events
        self._searched = searched
        self._now_ns = now_ns
        self._lost_after_s = lost_after_s
        self._by_wanted: dict[Wanted, tuple[list[Event], int]] = {}
        self._by_trace: dict[UUID, list[Event]] = {}
        for event in events:
            self._by_trace.setdefault(event.trace_id, []).append(event)

    def choose(self, of_listeners: Iterable[Wanted]) -> None:
        """Have the answers of `of` ready."""
        for wanted in of_listeners:
            self.of(wanted)

    def of(self, wanted: Wanted) -> tuple[list[Event], int]:
        """(those that `wanted` lets through, ascending; how many bytes their frames have)."""
        if (chosen := self._by_wanted.get(wanted)) is None:
            of_traces = self._events if wanted.trace_id is None else self._by_trace.get(wanted.trace_id, [])
            events = [event for event in of_traces if self._lets_through(wanted, event)]
            chosen = self._by_wanted[wanted] = events, sum(len(event.frame) for event in events)
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
