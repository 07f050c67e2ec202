"""The spool's SQLite file: who owns it, how it is opened, what its errors mean."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sqlite3
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from spantree_exporter.errors import SpantreeError

FORMAT_VERSION = 2
# Measured with bodies of 300 KB and of 2 KB, in groups and alone: 16 KiB loses to neither 4 KiB nor 64 KiB by much in
# any of the four, and each of those loses a lot in one.
PAGE_BYTES = 16_384
# The log is copied back into the file after this many bytes; the more it holds, the more pages were freed and used
# again within it and are copied once only. Measured for 64 MiB: 30 ms while the pump keeps up, else 210 ms.
CHECKPOINT_BYTES = 64 * 2**20
_NAME_MARK = "-- name: "
# Writes that fail by another errno than ENOSPC, such as EDQUOT of a quota, and no room for the index of the log
# (SQLite's os_unix.c, unixWrite and unixShmMap); the errno is not told. A failed fsync is none of these.
_OF_WRITING = frozenset({sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE})
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_PROBE_BYTES = 2**20


class SpoolError(SpantreeError):
    """The spool did not take a body; nothing of it may be acknowledged."""


class SpoolFull(SpoolError):
    """There is no room now. Retrying helps once the pump has drained some."""


class SpoolFailed(SpoolError):
    """The spool cannot be trusted any more. Only a new process may try again."""


@dataclass(frozen=True, slots=True)
class Databases:
    """One connection for each kind of work, so that none waits for another."""

    writer: sqlite3.Connection
    reader: sqlite3.Connection
    checkpointer: sqlite3.Connection

    def close(self) -> None:
        """Close all. The last one copies the log into the file; where that fails, the next start does it."""
        for database in (self.checkpointer, self.reader, self.writer):
            with contextlib.suppress(sqlite3.Error):
                database.close()


def statements() -> dict[str, str]:
    """The statements of spool.sql by name."""
    text = resources.files(__package__).joinpath("spool.sql").read_text("utf-8")
    blocks = (block.partition("\n") for block in text.split(_NAME_MARK)[1:])
    return {name.strip(): statement for name, _, statement in blocks}


def own(path: Path) -> int:
    """Make the directory and the file, private to this account, and lock them; closing what is returned unlocks them.

    Raises SpoolFailed where that cannot be done, or another collector has them.
    """
    missing = [parent for parent in (path.parent, *path.parent.parents) if not parent.exists()]
    try:
        for directory in reversed(missing):
            directory.mkdir(mode=0o700, exist_ok=True)
            _fsync_directory(directory.parent)
        lock_fd = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # Created here with its mode, as SQLite would follow the umask; its log gets the same mode.
        _make_private(path)
    except OSError as error:
        raise SpoolFailed(
            f"the spool {path} cannot be made ({error}); give a directory that can be written with SPANTREE_DATA_DIR"
        ) from error
    try:
        # The kernel lets go of it at kill -9 as well.
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock_fd)
        raise SpoolFailed(
            f"another collector uses the spool {path}; stop it, "
            "or give this one another directory with SPANTREE_DATA_DIR"
        ) from None
    return lock_fd


def _make_private(path: Path) -> None:
    """Have the file, readable by this account alone, also where a backup was put back by another umask."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        found = os.fstat(descriptor)
        if found.st_mode & 0o077 and found.st_uid == os.geteuid():
            os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def open_databases(path: Path) -> Databases:
    """Open the file that `own` has locked, with its table, made or brought to this format.

    Raises SpoolFailed where it is no spool of ours.
    """
    with contextlib.ExitStack() as opened:
        try:
            writer, reader, checkpointer = (opened.enter_context(contextlib.closing(_connect(path))) for _ in range(3))
            version = writer.execute("PRAGMA user_version").fetchone()[0]
            if version > FORMAT_VERSION:
                raise SpoolFailed(
                    f"the spool {path} has format {version}, this build knows {FORMAT_VERSION}; "
                    "let the newer collector drain it, or give this one another SPANTREE_DATA_DIR"
                )
            if version < FORMAT_VERSION:
                sql = statements()
                writer.execute("BEGIN IMMEDIATE")
                writer.execute(sql["create_body" if version == 0 else "add_tenant"])
                writer.execute(sql["create_body_tenant_idx"])
                writer.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
                writer.execute("COMMIT")
            reader.execute("PRAGMA query_only = ON")
            _begin_log_anew(writer, path)
        except sqlite3.Error as error:
            raise SpoolFailed(
                f"the spool {path} cannot be opened ({error}); "
                "check the disk and the file's rights, or give another directory with SPANTREE_DATA_DIR"
            ) from error
        _fsync_directory(path.parent)
        opened.pop_all()
    return Databases(writer, reader, checkpointer)


def _begin_log_anew(writer: sqlite3.Connection, path: Path) -> None:
    """Bring what the log holds into the file, so that what is acknowledged from now on follows nothing of before.

    After a failed fsync the kernel has pages in its cache that it never writes again; the process that ended over it
    left a log with such pages, which is whole as long as nobody cuts the power. Frames after them would go with them.
    """
    try:
        writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError as error:
        # A full disk must not keep what waits from being drained.
        if temporary(error, path) is None:
            raise


class FileIdentity:
    """Which files the connections of a spool have open, to notice that somebody removed or replaced them."""

    def __init__(self, path: Path) -> None:
        self._path = os.fspath(path)
        self._database = _inode(self._path)
        self._log: tuple[int, int] | None = None

    def are_there(self) -> bool:
        """Whether the names still lead to the open files. Two calls of stat."""
        log = _inode(f"{self._path}-wal")
        if self._log is None:
            # SQLite makes it with the first transaction.
            self._log = log
        return log is not None and log == self._log and _inode(self._path) == self._database


def restored(path: Path, databases: Databases) -> Databases:
    """The spool of `databases`, whose files have lost their names, in new files at `path`; closes the old ones.

    What is at `path` by now is kept beside it, with the ending .other. Raises sqlite3.Error, OSError; `databases` are
    open then.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    copy = path.with_name(f"{path.name}.copy")
    copy.unlink(missing_ok=True)
    # Of the old files only descriptors are left, and SQLite has them open: it reads log and database as ever.
    databases.writer.execute("VACUUM INTO ?", (os.fspath(copy),))
    copy.chmod(0o600)
    _fsync_file(copy)
    # Closing takes SQLite's log away by its name, so before there is a new one.
    databases.close()
    for name in (f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).unlink(missing_ok=True)
    if path.exists():
        path.replace(path.with_name(f"{path.name}.other"))
    copy.replace(path)
    _fsync_directory(path.parent)
    opened = open_databases(path)
    # With a write, so that the log is there from now on.
    opened.writer.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
    return opened


def _inode(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116  an object for each call is what pathlib costs
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _fsync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def temporary(error: sqlite3.OperationalError, path: Path) -> str | None:
    """Why a write may pass later (no space, locked by somebody's sqlite3 shell), None when it never will."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    if code == sqlite3.SQLITE_FULL or (code in _OF_WRITING and _is_without_room(path)):
        return "the disk of the spool is full; free some space or move it with SPANTREE_DATA_DIR"
    if code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return "another program holds the spool's file; close it"
    return None


def _is_without_room(path: Path) -> bool:
    """Whether a file beside the spool cannot be written for want of space or by a quota."""
    probe = path.with_name(f"{path.name}.probe")
    try:
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, bytes(_PROBE_BYTES))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
            probe.unlink(missing_ok=True)
    except OSError as error:
        return error.errno in _NO_ROOM
    return False


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
    try:
        _prepare(database)
    except BaseException:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection) -> None:
    # page_size only takes effect before the first page is written, journal_mode is the first that writes one.
    database.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    database.execute("PRAGMA journal_mode = WAL").fetchone()
    database.execute("PRAGMA synchronous = FULL")
    database.execute("PRAGMA wal_autocheckpoint = 0")
    # Debian builds SQLite with it on: a removal then writes zeros over all of a body, twice as much log in all.
    database.execute("PRAGMA secure_delete = OFF").fetchone()
    database.execute(f"PRAGMA journal_size_limit = {CHECKPOINT_BYTES}")


def _fsync_directory(directory: Path) -> None:
    directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory_fd)
    finally:
        os.close(directory_fd)
