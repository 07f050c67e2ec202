"""A new PostgreSQL cluster: made beside its place, written to disk, then moved there in one step."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from spantree_deploy.postgres.account import Account, EmbeddedPostgresError, has_passwd_entry
from spantree_deploy.postgres.binaries import PostgresBinaries

SUPERUSER = "postgres"
# The kernel's names for what a process has open. By such a name a program enters a directory that its account cannot
# reach by path, if it was handed over open: a --data below a 0700 home, or in what `mktemp -d` made for root.
_OPEN_FILES = Path("/proc/self/fd")
_BUILTIN_LOCALE_SINCE = 17
_SYNCFS_SINCE = 17


def data_major(pgdata: Path) -> int | None:
    """The major release whose data `pgdata` holds, or None when nothing is there yet."""
    try:
        text = (pgdata / "PG_VERSION").read_text(encoding="utf-8", errors="replace")
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


def make_cluster(binaries: PostgresBinaries, account: Account, pgdata: Path, *, durable: bool, start_lock: int) -> None:
    """Make the cluster `pgdata`. A kill at any moment leaves either no `pgdata` or a whole one that is on the disk.

    `start_lock` is the open file by which the caller holds its lock. initdb inherits it: if the caller is killed,
    initdb works on, and nobody else may begin before it ends.
    """
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
    with opened_for(account, unfinished) as place:
        refusals = []
        for locale in _locales(binaries):
            refusal = _run([binaries.initdb, *_INITDB, *locale], account, place, start_lock)
            if refusal is None:
                break
            refusals.append(refusal)  # initdb has removed what it made
        else:
            raise EmbeddedPostgresError(f"initdb could not make {pgdata}: {'; '.join(refusals)}")
        if durable:
            # Whatever commits later stands on these files: they must be on the disk before a commit is promised.
            method = ["--sync-method=syncfs"] if binaries.major >= _SYNCFS_SINCE and sys.platform == "linux" else []
            refusal = _run([binaries.initdb, "--sync-only", *method], account, place, start_lock)
            if refusal is not None:
                raise EmbeddedPostgresError(f"{unfinished} could not be written to the disk: {refusal}")
    unfinished.rename(pgdata)
    if durable:
        _sync_directory(pgdata.parent)


@dataclass(frozen=True, slots=True)
class Place:
    """A cluster's directory as a program of another account may name it, and the open file that the name needs."""

    path: str
    pass_fds: tuple[int, ...]


@contextlib.contextmanager
def opened_for(account: Account, pgdata: Path) -> Iterator[Place]:
    """How a program that runs as `account` reaches `pgdata`: valid for programs that are started inside the block."""
    if account.is_current or account.can_enter(pgdata):
        yield Place(str(pgdata), ())
        return
    if _OPEN_FILES.is_dir():
        descriptor = os.open(pgdata, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield Place(str(_OPEN_FILES / str(descriptor)), (descriptor,))
        finally:
            os.close(descriptor)
        return
    raise EmbeddedPostgresError(
        f"the account {account.name}, which runs the server for root, cannot reach {pgdata}; "
        "give a --data that every account can reach, or run as a plain user"
    )


def accepts_setting(binaries: PostgresBinaries, account: Account, place: Place, name: str, value: str) -> bool:
    """True when this build of PostgreSQL knows `value`: some need a library that it was built without."""
    question: list[Path | str] = [binaries.postgres, "-C", name, "-c", f"{name}={value}"]
    return _run(question, account, place) is None


# trust: the socket lies in a directory of mode 0700 and there is no TCP port, so the file system decides.
_INITDB = ("--no-sync", "--no-instructions", "--auth=trust", f"--username={SUPERUSER}", "--encoding=UTF8")


def _locales(binaries: PostgresBinaries) -> list[list[str]]:
    """Locale arguments for initdb, best first. All sort by code point, so that every machine gives the same order."""
    if binaries.major >= _BUILTIN_LOCALE_SINCE:
        return [["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]]
    return [["--locale=C.UTF-8"], ["--locale=C"]]  # the second where the C library lacks the first (older macOS)


def _run(command: Sequence[Path | str], account: Account, place: Place, *inherited: int) -> str | None:
    """Run `command` on `place` as `account`; None, or what it said when it failed."""
    answer = subprocess.run(
        [*command, "-D", place.path],
        cwd="/",  # PostgreSQL 15 leaves its directory and must be able to come back
        pass_fds=(*place.pass_fds, *inherited),
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
