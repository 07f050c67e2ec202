"""Who listens to changes: one reader of them for all listeners of a process, and one log of what it found.

    database --(four looks a second, while somebody listens)--> log --+--> client
                                                                      +--> client

Each event is made once, in parts of bounded size, and each listener reads on in the log at its own speed, one small
piece in its turn, so that other requests are answered in between. Nothing is kept for a client that is away: what it
has missed is read from the database when it comes back with the number of its last event, to any process, and once for
all who missed it. One that does not read as fast as things change is let go when the log has gone on without it, and
comes back in the same way.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Final, TypeVar
from uuid import UUID

from spantree_api.config import ApiConfig
from spantree_api.database import Database, Snapshot
from spantree_api.errors import ApiError, Unavailable
from spantree_api.reads import changes as reads
from spantree_api.streams.changes import PlannedEvent, first_of
from spantree_api.streams.log import Listener, Part, Scope, StreamLog, Wanted, scope_of
from spantree_api.streams.server_sent_events import HEARTBEAT, Event, position_frame, reload_frame, told_events

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_LOOK_S: Final = 0.25
# Looks without any listener after which the reader ends.
_QUIET_LOOKS: Final = 40
_HEARTBEAT_S: Final = 15.0
_LOG_INTERVAL_S: Final = 60.0
# What is kept for the listeners of all tenants together, some 15,000 events, and of one tenant at least; for how long.
_KEPT_BYTES: Final = 32 * 2**20
_LEAST_KEPT_BYTES: Final = 4 * 2**20
_KEPT_S: Final = 60.0
# Events that are read, made and told before the next: some 20 ms of a thread, and of the event loop.
_PART_EVENTS: Final = 500
# Events that one look tells; where more changed, everybody is told to load anew.
_EVENTS_AT_ONCE: Final = 20_000
# Numbers that a client that came back may be behind; after a restart all come back at once.
_MISSED: Final = 5_000
# Clients that read what they missed at the same time: the pool is for other requests, too.
_CATCHING_UP: Final = 3
# Listeners that are sent a piece, or are told of a part, before other requests have their turn.
_PIECES_AT_ONCE: Final = 8
_LISTENERS_AT_ONCE: Final = 20
# Different texts that listeners search for; each is asked of the database at every change.
_SEARCHES: Final = 20
_DEFECT: Final = "a defect in reading changes; listeners are told to load anew"
_NOT_KEPT: Final = "changes since then are not kept any more, or are too many"


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
            streams = self._streams[tenant_id] = Streams(
                self._database, config, self._clock, self._share_bytes, self._has_room
            )
        return streams

    def _has_room(self, asking: Streams) -> bool:
        """Whether one more may listen; where they are as many as may, one of a tenant that has more gives way."""
        if sum(streams.count for streams in self._streams.values()) < self._config.streams_max:
            return True
        most = max(self._streams.values(), key=lambda streams: streams.count)
        if most.count <= asking.count + 1:
            return False
        most.end_oldest()
        return True

    def _share_bytes(self) -> int:
        """What each tenant of whom somebody listens may keep."""
        listened_to = sum(streams.count > 0 for streams in self._streams.values())
        return max(_LEAST_KEPT_BYTES, _KEPT_BYTES // max(1, listened_to))

    async def close(self) -> None:
        """End every listener of every tenant."""
        for streams in self._streams.values():
            await streams.close()


class Streams:
    """The listeners of one tenant in one process and the reader that serves them. Made in the event loop.

    `share_bytes` tells how much may be kept for them, `has_room` whether one more may listen in this process.
    """

    def __init__(
        self,
        database: Database,
        config: ApiConfig,
        clock: Callable[[], int],
        share_bytes: Callable[[], int] = lambda: _KEPT_BYTES,
        has_room: Callable[[Streams], bool] | None = None,
    ) -> None:
        self._database = database.of(config.tenant_id)
        self._config = config
        self._clock = clock
        self._share_bytes = share_bytes
        self._listeners: dict[Listener, None] = {}  # the one that has listened longest first
        self._has_room = has_room or (lambda streams: streams.count < config.streams_max)
        self._kept = StreamLog()
        self._reader: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._catching_up = asyncio.Semaphore(_CATCHING_UP)
        self._filling = asyncio.Lock()
        self._turns = asyncio.Semaphore(_PIECES_AT_ONCE)
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
        searches = {one.wanted.filter.q for one in self._listeners} | {wanted.filter.q}
        if len(searches - {None}) > _SEARCHES:
            raise Unavailable(
                "too_many_searches",
                f"listeners search for {_SEARCHES} different texts already: leave out q, or try again later",
            )
        if not self._has_room(self):
            raise Unavailable(
                "too_many_streams",
                f"{self._config.streams_max} clients listen already, and SPANTREE_API_STREAMS_MAX allows no more: try "
                "again later",
            )
        await self._start()
        listener = Listener(wanted, self._kept.end if after is None else after, follows=after is None)
        self._listeners[listener] = None
        return listener

    def leave(self, listener: Listener) -> None:
        """The client is gone."""
        listener.end()
        self._listeners.pop(listener, None)

    def end_oldest(self) -> None:
        """The one that has listened longest makes room; its client may ask again."""
        self.leave(next(iter(self._listeners)))

    async def told(self, listener: Listener) -> AsyncGenerator[bytes, None]:
        """What a client is sent, from its first event on; ends where the listener does, or the database is away."""
        yield position_frame(listener.after)
        silent_since_s = time.monotonic()
        try:
            if listener.after > self._kept.end and (piece := await self._from_elsewhere(listener)):
                yield piece
            while not listener.ended:
                if listener.after < self._kept.start:
                    if listener.follows:
                        return
                    piece = await self._missed(listener)
                elif listener.after < self._kept.end:
                    listener.follows = True
                    piece = await self._next_piece(listener)
                elif await listener.news(max(0.0, silent_since_s + _HEARTBEAT_S - time.monotonic())):
                    continue
                else:
                    piece = HEARTBEAT
                if piece:
                    yield piece
                    silent_since_s = time.monotonic()
        except ApiError as error:
            self._complain("what a client has missed cannot be read: %s; it will come back", error)

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
                self._kept.begin(await reads.newest_position(self._database, self._config.tenant_id))
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
            self._kept.trim(self._share_bytes(), time.monotonic() - _KEPT_S)

    async def _look(self) -> None:
        position = await reads.newest_position(self._database, self._config.tenant_id)
        start = self._kept.end
        if position == start:
            return
        scope = scope_of(one.wanted for one in self._listeners)
        try:
            async with self._database.snapshot() as snapshot:
                found = await reads.changes_after(snapshot, self._config.tenant_id, start, self._computed, scope.only)
                if found.missed or sum(max(1, event.new_nodes) for event in found.events) > _EVENTS_AT_ONCE:
                    await self._tell(Part.to_reload(start, found.position, "more changed than can be told one by one"))
                    return
                async with aclosing(self._parts(snapshot, found.events, scope, start, found.position)) as parts:
                    async for part in parts:
                        await self._tell(part)
        except ApiError:
            raise
        except Exception:
            # What cannot be told now could not be told later: the streams go on after it.
            self._complain(_DEFECT, trace=True)
            await self._tell(Part.to_reload(self._kept.end, position, "changes could not be told"))

    async def _parts(
        self, snapshot: Snapshot, planned: Sequence[PlannedEvent], scope: Scope, start: int, end: int
    ) -> AsyncGenerator[Part, None]:
        """All of `planned`, which are the events after `start` up to `end`, some at a time."""
        while True:
            some = first_of(planned, _PART_EVENTS)
            planned = planned[len(some) :]
            up_to = some[-1].last if planned else end
            events = await self._events(snapshot, some, nodes=scope.nodes)
            all_wanted = {one.wanted for one in self._listeners if scope.covers(one.wanted)}
            searched = await self._searched(snapshot, all_wanted, events)
            part = Part(start, up_to, scope, events, searched, self._clock(), self._config.lost_after_s)
            await self._computed(part.choose, all_wanted)
            yield part
            if not planned:
                return
            start = up_to

    async def _tell(self, part: Part) -> None:
        self._kept.add(part, time.monotonic())
        self._kept.trim(self._share_bytes(), time.monotonic() - _KEPT_S)
        for count, listener in enumerate(list(self._listeners), 1):
            listener.hear(part)
            if not count % _LISTENERS_AT_ONCE:
                await asyncio.sleep(0)

    async def _next_piece(self, listener: Listener) -> bytes:
        """The next of what is kept, in the listener's turn; nothing where something had to be found out first."""
        async with self._turns:
            await asyncio.sleep(0)
        if not self._kept.start <= listener.after < self._kept.end:
            return b""
        wanted = listener.wanted
        part = self._kept.after(listener.after)
        if not part.scope.covers(wanted):
            # It came while less was asked for.
            return await self._missed_alone(listener)
        if wanted.filter.q is not None and part.lacks_search(wanted):
            async with self._catching_up, self._database.snapshot() as snapshot:
                q = wanted.filter.q
                part.found(q, await reads.matching_search(snapshot, self._config.tenant_id, part.trace_ids, q))
            return b""
        if not part.is_chosen(wanted):
            await self._computed(part.choose, (wanted,))
            return b""
        return listener.piece(part)

    async def _from_elsewhere(self, listener: Listener) -> bytes:
        """For a number that was not given here: another process may be ahead, or the database is another one."""
        position = await reads.newest_position(self._database, self._config.tenant_id)
        if listener.after <= position:
            return b""
        return self._reloaded(listener, position)

    async def _missed(self, listener: Listener) -> bytes:
        """What a listener is sent for what is not kept. Of much that it missed only one execution's is read for it."""
        end = self._kept.end
        if end - listener.after > _MISSED and listener.wanted.only is None:
            return self._reloaded(listener, end)
        try:
            if end - listener.after > _MISSED:
                return await self._missed_alone(listener)
            async with self._filling:
                if listener.after >= self._kept.start or await self._fill(listener.after):
                    return b""
        except ApiError:
            raise
        except Exception:
            self._complain(_DEFECT, trace=True)
        return self._reloaded(listener, self._kept.end)

    async def _fill(self, after: int) -> bool:
        """Keep what changed after a number, too, for all who missed it; False where that is not there any more.

        What changed again since is in what is kept, or is still to be told.
        """
        start = self._kept.start
        scope = replace(scope_of(one.wanted for one in self._listeners), only=None)
        async with self._catching_up, self._database.snapshot() as snapshot:
            found = await reads.changes_after(snapshot, self._config.tenant_id, after, self._computed)
            if found.missed:
                return False
            planned = [event for event in found.events if event.number <= start]
            parts = [part async for part in self._parts(snapshot, planned, scope, after, start)]
        self._kept.put_before(parts, time.monotonic())
        return True

    async def _missed_alone(self, listener: Listener) -> bytes:
        """The next of what a listener missed, read for it alone."""
        wanted = listener.wanted
        scope = scope_of([wanted])
        async with self._catching_up, self._database.snapshot() as snapshot:
            found = await reads.changes_after(
                snapshot, self._config.tenant_id, listener.after, self._computed, scope.only
            )
            if found.missed or sum(max(1, event.new_nodes) for event in found.events) > _MISSED:
                return self._reloaded(listener, found.position)
            parts = self._parts(snapshot, found.events, scope, listener.after, found.position)
            async with aclosing(parts):
                part = await anext(parts)
        frames = part.of(wanted)
        listener.after = part.end
        return b"".join(frame for _, frame in frames)

    def _reloaded(self, listener: Listener, position: int) -> bytes:
        listener.after = position
        return reload_frame(position, _NOT_KEPT)

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
        self, snapshot: Snapshot, all_wanted: Iterable[Wanted], events: Sequence[Event]
    ) -> dict[str, frozenset[UUID]]:
        """Text -> the executions that it finds."""
        trace_ids = {event.trace_id for event in events}
        return {
            q: await reads.matching_search(snapshot, self._config.tenant_id, trace_ids, q)
            for q in {one.filter.q for one in all_wanted}
            if q is not None
        }

    def _complain(self, template: str, *arguments: object, trace: bool = False) -> None:
        if time.monotonic() - self._logged_at_s >= _LOG_INTERVAL_S:
            self._logged_at_s = time.monotonic()
            _log.warning(template, *arguments, exc_info=trace)
