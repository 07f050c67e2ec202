"""One server for a data directory: made, shared, stopped by its last user, whole again after every kind of death."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
import sqlalchemy
from tests.postgres_user import UserProcess
from tests.waiting import wait_until

from spantree_deploy.postgres import embedded, postmaster
from spantree_deploy.postgres.binaries import PostgresBinaries, every_usable_binaries
from spantree_deploy.postgres.embedded import EmbeddedPostgres, EmbeddedPostgresError

NewUser = Callable[[], UserProcess]


@pytest.fixture(
    scope="module",
    params=every_usable_binaries(),
    ids=lambda each: f"{'wheel' if each.from_wheel else 'system'}-{each.version}",
)
def binaries(request: pytest.FixtureRequest) -> PostgresBinaries:
    """Each PostgreSQL that this machine has."""
    chosen: PostgresBinaries = request.param
    return chosen


class Shared(NamedTuple):
    """A server that several tests only look at."""

    server: EmbeddedPostgres
    binaries: PostgresBinaries


@pytest.fixture(scope="module")
def shared(binaries: PostgresBinaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    data_dir = tmp_path_factory.mktemp("shared") / "50% of ünïcode + space"
    with EmbeddedPostgres(data_dir, pg_bin=binaries.bin_dir) as server:
        yield Shared(server, binaries)


@pytest.fixture
def new_user(tmp_path: Path) -> Iterator[NewUser]:
    """Starts processes that use the server of `tmp_path`; neither they nor the server outlive the test."""
    users: list[UserProcess] = []

    def start_one() -> UserProcess:
        users.append(UserProcess(tmp_path))
        return users[-1]

    yield start_one
    for user in users:
        user.end()
    if (tmp_path / "pgdata").exists():
        with quick(tmp_path):
            pass  # the last user stops the server


def quick(data_dir: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(data_dir, durable=False)


def pid_of(server: EmbeddedPostgres) -> int | None:
    return server.pid


def write(url: str, text: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS note (text text)")
        connection.execute("INSERT INTO note VALUES (%s)", [text])


def written(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [text for (text,) in connection.execute("SELECT text FROM note ORDER BY text")]


def answers(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=5):
            return True
    except psycopg.OperationalError:
        return False


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# -- made, used, stopped -------------------------------------------------------------------------------------------


def test_data_stays_across_restarts_on_every_postgres(tmp_path: Path, binaries: PostgresBinaries) -> None:
    server = EmbeddedPostgres(tmp_path, pg_bin=binaries.bin_dir)
    with server:
        first = pid_of(server)
        write(server.url, "first run")
    assert pid_of(server) is None
    with server:
        assert pid_of(server) not in (None, first)
        write(server.url, "second run")
        assert written(server.url) == ["first run", "second run"]
    assert pid_of(server) is None


def test_every_postgres_promises_durability_and_listens_on_no_port(shared: Shared) -> None:
    with psycopg.connect(shared.server.url) as connection:
        names = ["fsync", "full_page_writes", "listen_addresses", "synchronous_commit", "unix_socket_permissions"]
        rows = connection.execute(
            "SELECT name, setting FROM pg_settings WHERE name = ANY(%s) ORDER BY name", [names]
        ).fetchall()
    assert rows == [
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("listen_addresses", ""),
        ("synchronous_commit", "on"),
        ("unix_socket_permissions", "0700"),
    ]


def test_full_pages_are_compressed_where_the_build_can(shared: Shared) -> None:
    with psycopg.connect(shared.server.url) as connection:
        row = connection.execute(
            "SELECT setting, 'lz4' = ANY(enumvals) FROM pg_settings WHERE name = 'wal_compression'"
        ).fetchone()
    assert row in [("lz4", True), ("off", False)]


def test_text_sorts_by_code_point_and_knows_unicode_on_every_postgres(shared: Shared) -> None:
    with psycopg.connect(shared.server.url) as connection:
        rows = connection.execute(
            "SELECT lower(word) FROM unnest(ARRAY['ä', 'b', 'Z', 'a', 'Ärger']) AS word ORDER BY word"
        ).fetchall()
    assert [word for (word,) in rows] == ["z", "a", "b", "ärger", "ä"]


def test_the_url_serves_psycopg_psql_and_sqlalchemy_whatever_the_path(shared: Shared) -> None:
    url = shared.server.url
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == ("spantree",)
    psql = subprocess.run(
        [shared.binaries.bin_dir / "psql", url, "-XAtc", "SELECT current_database()"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert psql.stdout == "spantree\n"
    engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connected:
        assert connected.execute(sqlalchemy.text("SELECT current_database()")).scalar_one() == "spantree"
    engine.dispose()


@pytest.mark.parametrize("name", ["a" * 120, "one,two"])
def test_a_path_that_cannot_carry_a_socket_gets_a_private_one_elsewhere(tmp_path: Path, name: str) -> None:
    server = quick(tmp_path / name)
    with server:
        socket_dir = Path(str(psycopg.conninfo.conninfo_to_dict(server.url)["host"]))
        assert socket_dir.stat().st_mode & 0o777 == 0o700
        assert socket_dir.stat().st_uid == (tmp_path / name / "pgdata").stat().st_uid
        with quick(tmp_path / name) as second:
            assert second.url == server.url
        write(server.url, "through a short path")
        assert written(server.url) == ["through a short path"]
    assert not socket_dir.exists()


def test_the_url_exists_only_while_the_server_is_in_use(tmp_path: Path) -> None:
    server = quick(tmp_path)
    with pytest.raises(EmbeddedPostgresError, match=r"start\(\) comes first"):
        _ = server.url
    server.stop()  # never started: no effect


# -- shared --------------------------------------------------------------------------------------------------------


def test_two_users_share_one_server_and_the_last_stops_it(tmp_path: Path, new_user: NewUser) -> None:
    with quick(tmp_path) as server:
        url = server.url
        other = new_user()
        assert other.answer() == {"url": url, "pid": pid_of(server)}
    assert answers(url)  # I left, the other is still there
    assert other.stop() == {"stopped": True}
    assert pid_of(server) is None


def test_eight_processes_that_start_at_once_share_one_new_server(tmp_path: Path, new_user: NewUser) -> None:
    users = [new_user() for _ in range(8)]
    in_use = [user.answer() for user in users]
    assert in_use == [in_use[0]] * 8
    assert set(in_use[0]) == {"url", "pid"}
    stopped = [user.stop() for user in users]
    assert stopped == [{"stopped": False}] * 7 + [{"stopped": True}]


def test_one_process_can_use_it_twice(tmp_path: Path) -> None:
    first, second = quick(tmp_path), quick(tmp_path)
    with second:
        with first:
            assert pid_of(first) == pid_of(second)
            first.start()  # again: no effect
        assert answers(second.url)
    assert pid_of(first) is None


# -- killed --------------------------------------------------------------------------------------------------------


def test_a_killed_server_comes_back_by_itself_with_every_row_it_acknowledged(
    tmp_path: Path, binaries: PostgresBinaries
) -> None:
    acknowledged: list[str] = []

    def write_until_refused(url: str) -> None:
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url, autocommit=True) as connection:
            for number in itertools.count():
                connection.execute("INSERT INTO note VALUES (%s)", [f"{number:06}"])
                acknowledged.append(f"{number:06}")

    with EmbeddedPostgres(tmp_path, pg_bin=binaries.bin_dir) as server:
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE TABLE note (text text PRIMARY KEY)")
        writer = threading.Thread(target=write_until_refused, args=[server.url])
        writer.start()
        wait_until(lambda: len(acknowledged) >= 100, 30, "a hundred rows were acknowledged")
        killed = pid_of(server)
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        writer.join(timeout=30)
        wait_until(
            lambda: pid_of(server) not in (None, killed) and answers(server.url), 30, "the server answered again"
        )
        # The one that was under way may be there without its acknowledgement.
        assert written(server.url)[: len(acknowledged)] == acknowledged


def test_a_server_killed_with_its_user_is_recovered_by_the_next(tmp_path: Path, new_user: NewUser) -> None:
    user = new_user()
    in_use = user.answer()
    write(in_use["url"], "committed")
    user.kill()
    os.kill(in_use["pid"], signal.SIGKILL)
    with quick(tmp_path) as server:
        assert pid_of(server) != in_use["pid"]
        assert written(server.url) == ["committed"]


def test_a_server_that_nobody_reaps_is_not_taken_for_a_running_one(tmp_path: Path, new_user: NewUser) -> None:
    parent = new_user()
    in_use = parent.answer()
    write(in_use["url"], "committed")
    os.kill(parent.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, parent.pid, os.WSTOPPED | os.WNOWAIT)  # all its threads: now it reaps nobody
    os.kill(in_use["pid"], signal.SIGKILL)
    with quick(tmp_path) as server:
        assert is_alive(in_use["pid"])  # a zombie, and in postmaster.pid until a moment ago
        assert pid_of(server) not in (None, in_use["pid"])
        assert written(server.url) == ["committed"]


def test_a_killed_user_leaves_the_server_to_the_next(tmp_path: Path, new_user: NewUser) -> None:
    user = new_user()
    in_use = user.answer()
    user.kill()
    assert answers(in_use["url"])
    with quick(tmp_path) as server:
        assert pid_of(server) == in_use["pid"]
    assert pid_of(server) is None  # the killed user did not count


def test_a_query_that_outlives_its_killed_server_does_not_block_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postmaster, "_LEFTOVER_GRACE_S", 0.3)
    endless = "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b"
    with quick(tmp_path) as server:
        with contextlib.closing(psycopg.connect(server.url, autocommit=True)) as busy:
            backend = busy.info.backend_pid
            busy.pgconn.send_query(endless.encode())
            with psycopg.connect(server.url, autocommit=True) as watching:
                state = "SELECT state FROM pg_stat_activity WHERE pid = %s"
                wait_until(
                    lambda: watching.execute(state, [backend]).fetchone() == ("active",), 10, "the query was running"
                )
            killed = pid_of(server)
            assert killed is not None
            os.kill(killed, signal.SIGKILL)
            wait_until(
                lambda: pid_of(server) not in (None, killed) and answers(server.url), 30, "the server answered again"
            )
        wait_until(lambda: not is_alive(backend), 5, "the old server's backend was gone")


def test_a_server_that_does_not_shut_down_in_time_is_stopped_and_loses_nothing(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path, durable=False, stop_timeout_s=0.2) as server:
        write(server.url, "committed")
        with psycopg.connect(server.url) as connection:
            row = connection.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'").fetchone()
        assert row is not None
        os.kill(row[0], signal.SIGSTOP)  # the shutdown now waits for a checkpoint that never comes
    assert pid_of(server) is None
    with quick(tmp_path) as again:
        assert written(again.url) == ["committed"]


def test_a_kill_during_the_making_of_the_cluster_leaves_nothing_half_made(tmp_path: Path, new_user: NewUser) -> None:
    user = new_user()
    wait_until(lambda: (tmp_path / "pgdata.new" / "PG_VERSION").exists(), 30, "initdb was at work")
    user.kill()
    assert not (tmp_path / "pgdata").exists()
    with quick(tmp_path) as server:  # initdb of the killed user still works; the start waits for it
        write(server.url, "whole")
        assert written(server.url) == ["whole"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pgdata", "postgres.log", "start.lock", "users.lock"]


def test_a_pid_that_belongs_to_another_program_by_now_is_not_the_server(tmp_path: Path) -> None:
    server = quick(tmp_path)
    with server:
        write(server.url, "committed")
    pid_file = tmp_path / "pgdata" / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{tmp_path / 'pgdata'}\n1\n5432\n.\n\n1 1\nready\n")
    os.chown(pid_file, pid_file.parent.stat().st_uid, -1)
    assert pid_of(server) is None
    with server:
        assert pid_of(server) not in (None, os.getpid())
        assert written(server.url) == ["committed"]


# -- refused -------------------------------------------------------------------------------------------------------


def test_a_setting_that_the_server_refuses_is_named(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path, durable=False, settings={"shared_buffers": "plenty"})
    with pytest.raises(EmbeddedPostgresError, match=r'did not start .*invalid value for parameter "shared_buffers"'):
        server.start()
    assert pid_of(server) is None
    with quick(tmp_path) as working:
        assert answers(working.url)


def test_a_directory_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pgdata").mkdir()
    (tmp_path / "pgdata" / "thesis.txt").write_text("years of work")
    with pytest.raises(EmbeddedPostgresError, match=r"holds no PostgreSQL data \(no PG_VERSION\); move it away"):
        quick(tmp_path).start()
    assert (tmp_path / "pgdata" / "thesis.txt").read_text() == "years of work"


def test_a_cluster_that_is_removed_under_a_running_server_is_not_replaced_by_an_empty_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with quick(tmp_path) as server:
        (tmp_path / "pgdata").rename(tmp_path / "elsewhere")
        wait_until(lambda: "was removed while it was in use" in caplog.text, 10, "the watcher said so")
        assert not (tmp_path / "pgdata").exists()
        (tmp_path / "elsewhere").rename(tmp_path / "pgdata")
        assert answers(server.url)


@pytest.mark.parametrize("folder", ["short", "x" * 90], ids=["in the cluster", "in a folder of its own"])
def test_a_server_whose_socket_was_removed_is_started_again(tmp_path: Path, folder: str) -> None:
    with quick(tmp_path / folder) as server:
        with psycopg.connect(server.url) as before:
            (socket_dir,) = before.execute("SHOW unix_socket_directories").fetchone() or ("",)
        place = Path(socket_dir) if socket_dir != "." else tmp_path / folder / "pgdata"
        (place / ".s.PGSQL.5432").unlink()
        wait_until(lambda: answers(server.url), 30, "the server answered again")


def test_a_user_whose_lock_was_removed_is_still_counted(tmp_path: Path) -> None:
    with quick(tmp_path) as server:
        running = pid_of(server)
        (tmp_path / "users.lock").unlink()
        wait_until((tmp_path / "users.lock").exists, 10, "it is counted again")
        with quick(tmp_path):
            pass
        assert pid_of(server) == running


def test_a_removed_log_is_no_trouble_of_the_server(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with quick(tmp_path) as server:
        server.log_path.unlink()
        killed = pid_of(server)
        assert killed is not None
        threading.Event().wait(3 * embedded._WATCH_INTERVAL_S)
        assert caplog.records == []
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: answers(server.url), 30, "the server answered again")
        assert server.log_path.exists()


def test_the_log_is_cut_before_it_fills_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_LARGEST_LOG_BYTES", 1)
    with quick(tmp_path) as server:
        wait_until(lambda: server.log_path.stat().st_size == 0, 10, "the log was cut")
        with psycopg.connect(server.url) as connection, pytest.raises(psycopg.errors.UndefinedTable):
            monkeypatch.setattr(embedded, "_LARGEST_LOG_BYTES", 1 << 20)
            connection.execute("SELECT * FROM never_made")
        wait_until(lambda: "never_made" in server.log_path.read_text(), 5, "the server wrote on, from the beginning")
        assert not server.log_path.read_bytes().startswith(b"\0")
