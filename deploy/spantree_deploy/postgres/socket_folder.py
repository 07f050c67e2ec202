"""Where the embedded server puts its socket: in the cluster, or in a short folder when that path is too long."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from pathlib import Path

from spantree_deploy.postgres.account import Account, EmbeddedPostgresError
from spantree_deploy.postgres.postmaster import cluster_name

PORT = 5432  # only a part of the socket's name: the server listens on no TCP port
# sun_path of sockaddr_un, without the closing NUL: unix(7); on macOS and the BSDs it is 104 bytes.
_LONGEST_PATH_BYTES = 107 if sys.platform == "linux" else 103
_SOCKET = f".s.PGSQL.{PORT}"
# The server stands in the cluster: it can bind there even where the path is closed to its account.
_IN_CLUSTER = "."


def choose_socket_dir(account: Account, pgdata: Path) -> str:
    """The value of `unix_socket_directories` for the server on `pgdata`; a folder that is needed for it is made."""
    path = os.fsencode(pgdata / _SOCKET)
    if len(path) <= _LONGEST_PATH_BYTES and b"," not in path:  # libpq splits a list of hosts at commas
        return _IN_CLUSTER
    for directory in _short_dirs(account, pgdata):
        if len(os.fsencode(directory / _SOCKET)) > _LONGEST_PATH_BYTES or not account.can_enter(directory.parent):
            continue
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)
            if not account.is_current:
                os.chown(directory, account.uid, account.gid)
        if _is_private(directory, account):
            return str(directory)
    raise EmbeddedPostgresError(
        f"the path of {pgdata} cannot carry a socket ({len(path)} bytes with {_SOCKET}, at most {_LONGEST_PATH_BYTES}, "
        "no comma), and the temporary folder has no place for it; give a --data with a shorter path"
    )


def client_socket_dir(pgdata: Path, server_socket_dir: str) -> str:
    """What a client names as its host, from what the server says of itself."""
    return str(pgdata) if server_socket_dir == _IN_CLUSTER else server_socket_dir


def has_socket(pgdata: Path, server_socket_dir: str) -> bool:
    """Whether the socket of a server that is ready still has its name. It makes none anew, so nobody new gets in."""
    return (Path(client_socket_dir(pgdata, server_socket_dir)) / _SOCKET).exists()


def remove_socket(account: Account, pgdata: Path) -> None:
    """When no server runs: remove what the last one left, and the temporary folder if there was one.

    A server that was killed leaves a lock file beside its socket, and as long as its pid is a zombie PostgreSQL
    believes that lock.
    """
    short_dirs = [directory for directory in _short_dirs(account, pgdata) if _is_private(directory, account)]
    for directory in (pgdata, *short_dirs):
        for name in (_SOCKET, f"{_SOCKET}.lock"):
            (directory / name).unlink(missing_ok=True)
    for directory in short_dirs:
        directory.rmdir()


def _is_private(directory: Path, account: Account) -> bool:
    """True for a folder that only `account` can enter. In a temporary folder anybody may have made that name."""
    try:
        status = directory.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == account.uid and status.st_mode & 0o077 == 0


def _short_dirs(account: Account, pgdata: Path) -> list[Path]:
    name = f"{cluster_name(pgdata)}-{account.uid}"
    return [parent / name for parent in dict.fromkeys((Path(tempfile.gettempdir()), Path("/tmp")))]  # noqa: S108
