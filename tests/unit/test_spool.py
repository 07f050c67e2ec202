"""The spool: order, bounds, durability, and what it does when the disk does not take it."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from tests.spools import body, everything, put
from tests.waiting import wait_until

from spantree_collector.spool.spool import Spool, SpoolError, SpoolFailed, SpoolFull
from spantree_collector.spool.spool_file import Databases
from spantree_collector.spool.spooled_body import Body, SpooledBody


def await_bodies(spool: Spool, bodies: int) -> None:
    """Removals are committed some time after `remove` has returned."""
    pause = threading.Event()
    for _ in range(1000):
        if spool.stats().bodies == bodies:
            return
        pause.wait(0.01)
    raise AssertionError(f"{spool.stats().bodies} bodies are left after 10 s, {bodies} are to be")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "spool.sqlite3"


@pytest.fixture
def spool(path: Path) -> Iterator[Spool]:
    opened = Spool(path)
    yield opened
    opened.close()


def test_a_body_comes_back_as_it_went_in(spool: Spool) -> None:
    sent = Body(b"\x00\xff payload", "json", "gzip", 1_700_000_000_000_000_001)
    body_id = spool.submit(sent).result(10)
    assert spool.take(0, max_bodies=10, max_bytes=10) == [SpooledBody(body_id, sent)]


def test_bodies_are_taken_in_the_order_of_acknowledgement_within_both_bounds(spool: Spool) -> None:
    ids = [put(spool, bytes([index]) * 10) for index in range(5)]
    assert ids == sorted(ids)
    assert [taken.id for taken in spool.take(0, max_bodies=2, max_bytes=1000)] == ids[:2]
    assert [taken.id for taken in spool.take(ids[1], max_bodies=10, max_bytes=25)] == ids[2:4]
    # One body larger than the bound is taken all the same, else the queue would stand still for ever.
    assert [taken.id for taken in spool.take(ids[3], max_bodies=10, max_bytes=1)] == ids[4:]
    assert spool.take(ids[4], max_bodies=10, max_bytes=1) == []


def test_append_returns_in_an_event_loop_once_it_is_on_disk(spool: Spool) -> None:
    async def append_many() -> list[int]:
        return await asyncio.gather(*(spool.append(body(b"%d" % index)) for index in range(100)))

    ids = asyncio.run(append_many())
    assert sorted(ids) == list(range(1, 101))
    assert {spooled.id: spooled.body.payload for spooled in spool.take(0, max_bodies=200, max_bytes=10**6)} == {
        body_id: b"%d" % index for index, body_id in enumerate(ids)
    }


def test_requests_that_wait_together_share_a_commit(path: Path) -> None:
    in_first_commit = threading.Event()
    go_on = threading.Event()
    groups: list[int] = []

    def observe(bodies: int, elapsed_s: float) -> None:
        groups.append(bodies)
        in_first_commit.set()
        go_on.wait(10)

    spool = Spool(path, observe_commit=observe)
    try:
        put(spool, b"first")
        assert in_first_commit.wait(10)
        waiting = [spool.submit(body(b"%d" % index)) for index in range(50)]
        go_on.set()
        assert [future.result(10) for future in waiting] == list(range(2, 52))
        put(spool, b"last")
        assert groups[:2] == [1, 50]
    finally:
        go_on.set()
        spool.close()


def test_removed_bodies_are_gone_after_a_restart_and_the_others_are_not(path: Path) -> None:
    spool = Spool(path)
    ids = [put(spool, b"body %d" % index, received_ns=index) for index in range(6)]
    spool.remove([ids[0], ids[1], ids[3]])
    spool.close()
    again = Spool(path)
    try:
        assert everything(again) == [b"body 2", b"body 4", b"body 5"]
        stats = again.stats()
        assert (stats.bodies, stats.bytes, stats.oldest_received_ns) == (3, 18, 2)
    finally:
        again.close()


def test_an_id_is_never_given_twice_while_its_body_waits(path: Path) -> None:
    spool = Spool(path)
    ids = [put(spool, b"x") for _ in range(3)]
    spool.remove(ids[:1])
    spool.close()
    again = Spool(path)
    try:
        assert put(again, b"y") == ids[-1] + 1
    finally:
        again.close()


def test_wait_tells_of_a_new_body_and_of_none(spool: Spool) -> None:
    assert spool.wait(0, timeout_s=0.01) is False
    body_id = put(spool, b"x")
    assert spool.wait(0, timeout_s=10) is True
    assert spool.wait(body_id, timeout_s=0.01) is False


def test_stats_of_an_empty_and_of_a_filled_spool(spool: Spool) -> None:
    empty = spool.stats()
    assert (empty.bodies, empty.bytes, empty.oldest_received_ns, empty.max_bytes) == (0, 0, None, 8 * 2**30)
    put(spool, b"12345", received_ns=77)
    put(spool, b"123", received_ns=88)
    filled = spool.stats()
    assert (filled.bodies, filled.bytes, filled.oldest_received_ns) == (2, 8, 77)


def test_a_quota_that_only_a_write_meets_is_told_to_whoever_asks_for_room(path: Path) -> None:
    spool = Spool(path)
    try:
        put(spool, b"acknowledged")
        found = [spool.has_room]
        writer = spool._databases.writer
        unlimited = writer.execute("PRAGMA max_page_count").fetchone()[0]
        (pages,) = writer.execute("PRAGMA page_count").fetchone()
        writer.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(SpoolFull, match="the disk of the spool is full"):
            put(spool, b"x" * 100_000)
        found.append(spool.has_room)
        writer.execute(f"PRAGMA max_page_count = {unlimited}")
        put(spool, b"x" * 100_000)
        assert [*found, spool.has_room] == [True, False, True]
    finally:
        spool.close()


def test_a_full_spool_refuses_with_the_limit_and_takes_again_after_a_removal(path: Path) -> None:
    spool = Spool(path, max_bytes=100)
    try:
        body_id = put(spool, b"x" * 90)
        with pytest.raises(SpoolFull, match="holds 90 of at most 100 bytes and has no room for 11 more"):
            spool.submit(body(b"y" * 11))
        assert put(spool, b"y" * 10) == body_id + 1
        assert not spool.has_room
        spool.remove([body_id])
        await_bodies(spool, 1)
        put(spool, b"z" * 80)
        assert everything(spool) == [b"y" * 10, b"z" * 80]
    finally:
        spool.close()


def test_a_disk_below_its_reserve_refuses_but_still_drains(path: Path) -> None:
    spool = Spool(path)
    ids = [put(spool, b"a"), put(spool, b"b")]
    spool.close()
    full = Spool(path, reserve_bytes=2**60)
    try:
        with pytest.raises(SpoolFull, match="kept for draining; free some space or move it with SPANTREE_DATA_DIR"):
            put(full, b"c")
        assert everything(full) == [b"a", b"b"]
        full.remove(ids)
        await_bodies(full, 0)
        assert full.failure is None
    finally:
        full.close()


def test_sqlite_out_of_space_refuses_and_goes_on_afterwards(path: Path) -> None:
    spool = Spool(path)
    try:
        pages = spool._databases.writer.execute("PRAGMA page_count").fetchone()[0]
        spool._databases.writer.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(SpoolFull, match="disk of the spool is full"):
            put(spool, b"x" * 200_000)
        assert spool.stats().bodies == 0
        spool._databases.writer.execute("PRAGMA max_page_count = 1000000")
        put(spool, b"x" * 200_000)
        assert everything(spool) == [b"x" * 200_000]
    finally:
        spool.close()


def test_a_volume_that_was_filled_and_drained_takes_bodies_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume_bytes = 24 * 2**20
    folder = path.parent

    def statvfs(_: object) -> os.statvfs_result:
        used = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
        free = max(volume_bytes - used, 0) // 4096
        return os.statvfs_result((4096, 4096, volume_bytes // 4096, free, free, 0, 0, 0, 0, 255))

    monkeypatch.setattr(os, "statvfs", statvfs)
    spool = Spool(path, reserve_bytes=2**20)
    try:
        for _ in range(3):
            ids = []
            with pytest.raises(SpoolFull, match="are kept for draining"):
                while True:
                    ids.append(put(spool, os.urandom(2**18)))
            assert len(ids) > 8
            # Half of it is room enough already, for the file has free pages.
            spool.remove(ids[: len(ids) // 2])
            await_room(spool)
            spool.remove(ids)
            await_bodies(spool, 0)
            await_room(spool)
    finally:
        spool.close()


def await_room(spool: Spool) -> None:
    def is_taken() -> bool:
        try:
            spool.remove([put(spool, b"x" * 1000)])
        except SpoolFull:
            return False
        return True

    wait_until(is_taken, 10, "a body is taken again")


@pytest.mark.parametrize("gone", ["spool.sqlite3", "spool.sqlite3-wal", "all", "folder", "replaced"])
def test_files_that_are_removed_while_in_use_are_made_anew_with_all_that_was_acknowledged(
    path: Path, gone: str
) -> None:
    spool = Spool(path)
    try:
        before = [put(spool, b"before %d" % number) for number in range(20)]
        spool.remove(before[:5])
        await_bodies(spool, 15)
        if gone == "folder":
            shutil.rmtree(path.parent)
        elif gone == "replaced":
            path.unlink()
            path.write_bytes(b"somebody else's")
        else:
            for name in ["spool.sqlite3", "spool.sqlite3-wal", "spool.sqlite3-shm"] if gone == "all" else [gone]:
                path.with_name(name).unlink()
        for number in range(20):
            put(spool, b"after %d" % number)
        assert spool.failure is None
        wanted = [b"before %d" % number for number in range(5, 20)] + [b"after %d" % number for number in range(20)]
        # As a kill -9 would leave it.
        copied = path.parent.with_name("copied")
        shutil.copytree(path.parent, copied, ignore=shutil.ignore_patterns("*.lock", "*-shm"))
        found = Spool(copied / path.name)
        try:
            assert everything(found) == wanted
        finally:
            found.close()
        assert everything(spool) == wanted
        assert path.stat().st_mode & 0o077 == 0
        if gone == "replaced":
            assert path.with_name("spool.sqlite3.other").read_bytes() == b"somebody else's"
    finally:
        spool.close()


def test_files_that_are_removed_while_nothing_comes_are_made_anew_too(path: Path, spool: Spool) -> None:
    put(spool, b"kept")
    path.unlink()
    wait_until(path.exists, 10, "the file is made anew")
    assert everything(spool) == [b"kept"]


def test_files_that_are_removed_from_a_full_disk_are_made_anew_once_there_is_room(
    path: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object) -> Databases:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    put(spool, b"acknowledged")
    with monkeypatch.context() as patched:
        patched.setattr("spantree_collector.spool.spool.restored", no_room)
        path.unlink()
        # The first finds out; whether it is written or not, it is not acknowledged.
        for payload in (b"first", b"second", b"third"):
            with pytest.raises(SpoolFull, match="the disk of the spool is full"):
                put(spool, payload)
        assert not spool.has_room
    wait_until(path.exists, 10, "the file is made anew")
    wait_until(lambda: spool.has_room, 10, "the spool takes bodies")
    put(spool, b"last")
    kept = everything(spool)
    assert [kept[0], kept[-1], len(set(kept)), spool.stats().bodies] == [b"acknowledged", b"last", len(kept), len(kept)]


class _LateCheckpointer:
    """A connection that does what it is asked only once somebody has closed it."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self.asked, self._closed = threading.Event(), threading.Event()
        self._database = database

    def execute(self, statement: str) -> sqlite3.Cursor:
        self.asked.set()
        assert self._closed.wait(10)
        return self._database.execute(statement)

    def close(self) -> None:
        self._database.close()
        self._closed.set()


def test_files_that_are_made_anew_during_a_checkpoint_do_not_end_the_spool(path: Path, spool: Spool) -> None:
    put(spool, b"kept")
    late = _LateCheckpointer(spool._databases.checkpointer)
    spool._databases = dataclasses.replace(spool._databases, checkpointer=cast("sqlite3.Connection", late))
    with spool._lock:
        spool._checkpointing = True
        spool._checkpoint_wanted.notify()
    assert late.asked.wait(10)
    path.unlink()
    wait_until(path.exists, 10, "the file is made anew")
    wait_until(lambda: not spool._checkpointing, 10, "the checkpoint is over")
    put(spool, b"after")
    assert everything(spool) == [b"kept", b"after"]


def test_a_file_that_somebody_holds_for_a_moment_does_not_end_the_reader(
    path: Path, spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    class Held:
        def execute(self, statement: str, values: tuple[int, ...] = ()) -> sqlite3.Cursor:
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY_RECOVERY
            raise error

    put(spool, b"one")
    databases = spool._databases
    spool._databases = dataclasses.replace(databases, reader=cast(sqlite3.Connection, Held()))
    for _ in range(3):
        assert everything(spool) == []
        assert (spool.stats().bodies, spool.failure) == (1, None)
    spool._databases = databases
    assert everything(spool) == [b"one"]
    assert [record.getMessage() for record in caplog.records] == [
        f"the spool {path} cannot be read now: another program holds the spool's file; close it"
    ]


def test_the_file_does_not_grow_while_as_much_is_removed_as_comes(spool: Spool) -> None:
    payload = os.urandom(300_000)
    previous: int | None = None
    for _ in range(400):
        body_id = put(spool, payload)
        if previous is not None:
            spool.remove([previous])
        previous = body_id
    stats = spool.stats()
    assert stats.bodies <= 3
    # 120 MB went through.
    assert stats.file_bytes < 5 * 2**20
    assert spool.path.with_name(spool.path.name + "-wal").stat().st_size < 100 * 2**20


def test_a_spool_that_was_large_gives_its_space_back_once_empty(path: Path) -> None:
    spool = Spool(path)
    try:
        ids = [put(spool, os.urandom(30 * 2**20)) for _ in range(10)]
        assert spool.stats().file_bytes > 200 * 2**20
        spool.remove(ids)
        await_bodies(spool, 0)
        # Whatever comes next is written after the shrinking.
        assert put(spool, b"x") == ids[-1] + 1
        assert spool.stats().file_bytes < 2**20
        assert everything(spool) == [b"x"]
    finally:
        spool.close()


def test_a_second_collector_on_the_same_spool_is_told_so(spool: Spool, path: Path) -> None:
    with pytest.raises(SpoolFailed, match="another collector uses the spool"):
        Spool(path)
    put(spool, b"still works")


def test_a_file_that_is_no_spool_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is no database, it is a letter" * 100)
    with pytest.raises(SpoolFailed, match="cannot be opened"):
        Spool(path)
    assert path.read_bytes() == b"this is no database, it is a letter" * 100


def test_a_spool_of_the_format_before_tenants_is_taken_over(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    database = sqlite3.connect(path)
    database.executescript(
        """
        CREATE TABLE body (
            id INTEGER PRIMARY KEY, received_ns INTEGER NOT NULL, encoding TEXT NOT NULL, compression TEXT NOT NULL,
            size_bytes INTEGER NOT NULL, payload BLOB NOT NULL
        );
        INSERT INTO body VALUES (7, 1, 'protobuf', '', 4, x'01020304');
        PRAGMA user_version = 1;
        """
    )
    database.close()
    spool = Spool(path)
    try:
        sent = Body(b"new", "json", "", 2, tenant_id=4)
        assert spool.submit(sent).result(10) == 8
        assert spool.take(0, max_bodies=9, max_bytes=99) == [
            SpooledBody(7, Body(b"\x01\x02\x03\x04", "protobuf", "", 1)),
            SpooledBody(8, sent),
        ]
        assert spool.take(0, max_bodies=9, max_bytes=99, tenant_id=4) == [SpooledBody(8, sent)]
        assert spool.arrivals() == (8, {0: 7, 4: 8})
        assert spool.arrivals() == (8, {})
    finally:
        spool.close()


def test_a_spool_of_a_newer_format_is_refused(path: Path) -> None:
    Spool(path).close()
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(SpoolFailed, match="has format 99, this build knows 2"):
        Spool(path)


def test_a_file_that_was_put_back_for_all_to_read_is_private_again(path: Path) -> None:
    Spool(path).close()
    path.chmod(0o644)
    Spool(path).close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_directory_and_the_files_are_private(spool: Spool, path: Path) -> None:
    put(spool, b"secret")
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {
        "spool.sqlite3": 0o600,
        "spool.sqlite3-wal": 0o600,
        "spool.sqlite3-shm": 0o600,
        "spool.lock": 0o600,
    }


def test_a_closed_spool_takes_nothing_and_has_written_what_it_took(path: Path) -> None:
    spool = Spool(path)
    futures = [spool.submit(body(b"%d" % index)) for index in range(20)]
    spool.close()
    assert [future.result(0) for future in futures] == list(range(1, 21))
    with pytest.raises(SpoolFull, match="is stopping"):
        spool.submit(body(b"late"))
    spool.close()


def test_a_request_that_was_cancelled_before_its_turn_is_not_written(path: Path) -> None:
    in_commit = threading.Event()
    go_on = threading.Event()

    def observe(bodies: int, elapsed_s: float) -> None:
        in_commit.set()
        go_on.wait(10)

    spool = Spool(path, observe_commit=observe)
    try:
        put(spool, b"first")
        assert in_commit.wait(10)
        cancelled = spool.submit(body(b"gone"))
        kept = spool.submit(body(b"kept"))
        assert cancelled.cancel()
        go_on.set()
        kept.result(10)
        assert everything(spool) == [b"first", b"kept"]
        assert spool.stats().bytes == 9
    finally:
        go_on.set()
        spool.close()


_ACK_UNTIL_KILLED = """
import sys
from pathlib import Path
from spantree_collector.spool.spool import Spool
from spantree_collector.spool.spooled_body import Body
spool = Spool(Path(sys.argv[1]))
number = 0
while True:
    futures = [spool.submit(Body(b"%d:" % n + b"x" * 5000, "protobuf", "", n + 1)) for n in range(number, number + 8)]
    for future in futures:
        future.result()
    number += 8
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


def test_what_was_acknowledged_survives_kill_9(path: Path) -> None:
    acknowledged = 0
    for round_number in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", _ACK_UNTIL_KILLED, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for line in process.stdout:
            acknowledged = int(line)
            if acknowledged >= 200:
                process.send_signal(signal.SIGKILL)
                break
        # What the pipe still holds was acknowledged as well.
        for line in process.stdout:
            if line.endswith("\n"):
                acknowledged = int(line)
        process.stdout.close()
        assert process.wait(10) == -signal.SIGKILL
        spool = Spool(path)
        try:
            numbers = [int(payload.partition(b":")[0]) for payload in everything(spool)]
            assert numbers[:acknowledged] == list(range(acknowledged)), f"round {round_number}"
            # Only the group in hand may be there without having been acknowledged.
            assert len(numbers) <= acknowledged + 16
            assert all(len(payload) > 5000 for payload in everything(spool))
            spool.remove(range(1, 100_000))
        finally:
            spool.close()


def test_a_commit_is_synced_before_it_returns(spool: Spool) -> None:
    # 2 is FULL: in WAL mode the log is fsynced by each COMMIT (https://www.sqlite.org/pragma.html#pragma_synchronous).
    assert spool._databases.writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert spool._databases.writer.execute("PRAGMA synchronous").fetchone() == (2,)


def test_both_errors_of_the_spool_are_told_apart() -> None:
    assert issubclass(SpoolFull, SpoolError)
    assert issubclass(SpoolFailed, SpoolError)
    assert not issubclass(SpoolFailed, SpoolFull)
