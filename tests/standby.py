"""A PostgreSQL server and a hot standby that follows it by streaming replication, both thrown away afterwards."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from tests.waiting import wait_until

from spantree_deploy.postgres.account import choose_account
from spantree_deploy.postgres.binaries import find_binaries
from spantree_deploy.postgres.embedded import EmbeddedPostgres


@dataclass(frozen=True)
class Replicated:
    """URLs of the same database on both servers."""

    primary: str
    standby: str

    def caught_up(self) -> None:
        """Wait until the standby has replayed what the primary has committed."""
        with psycopg.connect(self.primary, autocommit=True) as connection:
            row = connection.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone()
        assert row is not None
        wait_until(lambda: self._has_replayed(str(row[0])), 60, "the standby has caught up")

    def _has_replayed(self, position: str) -> bool:
        # What is replayed may end a connection that begins just now.
        with (
            contextlib.suppress(psycopg.OperationalError),
            psycopg.connect(self.standby, autocommit=True) as connection,
        ):
            row = connection.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", (position,)).fetchone()
            return row == (True,)
        return False

    def replay(self, go_on: bool) -> None:
        """Let the standby stand still, or go on."""
        with psycopg.connect(self.standby, autocommit=True) as connection:
            connection.execute("SELECT pg_wal_replay_resume()" if go_on else "SELECT pg_wal_replay_pause()")


@contextlib.contextmanager
def replicated() -> Iterator[Replicated]:
    """Both servers. Skips the test where the machine's PostgreSQL has no pg_basebackup."""
    with tempfile.TemporaryDirectory(prefix="spantree-tests-") as name:
        folder = Path(name)
        # The standby's account reaches the primary's socket by its path.
        for directory in (folder, folder / "primary", folder / "standby"):
            directory.mkdir(exist_ok=True)
            directory.chmod(0o711)
        with _replicated(folder) as servers:
            yield servers


@contextlib.contextmanager
def _replicated(folder: Path) -> Iterator[Replicated]:
    basebackup = find_binaries(None, None).bin_dir / "pg_basebackup"
    if not basebackup.is_file():
        pytest.skip(f"{basebackup} is not there: the PostgreSQL of this machine cannot make a standby")
    with EmbeddedPostgres(folder / "primary", durable=False) as primary:
        account = choose_account(folder / "primary" / "pgdata")
        pgdata = folder / "standby" / "pgdata"
        pgdata.mkdir(mode=0o700)
        of = conninfo_to_dict(primary.url)
        host = ["--host", str(of["host"]), "--port", str(of["port"]), "--username", str(of["user"])]
        how = ["--wal-method=stream", "--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--no-password"]
        subprocess.run([basebackup, "--pgdata", pgdata, *host, *how], check=True, capture_output=True, timeout=120)
        (pgdata / "postmaster.pid").unlink(missing_ok=True)
        if not account.is_current:
            for path in (pgdata, *pgdata.rglob("*")):
                os.chown(path, account.uid, account.gid, follow_symlinks=False)
        settings = {"max_standby_streaming_delay": "0", "wal_receiver_status_interval": "1s"}
        with EmbeddedPostgres(folder / "standby", durable=False, settings=settings) as standby:
            yield Replicated(primary.url, standby.url)
