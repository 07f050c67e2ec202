"""Who runs the embedded server: a plain user himself, root by way of an account that exists, and nothing is opened."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.postgres_user import UserProcess

from spantree_deploy.postgres import binaries as postgres_binaries
from spantree_deploy.postgres.account import Account, choose_account
from spantree_deploy.postgres.binaries import PostgresBinaries, every_usable_binaries, find_binaries, within_reach
from spantree_deploy.postgres.embedded import EmbeddedPostgres, EmbeddedPostgresError

_IS_ROOT = os.geteuid() == 0
_WHEEL_FILES = shutil.ignore_patterns("*.a", "include", "__pycache__")


def nobody() -> Account:
    entry = pwd.getpwnam("nobody")
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every account can reach, which pytest's are not."""
    with tempfile.TemporaryDirectory(prefix="spantree-tests-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def modes_up_from(folder: Path) -> list[tuple[Path, int, int]]:
    return [(each, each.stat().st_mode, each.stat().st_uid) for each in (folder, *folder.parents)]


def test_the_server_does_not_run_as_root_and_changes_neither_modes_nor_accounts(tmp_path: Path) -> None:
    accounts = Path("/etc/passwd").read_bytes()
    modes = modes_up_from(tmp_path)
    with EmbeddedPostgres(tmp_path, durable=False) as server:
        assert server.pid is not None
        owner = (tmp_path / "pgdata").stat().st_uid
        answer = subprocess.run(["ps", "-o", "uid=", "-p", str(server.pid)], capture_output=True, text=True, check=True)
        assert int(answer.stdout) == owner
        assert owner == choose_account(tmp_path / "pgdata").uid
        assert owner != 0
        assert stat.S_IMODE((tmp_path / "pgdata").stat().st_mode) == 0o700
    assert modes_up_from(tmp_path) == modes
    assert Path("/etc/passwd").read_bytes() == accounts


if _IS_ROOT:
    # What follows changes accounts, which only root can; a plain user's own server is what every other test runs then.

    @pytest.fixture
    def closed_wheel(tmp_path: Path) -> PostgresBinaries:
        """The wheel's server where only root can reach it, as in a virtual environment below root's home."""
        binaries = find_binaries(None, None)
        assert binaries.from_wheel
        package = binaries.bin_dir.parent.parent
        closed = tmp_path / "site-packages"
        closed.mkdir(mode=0o700)
        install = closed / package.name / binaries.bin_dir.parent.name
        shutil.copytree(binaries.bin_dir.parent, install, symlinks=True, ignore=_WHEEL_FILES)
        shutil.copytree(package.with_name(f"{package.name}.libs"), closed / f"{package.name}.libs")
        return PostgresBinaries(install / "bin", binaries.major, binaries.version, from_wheel=True)

    @pytest.mark.parametrize("binaries", every_usable_binaries(), ids=lambda each: each.version)
    def test_root_keeps_data_in_a_folder_that_the_servers_account_cannot_reach(
        tmp_path: Path, binaries: PostgresBinaries
    ) -> None:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        server = EmbeddedPostgres(closed / "data", pg_bin=binaries.bin_dir, durable=False)
        with server, psycopg.connect(server.url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 10000) AS number")
        with server, psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (10000,)
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
        assert not choose_account(closed / "data" / "pgdata").can_enter(closed)

    def test_root_names_the_data_by_its_path_where_the_account_can_reach_it(open_folder: Path) -> None:
        (open_folder / "data").mkdir(mode=0o755)
        with EmbeddedPostgres(open_folder / "data", durable=False) as server, psycopg.connect(server.url) as connection:
            shown = connection.execute("SHOW data_directory").fetchone()
        assert shown == (str(open_folder / "data" / "pgdata"),)

    def test_root_runs_the_server_of_a_users_data_as_that_user_who_can_use_it_again(open_folder: Path) -> None:
        account = nobody()
        os.chown(open_folder, account.uid, account.gid)
        pg_bin = str(within_reach(find_binaries(None, None), account, open_folder).bin_dir)
        for _ in range(2):
            user = UserProcess(open_folder, "--account", account.name, "--pg-bin", pg_bin)
            try:
                assert set(user.answer()) == {"url", "pid"}
                assert (open_folder / "pgdata").stat().st_uid == account.uid
                with EmbeddedPostgres(open_folder, pg_bin=Path(pg_bin), durable=False) as server:
                    assert server.pid is not None
                assert user.stop() == {"stopped": True}
            finally:
                user.end()
            with EmbeddedPostgres(open_folder, pg_bin=Path(pg_bin), durable=False) as server:
                assert server.pid is not None
                assert Path(f"/proc/{server.pid}").stat().st_uid == account.uid

    def test_a_user_is_told_that_the_data_is_somebody_elses(open_folder: Path) -> None:
        data = open_folder / "data"
        with EmbeddedPostgres(data, durable=False):
            user = UserProcess(data, "--account", "nobody")
            try:
                answer = user.answer()
            finally:
                user.end()
        assert answer == {
            "error": f"{data}/start.lock cannot be opened: Permission denied; "
            f"run as the user who owns {data}, or give another --data"
        }

    def test_root_without_the_right_to_look_into_processes_shares_and_stops_the_server(tmp_path: Path) -> None:
        users = [UserProcess(tmp_path, "--without-ptrace") for _ in range(2)]
        try:
            in_use = [user.answer() for user in users]
            assert in_use[0] == in_use[1]
            assert [user.stop() for user in users] == [{"stopped": False}, {"stopped": True}]
        finally:
            for user in users:
                user.end()

    def test_data_that_belongs_to_root_is_refused(tmp_path: Path) -> None:
        (tmp_path / "pgdata").mkdir()
        (tmp_path / "pgdata" / "PG_VERSION").write_text("18\n")
        with pytest.raises(EmbeddedPostgresError, match="belongs to root, and PostgreSQL refuses to run as root"):
            EmbeddedPostgres(tmp_path).start()

    def test_binaries_below_a_closed_home_are_copied_once_and_work(
        open_folder: Path, closed_wheel: PostgresBinaries
    ) -> None:
        first = within_reach(closed_wheel, nobody(), open_folder)
        made = first.postgres.stat().st_ino
        assert first.bin_dir.is_relative_to(open_folder)
        assert within_reach(closed_wheel, nobody(), open_folder) == first
        assert first.postgres.stat().st_ino == made
        (open_folder / "data").mkdir(mode=0o755)
        with (
            EmbeddedPostgres(open_folder / "data", pg_bin=closed_wheel.bin_dir, durable=False) as server,
            psycopg.connect(server.url) as connection,
        ):
            shown = connection.execute("SELECT setting FROM pg_config WHERE name = 'BINDIR'").fetchone()
            assert shown is not None
            assert Path(shown[0]).is_relative_to(open_folder / "data")
        closed = closed_wheel.bin_dir.parents[2]
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700

    def test_a_copy_is_never_taken_from_a_folder_that_somebody_else_made(
        tmp_path: Path, open_folder: Path, closed_wheel: PostgresBinaries, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        foreign, own = open_folder / "foreign", open_folder / "own"
        for place in (foreign, own):
            place.mkdir(mode=0o755)
        (foreign / "spantree").mkdir(mode=0o755)
        os.chown(foreign / "spantree", nobody().uid, -1)
        monkeypatch.setattr(postgres_binaries, "_COPY_PARENTS", (foreign, own))
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        assert within_reach(closed_wheel, nobody(), closed).bin_dir.is_relative_to(own)
        assert list((foreign / "spantree").iterdir()) == []

    def test_closed_binaries_that_cannot_be_moved_are_refused(tmp_path: Path) -> None:
        closed = PostgresBinaries(tmp_path, 18, "18.4", from_wheel=False)
        with pytest.raises(EmbeddedPostgresError, match=r"cannot reach .* install PostgreSQL where every account may"):
            within_reach(closed, nobody(), tmp_path)
