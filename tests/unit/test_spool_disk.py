"""The spool on a disk that fails: what was acknowledged is there afterwards, and nothing is that may not be."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from tests.spools import everything, put

from spantree_collector.spool.spool import Spool
from spantree_collector.spool.spool_file import temporary


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "spool.sqlite3"


# A real I/O error without a mock: the kernel refuses to let the file grow (EFBIG), SQLite reports SQLITE_IOERR.
_MEET_AN_IO_ERROR = """
import resource, sys
from pathlib import Path
from spantree_collector.spool.spool import Spool, SpoolFailed
from spantree_collector.spool.spooled_body import Body
failures = []
spool = Spool(Path(sys.argv[1]), on_failure=failures.append)
print(spool.submit(Body(b"kept", "protobuf", "", 1)).result(10))
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
for _ in range(2):
    try:
        spool.submit(Body(b"x" * 1_000_000, "protobuf", "", 1)).result(10)
        print("acknowledged")
    except SpoolFailed as error:
        print("failed")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
try:
    spool.submit(Body(b"small", "protobuf", "", 1)).result(10)
    print("acknowledged")
except SpoolFailed as error:
    print("failed")
print(len(failures), "disk I/O error" in str(failures[0]), "start the collector again" in str(failures[0]))
spool.close()
"""


def test_after_an_io_error_nothing_is_acknowledged_again_and_what_was_is_kept(path: Path) -> None:
    # The hard limit can be raised again by root only, so the soft one is set.
    script = _MEET_AN_IO_ERROR.replace(
        "(200_000, 200_000)", "(200_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1])"
    ).replace("(resource.RLIM_INFINITY, resource.RLIM_INFINITY)", "(resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2")
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=60)
    assert done.stdout.split("\n") == ["1", "failed", "failed", "failed", "1 True True", ""], done.stderr
    spool = Spool(path)
    try:
        assert everything(spool) == [b"kept"]
        put(spool, b"more")
    finally:
        spool.close()


def test_what_no_sync_has_brought_to_the_disk_takes_nothing_along_that_is_acknowledged_later(path: Path) -> None:
    """A failed fsync leaves pages in the cache that are never written (https://wiki.postgresql.org/wiki/Fsync_Errors).

    The next process reads them, a power cut ends them. Frames of SQLite's log count only while all before are whole.
    """
    log = Path(f"{path}-wal")
    spool = Spool(path)
    put(spool, b"before")
    synced_bytes = log.stat().st_size
    put(spool, b"of the sync that fails" * 1_000)
    cached = shutil.copytree(path.parent, path.parent.with_name("cached"))
    spool.close()
    left = (cached / log.name).read_bytes()
    started_again = Spool(cached / path.name)
    put(started_again, b"afterwards")
    cut = shutil.copytree(cached, cached.with_name("cut"))
    started_again.close()
    on_disk = bytearray((cut / log.name).read_bytes())
    for at in range(synced_bytes, min(len(left), len(on_disk))):
        if on_disk[at] == left[at]:
            on_disk[at] = 0  # nobody has written it since
    (cut / log.name).write_bytes(on_disk)
    after_the_cut = Spool(cut / path.name)
    try:
        assert [one for one in everything(after_the_cut) if not one.startswith(b"of")] == [b"before", b"afterwards"]
    finally:
        after_the_cut.close()


@pytest.mark.parametrize(
    ("code", "fault", "passes"),
    [
        (sqlite3.SQLITE_FULL, None, True),
        (sqlite3.SQLITE_IOERR_WRITE, errno.EDQUOT, True),
        (sqlite3.SQLITE_IOERR_WRITE, errno.ENOSPC, True),
        (sqlite3.SQLITE_IOERR_SHMSIZE, errno.ENOSPC, True),
        (sqlite3.SQLITE_IOERR_WRITE, errno.EIO, False),
        (sqlite3.SQLITE_IOERR_WRITE, None, False),
        (sqlite3.SQLITE_IOERR_FSYNC, errno.EDQUOT, False),
    ],
)
def test_a_write_that_a_quota_refuses_is_one_for_want_of_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, fault: int | None, passes: bool
) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code

    def write(_descriptor: int, content: bytes) -> int:
        if fault is not None:
            raise OSError(fault, os.strerror(fault))
        return len(content)

    monkeypatch.setattr(os, "write", write)
    why = "the disk of the spool is full; free some space or move it with SPANTREE_DATA_DIR" if passes else None
    assert temporary(error, tmp_path / "spool.sqlite3") == why
    assert list(tmp_path.iterdir()) == []
