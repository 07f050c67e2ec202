"""What is known about a server from outside: its `postmaster.pid`, and whether that process really is our server.

"The pid exists" is not enough. The pid may be a zombie that nobody reaps (usual in a container whose first process is
no init), or by now belong to another program (usual after a container restart).

`postmaster.pid`, one value a line: pid, data directory, start time, port, socket directory, listen address, shared
memory key, status (https://www.postgresql.org/docs/current/storage-file-layout.html; src/include/utils/pidfile.h).
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from spantree_deploy.postgres.account import EmbeddedPostgresError

_PID_FILE = "postmaster.pid"
_SOCKET_DIR_LINE = 4
_STATUS_LINE = 7
_PROC = Path("/proc")
_POLL_S = 0.01

# An immediate shutdown takes no time; PostgreSQL itself kills, after 5 s, what does not follow it.
_QUIT_S = 30.0

# Backends of a dead postmaster end by themselves as soon as they wait for anything; one in the middle of a long
# computation does not. Their shared memory is lost, so nothing that they still do can count.
_LEFTOVER_GRACE_S = 5.0
_LEFTOVER_KILLED_S = 30.0


@dataclass(frozen=True, slots=True)
class Postmaster:
    """A server as its pid file describes it. `socket_dir` and `is_ready` come late in its start."""

    pid: int
    socket_dir: str
    is_ready: bool


def read_postmaster(pgdata: Path) -> Postmaster | None:
    """What `postmaster.pid` says, or None when there is none or it is not written yet. It may be out of date."""
    try:
        lines = (pgdata / _PID_FILE).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return None
    try:
        pid = abs(int(lines[0]))  # negative while a standalone backend has the data
    except (IndexError, ValueError):
        return None
    socket_dir = lines[_SOCKET_DIR_LINE] if len(lines) > _SOCKET_DIR_LINE else ""
    is_ready = len(lines) > _STATUS_LINE and lines[_STATUS_LINE].strip() == "ready"
    return Postmaster(pid, socket_dir, is_ready)


def running_postmaster(pgdata: Path) -> Postmaster | None:
    """The server that runs on `pgdata`, or None when there is none, whatever `postmaster.pid` claims."""
    postmaster = read_postmaster(pgdata)
    return postmaster if postmaster is not None and is_server(postmaster.pid, pgdata) else None


def cluster_name(pgdata: Path) -> str:
    """The name that the server on `pgdata` carries on its command line and its backends in their titles."""
    return f"spantree-{pgdata.stat().st_ino}"


def is_server(pid: int, pgdata: Path) -> bool:
    """True when `pid` is alive, no zombie, and a PostgreSQL process that works in `pgdata`."""
    if _PROC.is_dir():
        return _is_server_by_proc(pid, pgdata)
    answer = subprocess.run(["ps", "-o", "stat=,command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, command = answer.stdout.strip().partition(" ")
    return bool(state) and not state.startswith("Z") and cluster_name(pgdata) in command


def _is_server_by_proc(pid: int, pgdata: Path) -> bool:
    entry = _PROC / str(pid)
    try:
        before, _, after = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")
        # The name of the program too: a person's shell may well stand in the data directory.
        if after.split()[0] in ("Z", "X") or before.partition("(")[2] not in ("postgres", "postmaster"):
            return False
        try:
            place = (entry / "cwd").stat()
        except PermissionError:
            # Root in a container without CAP_SYS_PTRACE may not look there, but everybody may read command lines.
            words = (
                (entry / "cmdline").read_bytes().replace(b"\0", b" ").replace(b"=", b" ").replace(b":", b" ").split()
            )
            return cluster_name(pgdata).encode() in words
        directory = pgdata.stat()
    except (FileNotFoundError, ProcessLookupError):
        return False  # it ended while we looked
    return (place.st_dev, place.st_ino) == (directory.st_dev, directory.st_ino)


def stop_postmaster(pgdata: Path, timeout_s: float) -> None:
    """Shut the server on `pgdata` down: sessions are ended, a checkpoint is written. No server there: no effect.

    After `timeout_s` it is stopped without the checkpoint, which loses nothing and makes the next start a recovery.
    Raises EmbeddedPostgresError when even that does not help.
    """
    postmaster = running_postmaster(pgdata)
    if postmaster is None:
        return
    for stop_signal, patience_s in ((signal.SIGINT, timeout_s), (signal.SIGQUIT, _QUIT_S)):
        _signal(postmaster.pid, stop_signal)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if not is_server(postmaster.pid, pgdata):
                return
            time.sleep(_POLL_S)
    raise EmbeddedPostgresError(
        f"PostgreSQL (pid {postmaster.pid}) on {pgdata} did not stop within {timeout_s + _QUIT_S:.0f} s; "
        "look into postgres.log beside it"
    )


def clear_leftovers(pgdata: Path) -> bool:
    """After a postmaster died: wait for its backends, then remove its `postmaster.pid`.

    The file must go because PostgreSQL takes a zombie's pid for a running server and refuses to start. False when
    what runs turns out to be a whole server, started by somebody who was killed before it was ready; it is left alone.
    """
    began = time.monotonic()
    killed = False
    while leftovers := _server_pids(pgdata):
        if running_postmaster(pgdata) is not None:
            return False
        waited_s = time.monotonic() - began
        if waited_s > _LEFTOVER_KILLED_S:
            raise EmbeddedPostgresError(
                f"the PostgreSQL on {pgdata} died and its processes {leftovers} do not end; end them and start again"
            )
        if waited_s > _LEFTOVER_GRACE_S and not killed:
            killed = True
            for pid in leftovers:
                _signal(pid, signal.SIGKILL)
        time.sleep(_POLL_S)
    (pgdata / _PID_FILE).unlink(missing_ok=True)
    return True


def _server_pids(pgdata: Path) -> list[int]:
    """PostgreSQL processes that work in `pgdata`. Empty where there is no /proc: PostgreSQL then finds them itself."""
    if not _PROC.is_dir():
        return []
    pids = (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())
    return [pid for pid in pids if _is_server_by_proc(pid, pgdata)]


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it ended by itself, which is what the signal was for
