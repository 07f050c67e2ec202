"""The durable queue between the acknowledgement and PostgreSQL: raw request bodies in one SQLite file.

    append() ─┐                     ┌─> commit + fsync ─> every append() of the group returns
    append() ─┼─> queue ─> writer ──┤
    remove() ─┘    (one thread)     └─> removals ride in the same transaction

SQLite in WAL mode with `synchronous=FULL` fsyncs the log before COMMIT returns (https://www.sqlite.org/pragma.html
#pragma_synchronous), and a torn tail fails its checksum and is ignored, so what `append` returned for survives kill -9
and a power cut. All requests that wait at the moment share one fsync. After an I/O error nothing is acknowledged
again: what the kernel did with the pages of a failed fsync is unknown, and a second fsync may report success for them
(https://wiki.postgresql.org/wiki/Fsync_Errors).

    lock                what it guards
    _lock               the queue of appends and removals, counts, _failure and _closing; three conditions are on it:
                        _work (for the writer thread), _arrived (for the pumps), _checkpoint_wanted
    _between_groups     the file between two commits: the writer thread holds it for a group, the checkpointer for the
                        last bytes of the log; never taken with _lock or _reading held
    _reading            the reader connection, which pumps, readiness and metrics share; taken after _between_groups
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from spantree_collector.spool.spool_file import (
    CHECKPOINT_BYTES,
    PAGE_BYTES,
    FileIdentity,
    SpoolError,
    SpoolFailed,
    SpoolFull,
    open_databases,
    own,
    restored,
    statements,
    temporary,
)
from spantree_collector.spool.spooled_body import Body, SpooledBody

__all__ = ["Spool", "SpoolError", "SpoolFailed", "SpoolFull", "SpoolStats"]

log = logging.getLogger(__name__)

# A commit of more than this makes the requests behind it wait too long.
_GROUP_MAX_BYTES = 32 * 2**20
# The log is copied back into the file beside the writer, which meanwhile adds to it. Only a log that is copied whole
# starts again from its beginning, so the last few bytes are copied between two groups; after so many rounds whatever
# is left.
_LAST_CHECKPOINT_BYTES = 4 * 2**20
_CHECKPOINT_ROUNDS = 8
# Pages hold bodies not quite to their edges.
_PAGE_OVERHEAD = 1.1
# An empty spool gives a file larger than this back to the disk, at most this often.
_SHRINK_BYTES = 256 * 2**20
_SHRINK_INTERVAL_S = 60.0
# How long removals wait when the disk has no room even for them.
_POSTPONED_S = 0.1
# A quota is seen by the write that it ends alone; for so long after one, nobody is told that there is room.
_REFUSED_S = 5.0
# How often an idle writer thread looks whether its files are still there and whether space can be given back.
_LOOK_S = 1.0
_LOG_INTERVAL_S = 60.0


@dataclass(frozen=True, slots=True)
class SpoolStats:
    """What waits. `oldest_received_ns` is None when nothing does; `file_bytes` counts free pages too."""

    bodies: int
    bytes: int
    max_bytes: int
    oldest_received_ns: int | None
    file_bytes: int


class Spool:
    """A bounded, durable FIFO of request bodies. One process owns it; every method may be called from any thread.

    `max_bytes` bounds the sum of the bodies. `reserve_bytes` is disk space that appends leave alone, so that a full
    disk does not stop removals. `on_failure` is called once, from the thread that met it, when the spool has failed.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int = 8 * 2**30,
        reserve_bytes: int = 64 * 2**20,
        on_failure: Callable[[SpoolFailed], None] | None = None,
        observe_commit: Callable[[int, float], None] | None = None,
    ) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._reserve_bytes = reserve_bytes
        self._on_failure = on_failure
        self._observe_commit = observe_commit
        self._sql = statements()
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)  # for the writer: something is queued
        self._arrived = threading.Condition(self._lock)  # for the pump: something is on disk
        self._appends: deque[tuple[Body, Future[int]]] = deque()
        self._removals: list[int] = []
        self._queued_bytes = 0
        self._failure: SpoolFailed | None = None
        self._closing = False
        self._logged_bytes = 0
        self._checkpoint_wanted = threading.Condition(self._lock)
        self._checkpointing = False
        self._between_groups = threading.Lock()
        self._shrunk_at_s = float("-inf")
        self._no_room_until_s = float("-inf")
        self._lock_fd = own(path)
        try:
            self._databases = open_databases(path)
        except BaseException:
            os.close(self._lock_fd)
            raise
        self._files = FileIdentity(path)
        self._why_nameless: str | None = None  # the files are gone and could not be made anew yet
        self._short_of_disk = False
        self._busy_logged_s = float("-inf")
        self._reading = threading.Lock()
        self._bodies: int
        self._bytes: int
        self._last_id: int
        self._bodies, self._bytes, self._last_id = self._databases.writer.execute(self._sql["totals"]).fetchone()
        self._arrivals: dict[int, int] = {}  # the last ids of tenants that got bodies, since `arrivals` was asked
        self._tenant_bytes: Counter[int] = Counter()
        for tenant_id, last_id, waiting_bytes in self._databases.writer.execute(self._sql["tenants"]):
            self._arrivals[tenant_id] = last_id
            self._tenant_bytes[tenant_id] = waiting_bytes
        self._thread = threading.Thread(target=self._write_for_ever, name="spantree-spool", daemon=True)
        self._checkpointer = threading.Thread(
            target=self._checkpoint_for_ever, name="spantree-spool-checkpoint", daemon=True
        )
        self._thread.start()
        self._checkpointer.start()

    # ---- the receivers' side -----------------------------------------------------------------------------------

    def submit(self, body: Body) -> Future[int]:
        """Queue `body`; the future holds its id once it is on disk. Raises SpoolFull or SpoolFailed at once."""
        size_bytes = len(body.payload)
        future: Future[int] = Future()
        with self._lock:
            if self._failure is not None:
                raise self._failure
            if self._closing:
                raise SpoolFull("the collector is stopping and takes no more requests; send it again")
            waiting_bytes = self._bytes + self._queued_bytes
            if waiting_bytes + size_bytes > self._max_bytes:
                raise SpoolFull(
                    f"the spool holds {waiting_bytes} of at most {self._max_bytes} bytes and has no room for "
                    f"{size_bytes} more until PostgreSQL has taken some; SPANTREE_SPOOL_MAX_BYTES sets the limit"
                )
            self._queued_bytes += size_bytes
            self._appends.append((body, future))
            self._work.notify()
        return future

    async def append(self, body: Body) -> int:
        """Return the id of `body` once it is on disk, fsynced. Raises SpoolFull (retry later) or SpoolFailed."""
        return await asyncio.wrap_future(self.submit(body))

    # ---- the pump's side ---------------------------------------------------------------------------------------

    def take(
        self, after_id: int, *, max_bodies: int, max_bytes: int, tenant_id: int | None = None
    ) -> list[SpooledBody]:
        """The oldest bodies with an id above `after_id`, in order; at least one where there is one and it is open.

        With `tenant_id` only those of that tenant.

        Taking does not remove: a body is there again after a restart until `remove` was committed.
        """
        taken: list[SpooledBody] = []
        taken_bytes = 0
        with self._reading:
            if self._closing:
                return []
            try:
                if tenant_id is None:
                    cursor = self._databases.reader.execute(self._sql["take"], (after_id,))
                else:
                    cursor = self._databases.reader.execute(self._sql["take_of_tenant"], (tenant_id, after_id))
                try:
                    for body_id, owner, received_ns, encoding, compression, size_bytes, payload in cursor:
                        if taken and taken_bytes + size_bytes > max_bytes:
                            break
                        taken.append(SpooledBody(body_id, Body(payload, encoding, compression, received_ns, owner)))
                        taken_bytes += size_bytes
                        if len(taken) >= max_bodies or taken_bytes >= max_bytes:
                            break
                finally:
                    # An open cursor is an open read transaction, which keeps the log from being reused.
                    cursor.close()
            except sqlite3.Error as error:
                if not self._is_passing(error):
                    raise self._fail(error) from error
        return taken

    def _is_passing(self, error: Exception) -> bool:
        """Whether reading may pass in a moment, for somebody else holds the file."""
        why = temporary(error, self.path) if isinstance(error, sqlite3.OperationalError) else None
        if why is not None and time.monotonic() - self._busy_logged_s >= _LOG_INTERVAL_S:
            self._busy_logged_s = time.monotonic()
            log.warning("the spool %s cannot be read now: %s", self.path, why)
        return why is not None

    def wait(self, after_id: int, timeout_s: float) -> bool:
        """Wait until there is a body above `after_id`; False when there is none after `timeout_s`."""
        with self._lock:
            self._arrived.wait_for(lambda: self._last_id > after_id, timeout_s)
            return self._last_id > after_id

    def arrivals(self) -> tuple[int, dict[int, int]]:
        """The last id on disk, of all and of each tenant that got bodies since the last call; for one dispatcher."""
        with self._lock:
            arrivals, self._arrivals = self._arrivals, {}
            return self._last_id, arrivals

    def tenant_bytes(self, tenant_id: int) -> int:
        """How many bytes of one tenant wait."""
        with self._lock:
            return self._tenant_bytes[tenant_id]

    def free_bytes(self) -> int:
        """How many more bytes may wait."""
        with self._lock:
            return self._max_bytes - self._bytes - self._queued_bytes

    def bytes_of_tenants(self) -> dict[int, int]:
        """How many bytes of each tenant wait that has some."""
        with self._lock:
            return dict(self._tenant_bytes)

    def oldest_of(self, tenant_ids: Iterable[int]) -> dict[int, int]:
        """When the oldest body of each of these tenants came in; who has none, and all while closing, is not in it."""
        found = {}
        with self._reading:
            for tenant_id in () if self._closing else tenant_ids:
                try:
                    row = self._databases.reader.execute(self._sql["oldest_of_tenant"], (tenant_id,)).fetchone()
                except sqlite3.Error as error:
                    if not self._is_passing(error):
                        raise self._fail(error) from error
                    break
                if row is not None:
                    found[tenant_id] = row[0]
        return found

    def remove(self, ids: Iterable[int]) -> None:
        """Drop bodies that PostgreSQL has committed. Returns at once: a removal lost in a crash means a replay only."""
        with self._lock:
            self._removals.extend(ids)
            self._work.notify()

    # ---- what is known about it --------------------------------------------------------------------------------

    @property
    def failure(self) -> SpoolFailed | None:
        """Why the spool has failed, None while it works."""
        return self._failure

    @property
    def has_room(self) -> bool:
        """Whether a small body would be taken now."""
        with self._lock:
            is_open = self._failure is None and self._why_nameless is None and not self._closing
            below_limit = self._bytes + self._queued_bytes < self._max_bytes
            refused = time.monotonic() < self._no_room_until_s
        return is_open and below_limit and not refused and self._disk_is_full(0) is None

    def stats(self) -> SpoolStats:
        """What waits now. Raises SpoolFailed when the file cannot be read."""
        with self._reading:
            try:
                oldest = self._databases.reader.execute(self._sql["oldest"]).fetchone()
                file_bytes = self.path.stat().st_size
            except FileNotFoundError:
                # The writer thread makes it anew.
                oldest, file_bytes = None, 0
            except (sqlite3.Error, OSError) as error:
                if not self._is_passing(error):
                    raise self._fail(error) from error
                oldest, file_bytes = None, 0
        with self._lock:
            return SpoolStats(self._bodies, self._bytes, self._max_bytes, oldest[0] if oldest else None, file_bytes)

    def close(self) -> None:
        """Write what is queued, then close the file. Idempotent."""
        with self._lock:
            self._closing = True
            self._work.notify()
            self._checkpoint_wanted.notify()
        self._thread.join()
        self._checkpointer.join()
        with self._reading:
            self._databases.close()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    # ---- the writer thread -------------------------------------------------------------------------------------

    def _write_for_ever(self) -> None:
        while True:
            with self._lock:
                self._work.wait_for(lambda: self._appends or self._removals or self._closing, _LOOK_S)
                if self._failure is not None or (self._closing and not self._appends and not self._removals):
                    break
                appends = self._next_group()
                removals, self._removals = self._removals, []
            try:
                with self._between_groups:
                    self._write_group(appends, removals)
                    if self._short_of_disk:
                        self._give_space_back()
            except Exception as error:
                # Whatever it was, the state of the file is unknown now: nothing may be acknowledged any more.
                failure = self._fail(error)
                for _, future in appends:
                    if not future.done():
                        future.set_exception(failure)
                break
        self._refuse_all()

    def _next_group(self) -> list[tuple[Body, Future[int]]]:
        group: list[tuple[Body, Future[int]]] = []
        group_bytes = 0
        while self._appends and group_bytes < _GROUP_MAX_BYTES:
            body, future = self._appends.popleft()
            # A request whose client is gone needs no ack and no space.
            if not future.set_running_or_notify_cancel():
                self._queued_bytes -= len(body.payload)
                continue
            group.append((body, future))
            group_bytes += len(body.payload)
        return group

    def _write_group(self, appends: list[tuple[Body, Future[int]]], removals: list[int]) -> None:
        started_s = time.perf_counter()
        group_bytes = sum(len(body.payload) for body, _ in appends)
        full = self._why_nameless or (self._disk_is_full(group_bytes) if appends else None)
        accepted = [] if full else appends
        removed: list[tuple[int, int]] = []
        try:
            if accepted or removals:
                removed = self._commit(accepted, removals)
        except sqlite3.OperationalError as error:
            full = temporary(error, self.path)
            if full is None:
                raise
            if self._databases.writer.in_transaction:
                self._databases.writer.rollback()
            accepted = []
            self._no_room_until_s = time.monotonic() + _REFUSED_S
            self._postpone(removals)
        if not self._files.are_there():
            # What was just committed went into files that have no name any more: it counts, and is acknowledged only
            # where they have one again.
            self._why_nameless = self._restore_files()
            full = full or self._why_nameless
        with self._lock:
            self._queued_bytes -= group_bytes
            first_id = self._last_id + 1
            self._last_id += len(accepted)
            self._count(accepted, removed, first_id)
            self._arrived.notify_all()
        if full is not None:
            for _, future in appends:
                future.set_exception(SpoolFull(full))
            return
        if accepted:
            self._no_room_until_s = float("-inf")
        for body_id, (_, future) in enumerate(accepted, first_id):
            future.set_result(body_id)
        if self._observe_commit is not None and accepted:
            self._observe_commit(len(accepted), time.perf_counter() - started_s)
        self._tidy(group_bytes)

    def _count(self, accepted: list[tuple[Body, Future[int]]], removed: list[tuple[int, int]], first_id: int) -> None:
        self._bodies += len(accepted) - len(removed)
        self._bytes += sum(len(body.payload) for body, _ in accepted) - sum(size_bytes for _, size_bytes in removed)
        for body_id, (body, _) in enumerate(accepted, first_id):
            self._arrivals[body.tenant_id] = body_id
            self._tenant_bytes[body.tenant_id] += len(body.payload)
        for tenant_id, size_bytes in removed:
            self._tenant_bytes[tenant_id] -= size_bytes
            if not self._tenant_bytes[tenant_id]:
                del self._tenant_bytes[tenant_id]

    def _postpone(self, removals: list[int]) -> None:
        """Try removals that do not pass now with the next group, or in a while; not when closing: they are replayed."""
        with self._lock:
            if not self._closing:
                self._work.wait_for(lambda: self._appends or self._closing, _POSTPONED_S)
                self._removals.extend(removals)

    def _commit(self, appends: list[tuple[Body, Future[int]]], removals: list[int]) -> list[tuple[int, int]]:
        """Write `appends` and remove `removals`; the tenant and the size of each that was removed."""
        execute = self._databases.writer.execute
        execute("BEGIN IMMEDIATE")
        self._databases.writer.executemany(
            self._sql["insert"],
            (
                (
                    body_id,
                    body.tenant_id,
                    body.received_ns,
                    body.encoding,
                    body.compression,
                    len(body.payload),
                    body.payload,
                )
                for body_id, (body, _) in enumerate(appends, self._last_id + 1)
            ),
        )
        removed: list[tuple[int, int]] = []
        for first_id, last_id in _runs(removals):
            removed += execute(self._sql["remove"], (first_id, last_id))
        execute("COMMIT")
        return removed

    def _tidy(self, written_bytes: int) -> None:
        with self._lock:
            self._logged_bytes += written_bytes + PAGE_BYTES
            if self._logged_bytes >= CHECKPOINT_BYTES and not self._checkpointing:
                self._checkpointing = True
                self._checkpoint_wanted.notify()
        now_s = time.monotonic()
        if self._bodies == 0 and now_s - self._shrunk_at_s >= _SHRINK_INTERVAL_S:
            pages = self._databases.writer.execute("PRAGMA page_count").fetchone()[0]
            if pages * PAGE_BYTES > _SHRINK_BYTES:
                self._shrunk_at_s = now_s
                self._shrink()

    def _give_space_back(self) -> None:
        """On a disk that was found too full: the log's space now and then, and all of the file's once it is empty."""
        now_s = time.monotonic()
        if now_s - self._shrunk_at_s < _LOOK_S:
            return
        self._shrunk_at_s = now_s
        if self._bodies == 0:
            self._shrink()
        else:
            with contextlib.suppress(sqlite3.OperationalError):
                self._databases.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        # Says anew whether it is short of space.
        self._disk_is_full(0)

    def _restore_files(self) -> str | None:
        """Write all that the spool holds into files that have its name again; why not, where that may pass later.

        Raises sqlite3.Error, OSError.
        """
        if self._why_nameless is None:
            log.critical("the files of the spool %s were removed or replaced; they are made anew", self.path)
        try:
            with self._reading:
                self._databases = restored(self.path, self._databases)
                self._files = FileIdentity(self.path)
        except sqlite3.OperationalError as error:
            why = temporary(error, self.path)
            if why is None:
                raise
            if self._why_nameless is None:
                log.critical("nothing is acknowledged until the files of the spool are there again: %s", why)
            return why
        return None

    def _shrink(self) -> None:
        try:
            # Empty, so it copies nothing but the schema.
            self._databases.writer.execute("VACUUM")
            self._databases.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.OperationalError as error:
            why = temporary(error, self.path)
            if why is None:
                raise
            log.warning("the spool %s does not give its free space back now: %s", self.path, why)

    def _checkpoint_for_ever(self) -> None:
        while True:
            with self._lock:
                self._checkpoint_wanted.wait_for(lambda: self._checkpointing or self._closing)
                if self._closing:
                    return
            databases = self._databases
            try:
                self._checkpoint(databases.checkpointer)
            except sqlite3.Error as error:
                # Files are made anew between two groups, too, which closes the connection that was in use here.
                with self._between_groups:
                    is_of_these_files = databases is self._databases
                is_passing = isinstance(error, sqlite3.OperationalError) and temporary(error, self.path) is not None
                if is_of_these_files and not is_passing:
                    self._fail(error)
                    return
            with self._lock:
                self._checkpointing = False

    def _checkpoint(self, database: sqlite3.Connection) -> None:
        for _ in range(_CHECKPOINT_ROUNDS):
            with self._lock:
                self._logged_bytes = 0
            database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            with self._lock:
                if self._logged_bytes <= _LAST_CHECKPOINT_BYTES:
                    break
        with self._between_groups:
            database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            with self._lock:
                self._logged_bytes = 0

    def _disk_is_full(self, wanted_bytes: int) -> str | None:
        try:
            room = os.statvfs(self.path.parent)
            file_bytes = self.path.stat().st_size
        except FileNotFoundError:
            return None
        free_bytes = room.f_bavail * room.f_frsize
        # Twice: once in the log, once more when the log is copied back into the file, unless that has free pages.
        if free_bytes - 2 * wanted_bytes >= self._reserve_bytes:
            self._short_of_disk = False
            return None
        self._short_of_disk = True
        unused_bytes = file_bytes - int(self._bytes * _PAGE_OVERHEAD)
        if unused_bytes >= 2 * wanted_bytes and free_bytes - wanted_bytes >= self._reserve_bytes // 2:
            return None
        return (
            f"the disk of the spool ({self.path.parent}) has {free_bytes} bytes left, of which "
            f"{self._reserve_bytes} are kept for draining; free some space or move it with SPANTREE_DATA_DIR"
        )

    def _fail(self, error: Exception) -> SpoolFailed:
        with self._lock:
            first = self._failure is None
            if self._failure is None:
                self._failure = SpoolFailed(
                    f"the spool {self.path} failed and takes nothing more ({type(error).__name__}: {error}); "
                    "check the disk, then start the collector again"
                )
            failure = self._failure
            self._work.notify()
        if first:
            log.critical("%s", failure)
            if self._on_failure is not None:
                self._on_failure(failure)
        return failure

    def _refuse_all(self) -> None:
        with self._lock:
            waiting, self._appends = list(self._appends), deque()
            error = self._failure or SpoolFull("the collector is stopping; send it again")
        for _, future in waiting:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)


def _runs(ids: Sequence[int]) -> list[tuple[int, int]]:
    """`ids` as inclusive ranges: a batch is mostly neighbours, and one DELETE drops them all."""
    runs: list[tuple[int, int]] = []
    for body_id in sorted(set(ids)):
        if runs and body_id == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], body_id)
        else:
            runs.append((body_id, body_id))
    return runs
