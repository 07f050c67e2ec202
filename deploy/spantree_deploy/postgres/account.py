"""The operating-system account that the embedded server runs as.

PostgreSQL refuses to run as root, so root hands the server to an account that the machine already has. Nothing
here creates an account or changes the mode of a directory that spantree did not make.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from spantree_exporter.errors import SpantreeError

# `spantree` is what a packager or a Docker image would create; `postgres` comes with any PostgreSQL package;
# `nobody` is on every Unix and is the last choice because other services may run as it too.
_CANDIDATES = ("spantree", "postgres", "nobody")


class EmbeddedPostgresError(SpantreeError):
    """The embedded PostgreSQL cannot be found, started or stopped; the text says what to do."""


class RunAs(TypedDict, total=False):
    """The keyword arguments of `subprocess` that switch the account."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True)
class Account:
    """An account by its numbers; `name` is for messages."""

    name: str
    uid: int
    gid: int

    @property
    def is_current(self) -> bool:
        """True when this process already runs as the account."""
        return self.uid == os.geteuid()

    def run_as(self) -> RunAs:
        """Arguments for `subprocess`; empty when no switch is needed, because a plain user may not switch at all."""
        return {} if self.is_current else {"user": self.uid, "group": self.gid, "extra_groups": []}

    def can_enter(self, directory: Path) -> bool:
        """True when the account may reach `directory` by its path: asked of the kernel, so that ACLs count too."""
        return self._asks('cd -- "$1"', directory)

    def can_execute(self, program: Path) -> bool:
        """True when the account may run `program` by its path."""
        return self._asks('test -x "$1"', program)

    def _asks(self, question: str, path: Path) -> bool:
        try:
            answer = subprocess.run(
                ["/bin/sh", "-c", question, "sh", str(path)],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
                **self.run_as(),
            )
        except PermissionError as error:
            raise EmbeddedPostgresError(
                f"PostgreSQL refuses to run as root, and this root may not switch to the account {self.name} "
                "(a container without CAP_SETUID and CAP_SETGID); run as a plain user (docker run --user)"
            ) from error
        return answer.returncode == 0


def choose_account(pgdata: Path) -> Account:
    """The account for the server on `pgdata`: its owner if it exists, else this process's, or for root one that exists.

    Raises EmbeddedPostgresError when this process may not act as that account.
    """
    current_uid = os.geteuid()
    try:
        owner_uid: int | None = (pgdata / "PG_VERSION").stat().st_uid
    except FileNotFoundError:
        owner_uid = None
    except PermissionError as error:
        raise EmbeddedPostgresError(
            f"{pgdata} cannot be reached as {_name_of(current_uid)}; run as the user who made it or give another --data"
        ) from error
    if current_uid != 0:
        if owner_uid not in (None, current_uid):
            raise EmbeddedPostgresError(
                f"{pgdata} belongs to {_name_of(owner_uid)} and this is {_name_of(current_uid)}; "
                "run as that user or as root, or give another --data"
            )
        return Account(_name_of(current_uid), current_uid, os.getegid())
    if owner_uid == 0:
        raise EmbeddedPostgresError(
            f"{pgdata} belongs to root, and PostgreSQL refuses to run as root; "
            "move it away, or give it to the account that shall run the server (chown -R)"
        )
    if owner_uid is not None:
        return Account(_name_of(owner_uid), owner_uid, pgdata.stat().st_gid)
    for name in _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedPostgresError(
        f"PostgreSQL refuses to run as root and none of the accounts {', '.join(_CANDIDATES)} exists here; "
        "run as a plain user, or set SPANTREE_DATABASE_URL to a PostgreSQL that runs elsewhere"
    )


def has_passwd_entry(account: Account) -> bool:
    """True when the account has a name; initdb refuses a user id without one (`docker run --user 1234`)."""
    try:
        pwd.getpwuid(account.uid)
    except KeyError:
        return False
    return True


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user id {uid}"
