"""A new PostgreSQL cluster: made beside its place, written to disk, then moved there in one step."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from spantree_deploy.postgres_account import Account, EmbeddedPostgresError, has_passwd_entry
from spantree_deploy.postgres_binaries import PostgresBinaries

SUPERUSER = "postgres"
# The kernel's name for "the directory I stand in". With it the server works in a directory that its account cannot
# reach by path, as long as it is started there: below a 0700 home, or in what `mktemp -d` made for root.
_HERE = Path("/proc/self/cwd")
_BUILTIN_LOCALE_SINCE = 17
_SYNCFS_SINCE = 17


def data_major(pgdata: Path) -> int | None:
    """The major release whose data `pgdata` holds, or None when nothing is there yet."""
    try:
        text = (pgdata / "PG_VERSION").read_text(encoding="ascii")
    except FileNotFoundError:
        if pgdata.is_dir() and any(pgdata.iterdir()):
            raise EmbeddedPostgresError(
                f"{pgdata} is not empty and holds no PostgreSQL data (no PG_VERSION); "
                "move it away or give another --data"
            ) from None
        return None
    try:
        return int(text)
    except ValueError:
        raise EmbeddedPostgresError(f"{pgdata / 'PG_VERSION'} holds {text.strip()!r} and no release number") from None


def make_cluster(binaries: PostgresBinaries, account: Account, pgdata: Path, *, durable: bool) -> None:
    """Make the cluster `pgdata`. A kill at any moment leaves either no `pgdata` or a whole one that is on the disk."""
    if not has_passwd_entry(account):
        raise EmbeddedPostgresError(
            f"initdb needs a name for {account.name} and the machine's passwd has none; "
            "run as a user that has a name, or set SPANTREE_DATABASE_URL"
        )
    unfinished = pgdata.with_name(f"{pgdata.name}.new")
    if unfinished.exists():
        shutil.rmtree(unfinished)
    unfinished.mkdir(mode=0o700)
    if not account.is_current:
        os.chown(unfinished, account.uid, account.gid)
    place = place_for(account, unfinished)
    refusals = []
    for locale in _locales(binaries):
        refusal = _run([binaries.initdb, "-D", place, *_INITDB, *locale], account, unfinished)
        if refusal is None:
            break
        refusals.append(refusal)  # initdb has removed what it made
    else:
        raise EmbeddedPostgresError(f"initdb could not make {pgdata}: {'; '.join(refusals)}")
    if durable:
        # Whatever commits later stands on these files: they must be on the disk before the first commit is promised.
        method = ["--sync-method=syncfs"] if binaries.major >= _SYNCFS_SINCE and sys.platform == "linux" else []
        refusal = _run([binaries.initdb, "-S", "-D", place, *method], account, unfinished)
        if refusal is not None:
            raise EmbeddedPostgresError(f"{unfinished} could not be written to the disk: {refusal}")
    unfinished.rename(pgdata)
    if durable:
        _sync_directory(pgdata.parent)


def place_for(account: Account, pgdata: Path) -> str:
    """The path by which `account` names `pgdata`, for a program that is started in it."""
    if account.is_current or account.can_enter(pgdata):
        return str(pgdata)
    if _HERE.exists():
        return str(_HERE)
    raise EmbeddedPostgresError(
        f"the account {account.name}, which runs the server for root, cannot reach {pgdata}; "
        "give a --data that every account can reach, or run as a plain user"
    )


# trust: the socket lies in a directory of mode 0700 and there is no TCP port, so the file system decides.
_INITDB = ("--no-sync", "--no-instructions", "--auth=trust", f"--username={SUPERUSER}", "--encoding=UTF8")


def _locales(binaries: PostgresBinaries) -> list[list[str]]:
    """Locale arguments for initdb, best first. All sort by code point, so that every machine gives the same order."""
    if binaries.major >= _BUILTIN_LOCALE_SINCE:
        return [["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]]
    return [["--locale=C.UTF-8"], ["--locale=C"]]  # the second where the C library lacks the first (older macOS)


def _run(command: list[Path | str], account: Account, directory: Path) -> str | None:
    """Run as `account` in `directory`; None, or what it said when it failed."""
    answer = subprocess.run(
        command,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        **account.run_as(),
    )
    return None if answer.returncode == 0 else " ".join(answer.stdout.split())[-1000:]


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
